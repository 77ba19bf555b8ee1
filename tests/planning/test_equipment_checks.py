"""Plans that break one optional limit each, and the checker that has to see it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from backend.planning.checker import violations
from backend.planning.equipment import (
    Battery,
    Grid,
    GroupLimit,
    Phases,
    Taper,
    VehicleToGrid,
)
from backend.planning.problem import Array, ChargingPlan, ChargingProblem
from tests.planning.problems import small_problem

GIVING = VehicleToGrid(
    discharge_limit_kw=np.full((3, 2), 5.0),
    energy_kwh=np.full(3, 20.0),
    capacity_kwh=np.full(3, 22.0),
    floor_kwh=np.full(3, 18.0),
    wear_eur_per_kwh=np.zeros(3),
    efficiency=np.full(3, 0.9),
)


def site(**options: Any) -> ChargingProblem:
    """Three vehicles of 10 kW for two hours at a site that has room for all."""
    plain = small_problem(
        limit_kw=[10.0] * 3,
        demand_kwh=[20.0] * 3,
        site_limit_kw=30.0,
        price_eur_per_kwh=[0.2, 0.3],
    )
    return replace(plain, **options)


def found(
    problem: ChargingProblem, power_kw: float | list[float], battery_kw: Array | None = None
) -> dict[str, float]:
    """Codes and amounts for vehicles that have this power in the first of two steps."""
    setpoint_kw = np.zeros((3, 2))
    setpoint_kw[:, 0] = power_kw
    plan = ChargingPlan.of(problem, setpoint_kw, method="optimal", battery_kw=battery_kw)
    return {one.code: one.amount for one in violations(problem, plan)}


@pytest.mark.parametrize(
    ("options", "allowed_kw", "broken_kw", "code", "amount"),
    [
        ({"groups": (GroupLimit((0, 1), np.full(2, 8.0)),)}, 4.0, 4.5, "group_limit", 1.0),
        ({"grid": Grid(base_load_kw=np.full(2, 18.0))}, 4.0, 4.5, "site_limit", 1.5),
        ({"grid": Grid(base_load_kw=np.full(2, 40.0))}, 0.0, 0.5, "site_limit", 1.5),
        ({"min_power_kw": np.full(3, 1.4)}, 1.4, 1.0, "below_minimum_power", 0.4),
        ({"levels_kw": np.array([[2.0, 4.0]] * 3)}, 4.0, 3.5, "between_levels", 0.5),
        ({"v2g": GIVING}, -1.8, -5.5, "discharge_limit", 0.5),
        ({"v2g": GIVING}, -1.8, -2.7, "below_floor", 1.0),
    ],
)
def test_a_broken_limit_is_found_and_a_kept_one_passes(
    options: dict[str, Any], allowed_kw: float, broken_kw: float, code: str, amount: float
) -> None:
    problem = site(**options)
    if allowed_kw < 0:
        problem = replace(problem, grid=Grid())

    assert found(problem, allowed_kw) == {}
    broken = found(problem, broken_kw)
    assert broken[code] == pytest.approx(amount)


def test_a_battery_that_gives_is_held_to_its_capacity() -> None:
    problem = site(v2g=GIVING, grid=Grid(base_load_kw=np.full(2, 9.0)))
    setpoint_kw = np.array([[2.5, -0.1], [0.0, 0.0], [0.0, 0.0]])

    plan = ChargingPlan.of(problem, setpoint_kw, method="optimal")

    (violation,) = violations(problem, plan)
    assert (violation.code, violation.vehicle) == ("above_capacity", 0)
    assert violation.amount == pytest.approx(0.5)


def test_the_current_of_a_line_is_the_sum_of_two_phasors() -> None:
    phases = Phases(np.arange(3), np.full(3, 10.0), voltage_v=1000.0, connection="line_to_line")
    problem = site(phases=phases)

    assert found(problem, 10 / np.sqrt(3)) == {}
    assert found(problem, [10.0, 0.0, 0.0]) == {}
    assert found(problem, [6.0, 6.0, 0.0])["line_current"] == pytest.approx(6 * np.sqrt(3) - 10)


def test_a_phase_to_neutral_is_judged_alone() -> None:
    problem = site(phases=Phases(np.array([0, 0, -1]), np.full(3, 10.0), voltage_v=1000.0))

    assert found(problem, [4.0, 4.0, 6.0]) == {}
    assert found(problem, [4.0, 4.5, 6.0])["line_current"] == pytest.approx(0.5)


def test_the_difference_between_phases_is_judged() -> None:
    phases = Phases(np.arange(3), np.full(3, 10.0), voltage_v=1000.0, unbalance_a=3.0)

    assert found(site(phases=phases), [5.0, 4.0, 2.0]) == {}
    assert found(site(phases=phases), [5.0, 4.0, 1.0])["unbalance"] == pytest.approx(1.0)


def test_a_setpoint_has_to_be_within_the_taper_at_the_end_of_its_step() -> None:
    taper = Taper(np.full(3, 4.0), np.full(3, 10.0), np.array([1.0, 1.0, 0.0]))

    assert found(site(taper=taper), [7.0, 0.0, 10.0]) == {}
    assert found(site(taper=taper), [0.0, 7.5, 10.0])["taper"] == pytest.approx(1.0)
    at_start = replace(taper, binds_at=0.0)
    assert found(site(taper=at_start), [0.0, 7.5, 10.0]) == {}


def test_export_beyond_its_limit_is_found() -> None:
    problem = site(v2g=GIVING, grid=Grid(export_limit_kw=3.0))

    assert found(problem, -1.0) == {}
    assert found(problem, -1.5)["export_limit"] == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("battery_kw", "code"),
    [
        ([6.0, -3.0], "battery_power"),
        ([-3.0, 5.0], "battery_energy"),  # it holds only 2 kWh
        ([4.0, 0.0], "battery_energy"),  # it has room for only 3 kWh
        ([-1.0, 0.0], "battery_energy"),  # it ends emptier than it began
    ],
)
def test_a_battery_that_cannot_do_it_is_found(battery_kw: list[float], code: str) -> None:
    problem = site(battery=Battery(5.0, 5.0, 2.0, efficiency=1.0), grid=Grid(np.full(2, 9.0)))

    assert found(problem, 0.0, np.array([-1.0, 1.0])) == {}
    assert code in found(problem, 0.0, np.array(battery_kw))


def test_flows_that_do_not_add_up_and_misreported_costs_are_found() -> None:
    problem = site(grid=Grid(pv_kw=np.full(2, 5.0), demand_charge_eur_per_kw=3.0))
    plan = ChargingPlan.of(problem, np.full((3, 2), 4.0), method="optimal")
    lies = [
        replace(plan, site_cost_eur=plan.site_cost_eur - 0.1),
        replace(plan, flows=replace(plan.flows, import_kw=plan.flows.import_kw - 1.0)),
        replace(plan, flows=replace(plan.flows, curtailed_kw=np.full(2, 6.0))),
    ]

    assert violations(problem, plan) == ()
    assert plan.site_cost_eur == pytest.approx(7 * 0.5 + 3 * 7)
    for lie in lies:
        assert [one.code for one in violations(problem, lie)] == ["site_cost_misreported"]


def test_a_vehicle_may_be_given_the_lowest_setting_for_its_last_bit_and_no_more() -> None:
    problem = replace(site(min_power_kw=np.full(3, 1.4)), demand_kwh=np.array([1.0, 0.0, 20.0]))

    assert found(problem, [1.4, 0.0, 5.0]) == {}
    assert found(problem, [1.5, 0.0, 5.0])["too_much_energy"] == pytest.approx(0.5)
    assert "too_much_energy" in found(problem, [0.0, 1.4, 5.0])
