from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings

from backend.planning.equipment import Grid, GroupLimit
from backend.planning.explanation import (
    HourlyForecast,
    Offer,
    PlanType,
    earned_points,
    offers,
    plan_type,
    reasons,
    short_by_site_kwh,
)
from backend.planning.fallback import earliest_deadline, uncontrolled
from backend.planning.mpc import plan_charging
from backend.planning.problem import ChargingProblem
from tests.planning.problems import any_problems, small_problem

NOW = datetime(2026, 11, 20, 17, 10, tzinfo=UTC)
NINE = datetime(2026, 11, 20, 9, tzinfo=UTC)
EDGES = tuple(NINE + timedelta(hours=hour) for hour in range(4))


def alone(*, demand_kwh: float, prices: tuple[float, float, float]) -> ChargingProblem:
    return small_problem(
        limit_kw=[10.0], demand_kwh=[demand_kwh], site_limit_kw=50.0, price_eur_per_kwh=prices
    )


def codes(problem: ChargingProblem, vehicle: int = 0) -> list[str]:
    found = reasons(problem, plan_charging(problem), vehicle, edges=EDGES)
    return [reason.code for reason in found]


def test_nothing_is_charged_when_nothing_is_needed() -> None:
    assert codes(alone(demand_kwh=0.0, prices=(0.1, 0.2, 0.3))) == ["nothing_needed"]


def test_waiting_for_a_cheaper_hour_is_explained_with_both_prices() -> None:
    problem = alone(demand_kwh=10.0, prices=(0.35, 0.12, 0.2))

    (reason,) = reasons(problem, plan_charging(problem), 0, edges=EDGES)

    assert reason.code == "price"
    assert reason.text == "Energy costs 0.120 EUR/kWh at 10:00 and 0.350 EUR/kWh at 09:00."


def test_a_preference_is_named_beside_the_price() -> None:
    problem = alone(demand_kwh=10.0, prices=(0.2, 0.2, 0.2))
    problem = replace(problem, preference_eur_per_kwh=np.array([[0.1, 0.0, 0.1]]))

    (reason,) = reasons(problem, plan_charging(problem), 0, edges=EDGES)

    assert reason.text.startswith("Energy with preferences costs 0.200 EUR/kWh at 10:00")


def test_charging_at_once_is_explained_when_waiting_saves_nothing() -> None:
    problem = alone(demand_kwh=10.0, prices=(0.2, 0.2, 0.2))

    (reason,) = reasons(problem, plan_charging(problem), 0, edges=EDGES)

    assert reason.code == "early_when_free"
    assert "09:00" in reason.text


def test_a_stay_without_choice_is_explained_by_the_departure() -> None:
    problem = alone(demand_kwh=29.0, prices=(0.3, 0.2, 0.1))

    (departure, price) = reasons(problem, plan_charging(problem), 0, edges=EDGES)

    assert (departure.code, price.code) == ("departure", "price")
    assert "97 % of the 3.0 h" in departure.text


def test_a_shortfall_of_a_slow_charger_is_blamed_on_the_charger() -> None:
    problem = alone(demand_kwh=40.0, prices=(0.3, 0.2, 0.1))

    shortfall, charger = reasons(problem, plan_charging(problem), 0, edges=EDGES)

    assert shortfall.text == "10.0 kWh of 40.0 kWh cannot be charged before departure."
    assert charger.code == "charger_limit"
    assert "30.0 kWh: at most 10.0 kW for the 3.0 h" in charger.text


def test_a_shortfall_of_a_full_site_is_blamed_on_the_site() -> None:
    problem = small_problem(
        limit_kw=[10.0, 10.0],
        demand_kwh=[20.0, 20.0],
        site_limit_kw=10.0,
        price_eur_per_kwh=[0.1, 0.2, 0.3],
        urgency=[1.0, 2.0],
    )
    plan = plan_charging(problem)

    shortfall, site = reasons(problem, plan, 0, edges=EDGES)

    assert (shortfall.code, site.code) == ("shortfall", "site_limit")
    assert site.text == "10.0 kWh are missing because the site is full."
    assert short_by_site_kwh(problem, plan, 0) == pytest.approx(10.0, abs=1e-3)
    assert short_by_site_kwh(problem, plan, 1) == pytest.approx(0.0, abs=1e-3)


def test_a_full_feeder_is_named_for_the_shortfall_and_for_the_waiting() -> None:
    prices = (0.2, 0.2, 0.2)
    feeder = (GroupLimit((0,), np.full(3, 4.0), name="feeder B"),)
    short = replace(alone(demand_kwh=20.0, prices=prices), groups=feeder)
    slow = replace(alone(demand_kwh=10.0, prices=prices), groups=feeder)

    _, why = reasons(short, plan_charging(short), 0, edges=EDGES)
    (waits,) = reasons(slow, plan_charging(slow), 0, edges=EDGES)

    assert why.text == "8.0 kWh are missing because the limit of feeder B is reached."
    assert waits.text == "Between 09:00 and 11:00 the limit of feeder B is reached."


def test_charging_evenly_is_explained_by_the_peak_that_is_paid_for() -> None:
    problem = alone(demand_kwh=15.0, prices=(0.2, 0.2, 0.2))
    problem = replace(problem, grid=Grid(demand_charge_eur_per_kw=10.0))

    assert codes(problem) == ["peak"]


def test_a_stay_of_minutes_is_told_in_minutes() -> None:
    problem = alone(demand_kwh=40.0, prices=(0.2, 0.2, 0.2))
    problem = replace(problem, available_h=np.array([[1 / 60, 0.0, 0.0]]))

    _, charger = reasons(problem, plan_charging(problem), 0, edges=EDGES)

    assert "for the 1 min until departure" in charger.text


def test_a_shortfall_of_both_is_split_between_charger_and_site() -> None:
    problem = small_problem(
        limit_kw=[10.0], demand_kwh=[40.0], site_limit_kw=8.0, price_eur_per_kwh=[0.1, 0.1, 0.1]
    )
    plan = plan_charging(problem)

    found = reasons(problem, plan, 0, edges=EDGES)

    assert [reason.code for reason in found] == ["shortfall", "charger_limit", "site_limit"]
    assert short_by_site_kwh(problem, plan, 0) == pytest.approx(6.0, abs=1e-3)


def test_giving_way_at_a_full_site_is_explained() -> None:
    problem = small_problem(
        limit_kw=[10.0, 10.0],
        demand_kwh=[10.0, 10.0],
        site_limit_kw=10.0,
        price_eur_per_kwh=[0.1, 0.3, 0.4],
        available_h=np.array([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]]),
    )

    (reason,) = reasons(problem, plan_charging(problem), 0, edges=EDGES)

    assert reason.code == "site_limit"
    assert "Between 09:00 and 10:00 the site's 10.0 kW" in reason.text
    assert codes(problem, vehicle=1) == ["departure", "early_when_free"]


def test_a_fallback_plan_says_that_it_is_one() -> None:
    problem = alone(demand_kwh=10.0, prices=(0.35, 0.12, 0.2))

    found = reasons(problem, earliest_deadline(problem), 0, edges=EDGES)

    assert [reason.code for reason in found] == ["fallback"]


def test_times_are_spoken_in_the_zone_of_the_edges() -> None:
    problem = alone(demand_kwh=10.0, prices=(0.35, 0.12, 0.2))
    helsinki = tuple(edge + timedelta(hours=2) for edge in EDGES)

    (reason,) = reasons(problem, plan_charging(problem), 0, edges=helsinki)

    assert "at 12:00" in reason.text


@settings(deadline=None, max_examples=50)
@given(problem=any_problems())
def test_every_vehicle_of_every_plan_has_a_reason(problem: ChargingProblem) -> None:
    edges = [NINE + timedelta(minutes=15 * step) for step in range(len(problem.step_h) + 1)]

    for plan in (plan_charging(problem), earliest_deadline(problem), uncontrolled(problem)):
        for vehicle in range(len(problem.demand_kwh)):
            found = reasons(problem, plan, vehicle, edges=edges)

            assert found
            assert all("nan" not in reason.text and reason.text[-1] == "." for reason in found)
            is_short = plan.shortfall_kwh[vehicle] > 0.01
            assert is_short == ("shortfall" in {reason.code for reason in found})


@pytest.mark.parametrize(
    ("priority", "carbon_conscious", "expected"),
    [
        ("cost", True, "GREEN"),
        ("speed", True, "GREEN"),
        ("carbon", False, "GREEN"),
        ("speed", False, "FAST"),
        ("cost", False, "ECONOMY"),
        (None, False, "STANDARD"),
    ],
)
def test_preferences_make_the_plan_type(
    priority: str | None, *, carbon_conscious: bool, expected: PlanType
) -> None:
    assert plan_type(priority, carbon_conscious=carbon_conscious) == expected


def evening_peak() -> HourlyForecast:
    """Forecast from 16:00 to 24:00 with its peak from 17:00 to 19:00."""
    return HourlyForecast(
        starts=tuple(NOW.replace(minute=0) + timedelta(hours=hour) for hour in range(-1, 7)),
        energy_kwh=np.array([30.0, 90.0, 100.0, 79.0, 40.0, 20.0, 10.0, 5.0]),
    )


def offers_at(now: datetime, *, leaves_after_h: float, charging_time_h: float) -> tuple[Offer, ...]:
    return offers(
        "ECONOMY",
        now=now,
        departure=now + timedelta(hours=leaves_after_h),
        charging_time_h=charging_time_h,
        short_by_site_kwh=0.0,
        forecast=evening_peak(),
    )


def test_a_green_plan_always_offers_points_even_when_nothing_is_charged() -> None:
    solar_window = (NINE, NINE + timedelta(hours=6))

    (offer,) = offers(
        "GREEN",
        now=NOW,
        departure=NOW,
        charging_time_h=0.0,
        short_by_site_kwh=0.0,
        forecast=evening_peak(),
        solar_window=solar_window,
    )

    assert (offer.type, offer.value) == ("reward_points", 50)
    assert (offer.slot_start, offer.slot_end) == solar_window


def test_a_delay_beyond_the_forecast_peak_earns_a_discount() -> None:
    (offer,) = offers_at(NOW, leaves_after_h=6, charging_time_h=2.5)

    assert (offer.type, offer.value) == ("discount", 10)
    assert offer.slot_start == NOW.replace(hour=19, minute=0)
    assert offer.slot_end == NOW.replace(hour=21, minute=30)


@pytest.mark.parametrize(
    ("hour", "leaves_after_h", "charging_time_h"),
    [
        (16, 6, 1.0),  # not at a peak
        (19, 4, 1.0),  # 79 % of the highest hour is no peak
        (17, 2.5, 1.0),  # leaves before a delayed charging would end
        (17, 12, 6.0),  # would end beyond what is forecast
        (17, 6, 0.0),  # has nothing to charge
    ],
)
def test_no_discount_without_a_peak_and_room_to_delay(
    hour: int, leaves_after_h: float, charging_time_h: float
) -> None:
    now = NOW.replace(hour=hour)

    assert offers_at(now, leaves_after_h=leaves_after_h, charging_time_h=charging_time_h) == ()


def test_a_slot_does_not_reach_into_the_next_peak() -> None:
    forecast = replace(
        evening_peak(), energy_kwh=np.array([0.0, 90.0, 10.0, 95.0, 10.0, 10.0, 10.0, 10.0])
    )

    (offer,) = offers(
        "FAST",
        now=NOW,
        departure=NOW + timedelta(hours=6),
        charging_time_h=1.5,
        short_by_site_kwh=0.0,
        forecast=forecast,
    )

    assert offer.slot_start == NOW.replace(hour=20, minute=0)


def test_a_forecast_without_demand_has_no_peak() -> None:
    quiet = replace(evening_peak(), energy_kwh=np.zeros(8))

    made = offers(
        "FAST",
        now=NOW,
        departure=NOW + timedelta(hours=6),
        charging_time_h=1.0,
        short_by_site_kwh=0.0,
        forecast=quiet,
    )

    assert made == ()


def test_a_priority_slot_is_offered_to_who_falls_short_at_a_full_site() -> None:
    (offer,) = offers(
        "STANDARD",
        now=NOW,
        departure=NOW + timedelta(hours=2),
        charging_time_h=2.0,
        short_by_site_kwh=6.5,
    )

    assert (offer.type, offer.value) == ("priority_slot", 6.5)
    assert "6.5 kWh" in offer.reason


@pytest.mark.parametrize(
    ("solar_kwh", "charged_kwh", "points"),
    [(0.0, 0.0, 0), (0.0, 10.0, 0), (5.0, 10.0, 25), (10.0, 10.0, 50), (12.0, 10.0, 50)],
)
def test_points_are_paid_for_the_solar_share(
    solar_kwh: float, charged_kwh: float, points: int
) -> None:
    assert earned_points(50, solar_kwh=solar_kwh, charged_kwh=charged_kwh) == points
