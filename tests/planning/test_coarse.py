from dataclasses import replace

import numpy as np
import pytest

from backend.planning.checker import violations
from backend.planning.coarse import FINE_STEPS, coarsened
from backend.planning.costs import objective_eur
from backend.planning.equipment import Grid, GroupLimit
from backend.planning.mpc import plan_charging
from backend.planning.problem import ChargingProblem
from benchmarks.plan_cases import workplace


def large(vehicles: int = 700) -> ChargingProblem:
    grid = Grid(demand_charge_eur_per_kw=15.0, expected_peak_kw=0.8 * vehicles)
    return replace(workplace(vehicles), grid=grid)


def test_small_sites_are_not_coarsened() -> None:
    assert coarsened(workplace(76))[1] is None


def test_steps_are_joined_only_where_nothing_changes() -> None:
    problem = large()

    coarse, blocks = coarsened(problem)

    assert blocks is not None
    assert np.all(np.diff(np.flatnonzero(np.diff(blocks.of_step, prepend=-1)))[:FINE_STEPS] == 1)
    np.testing.assert_array_equal(
        blocks.refined(coarse.price_eur_per_kwh), problem.price_eur_per_kwh
    )
    assert coarse.step_h.sum() == pytest.approx(problem.step_h.sum())
    np.testing.assert_allclose(coarse.available_h.sum(axis=1), problem.available_h.sum(axis=1))


def test_a_limit_that_changes_within_a_long_step_divides_it() -> None:
    limit_kw = np.where(np.arange(96) < 41, 900.0, 300.0)
    problem = replace(large(), groups=(GroupLimit((0, 1), limit_kw),))

    coarse, blocks = coarsened(problem)

    assert blocks is not None
    np.testing.assert_array_equal(blocks.refined(coarse.groups[0].limit_kw), limit_kw)


def test_a_coarse_plan_is_valid_and_nearly_as_good(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = large()
    coarse = plan_charging(problem)
    monkeypatch.setattr("backend.planning.coarse.FEW_CELLS", 10**9)
    fine = plan_charging(problem)

    assert violations(problem, coarse) == ()
    np.testing.assert_allclose(coarse.shortfall_kwh, 0, atol=1e-3)
    assert objective_eur(problem, coarse) <= 1.01 * objective_eur(problem, fine)
