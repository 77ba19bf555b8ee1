"""The measurements of the optimiser, on fewer cases than the benchmark takes."""

import numpy as np
import pytest

from backend.planning import standard
from backend.planning.checker import violations
from backend.planning.fallback import earliest_deadline, uncontrolled
from backend.planning.mpc import plan_charging
from backend.planning.programme import programme_of
from benchmarks import plan_solver
from benchmarks.plan_cases import random_site, workplace


@pytest.mark.parametrize("first", range(0, 400, 40))
def test_random_sites_with_every_option_get_a_valid_plan(first: int) -> None:
    figures = plan_solver.random_figures(40, first=20_000 + first)

    assert figures["random_cases_failed"] == 0
    assert figures["random_cases_by_fallback"] <= 1


@pytest.mark.parametrize("seed", range(150))
def test_plans_without_solving_are_valid_at_any_site(seed: int) -> None:
    problem = random_site(seed)

    assert violations(problem, earliest_deadline(problem)) == ()
    assert violations(problem, uncontrolled(problem)) == ()


def test_nothing_moves_between_replans_when_nothing_happens() -> None:
    assert plan_solver.stability_figures(30, replans=8)["next_step_change_pct"] < 1.0


def test_three_phase_plans_are_safe_and_near_the_exact_optimum() -> None:
    figures = plan_solver.three_phase_figures(30, cases=1)

    assert figures["three_phase_violations"] == 0
    assert -0.01 < figures["three_phase_gap_pct"] < 0.5


def test_giving_never_takes_a_battery_below_its_floor_nor_costs_more_than_it_earns() -> None:
    figures = plan_solver.vehicle_to_grid_figures(15)

    assert figures["v2g_given_kwh"] > 100
    assert (figures["v2g_floor_violations"], figures["v2g_losses"]) == (0, 0)


def test_stated_prices_are_what_solving_again_finds() -> None:
    assert plan_solver.explanation_figures(1)["explanation_error_pct"] < 1.0


def test_a_programme_solved_again_with_other_vectors_is_as_if_it_were_new() -> None:
    first, _ = programme_of(workplace(12, seed=1))
    standard.forget()
    standard.solve(first, "PIQP")
    other = standard.Programme(
        curvature=first.curvature,
        help=first.help,
        cost=1.3 * first.cost,
        equal=(first.equal[0], 0.9 * first.equal[1]),
        at_most=first.at_most,
        lower=first.lower,
        upper=0.95 * first.upper,
    )

    again = standard.solve(other, "PIQP")
    standard.forget()
    new = standard.solve(other, "PIQP")

    np.testing.assert_allclose(again.x, new.x, atol=1e-4)
    np.testing.assert_allclose(again.equal_price, new.equal_price, atol=1e-5)


def test_only_a_few_compiled_programmes_are_kept() -> None:
    for seed in range(standard.KEPT + 3):
        plan_charging(random_site(seed + 5, vehicles=4))

    assert len(standard._compiled) <= standard.KEPT  # noqa: SLF001 - no other way to see memory


def test_a_real_day_is_replanned_step_by_step() -> None:
    figures = plan_solver.rolling_figures(plan_solver.usual_day(20))

    assert 0 < figures["step_cpu_ms_median_76"] <= figures["step_cpu_ms_p99_76"]
