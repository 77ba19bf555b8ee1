from dataclasses import replace

import numpy as np
import pytest

from backend.planning.checker import violations
from backend.planning.equipment import Grid, Phases
from backend.planning.fallback import earliest_deadline
from backend.planning.mpc import plan_charging
from backend.planning.problem import Array, ChargingProblem
from backend.planning.rounding import settable
from tests.planning.problems import small_problem

SIX_AMPERE_KW = 1.38


def site(demand_kwh: list[float], site_limit_kw: float = 50.0) -> ChargingProblem:
    """Vehicles of 11 kW for four hours whose chargers are off below 6 A."""
    plain = small_problem(
        limit_kw=[11.0] * len(demand_kwh),
        demand_kwh=demand_kwh,
        site_limit_kw=site_limit_kw,
        price_eur_per_kwh=[0.2, 0.2, 0.2, 0.2],
    )
    return replace(plain, min_power_kw=np.full(len(demand_kwh), SIX_AMPERE_KW))


def rounded(problem: ChargingProblem, first_kw: list[float]) -> Array:
    """Setpoints whose first step was this and whose later steps make up the demand."""
    first = np.array(first_kw)
    later_kw = (problem.demand_kwh - first) / 3
    return settable(problem, np.column_stack((first, later_kw, later_kw, later_kw)))


def test_what_can_be_set_stays() -> None:
    problem = site([20.0, 20.0])

    np.testing.assert_allclose(rounded(problem, [5.0, 0.0])[:, 0], [5.0, 0.0])


def test_small_powers_are_gathered_by_some_and_left_out_by_others() -> None:
    problem = site([20.0, 20.0, 20.0, 20.0])

    setpoint_kw = rounded(problem, [0.7, 0.71, 0.6, 0.75])

    np.testing.assert_allclose(setpoint_kw[:, 0], [0, SIX_AMPERE_KW, 0, SIX_AMPERE_KW])
    np.testing.assert_allclose(setpoint_kw.sum(axis=1), 20.0, atol=1e-9)


def test_nobody_is_raised_beyond_the_site_limit() -> None:
    problem = replace(site([20.0, 20.0]), site_limit_kw=np.array([2.0, 50, 50, 50]))

    np.testing.assert_allclose(rounded(problem, [1.0, 0.9])[:, 0], [SIX_AMPERE_KW, 0.0])


def test_who_has_no_time_to_lose_is_raised_first() -> None:
    problem = replace(site([20.0, 1.3], 50.0), available_h=np.array([[1.0] * 4, [1.0, 0, 0, 0]]))
    problem = replace(problem, site_limit_kw=np.array([1.5, 50, 50, 50]))

    setpoint_kw = settable(problem, np.array([[0.8, 6.4, 6.4, 6.4], [0.7, 0, 0, 0]]))

    np.testing.assert_allclose(setpoint_kw[:, 0], [0.0, SIX_AMPERE_KW])


def test_a_last_bit_below_the_minimum_is_given_at_the_minimum_and_counts_as_what_it_is() -> None:
    problem = site([0.5])

    plan = plan_charging(problem)

    np.testing.assert_allclose(plan.setpoint_kw, [[SIX_AMPERE_KW, 0, 0, 0]])
    assert plan.energy_kwh[0] == pytest.approx(0.5)
    assert violations(problem, plan) == ()


def test_levels_are_kept_and_the_rest_is_caught_up() -> None:
    levels_kw = np.tile(np.array([2.0, 4.0, 8.0]), (2, 1))
    problem = replace(site([20.0, 20.0], 9.0), levels_kw=levels_kw)

    plan = plan_charging(problem)

    assert set(plan.setpoint_kw[:, 0].tolist()) <= {0.0, 2.0, 4.0, 8.0}
    assert violations(problem, plan) == ()
    assert plan.energy_kwh.sum() == pytest.approx(36.0, abs=1.01)


def test_unbalance_is_kept_when_rounding_would_break_it() -> None:
    phases = Phases(np.array([0, 1, 2]), np.full(3, 100.0), unbalance_a=5.0)
    problem = replace(site([6.0, 5.0, 5.0]), phases=phases)

    setpoint_kw = settable(problem, np.array([[1.0, 2, 2, 1], [0.2, 2, 2, 0.8], [0.2, 2, 2, 0.8]]))

    assert np.ptp(setpoint_kw[:, 0]) <= 5 * 0.23 + 1e-9


@pytest.mark.parametrize("seed", range(25))
def test_plans_and_fallbacks_can_be_set_at_any_site(seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = site(rng.uniform(0, 30, 12).tolist(), float(rng.uniform(3, 40)))
    levels_kw = np.tile(np.arange(6, 17) * 0.23, (12, 1)) if seed % 2 else None
    grid = Grid(demand_charge_eur_per_kw=5.0) if seed % 3 else None
    problem = replace(problem, levels_kw=levels_kw, grid=grid)

    for plan in (plan_charging(problem), earliest_deadline(problem)):
        assert violations(problem, plan) == ()
        first_kw = plan.setpoint_kw[:, 0]
        assert np.all((first_kw == 0) | (first_kw >= SIX_AMPERE_KW - 1e-9))
