from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.planning import integers, mpc
from backend.planning.checker import violations
from backend.planning.costs import objective_eur, weighed
from backend.planning.equipment import Grid
from backend.planning.mpc import piqp, plan_charging
from backend.planning.problem import ChargingProblem, Fairness
from backend.planning.standard import NotSolved
from benchmarks.plan_cases import workplace
from tests.planning.problems import small_problem

SIX_AMPERE_3P_KW = 4.14
LEVELS_KW = (2.0, 4.0, 8.0)


def small_site(seed: int) -> ChargingProblem:
    """Three vehicles at a tight limit whose chargers know three levels."""
    rng = np.random.default_rng(seed)
    plain = small_problem(
        limit_kw=[8.0] * 3,
        demand_kwh=rng.uniform(3, 12, 3).tolist(),
        site_limit_kw=float(rng.uniform(4, 12)),
        price_eur_per_kwh=rng.choice([0.1, 0.2, 0.4], 3).tolist(),
    )
    return replace(plain, levels_kw=np.tile(LEVELS_KW, (3, 1)), shortfall_price_eur_per_kwh=5.0)


def best_by_trying(problem: ChargingProblem) -> float:
    """The least objective over all first steps; the rest is planned without levels."""
    best_eur = np.inf
    for first in product((0.0, *LEVELS_KW), repeat=3):
        first_kw = np.array(first)
        left_kwh = problem.demand_kwh - first_kw
        if first_kw.sum() > problem.site_limit_kw[0] or left_kwh.min() < 0:
            continue
        rest = replace(
            problem,
            step_h=problem.step_h[1:],
            available_h=problem.available_h[:, 1:],
            limit_kw=problem.limit_kw[:, 1:],
            demand_kwh=left_kwh,
            site_limit_kw=problem.site_limit_kw[1:],
            price_eur_per_kwh=problem.price_eur_per_kwh[1:],
            preference_eur_per_kwh=problem.preference_eur_per_kwh[:, 1:],
            levels_kw=None,
        )
        first_eur = float(first_kw.sum() * problem.price_eur_per_kwh[0])
        best_eur = min(best_eur, first_eur + objective_eur(rest, plan_charging(rest)))
    return best_eur


def crowded(seed: int, *, fairness: Fairness = "energy", vehicles: int = 24) -> ChargingProblem:
    """A workplace in the middle of a day, short of power, with chargers off below 6 A."""
    day, noon = workplace(vehicles, seed=seed), 44
    return replace(
        day,
        step_h=day.step_h[noon:],
        available_h=day.available_h[:, noon:],
        limit_kw=day.limit_kw[:, noon:],
        price_eur_per_kwh=day.price_eur_per_kwh[noon:],
        preference_eur_per_kwh=day.preference_eur_per_kwh[:, noon:],
        site_limit_kw=np.full(96 - noon, 0.9 * vehicles),
        min_power_kw=np.full(vehicles, SIX_AMPERE_3P_KW),
        grid=Grid(demand_charge_eur_per_kw=15.0, expected_peak_kw=0.8 * vehicles),
        fairness=fairness,
    )


@settings(deadline=None, max_examples=5)
@given(seed=st.integers(0, 10_000))
def test_the_first_step_is_the_best_of_all_that_can_be_set(seed: int) -> None:
    problem = small_site(seed)

    plan = plan_charging(problem)

    assert violations(problem, plan) == ()
    assert objective_eur(problem, plan) <= best_by_trying(problem) + 0.06


@pytest.mark.parametrize("fairness", ["energy", "few_short", "equal_share"])
@pytest.mark.parametrize("seed", range(4))
def test_choosing_is_never_worse_than_rounding_and_keeps_every_limit(
    seed: int, fairness: Fairness
) -> None:
    problem = crowded(seed, fairness=fairness)

    chosen, rounded = plan_charging(problem), plan_charging(problem, whole_numbers=False)

    assert violations(problem, chosen) == ()
    assert weighed(problem, chosen) <= weighed(problem, rounded)


def test_choosing_saves_what_rounding_loses() -> None:
    problem = crowded(0)

    chosen, rounded = plan_charging(problem), plan_charging(problem, whole_numbers=False)

    assert weighed(problem, chosen) < weighed(problem, rounded) - 10
    first_kw = chosen.setpoint_kw[:, 0]
    assert np.all((first_kw == 0) | (first_kw >= SIX_AMPERE_3P_KW - 1e-9))


def test_without_time_the_rounded_plan_stands() -> None:
    problem = crowded(0)

    for time_limit_s in (0.0, 1e-6):
        with pytest.raises(NotSolved):
            integers.with_integers(problem, piqp(problem), time_limit_s=time_limit_s)
    late = mpc.plan_charging(problem, deadline_s=1e-9)

    assert late.method == "fallback"
    assert violations(problem, late) == ()


def test_nothing_is_chosen_where_rounding_loses_nothing_or_the_site_is_large() -> None:
    ample = replace(crowded(0), min_power_kw=None)
    large = crowded(0, vehicles=integers.MOST_VEHICLES + 1)

    for problem in (ample, large):
        relaxed_kw = plan_charging(replace(problem, min_power_kw=None)).setpoint_kw
        rounded = plan_charging(problem, whole_numbers=False)
        assert not integers.is_worth_solving(problem, rounded, relaxed_kw)
