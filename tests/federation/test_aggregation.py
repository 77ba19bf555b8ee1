"""One model of one set of updates: order, liars and numbers that are none do not move it."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.federation.aggregation import aggregate, candidates_of
from backend.federation.checking import Verdict
from backend.federation.fixed_point import (
    LARGEST,
    ONE,
    decode,
    encode,
    shares_of,
    weighted_mean,
)
from backend.federation.networks import FloatArray, shapes
from backend.federation.participant import loss
from backend.federation.strategies import STRATEGIES, UnknownStrategy
from backend.federation.tasks import ScoreAnswer, TrainAnswer
from tests.federation.updates import FAMILY, PARENT, filled, scored, site, trained, update

SITES = {f"site{number}": site(number) for number in range(6)}
UPDATES = trained(SITES)
SCORES = scored(SITES, candidates_of(UPDATES, PARENT))
names = st.sampled_from(sorted(STRATEGIES))


def moved(weights: dict[str, FloatArray]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.concatenate([np.ravel(weights[n] - PARENT[n]) for n in sorted(weights)]).astype(float)


@settings(max_examples=40, deadline=None)
@given(strategy=names, seed=st.integers(0, 10**6))
def test_the_order_of_arrival_changes_no_bit(strategy: str, seed: int) -> None:
    orders = np.random.default_rng(seed)
    updates = [UPDATES[place] for place in orders.permutation(len(UPDATES))]
    scores = [SCORES[place] for place in orders.permutation(len(SCORES))]

    found = aggregate(strategy, PARENT, updates, scores)

    assert found.model_hash == aggregate(strategy, PARENT, UPDATES, SCORES).model_hash
    assert found.judged == aggregate(strategy, PARENT, UPDATES, SCORES).judged


@settings(max_examples=40, deadline=None)
@given(
    strategy=names,
    value=st.sampled_from([np.nan, np.inf, -np.inf, 3e38]),
    place=st.integers(0, 25),
    liars=st.integers(1, 5),
)
def test_numbers_that_are_none_never_get_through(
    strategy: str, value: float, place: int, liars: int
) -> None:
    spoiled = filled(0.01)
    spoiled["w"][place] = value
    sent = [*UPDATES, *(TrainAnswer(f"liar{n}", spoiled, 100) for n in range(liars))]

    found = aggregate(strategy, PARENT, sent)

    assert all(np.isfinite(array).all() for array in found.weights.values())
    assert {o.participant for o in found.judged if o.verdict is Verdict.ACCEPTED} <= set(SITES)


@settings(max_examples=40, deadline=None)
@given(claim=st.integers(1, 10**9), length=st.floats(0.01, 100))
def test_one_liar_moves_no_weight_beyond_what_honest_updates_span(
    claim: int, length: float
) -> None:
    honest = [update(f"site{n}", 0.1, seed=n) for n in range(6)]
    liar = TrainAnswer("liar", filled(-length), claim)

    found = aggregate("validated", PARENT, [*honest, liar])

    spans = np.stack([encode(one.delta) for one in honest]) / ONE
    # A length far from the median's clips honest updates too, by a little.
    tolerance = 0.1
    assert (moved(found.weights) >= spans.min(axis=0) - tolerance).all()
    assert (moved(found.weights) <= spans.max(axis=0) + tolerance).all()


def test_a_claim_of_more_examples_changes_nothing_beyond_the_cap() -> None:
    hashes = set()
    for claim in (len(SITES["site0"].train), 10**6, 10**9):
        sent = [replace(UPDATES[0], num_examples=claim), *UPDATES[1:]]
        hashes.add(aggregate("validated", PARENT, sent, SCORES).model_hash)

    assert len(hashes) == 1


def test_training_together_helps_every_site() -> None:
    weights = dict(PARENT)
    for _ in range(3):
        updates = trained(SITES, weights)
        scores = scored(SITES, candidates_of(updates, weights), weights)
        weights = aggregate("validated", weights, updates, scores).weights

    for one in SITES.values():
        assert loss(FAMILY, weights, one.holdout) < 0.7 * loss(FAMILY, PARENT, one.holdout)


def test_an_update_that_harms_is_rejected_and_one_that_helps_is_not() -> None:
    sent = [*UPDATES, replace(UPDATES[0], participant="liar", delta=_negative(UPDATES[0]))]
    scores = scored(SITES, candidates_of(sent, PARENT))

    found = {one.participant: one for one in aggregate("validated", PARENT, sent, scores).judged}

    assert found["liar"].verdict is Verdict.REJECTED_HARMFUL
    assert (found["liar"].num_examples, found["liar"].clip_factor) == (0, 0.0)
    assert found["liar"].gain is not None
    assert found["liar"].gain < 0
    assert all(found[name].verdict is Verdict.ACCEPTED for name in SITES)
    assert all((found[name].gain or 0) > 0 for name in SITES)


def _negative(answer: TrainAnswer) -> dict[str, FloatArray]:
    return {name: -array for name, array in answer.delta.items()}


def test_without_an_accepted_update_the_model_stays() -> None:
    spoiled = TrainAnswer("liar", filled(float("nan")), 100)

    found = aggregate("validated", PARENT, [spoiled])

    np.testing.assert_array_equal(encode(found.weights), encode(PARENT))
    assert found.accepted == ()


def test_the_committee_tries_a_quarter_of_each_clipped_update() -> None:
    sent = [update("a", 0.1, seed=1), update("b", 0.1, seed=2), update("c", 0.2, seed=3)]

    tried = candidates_of(sent, PARENT)

    np.testing.assert_allclose(tried["a"]["w"], 0.25 * sent[0].delta["w"], rtol=1e-6)
    clipped = np.linalg.norm(tried["c"]["w"]) / np.linalg.norm(sent[2].delta["w"])
    assert 0.1 < clipped < 0.2


def values(strategy: str, *updates: tuple[float, int]) -> float:
    sent = [TrainAnswer(f"s{n}", filled(v), count) for n, (v, count) in enumerate(updates)]
    found = aggregate(strategy, PARENT, sent).weights
    return float(found["w"][0, 0])


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("fedavg", (1 * 1 + 2 * 1 + 3 * 1 + 4 * 1 + 100 * 4) / 8),
        ("fedprox", (1 * 1 + 2 * 1 + 3 * 1 + 4 * 1 + 100 * 4) / 8),
        ("median", 3.0),
        ("trimmed_mean", (2 + 3 + 4) / 3),
        ("krum", 2.0),
    ],
)
def test_strategies_do_as_their_papers_say(strategy: str, expected: float) -> None:
    found = values(strategy, (1.0, 100), (2.0, 100), (3.0, 100), (4.0, 100), (100.0, 400))

    assert found == pytest.approx(expected, rel=1e-5)


def test_the_median_of_an_even_number_is_the_mean_of_the_middle_two() -> None:
    assert values("median", (1.0, 1), (2.0, 1), (4.0, 1), (50.0, 1)) == 3.0


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_one_or_two_updates_are_enough_for_every_strategy(strategy: str) -> None:
    one = aggregate(strategy, PARENT, [update("a", 0.5)])
    two = aggregate(strategy, PARENT, [update("a", 0.5), update("b", 0.5, seed=2)])

    assert moved(one.weights).mean() == pytest.approx(0.5, abs=0.1)
    assert moved(two.weights).mean() == pytest.approx(0.5, abs=0.1)


def test_a_model_that_liars_push_out_of_range_stays_at_its_edge() -> None:
    loud = update("z", 0.0), TrainAnswer("y", filled(LARGEST), 10**9)
    weights = PARENT

    for _ in range(4):
        weights = aggregate("fedavg", weights, loud).weights

    assert max(float(np.abs(array).max()) for array in weights.values()) == LARGEST


def test_krum_takes_no_more_room_than_a_few_times_its_updates() -> None:
    updates = [update(f"{number:03}", 0.1, seed=number) for number in range(300)]
    tracemalloc.start()

    aggregate("krum", PARENT, updates)

    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 300 * 300 * 27 * 8 / 4  # a quarter of all differences between two updates


def test_a_strategy_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UnknownStrategy, match="there are fedavg"):
        aggregate("best", PARENT, UPDATES)


def test_votes_on_updates_nobody_sent_change_nothing() -> None:
    extra = [replace(one, gains={**one.gains, "ghost": 1.0}) for one in SCORES]

    plain, haunted = (aggregate("validated", PARENT, UPDATES, said) for said in (SCORES, extra))

    assert plain.model_hash == haunted.model_hash
    assert aggregate("validated", PARENT, UPDATES, [ScoreAnswer("m", {})]).accepted


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-LARGEST, LARGEST, width=32), min_size=27, max_size=27))
def test_fixed_point_keeps_values_to_half_a_unit(numbers: list[float]) -> None:
    weights = {
        "b": np.array(numbers[:1], np.float32),
        "w": np.array(numbers[1:], np.float32).reshape(26, 1),
    }

    again = decode(encode(weights), shapes(FAMILY))

    for name, array in weights.items():
        np.testing.assert_allclose(again[name], array, rtol=1e-7, atol=0.5 / ONE)


def test_the_largest_weights_of_many_do_not_overflow() -> None:
    huge = encode({"x": np.full(3, LARGEST, np.float32)})

    found = weighted_mean(np.stack([huge] * 1_000), shares_of([10**9] * 1_000))

    np.testing.assert_array_equal(found, huge)


def test_values_beyond_fixed_point_are_refused() -> None:
    with pytest.raises(ValueError, match="beyond 262144"):
        encode({"x": np.array([3e5], np.float32)})
