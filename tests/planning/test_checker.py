from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from backend.planning.checker import violations
from backend.planning.problem import Array, ChargingPlan, ChargingProblem
from tests.planning.problems import small_problem


def valid_case() -> tuple[ChargingProblem, ChargingPlan]:
    """Two vehicles at a site of 12 kW; the second is there in the first two hours of three."""
    problem = small_problem(
        limit_kw=[10.0, 8.0],
        demand_kwh=[14.0, 10.0],
        site_limit_kw=12.0,
        price_eur_per_kwh=[0.1, 0.2, 0.3],
        available_h=np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]]),
    )
    setpoint_kw = np.array([[6.0, 4.0, 4.0], [6.0, 4.0, 0.0]])
    return problem, ChargingPlan.of(problem, setpoint_kw, method="optimal")


def with_setpoints(
    problem: ChargingProblem, plan: ChargingPlan, change: Callable[[Array], None]
) -> ChargingPlan:
    setpoint_kw = plan.setpoint_kw.copy()
    change(setpoint_kw)
    return ChargingPlan.of(problem, setpoint_kw, method="optimal")


def test_a_valid_plan_passes() -> None:
    problem, plan = valid_case()

    assert violations(problem, plan) == ()


def test_a_limit_met_exactly_passes_and_an_excess_above_tolerance_does_not() -> None:
    problem, plan = valid_case()
    tight = replace(problem, site_limit_kw=np.array([12.0, 8.0, 4.0]))
    too_tight = replace(problem, site_limit_kw=np.array([12.0, 8.0 - 1e-5, 4.0]))

    assert violations(tight, plan) == ()
    (violation,) = violations(too_tight, plan)
    assert (violation.code, violation.step, violation.vehicle) == ("site_limit", 1, None)
    assert violation.amount == pytest.approx(1e-5)


@pytest.mark.parametrize(
    ("code", "cell", "power_kw"),
    [
        ("site_limit", (0, 0), 6.1),
        ("vehicle_limit", (0, 2), 10.1),
        ("negative_power", (1, 1), -0.1),
        ("outside_window", (1, 2), 0.1),
        ("too_much_energy", (1, 1), 4.1),
    ],
)
def test_a_setpoint_that_breaks_the_problem_is_found(
    code: str, cell: tuple[int, int], power_kw: float
) -> None:
    problem, plan = valid_case()

    def change(setpoint_kw: Array) -> None:
        setpoint_kw[cell] = power_kw

    found = violations(problem, with_setpoints(problem, plan, change))

    assert code in {violation.code for violation in found}
    (violation,) = [violation for violation in found if violation.code == code]
    assert violation.amount == pytest.approx(0.1)
    assert violation.vehicle == (None if code == "site_limit" else cell[0])
    assert violation.step == (None if code == "too_much_energy" else cell[1])


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_setpoint_that_is_no_number_is_found(number: float) -> None:
    problem, plan = valid_case()

    def change(setpoint_kw: Array) -> None:
        setpoint_kw[1, 0] = number

    with np.errstate(invalid="ignore"):
        mutated = with_setpoints(problem, plan, change)

    assert [violation.code for violation in violations(problem, mutated)] == ["not_finite"]


def test_misreported_totals_are_found() -> None:
    problem, plan = valid_case()
    lies = {
        "energy_misreported": replace(plan, energy_kwh=plan.energy_kwh + np.array([0.0, 0.1])),
        "shortfall_misreported": replace(
            plan, shortfall_kwh=plan.shortfall_kwh + np.array([0.1, 0.0])
        ),
        "cost_misreported": replace(plan, cost_eur=plan.cost_eur - 0.1),
    }

    for code, mutated in lies.items():
        assert [violation.code for violation in violations(problem, mutated)] == [code]


def test_a_hidden_shortfall_is_found() -> None:
    problem, plan = valid_case()
    problem = replace(problem, demand_kwh=problem.demand_kwh + np.array([1.0, 0.0]))

    assert [v.code for v in violations(problem, plan)] == ["shortfall_misreported"]


def test_a_plan_of_another_shape_is_found() -> None:
    problem, plan = valid_case()

    mutated = replace(plan, setpoint_kw=plan.setpoint_kw[:, :2])

    assert [violation.code for violation in violations(problem, mutated)] == ["wrong_shape"]


def test_a_site_without_vehicles_or_steps_passes() -> None:
    empty = small_problem(limit_kw=[], demand_kwh=[], site_limit_kw=1, price_eur_per_kwh=[])
    plan = ChargingPlan.of(empty, np.zeros((0, 0)), method="optimal")

    assert violations(empty, plan) == ()
