from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from backend.planning.equipment import Grid, GroupLimit, Phases, Taper
from backend.planning.fallback import earliest_deadline
from backend.planning.longer_stays import longer_stay, with_longer_stay
from backend.planning.mpc import plan_charging
from backend.planning.problem import ChargingProblem
from backend.planning.slot_explanation import (
    VehicleExplanation,
    binding_limit,
    explain,
)
from benchmarks.plan_cases import random_site
from tests.planning.problems import small_problem

NINE = datetime(2026, 11, 20, 9, tzinfo=UTC)


def explained(problem: ChargingProblem, vehicle: int = 0) -> VehicleExplanation:
    edges = [NINE + timedelta(hours=hour) for hour in range(len(problem.step_h) + 1)]
    return explain(problem, plan_charging(problem), vehicle, edges=edges)


def alone(
    *, demand_kwh: float = 10.0, prices: tuple[float, ...] = (0.3, 0.1, 0.3)
) -> ChargingProblem:
    return small_problem(
        limit_kw=[10.0], demand_kwh=[demand_kwh], site_limit_kw=50.0, price_eur_per_kwh=prices
    )


def two_at_ten_kw() -> ChargingProblem:
    """Two vehicles of 10 kW at a site of 10 kW; the second leaves after one hour of two."""
    return small_problem(
        limit_kw=[10.0, 10.0],
        demand_kwh=[10.0, 10.0],
        site_limit_kw=10.0,
        price_eur_per_kwh=[0.1, 0.1],
        available_h=np.array([[1.0, 1.0], [1.0, 0.0]]),
    )


def test_waiting_for_a_cheap_hour_names_both_prices() -> None:
    first, second, third = explained(alone()).slots

    assert (first.choice, second.choice, third.choice) == ("waits", "charges", "done")
    assert first.text == "It waits: energy costs 0.300 EUR/kWh now and 0.100 EUR/kWh later."
    assert second.text == "It charges at 10.0 kW for 0.100 EUR/kWh; its charger gives no more."


def test_one_more_kwh_costs_what_the_next_cheapest_hour_does() -> None:
    explanation = explained(alone(prices=(0.3, 0.1, 0.2)))

    assert explanation.marginal_price_eur_per_kwh == pytest.approx(0.2)


def test_giving_way_at_a_full_site_is_said() -> None:
    waiting, _ = explained(two_at_ten_kw()).slots

    assert (waiting.choice, waiting.limit) == ("waits", "site")
    assert waiting.text == "It waits: the site's limit is reached, and others come first."


def test_who_gets_nothing_is_told_which_limit_leaves_nothing() -> None:
    problem = replace(alone(prices=(0.2, 0.2, 0.2)), site_limit_kw=np.zeros(3))

    explanation = explained(problem)

    assert [slot.choice for slot in explanation.slots] == ["short"] * 3
    assert explanation.slots[0].text == "Nothing is left for it: the site's limit is reached."
    assert explanation.marginal_price_eur_per_kwh is None


def test_energy_that_somebody_goes_short_of_has_no_price() -> None:
    problem = replace(two_at_ten_kw(), demand_kwh=np.array([5.0, 15.0]))

    beside, short = explained(problem, 0), explained(problem, 1)

    assert (beside.slots[0].price_eur_per_kwh, short.marginal_price_eur_per_kwh) == (None, None)
    assert beside.slots[1].price_eur_per_kwh == pytest.approx(0.1, rel=0.01)


def test_a_kwh_more_for_who_wants_nothing_costs_what_its_cheapest_step_does() -> None:
    problem = replace(two_at_ten_kw(), demand_kwh=np.array([0.0, 10.0]))
    priced = replace(problem, price_eur_per_kwh=np.array([0.3, 0.2]))

    explanation = explained(priced)

    assert explanation.marginal_price_eur_per_kwh == pytest.approx(0.2, rel=0.01)
    assert explanation.text == "Nothing is charged."


def test_a_limit_that_others_use_does_not_bind_who_waits_for_a_price() -> None:
    problem = replace(two_at_ten_kw(), price_eur_per_kwh=np.array([0.3, 0.1]))

    waiting, _ = explained(problem).slots

    assert (waiting.choice, waiting.limit) == ("waits", "none")


def test_an_hour_longer_saves_the_dear_hour() -> None:
    problem = alone(demand_kwh=20.0, prices=(0.3, 0.1, 0.1))
    shorter = replace(problem, available_h=np.array([[1.0, 1.0, 0.0]]))

    explanation = explained(shorter)

    assert explanation.longer.saves_eur == pytest.approx(2.0, abs=1e-3)
    assert (
        explanation.text
        == "It gets 20.0 of 20.0 kWh; staying 1 h longer would save the site 2.00 EUR."
    )


def test_an_hour_longer_brings_what_is_short() -> None:
    explanation = explained(alone(demand_kwh=45.0))

    assert explanation.longer.gains_kwh == pytest.approx(10.0, abs=1e-3)
    assert explanation.text == "It gets 30.0 of 45.0 kWh; 1 h more would bring 10.0 kWh more."


def test_a_longer_stay_fills_the_last_step_before_it_goes_beyond_the_horizon() -> None:
    problem = replace(alone(), available_h=np.array([[1.0, 1.0, 0.5]]))

    longer = with_longer_stay(problem, 0, hours=1.0)

    np.testing.assert_allclose(longer.available_h, [[1.0, 1.0, 1.0, 0.5]])


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        ({"groups": (GroupLimit((0,), np.full(3, 4.0)),)}, "group"),
        ({"phases": Phases(np.array([0]), np.full(3, 4000 / 230))}, "phases"),
        ({"taper": Taper(np.array([0.0]), np.array([8.0]), np.array([1.0]))}, "taper"),
        ({"grid": Grid(demand_charge_eur_per_kw=100.0)}, "peak"),
        ({"grid": Grid(base_load_kw=np.full(3, 46.0))}, "site"),
    ],
)
def test_the_limit_that_binds_is_named(options: dict[str, object], limit: str) -> None:
    problem = replace(alone(demand_kwh=12.0, prices=(0.2, 0.2, 0.2)), **options)  # type: ignore[arg-type]
    plan = plan_charging(problem)

    assert 0 < plan.setpoint_kw[0, 0] < 10
    assert binding_limit(problem, plan, 0, step=0) == limit


def test_a_plan_without_prices_is_explained_without_them() -> None:
    problem = two_at_ten_kw()

    explanation = explain(
        problem, earliest_deadline(problem), 0, edges=[NINE, NINE, NINE], longer_h=2.0
    )

    assert explanation.marginal_price_eur_per_kwh is None
    assert explanation.slots[0].price_eur_per_kwh is None


def test_who_is_never_there_has_no_slots() -> None:
    problem = replace(alone(), available_h=np.zeros((1, 3)))

    explanation = explained(problem)

    assert explanation.slots == ()
    assert explanation.longer.saves_eur == 0.0


@pytest.mark.parametrize("seed", range(40))
def test_every_vehicle_of_every_site_is_explained(seed: int) -> None:
    problem = random_site(seed)
    plan = plan_charging(problem)
    edges = [NINE + timedelta(minutes=15 * step) for step in range(len(problem.step_h) + 1)]

    for vehicle in range(min(2, len(problem.demand_kwh))):
        explanation = explain(problem, plan, vehicle, edges=edges)

        texts = [explanation.text, *(slot.text for slot in explanation.slots)]
        assert all(text.endswith(".") and "nan" not in text for text in texts)
        assert longer_stay(problem, plan, vehicle, hours=0.5).saves_eur >= 0
