import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from backend.planning import costs, mpc, programme
from backend.planning.checker import violations
from backend.planning.fallback import earliest_deadline, uncontrolled
from backend.planning.mpc import NotSolved, Solution, plan_charging
from backend.planning.problem import (
    Array,
    ChargingPlan,
    ChargingProblem,
    available_hours,
    finish_times,
    step_edges,
    step_hours,
)
from backend.planning.trip import plain_formula
from tests.planning.problems import any_problems, small_problem

SOLVING = (("PIQP", mpc.piqp),), (("CLARABEL", mpc.clarabel),)


def least_penalised_eur(problem: ChargingProblem) -> float:
    """Least objective with every shortfall at its price, by simplex on a programme of its own."""
    vehicles, steps = problem.limit_kw.shape
    cells = vehicles * steps
    rows = np.repeat(np.arange(vehicles), steps)
    hours = problem.available_h.ravel()
    demand = sp.csr_array((hours, (rows, np.arange(cells))), shape=(vehicles, cells))
    site = sp.csr_array(
        (np.ones(cells), (np.tile(np.arange(steps), vehicles), np.arange(cells))),
        shape=(steps, cells),
    )
    penalty_eur_per_kwh = shortfall_price_eur_per_kwh(problem)
    optimum = linprog(
        problem.cost_eur_per_kwh.ravel() * hours - demand.T @ penalty_eur_per_kwh,
        sp.vstack((demand, site)),
        np.concatenate((problem.demand_kwh, problem.site_limit_kw)),
        bounds=np.stack((np.zeros(cells), problem.limit_kw.ravel() * (hours > 0)), axis=1),
    )
    return float(optimum.fun + problem.demand_kwh @ penalty_eur_per_kwh)


def shortfall_price_eur_per_kwh(problem: ChargingProblem) -> Array:
    dearest_eur_per_kwh = np.abs(problem.cost_eur_per_kwh).max(initial=0.0) or 1.0
    return np.asarray(costs.SHORTFALL_PRICE * dearest_eur_per_kwh * problem.urgency)


def early_eur(problem: ChargingProblem) -> float:
    """The most that charging early may add to the cost of a plan."""
    dearest_eur_per_kwh = float(np.abs(problem.cost_eur_per_kwh).max(initial=0.0))
    return costs.COARSEST_EARLINESS * dearest_eur_per_kwh * float(problem.demand_kwh.sum())


@settings(deadline=None, max_examples=120)
@given(problem=any_problems())
def test_every_plan_keeps_every_limit(problem: ChargingProblem) -> None:
    plan = plan_charging(problem)

    assert plan.method == "optimal"
    assert violations(problem, plan) == ()
    load_kw = plan.setpoint_kw.sum(axis=0)
    assert np.all(load_kw <= problem.site_limit_kw * (1 + 1e-12))
    assert np.all(plan.setpoint_kw <= problem.limit_kw)
    np.testing.assert_allclose(plan.shortfall_kwh, problem.demand_kwh - plan.energy_kwh, atol=1e-9)


@settings(deadline=None, max_examples=80)
@given(problem=any_problems(is_feasible=True))
def test_a_demand_that_can_be_met_is_met(problem: ChargingProblem) -> None:
    plan = plan_charging(problem)

    np.testing.assert_allclose(plan.energy_kwh, problem.demand_kwh, atol=1e-4)


@settings(deadline=None, max_examples=50)
@given(problem=any_problems(), solvers=st.sampled_from((*SOLVING, mpc.SOLVERS)))
def test_a_plan_falls_short_and_costs_as_little_as_can_be(
    problem: ChargingProblem, solvers: tuple[tuple[str, mpc.Solver], ...]
) -> None:
    assume(problem.limit_kw.size)
    plan = plan_charging(problem, solvers=solvers)

    if solvers == mpc.SOLVERS:
        assert plan.method == "optimal"
    assume(plan.method == "optimal")  # a single solver may give up on a rare site, not on many
    penalty_eur_per_kwh = shortfall_price_eur_per_kwh(problem)
    penalised_eur = plan.objective_eur + float(plan.shortfall_kwh @ penalty_eur_per_kwh)
    too_short = problem.available_h <= programme.SHORTEST_H  # such steps are filled in afterwards
    left_out_kwh = (problem.limit_kw * problem.available_h * too_short).sum()
    slack_eur = early_eur(problem) + (1e-4 + left_out_kwh) * penalty_eur_per_kwh.max()
    assert penalised_eur == pytest.approx(least_penalised_eur(problem), abs=slack_eur)


@settings(deadline=None, max_examples=60)
@given(problem=any_problems(is_feasible=True))
def test_a_plan_costs_no_more_than_no_control(problem: ChargingProblem) -> None:
    problem = replace(problem, preference_eur_per_kwh=np.zeros_like(problem.limit_kw))
    baseline = uncontrolled(problem)
    assume(baseline.shortfall_kwh.sum() < 1e-6)

    plan = plan_charging(problem)

    assert plan.cost_eur <= baseline.cost_eur + early_eur(problem) + 1e-6


@settings(deadline=None, max_examples=60)
@given(
    soc_percent=st.floats(0, 90),
    target_soc_percent=st.floats(5, 100),
    power_kw=st.sampled_from([3.7, 11.0, 22.0, 150.0]),
    start_s=st.integers(0, 3600),
    stay_h=st.floats(0.5, 12),
)
def test_a_vehicle_alone_at_a_flat_price_is_planned_as_the_plain_formula_says(
    soc_percent: float, target_soc_percent: float, power_kw: float, start_s: int, stay_h: float
) -> None:
    now = datetime(2026, 11, 20, 9, tzinfo=UTC) + timedelta(seconds=start_s)
    departure = now + timedelta(hours=stay_h)
    formula = plain_formula(
        capacity_kwh=75,
        consumption_wh_per_km=180,
        soc_percent=soc_percent,
        charger_max_power_kw=power_kw,
        vehicle_max_power_kw=150,
        tariff_eur_per_kwh=0.35,
        hours_to_departure=stay_h,
        trip_target_soc_percent=target_soc_percent,
    )
    assume(formula.extra_energy_needed_kwh > 0.01)
    edges = step_edges(now, departure)
    steps = len(edges) - 1
    problem = ChargingProblem(
        step_h=step_hours(edges),
        available_h=available_hours(edges, arrivals=[now], departures=[departure]),
        limit_kw=np.full((1, steps), formula.effective_charge_power_kw),
        demand_kwh=np.array([formula.extra_energy_needed_kwh]),
        site_limit_kw=np.full(steps, 600.0),
        price_eur_per_kwh=np.full(steps, 0.35),
        preference_eur_per_kwh=np.zeros((1, steps)),
        urgency=np.ones(1),
    )

    plans = [plan_charging(problem), *(plan_charging(problem, solvers=one) for one in SOLVING)]

    for plan in plans:
        (finish_at,) = finish_times(plan, edges=edges, departures=[departure])
        assert finish_at is not None
        assert (plan.shortfall_kwh[0] < 1e-6) == formula.is_feasible
        if formula.is_feasible:
            formula_finish_at = now + timedelta(hours=formula.charging_time_h)
            assert abs(finish_at - formula_finish_at) <= timedelta(minutes=15)
            assert plan.cost_eur == pytest.approx(formula.cost_eur, abs=0.01)


def test_charging_waits_for_the_cheap_hour() -> None:
    problem = small_problem(
        limit_kw=[10.0], demand_kwh=[10.0], site_limit_kw=50.0, price_eur_per_kwh=[0.3, 0.1, 0.3]
    )

    plan = plan_charging(problem)

    np.testing.assert_array_equal(plan.setpoint_kw, [[0.0, 10.0, 0.0]])
    assert plan.cost_eur == pytest.approx(1.0)


def test_the_first_of_many_equally_cheap_steps_are_used() -> None:
    problem = small_problem(
        limit_kw=[10.0], demand_kwh=[50.0], site_limit_kw=50.0, price_eur_per_kwh=[0.3, 0.2] * 45
    )

    plan = plan_charging(problem)

    np.testing.assert_array_equal(np.flatnonzero(plan.setpoint_kw[0]), [1, 3, 5, 7, 9])


@pytest.mark.parametrize("solvers", SOLVING)
def test_half_a_second_before_departure_is_used_too(
    solvers: tuple[tuple[str, mpc.Solver], ...],
) -> None:
    half_a_second_h = 0.5 / 3600
    problem = small_problem(
        limit_kw=[10.0, 10.0],
        demand_kwh=[10.0 + 5.0 * half_a_second_h, 5.0],
        site_limit_kw=10.0,
        price_eur_per_kwh=[0.2, 0.2],
        available_h=np.array([[1.0, half_a_second_h], [1.0, 1.0]]),
    )

    plan = plan_charging(problem, solvers=solvers)

    assert plan.shortfall_kwh[0] < 1e-6


@pytest.mark.parametrize("solvers", SOLVING)
def test_what_costs_the_same_is_charged_earlier_also_at_a_full_site(
    solvers: tuple[tuple[str, mpc.Solver], ...],
) -> None:
    problem = small_problem(
        limit_kw=[10.0, 10.0],
        demand_kwh=[10.0, 15.0],
        site_limit_kw=10.0,
        price_eur_per_kwh=[0.4, 0.2, 0.2, 0.2, 0.2],
    )

    plan = plan_charging(problem, solvers=solvers)

    np.testing.assert_allclose(plan.setpoint_kw.sum(axis=0), [0, 10, 10, 5, 0], atol=1e-3)


def test_the_more_urgent_vehicle_is_earlier_and_falls_short_less() -> None:
    enough = small_problem(
        limit_kw=[10.0, 10.0],
        demand_kwh=[10.0, 10.0],
        site_limit_kw=10.0,
        price_eur_per_kwh=[0.2, 0.2],
        urgency=[1.0, 3.0],
    )
    scarce = replace(enough, demand_kwh=np.array([15.0, 15.0]))

    np.testing.assert_allclose(plan_charging(enough).setpoint_kw, [[0, 10], [10, 0]], atol=1e-3)
    np.testing.assert_allclose(plan_charging(scarce).shortfall_kwh, [10, 0], atol=1e-3)


def test_the_site_limit_pushes_the_flexible_vehicle_out_of_the_cheap_hour() -> None:
    problem = small_problem(
        limit_kw=[10.0, 10.0],
        demand_kwh=[10.0, 10.0],
        site_limit_kw=10.0,
        price_eur_per_kwh=[0.1, 0.3],
        available_h=np.array([[1.0, 1.0], [1.0, 0.0]]),
    )

    plan = plan_charging(problem)

    np.testing.assert_allclose(plan.setpoint_kw, [[0, 10], [10, 0]], atol=1e-3)
    assert plan.solver == "PIQP"


@pytest.mark.parametrize("solvers", SOLVING)
def test_the_price_of_the_site_limit_is_what_one_more_kw_saves(
    solvers: tuple[tuple[str, mpc.Solver], ...],
) -> None:
    problem = small_problem(
        limit_kw=[10.0, 10.0],
        demand_kwh=[10.0, 10.0],
        site_limit_kw=12.0,
        price_eur_per_kwh=[0.1, 0.4],
    )
    wider = replace(problem, site_limit_kw=np.array([13.0, 12.0]))

    plan = plan_charging(problem, solvers=solvers)

    saved_eur = plan.cost_eur - plan_charging(wider, solvers=solvers).cost_eur
    assert saved_eur == pytest.approx(0.3, abs=1e-4)
    assert plan.site_limit_price_eur_per_kw[0] == pytest.approx(saved_eur, rel=0.01)
    assert plan.site_limit_price_eur_per_kw[1] == pytest.approx(0.0, abs=1e-4)


def crowded() -> ChargingProblem:
    return small_problem(
        limit_kw=[10.0, 10.0, 10.0],
        demand_kwh=[10.0, 10.0, 10.0],
        site_limit_kw=15.0,
        price_eur_per_kwh=[0.3, 0.1, 0.2],
    )


def failing(_problem: ChargingProblem, _time_left_s: float | None) -> Solution:
    raise NotSolved("always")


def broken(problem: ChargingProblem, _time_left_s: float | None) -> Solution:
    """Answers without numbers, as a solver that diverged may."""
    return Solution(np.full_like(problem.limit_kw, np.nan), np.zeros(len(problem.step_h)))


def greedy(problem: ChargingProblem, _time_left_s: float | None) -> Solution:
    """Answers with full power for everybody, beyond site limit and demand."""
    return Solution(problem.limit_kw, np.zeros(len(problem.step_h)))


@pytest.mark.parametrize("first", [failing, broken])
def test_the_second_solver_helps_when_the_first_fails_or_is_refused(first: mpc.Solver) -> None:
    plan = plan_charging(crowded(), solvers=(("first", first), ("CLARABEL", mpc.clarabel)))

    assert (plan.method, plan.solver) == ("optimal", "CLARABEL")
    assert plan.cost_eur == pytest.approx(1.5 + 3.0)


def test_the_fallback_helps_when_every_solver_fails() -> None:
    problem = crowded()

    plan = plan_charging(problem, solvers=(("first", failing), ("second", broken)))

    assert plan.method == "fallback"
    assert violations(problem, plan) == ()
    np.testing.assert_array_equal(plan.setpoint_kw, earliest_deadline(problem).setpoint_kw)


def test_a_solution_beyond_the_limits_is_brought_within_them() -> None:
    problem = crowded()

    plan = plan_charging(problem, solvers=(("greedy", greedy),))

    assert plan.solver == "greedy"
    assert violations(problem, plan) == ()


def test_no_solver_starts_after_the_deadline() -> None:
    assert plan_charging(crowded(), deadline_s=0.0).method == "fallback"
    assert plan_charging(crowded(), deadline_s=60.0).method == "optimal"


def test_clarabel_gives_up_when_its_time_is_over() -> None:
    rng = np.random.default_rng(1)
    problem = small_problem(
        limit_kw=[11.0] * 60,
        demand_kwh=rng.uniform(10, 40, 60).tolist(),
        site_limit_kw=150.0,
        price_eur_per_kwh=rng.uniform(0.1, 0.4, 60).tolist(),
        step_h=0.25,
    )

    with pytest.raises(NotSolved):
        mpc.clarabel(problem, 1e-9)


@pytest.mark.parametrize("solvers", [mpc.SOLVERS, *SOLVING])
@pytest.mark.parametrize(("vehicles", "steps"), [(0, 4), (2, 0), (0, 0), (2, 3)])
def test_nothing_to_do_makes_an_empty_plan(
    solvers: tuple[tuple[str, mpc.Solver], ...], vehicles: int, steps: int
) -> None:
    problem = small_problem(
        limit_kw=[10.0] * vehicles,
        demand_kwh=[0.0] * vehicles,
        site_limit_kw=10.0,
        price_eur_per_kwh=[0.1] * steps,
    )

    plan = plan_charging(problem, solvers=solvers)

    assert plan.method == "optimal"
    assert plan.setpoint_kw.shape == (vehicles, steps)
    assert not plan.setpoint_kw.any()
    assert plan.cost_eur == 0.0


def test_a_site_without_power_leaves_everybody_short() -> None:
    problem = replace(crowded(), site_limit_kw=np.zeros(3))

    plan = plan_charging(problem)

    assert not plan.setpoint_kw.any()
    np.testing.assert_allclose(plan.shortfall_kwh, [10, 10, 10])


def test_no_tariff_is_dear_enough_to_fall_short_for() -> None:
    problem = replace(crowded(), price_eur_per_kwh=np.array([5.0, 0.001, 900.0]))

    plan = plan_charging(problem)

    np.testing.assert_allclose(plan.shortfall_kwh, 0, atol=1e-4)


def test_planning_the_same_problem_again_gives_the_same_plan() -> None:
    first, second = plan_charging(crowded()), plan_charging(crowded())

    np.testing.assert_array_equal(first.setpoint_kw, second.setpoint_kw)


def test_a_full_site_of_fifty_vehicles_is_planned() -> None:
    rng = np.random.default_rng(2)
    stay_h = rng.uniform(4, 10, 50)
    edge_h = np.arange(41) * 0.25
    available_h: Array = np.clip(stay_h[:, None] - edge_h[:-1], 0.0, 0.25)
    problem = ChargingProblem(
        step_h=np.full(40, 0.25),
        available_h=available_h,
        limit_kw=rng.choice([9.35, 18.7, 42.5], (50, 1)) * np.ones(40),
        demand_kwh=rng.uniform(5, 35, 50),
        site_limit_kw=np.full(40, 150.0),
        price_eur_per_kwh=np.repeat([0.21, 0.34, 0.12, 0.26], 10),
        preference_eur_per_kwh=np.zeros((50, 40)),
        urgency=np.ones(50),
    )

    plan: ChargingPlan = plan_charging(problem)

    assert (plan.method, plan.solver) == ("optimal", "PIQP")
    assert plan.objective_eur == pytest.approx(least_penalised_eur(problem), abs=0.01)


def test_the_warm_up_runs_the_solver() -> None:
    mpc.warm_up()


def test_planning_modules_do_not_import_the_modelling_library() -> None:
    code = (
        "import sys; import backend.planning.mpc, backend.planning.explanation; "
        "sys.exit('cvxpy' in sys.modules or 'scipy' in sys.modules)"
    )

    outcome = subprocess.run([sys.executable, "-c", code], check=False)  # noqa: S603 - our own code

    assert outcome.returncode == 0
