"""Vehicles that learn together: the simulated world, rounds, baselines, and what a model says."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import SGDClassifier

from backend.federation import fleet
from backend.federation.fleet import FleetSettings, FleetState, Lessons
from backend.federation.fleet_world import (
    ACTIONS,
    CHARGE,
    DISCHARGE,
    IDLE,
    FleetWorld,
    PriceScale,
    live_by_rule,
    make_world,
    rule,
)
from backend.federation.weights import content_hash

STEPS = 200


def lessons(vehicles: int = 40, steps: int = STEPS, seed: int = 7) -> tuple[FleetWorld, Lessons]:
    world = make_world(vehicles, steps, seed=seed)
    return world, fleet.lessons_of(world, live_by_rule(world))


def trained(given_lessons: Lessons, rounds: int, terms: FleetSettings) -> FleetState:
    state = fleet.untrained(len(given_lessons.labels))
    for _ in range(rounds):
        state = fleet.advance(given_lessons, state, terms)
    return state


def state_after_one(given_lessons: Lessons, terms: FleetSettings) -> FleetState:
    return trained(given_lessons, 1, terms)


@settings(max_examples=20)
@given(vehicles=st.integers(1, 12), steps=st.integers(1, 60), seed=st.integers(0, 2**31))
def test_batteries_and_plugs_bound_every_flow(vehicles: int, steps: int, seed: int) -> None:
    world = make_world(vehicles, steps, seed=seed)

    life = live_by_rule(world)

    assert np.all((life.soc >= 0) & (life.soc <= 1 + 1e-9))
    assert np.all(np.abs(life.energy_kwh) <= world.power_kw[:, None] + 1e-9)
    assert np.all(life.energy_kwh[~world.is_plugged_in] == 0)
    # What a step leaves is what the next one begins with: flow in, driving out, nothing below zero.
    held = life.soc * world.capacity_kwh[:, None]
    left = held[:, :-1] + life.energy_kwh[:, :-1] - world.drive_kwh[:, :-1]
    np.testing.assert_allclose(held[:, 1:], np.maximum(left, 0), atol=1e-9)


@pytest.mark.parametrize(
    ("soc", "price", "action"),
    [
        (0.29, 0.9, CHARGE),
        (0.9, 0.29, CHARGE),
        (0.71, 0.71, DISCHARGE),
        (0.7, 0.9, IDLE),
        (0.9, 0.7, IDLE),
        (0.3, 0.3, IDLE),
    ],
)
def test_the_rule_is_the_one_of_its_docstring(soc: float, price: float, action: int) -> None:
    assert rule(np.array([soc]), np.array([price])) == [action]


def test_a_fleet_learns_sooner_together_than_alone_and_more_than_the_majority_knows() -> None:
    _, seen = lessons(60, seed=8)

    state = trained(seen, fleet.rounds_in(STEPS), FleetSettings())

    half, last = state.curve[9], state.curve[-1]
    assert half.accuracy > half.local_accuracy + 0.03
    assert last.accuracy > last.local_accuracy
    assert last.local_accuracy > max(fleet.majority_accuracies(seen)) + 0.1
    assert last.log_loss < state.curve[0].log_loss
    assert [one.drawn for one in state.curve] == [30] * 20


def test_the_same_seed_gives_the_same_model_and_another_seed_another() -> None:
    _, seen = lessons(20)

    hashes = [
        content_hash(fleet.weights_of(trained(seen, 4, FleetSettings(seed=seed))))
        for seed in (7, 7, 8)
    ]

    assert hashes[0] == hashes[1] != hashes[2]


def test_rounds_go_on_from_where_they_were_interrupted() -> None:
    _, seen = lessons(20)
    terms = FleetSettings()

    state = trained(seen, 2, terms)
    for _ in range(2):
        state = fleet.advance(seen, replace(state), terms)

    np.testing.assert_array_equal(state.shared, trained(seen, 4, terms).shared)


def test_a_vehicle_that_has_seen_nothing_has_no_say() -> None:
    _, seen = lessons(10)
    terms = FleetSettings(drawn_share=1.0)
    only = np.zeros_like(seen.trains)
    only[3] = seen.trains[3]

    state = state_after_one(replace(seen, trains=only), terms)

    # Had the nine others counted as zeros, the shared model would be a tenth of this one.
    np.testing.assert_allclose(state.shared, state.own[3], rtol=1e-12)
    assert state.curve[0].trained == 1
    assert list(np.flatnonzero(state.has_own)) == [3]


def test_the_average_weighs_vehicles_by_their_examples() -> None:
    _, seen = lessons(2)
    terms = FleetSettings(drawn_share=1.0)

    state = state_after_one(seen, terms)

    counts = seen.trains[:, : fleet.STEPS_A_ROUND].sum(axis=1)
    assert counts.all()
    mean = np.average(state.own, axis=0, weights=counts)
    np.testing.assert_allclose(state.shared, mean, rtol=1e-12)


def test_nobody_trains_on_what_judges() -> None:
    _, seen = lessons(20)
    spoiled = np.where(seen.judges, (seen.labels + 1) % 3, seen.labels).astype(np.int8)

    honest = trained(seen, 3, FleetSettings())
    other = trained(replace(seen, labels=spoiled), 3, FleetSettings())

    np.testing.assert_array_equal(honest.shared, other.shared)
    assert honest.curve[-1].accuracy != other.curve[-1].accuracy
    assert not np.any(seen.trains & seen.judges)


def test_probabilities_are_those_of_scikit_learn() -> None:
    world, seen = lessons(20)
    state = trained(seen, 5, FleetSettings())
    weights = fleet.weights_of(state)
    learner = SGDClassifier(loss="log_loss")
    rows = seen.rows[0]
    learner.partial_fit(rows[:3], [0, 1, 2], classes=[0, 1, 2])
    learner.coef_ = weights["coef"].astype(np.float64)
    learner.intercept_ = weights["intercept"].astype(np.float64)
    price = float(world.price_eur_per_kwh[30])
    row = fleet.features(np.array(0.4), world.scale.share(np.array(price)), np.array(6.0))

    chances = fleet.decide(weights, world.scale, soc=0.4, price_eur_per_kwh=price, hour=6.0)

    wanted = learner.predict_proba(row[None, :])[0]
    np.testing.assert_allclose([chances[one] for one in ACTIONS], wanted, rtol=1e-9)


def test_prices_beyond_the_scale_count_as_its_ends() -> None:
    scale = PriceScale(0.1, 0.5)

    shares = scale.share(np.array([-0.2, 0.1, 0.3, 0.5, 2.0]))

    np.testing.assert_allclose(shares, [0, 0, 0.5, 1, 1], rtol=1e-12)


@pytest.mark.parametrize(("vehicles", "steps"), [(0, 10), (10, 0)])
def test_an_empty_fleet_is_refused(vehicles: int, steps: int) -> None:
    with pytest.raises(ValueError, match="at least one"):
        make_world(vehicles, steps, seed=1)
