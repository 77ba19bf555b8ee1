"""What the plan does with each optional part of a site, in cases worked out by hand."""

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
    Tiers,
    VehicleToGrid,
)
from backend.planning.mpc import clarabel, highs, piqp, plan_charging
from backend.planning.problem import ChargingPlan, ChargingProblem
from tests.planning.problems import small_problem

PRICES = (0.1, 0.2, 0.3, 0.4)


def one(*, demand_kwh: float = 20.0, **options: Any) -> ChargingProblem:
    """A vehicle of 10 kW for four hours that get dearer."""
    plain = small_problem(
        limit_kw=[10.0], demand_kwh=[demand_kwh], site_limit_kw=50.0, price_eur_per_kwh=PRICES
    )
    return replace(plain, **options)


def crowd(demand_kwh: list[float], site_limit_kw: float, **options: Any) -> ChargingProblem:
    """Vehicles of 10 kW for four hours at one price."""
    plain = small_problem(
        limit_kw=[10.0] * len(demand_kwh),
        demand_kwh=demand_kwh,
        site_limit_kw=site_limit_kw,
        price_eur_per_kwh=[0.2] * 4,
    )
    return replace(plain, **options)


def planned(problem: ChargingProblem) -> ChargingPlan:
    plan = plan_charging(problem)
    assert plan.method == "optimal"
    assert violations(problem, plan) == ()
    return plan


def v2g(**changes: float) -> VehicleToGrid:
    values = {"energy_kwh": 40.0, "capacity_kwh": 60.0, "floor_kwh": 30.0, "wear": 0.05, "eta": 1.0}
    values |= changes
    one_each = {name: np.array([value]) for name, value in values.items()}
    return VehicleToGrid(
        discharge_limit_kw=np.full((1, 4), 10.0),
        energy_kwh=one_each["energy_kwh"],
        capacity_kwh=one_each["capacity_kwh"],
        floor_kwh=one_each["floor_kwh"],
        wear_eur_per_kwh=one_each["wear"],
        efficiency=one_each["eta"],
    )


def test_a_demand_charge_flattens_the_load() -> None:
    plan = planned(one(grid=Grid(demand_charge_eur_per_kw=10.0)))

    np.testing.assert_allclose(plan.setpoint_kw, [[5, 5, 5, 5]], atol=1e-3)
    assert plan.site_cost_eur == pytest.approx(5 * 1.0 + 50.0, abs=1e-2)


@pytest.mark.parametrize("name", ["peak_so_far_kw", "expected_peak_kw"])
def test_up_to_the_peak_that_is_paid_anyway_load_is_free(name: str) -> None:
    grid = replace(Grid(demand_charge_eur_per_kw=10.0), **{name: 8.0})  # type: ignore[arg-type]

    plan = planned(one(grid=grid))

    np.testing.assert_allclose(plan.setpoint_kw, [[8, 8, 4, 0]], atol=1e-3)
    assert plan.site_cost_eur == pytest.approx(0.8 + 1.6 + 1.2, abs=1e-3)


def test_no_peak_is_dear_enough_to_fall_short_for() -> None:
    plan = planned(one(grid=Grid(demand_charge_eur_per_kw=1000.0)))

    assert plan.shortfall_kwh[0] < 1e-4


def test_base_load_takes_its_part_of_the_limit() -> None:
    base_kw = np.array([45.0, 60.0, 50.0, 0.0])

    plan = planned(one(grid=Grid(base_load_kw=base_kw)))

    np.testing.assert_allclose(plan.setpoint_kw, [[5, 0, 0, 10]], atol=1e-3)


def test_charging_follows_the_sun_that_would_be_sold_for_less() -> None:
    grid = Grid(pv_kw=np.array([0, 0, 0, 30.0]), export_price_eur_per_kwh=np.full(4, 0.05))

    plan = planned(one(grid=grid, demand_kwh=10.0))

    np.testing.assert_allclose(plan.setpoint_kw, [[0, 0, 0, 10]], atol=1e-3)
    np.testing.assert_allclose(plan.flows.export_kw, [0, 0, 0, 20], atol=1e-3)


def test_sun_beyond_the_export_limit_is_curtailed() -> None:
    grid = Grid(pv_kw=np.full(4, 30.0), export_limit_kw=5.0)

    plan = planned(one(grid=grid, demand_kwh=0.0))

    np.testing.assert_allclose(plan.flows.curtailed_kw, 25.0)
    np.testing.assert_allclose(plan.flows.export_kw, 5.0)


def test_a_tree_of_group_limits_holds_at_every_branch() -> None:
    groups = (
        GroupLimit((0, 1), np.full(4, 6.0)),
        GroupLimit((0, 1, 2), np.full(4, 9.0)),
        GroupLimit((0,), np.full(4, 2.0)),
    )

    plan = planned(crowd([40.0, 40.0, 40.0], 50.0, groups=groups))

    np.testing.assert_allclose(plan.setpoint_kw.sum(axis=0), 9.0, atol=1e-6)
    assert plan.setpoint_kw[0].max() <= 2 + 1e-6
    assert plan.setpoint_kw[:2].sum(axis=0).max() <= 6 + 1e-6


def test_a_phase_to_neutral_carries_only_its_own_current() -> None:
    phases = Phases(np.array([0, 0, 1]), limit_a=np.full(3, 20.0), voltage_v=230.0)

    plan = planned(crowd([40.0, 40.0, 40.0], 50.0, phases=phases))

    np.testing.assert_allclose(plan.setpoint_kw[:2].sum(axis=0), 4.6, atol=1e-6)
    np.testing.assert_allclose(plan.setpoint_kw[2], 4.6, atol=1e-6)


def test_balanced_pairs_reach_the_true_limit_of_the_line() -> None:
    phases = Phases(np.arange(3), np.full(3, 50.0), voltage_v=208.0, connection="line_to_line")

    plan = planned(crowd([40.0, 40.0, 40.0], 50.0, phases=phases))

    pair_kw = 50.0 * 0.208 / np.sqrt(3)  # each line carries the currents of two pairs
    np.testing.assert_allclose(plan.setpoint_kw, pair_kw, rtol=1e-4)


def test_unbalance_holds_the_fuller_phase_back() -> None:
    phases = Phases(np.array([0, 1, 2]), np.full(3, 100.0), unbalance_a=10.0)

    plan = planned(crowd([40.0, 8.0, 8.0], 50.0, phases=phases))

    assert plan.energy_kwh[0] == pytest.approx(8.0 + 4 * 2.3, abs=1e-3)


def test_a_battery_near_full_takes_less_and_less() -> None:
    taper = Taper(np.array([5.0]), np.array([10.0]), np.array([1.0]))

    plan = planned(one(taper=taper, demand_kwh=14.0))

    charged_kwh = plan.setpoint_kw[0].cumsum()
    assert np.all(plan.setpoint_kw[0] <= 10 - np.maximum(charged_kwh - 5, 0) + 1e-6)
    assert plan.energy_kwh[0] > 13.0


def test_a_battery_that_settles_its_power_when_a_step_begins_takes_more() -> None:
    taper = Taper(np.array([5.0]), np.array([10.0]), np.array([1.0]), binds_at=0.0)

    plan = planned(one(taper=taper, demand_kwh=14.0))

    np.testing.assert_allclose(plan.setpoint_kw, [[10, 4, 0, 0]], atol=1e-3)


@pytest.mark.parametrize(("binds_at", "possible_kwh"), [(1.0, 14.0625), (0.0, 15.0)])
def test_what_a_tapering_battery_could_take_is_known(binds_at: float, possible_kwh: float) -> None:
    taper = Taper(np.array([5.0]), np.array([10.0]), np.array([1.0]), binds_at=binds_at)

    assert one(taper=taper).possible_kwh[0] == pytest.approx(possible_kwh)


def test_a_demand_of_next_to_nothing_does_not_keep_the_solver_from_the_others() -> None:
    problem = crowd([1e-7, 30.0], 8.0, grid=Grid(demand_charge_eur_per_kw=1.0))

    plan = planned(problem)

    assert plan.solver == "PIQP"
    np.testing.assert_allclose(plan.energy_kwh, problem.demand_kwh, atol=1e-6)


def test_losses_are_drawn_and_paid_but_not_stored() -> None:
    plan = planned(one(efficiency=np.array([0.8]), demand_kwh=8.0))

    np.testing.assert_allclose(plan.setpoint_kw, [[10, 0, 0, 0]], atol=1e-3)
    assert plan.energy_kwh[0] == pytest.approx(8.0, abs=1e-6)
    assert plan.cost_eur == pytest.approx(1.0, abs=1e-3)


def test_reserve_comes_before_trip_and_trip_before_comfort() -> None:
    tiers = Tiers(reserve_kwh=np.array([5.0, 0, 0]), trip_kwh=np.array([0, 10.0, 0]))

    plan = planned(crowd([5.0, 10.0, 30.0], 3.0, tiers=tiers))

    np.testing.assert_allclose(plan.shortfall_kwh, [0, 3, 30], atol=1e-3)


def test_few_short_meets_as_many_as_can_be() -> None:
    plan = planned(crowd([20.0, 6.0, 10.0, 8.0], 6.0, fairness="few_short"))

    np.testing.assert_allclose(plan.shortfall_kwh, [20, 0, 0, 0], atol=1e-3)


def test_equal_share_lets_everybody_miss_the_same_part() -> None:
    plan = planned(crowd([20.0, 10.0], 6.0, fairness="equal_share"))

    np.testing.assert_allclose(plan.energy_kwh, [16, 8], atol=1e-2)


@pytest.mark.parametrize("fairness", ["energy", "few_short", "equal_share"])
def test_no_rule_of_fairness_wastes_energy(fairness: Any) -> None:
    rng = np.random.default_rng(3)
    available_h = np.sort(rng.integers(0, 2, (8, 4)), axis=1)[:, ::-1].astype(np.float64)
    problem = crowd(rng.uniform(5, 25, 8).tolist(), 15.0, available_h=available_h)

    plain, fair = planned(problem), planned(replace(problem, fairness=fairness))

    assert fair.energy_kwh.sum() == pytest.approx(plain.energy_kwh.sum(), rel=1e-4)


def test_a_vehicle_gives_when_the_price_beats_its_wear() -> None:
    plan = planned(one(v2g=v2g(), demand_kwh=0.0, grid=Grid(base_load_kw=np.full(4, 20.0))))

    np.testing.assert_allclose(plan.setpoint_kw, [[10, 10, -10, -10]], atol=1e-3)
    assert plan.site_cost_eur == pytest.approx(20 * 1.0 + 3.0 - 7.0 + 1.0, abs=1e-2)


def test_a_vehicle_does_not_give_for_less_than_its_wear() -> None:
    base = Grid(base_load_kw=np.full(4, 20.0))

    plan = planned(one(v2g=v2g(wear=0.4), demand_kwh=0.0, grid=base))

    assert not plan.setpoint_kw.any()


def test_a_vehicle_gives_no_more_than_its_floor_leaves() -> None:
    problem = one(v2g=v2g(), demand_kwh=0.0, grid=Grid(base_load_kw=np.full(4, 20.0)))
    problem = replace(problem, price_eur_per_kwh=np.array([0.5, 0.4, 0.3, 0.1]))

    plan = planned(problem)

    assert plan.setpoint_kw.cumsum(axis=1).min() == pytest.approx(-10.0, abs=1e-3)


def test_a_vehicle_that_falls_short_gives_nothing_to_others() -> None:
    giver = v2g(energy_kwh=40.0, floor_kwh=0.0)
    twice = VehicleToGrid(
        **{
            name: np.concatenate((getattr(giver, name), getattr(giver, name)))
            for name in VehicleToGrid.__slots__
        }
    )
    problem = crowd([0.0, 7.0], 0.0, v2g=twice, urgency=np.array([1.0, 3.0]))

    plan = planned(problem)

    assert piqp(problem).setpoint_kw[0].min() < -0.1  # the programme alone would have it give
    assert plan.setpoint_kw[0].min() >= 0
    np.testing.assert_allclose(plan.shortfall_kwh, [0.0, 7.0], atol=0.01)


def test_without_a_grid_to_sell_to_nothing_is_given_beyond_the_load() -> None:
    plan = planned(one(v2g=v2g(), demand_kwh=10.0))

    assert plan.setpoint_kw.sum(axis=0).min() >= -1e-6


def test_a_stationary_battery_moves_cheap_energy_and_ends_as_full_as_it_began() -> None:
    battery = Battery(power_kw=5.0, capacity_kwh=10.0, energy_kwh=0.0, efficiency=1.0)

    plan = planned(one(battery=battery, demand_kwh=0.0, grid=Grid(base_load_kw=np.full(4, 20.0))))

    np.testing.assert_allclose(plan.flows.battery_kw, [5, 5, -5, -5], atol=1e-3)
    assert plan.site_cost_eur == pytest.approx(20 * 1.0 - 5 * 0.4, abs=1e-2)


def test_the_last_plan_says_whose_turn_it_is() -> None:
    taking_turns = np.array([[0.0, 10, 0, 0], [10, 0, 0, 0]])
    problem = crowd([10.0, 10.0], 10.0)

    plan = planned(replace(problem, previous_kw=taking_turns))
    swapped = planned(replace(problem, previous_kw=taking_turns[::-1].copy()))

    np.testing.assert_allclose(plan.setpoint_kw, taking_turns, atol=0.1)
    np.testing.assert_allclose(swapped.setpoint_kw, taking_turns[::-1], atol=0.1)


def test_a_vehicle_without_a_last_plan_is_planned_too() -> None:
    previous_kw = np.array([[0.0, 10, 0, 0], [np.nan] * 4])

    plan = planned(crowd([10.0, 10.0], 10.0, previous_kw=previous_kw))

    np.testing.assert_allclose(plan.setpoint_kw, [[0, 10, 0, 0], [10, 0, 0, 0]], atol=0.1)


def test_the_last_plan_yields_to_money() -> None:
    previous_kw = np.array([[0.0, 0, 10, 10]])

    plan = planned(one(previous_kw=previous_kw, grid=Grid()))

    np.testing.assert_allclose(plan.setpoint_kw, [[10, 10, 0, 0]], atol=1e-2)


@pytest.mark.parametrize("solver", [piqp, clarabel, highs])
def test_every_solver_finds_the_same_optimum(solver: Any) -> None:
    groups = (GroupLimit((0, 1), np.full(4, 8.0)),)
    problem = crowd([9.0, 12.0, 15.0], 12.0, groups=groups, grid=Grid(demand_charge_eur_per_kw=1.0))
    problem = replace(problem, price_eur_per_kwh=np.array(PRICES))

    plan = plan_charging(problem, solvers=(("one", solver),))

    assert (plan.method, plan.solver) == ("optimal", "one")
    best = planned(problem)
    assert plan.site_cost_eur == pytest.approx(best.site_cost_eur, abs=1e-2)


def test_the_price_of_a_group_limit_is_what_one_more_kw_saves() -> None:
    groups = (GroupLimit((0, 1), np.array([8.0, 20, 20, 20])),)
    problem = crowd([10.0, 10.0], 50.0, groups=groups)
    problem = replace(problem, price_eur_per_kwh=np.array(PRICES))

    prices = planned(problem).prices

    assert prices is not None
    np.testing.assert_allclose(prices.group_eur_per_kw[0], [0.1, 0, 0, 0], atol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": Grid(base_load_kw=np.ones(3))}, "Grid: base_load_kw has shape"),
        ({"grid": Grid(demand_charge_eur_per_kw=-1.0)}, "Grid: demand_charge_eur_per_kw"),
        ({"grid": Grid(export_limit_kw=-1.0)}, "Grid: export_limit_kw"),
        ({"groups": (GroupLimit((1,), np.ones(4)),)}, "GroupLimit: vehicles has a row that is not"),
        ({"groups": (GroupLimit((0, 0), np.ones(4)),)}, "GroupLimit: vehicles has a row twice"),
        ({"phases": Phases(np.array([3]), np.ones(3))}, "Phases: phase has a value"),
        ({"phases": Phases(np.array([0, 1]), np.ones(3))}, "Phases: phase has shape"),
        ({"phases": Phases(np.array([0]), np.ones(3), voltage_v=0.0)}, "Phases: voltage_v"),
        ({"phases": Phases(np.array([0]), np.ones(3), unbalance_a=-1.0)}, "Phases: unbalance_a"),
        ({"tiers": Tiers(np.array([-1.0]), np.ones(1))}, "Tiers: reserve_kwh has a negative"),
        ({"taper": Taper(np.array([np.nan]), np.ones(1), np.ones(1))}, "Taper: knee_kwh"),
        (
            {"taper": Taper(np.ones(1), np.ones(1), np.ones(1), binds_at=2.0)},
            "Taper: binds_at is not between 0 and 1",
        ),
        ({"v2g": v2g(eta=0.0)}, "VehicleToGrid: efficiency"),
        ({"battery": Battery(5.0, 10.0, 11.0)}, "Battery: energy_kwh is above capacity_kwh"),
        ({"battery": Battery(-5.0, 10.0, 1.0)}, "Battery: power_kw is negative"),
        ({"efficiency": np.array([1.2])}, "efficiency is not above 0"),
        ({"efficiency": np.array([0.9, 0.9])}, "efficiency has shape"),
        ({"min_power_kw": np.array([-1.0])}, "min_power_kw has a negative"),
        ({"levels_kw": np.array([[3.0, 2.0]])}, "levels_kw are not positive and ascending"),
        ({"previous_kw": np.zeros((1, 3))}, "previous_kw has shape"),
        ({"shortfall_price_eur_per_kwh": -1.0}, "shortfall_price_eur_per_kwh is negative"),
    ],
)
def test_an_option_that_cannot_be_is_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        one(**options)
