from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.planning.fallback import uncontrolled
from backend.planning.problem import (
    ChargingPlan,
    ChargingProblem,
    available_hours,
    finish_times,
    step_edges,
    step_hours,
)
from tests.planning.problems import small_problem

NOW = datetime(2026, 11, 20, 9, 50, tzinfo=UTC)


def two_steps() -> ChargingProblem:
    return small_problem(
        limit_kw=[10.0, 5.0],
        demand_kwh=[12.0, 0.0],
        site_limit_kw=20.0,
        price_eur_per_kwh=[0.2, 0.3],
    )


def test_the_first_step_is_partial_and_the_others_are_quarter_hours() -> None:
    edges = step_edges(NOW, NOW + timedelta(minutes=30))

    assert [f"{edge:%H:%M}" for edge in edges] == ["09:50", "10:00", "10:15", "10:30"]
    np.testing.assert_allclose(step_hours(edges), [1 / 6, 0.25, 0.25])


def test_a_start_on_the_grid_makes_whole_steps_only() -> None:
    edges = step_edges(NOW.replace(minute=45), NOW.replace(hour=10, minute=15))

    np.testing.assert_allclose(step_hours(edges), [0.25, 0.25])


def test_steps_keep_to_utc_quarter_hours_in_a_zone_with_an_odd_offset() -> None:
    odd_zone = timezone(timedelta(hours=5, minutes=53))

    edges = step_edges(NOW.astimezone(odd_zone), NOW + timedelta(minutes=11))

    assert edges == (NOW, NOW.replace(hour=10, minute=0), NOW.replace(hour=10, minute=15))


def test_no_step_is_left_when_the_end_has_passed() -> None:
    edges = step_edges(NOW, NOW - timedelta(hours=1))

    assert edges == (NOW,)
    assert step_hours(edges).shape == (0,)
    assert available_hours(edges, arrivals=[NOW], departures=[NOW]).shape == (1, 0)


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        step_edges(NOW.replace(tzinfo=None), NOW)


@given(minutes=st.floats(0, 2000), offset_s=st.integers(0, 7200))
def test_steps_are_positive_and_reach_the_end(minutes: float, offset_s: int) -> None:
    now = NOW + timedelta(seconds=offset_s)
    until = now + timedelta(minutes=minutes)

    edges = step_edges(now, until)

    lengths_h = step_hours(edges)
    assert np.all(lengths_h > 0)
    assert np.all(lengths_h <= 0.25)
    assert until <= edges[-1] < until + timedelta(minutes=15)


def test_available_hours_count_the_time_between_arrival_and_departure() -> None:
    edges = step_edges(NOW, NOW + timedelta(minutes=40))

    hours = available_hours(
        edges,
        arrivals=[NOW - timedelta(hours=1), NOW + timedelta(minutes=13)],
        departures=[NOW + timedelta(minutes=28), NOW + timedelta(hours=9)],
    )

    np.testing.assert_allclose(hours * 60, [[10, 15, 3], [0, 12, 15]])


def test_charging_finishes_with_its_last_step_or_the_departure() -> None:
    edges = step_edges(NOW, NOW + timedelta(minutes=40))
    plan = ChargingPlan.of(
        small_problem(
            limit_kw=[1, 1, 1],
            demand_kwh=[1, 1, 1],
            site_limit_kw=9,
            price_eur_per_kwh=[1, 1, 1, 1],
        ),
        np.array([[1.0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]),
        method="optimal",
    )
    departures = [NOW + timedelta(minutes=40), NOW + timedelta(minutes=28), NOW]

    finished = finish_times(plan, edges=edges, departures=departures)

    assert finished == (NOW + timedelta(minutes=25), NOW + timedelta(minutes=28), None)


def test_a_plan_adds_up_what_its_setpoints_make() -> None:
    problem = replace(two_steps(), preference_eur_per_kwh=np.array([[0.0, 1.0], [0.0, 0.0]]))

    plan = ChargingPlan.of(problem, np.array([[10.0, 1.0], [0.0, 0.0]]), method="optimal")

    np.testing.assert_allclose(plan.energy_kwh, [11.0, 0.0])
    np.testing.assert_allclose(plan.shortfall_kwh, [1.0, 0.0])
    assert plan.cost_eur == pytest.approx(2.3)
    assert plan.objective_eur == pytest.approx(3.3)


def test_a_problem_without_vehicles_is_a_problem() -> None:
    empty = small_problem(
        limit_kw=[], demand_kwh=[], site_limit_kw=5.0, price_eur_per_kwh=[0.1, 0.1]
    )

    assert uncontrolled(empty).cost_eur == 0.0


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("step_h", np.array([1.0, 0.0]), "without length"),
        ("step_h", np.array([1.0, np.nan]), "not finite"),
        ("available_h", np.full((2, 2), 1.1), "longer than its step"),
        ("available_h", np.full((2, 3), 1.0), "shape"),
        ("limit_kw", np.full((2, 2), -1.0), "negative"),
        ("demand_kwh", np.array([np.inf, 1.0]), "not finite"),
        ("site_limit_kw", np.array([-1.0, 1.0]), "negative"),
        ("price_eur_per_kwh", np.array([[0.1, 0.1]]), "shape"),
        ("preference_eur_per_kwh", np.zeros(2), "shape"),
        ("urgency", np.array([0.5, 1.0]), "below 1"),
    ],
)
def test_a_problem_that_cannot_be_is_refused_by_name(
    name: str, value: np.ndarray, message: str
) -> None:
    changed: dict[str, Any] = {name: value}

    with pytest.raises(ValueError, match=f"{name}.*{message}"):
        replace(two_steps(), **changed)


def test_prices_may_be_negative() -> None:
    problem = replace(two_steps(), price_eur_per_kwh=np.array([-0.1, 0.2]))

    assert uncontrolled(problem).cost_eur == pytest.approx(-1.0 + 0.4)
