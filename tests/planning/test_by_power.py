from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from backend.planning.charging_losses import battery_kwh, efficiency_curve
from backend.planning.checker import violations
from backend.planning.costs import objective_eur
from backend.planning.curve import EfficiencyCurve
from backend.planning.equipment import Taper
from backend.planning.fallback import earliest_deadline
from backend.planning.mpc import plan_charging
from backend.planning.policies import earliest_deadline as served_by_deadline
from backend.planning.policies import mpc
from backend.planning.problem import ChargingProblem
from backend.planning.replay import Policy, outcome, replay
from benchmarks.plan_cases import random_site
from tests.planning.problems import small_problem
from tests.planning.visits import flat_site, visits


def crowd(seed: int) -> ChargingProblem:
    """Four vehicles with chargers as measured, mostly at a tight limit."""
    rng = np.random.default_rng(seed)
    plain = small_problem(
        limit_kw=rng.choice([3.7, 7.4, 11.0], 4).tolist(),
        demand_kwh=rng.uniform(2, 20, 4).tolist(),
        site_limit_kw=float(rng.uniform(6, 30)),
        price_eur_per_kwh=rng.choice([0.1, 0.2, 0.3], 6).tolist(),
        step_h=0.5,
    )
    curve = efficiency_curve(plain.limit_kw[:, 0])
    return replace(plain, efficiency_curve=curve, shortfall_price_eur_per_kwh=5.0)


def exact_eur(problem: ChargingProblem, curve: EfficiencyCurve) -> float:
    """The optimum with a whole number for each charger that is above its first point.

    Columns: power up to the first point, power beyond it, whether it is beyond; then shortfalls.
    """
    vehicles, steps = problem.limit_kw.shape
    cells, hours = vehicles * steps, problem.available_h.ravel()
    least_kw, more_kw = np.repeat([curve.power_kw[:, 0], np.diff(curve.power_kw)[:, 0]], steps, 1)
    reached = curve.power_kw * curve.efficiency
    slope = np.repeat(np.diff(reached)[:, 0] / np.diff(curve.power_kw)[:, 0], steps)
    of_vehicle = np.repeat(np.eye(vehicles), steps, axis=1)
    of_step = np.tile(np.eye(steps), vehicles)
    one, none = np.eye(cells), np.zeros((cells, vehicles))
    stored = (
        of_vehicle * hours * np.repeat(curve.efficiency[:, 0], steps),
        of_vehicle * hours * slope,
    )
    energy = np.hstack((*stored, 0 * of_vehicle, np.eye(vehicles)))
    load = np.hstack((of_step, of_step, 0 * of_step, np.zeros((steps, vehicles))))
    found = milp(
        np.concatenate(
            (
                np.tile(np.tile(problem.price_eur_per_kwh, vehicles) * hours, 2),
                np.zeros(cells),
                np.full(vehicles, problem.shortfall_price_eur_per_kwh),
            )
        ),
        integrality=np.repeat([0, 1, 0], [2 * cells, cells, vehicles]),
        bounds=Bounds(0, np.concatenate((least_kw, more_kw, np.ones(cells), problem.demand_kwh))),
        constraints=(
            LinearConstraint(energy, problem.demand_kwh, problem.demand_kwh),
            LinearConstraint(load, -np.inf, problem.site_limit_kw),
            LinearConstraint(np.hstack((one, 0 * one, -one * least_kw, none)), 0, np.inf),
            LinearConstraint(np.hstack((0 * one, one, -one * more_kw, none)), -np.inf, 0),
        ),
    )
    return float(found.fun)


@pytest.mark.parametrize("power_kw", [1.38, 2.3, 3.6, 7.4, 11.0])
def test_the_curve_says_what_the_charger_loses(power_kw: float) -> None:
    curve = efficiency_curve(np.array([11.0]))

    assert curve.battery_kw(np.array([[power_kw]]))[0, 0] == pytest.approx(
        battery_kwh(power_kw, power_kw)
    )


@given(power_kw=st.floats(0, 30), points=st.lists(st.floats(0.1, 5), min_size=1, max_size=5))
def test_drawing_for_what_arrives_is_what_was_drawn(power_kw: float, points: list[float]) -> None:
    at_kw = np.cumsum(points)
    kept = np.cumsum(np.array(points) * np.linspace(0.5, 0.9, len(points))) / at_kw
    curve = EfficiencyCurve(at_kw[None], kept[None])

    back_kw = curve.drawn_kw(curve.battery_kw(np.array([[power_kw]])))

    assert back_kw[0, 0] == pytest.approx(power_kw, abs=1e-9)


def test_a_flat_curve_plans_as_one_efficiency_does() -> None:
    problem = replace(crowd(3), efficiency_curve=None)
    flat = EfficiencyCurve(np.array([[2.0, 5.0]] * 4), np.full((4, 2), 0.9))

    of_curve = plan_charging(replace(problem, efficiency_curve=flat))
    of_one = plan_charging(replace(problem, efficiency=np.full(4, 0.9)))

    np.testing.assert_allclose(of_curve.setpoint_kw, of_one.setpoint_kw, atol=1e-3)


def test_plans_with_curves_come_near_the_exact_optimum() -> None:
    gaps = []
    for seed in range(12):
        problem = crowd(seed)
        plan = plan_charging(problem)
        assert violations(problem, plan) == ()
        if problem.efficiency_curve is not None:
            exact = exact_eur(problem, problem.efficiency_curve)
            gaps.append(objective_eur(problem, plan) / exact - 1)

    assert min(gaps) > -1e-3
    assert max(gaps) < 0.08
    assert float(np.mean(gaps)) < 0.025


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 100_000))
def test_any_site_with_curves_gets_a_valid_plan(seed: int) -> None:
    problem = random_site(seed)
    highest_kw = np.maximum(problem.limit_kw.max(axis=1, initial=0.0), 1.0)
    problem = replace(problem, efficiency=None, efficiency_curve=efficiency_curve(highest_kw))

    assert violations(problem, plan_charging(problem)) == ()
    assert violations(problem, earliest_deadline(problem)) == ()


@pytest.mark.parametrize("policy", [served_by_deadline, mpc()])
def test_replayed_vehicles_charge_with_their_curve(policy: Policy) -> None:
    day = replace(
        visits((0, 8, 20, 11.0), (1, 6, 6, 3.7)), efficiency=efficiency_curve(np.array([11.0, 3.7]))
    )
    site = flat_site(12.0)

    lived = replay(site, day, policy)
    result = outcome(site, day, lived.power_kw)

    assert lived.violations == ()
    assert result.met == 2
    assert result.delivered_kwh == pytest.approx(26.0, abs=1e-6)
    drawn_kwh: npt.NDArray[np.float64] = lived.power_kw.sum(axis=1)
    assert np.all(drawn_kwh > day.demand_kwh * 1.05)


@pytest.mark.parametrize(
    ("power_kw", "efficiency"),
    [
        ([[2.0, 1.0]], [[0.9, 0.9]]),
        ([[1.0, 2.0]], [[0.9, 0.4]]),
        ([[1.0]], [[1.1]]),
        ([1.0], [0.9]),
    ],
)
def test_a_curve_that_cannot_be_is_refused(
    power_kw: list[object], efficiency: list[object]
) -> None:
    curve = EfficiencyCurve(np.array(power_kw, dtype=float), np.array(efficiency, dtype=float))

    with pytest.raises(ValueError, match="EfficiencyCurve"):
        replace(
            small_problem(
                limit_kw=[5.0], demand_kwh=[5.0], site_limit_kw=5.0, price_eur_per_kwh=[0.1]
            ),
            efficiency_curve=curve,
        )


def test_a_battery_that_tapers_is_filled_to_its_demand() -> None:
    plain = small_problem(
        limit_kw=[11.0, 7.4],
        demand_kwh=[20.0, 15.0],
        site_limit_kw=30.0,
        price_eur_per_kwh=[0.3, 0.3, 0.1, 0.1, 0.1],
        step_h=1.0,
    )
    taper = Taper(np.array([12.0, 10.0]), np.array([11.0, 7.4]), np.array([0.5, 0.4]))
    problem = replace(plain, efficiency_curve=efficiency_curve(plain.limit_kw[:, 0]), taper=taper)

    plan = plan_charging(problem)

    assert violations(problem, plan) == ()
    assert plan.shortfall_kwh.max() < 1e-3
