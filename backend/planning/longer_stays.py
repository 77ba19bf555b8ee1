"""What a longer stay of one vehicle would change for its site."""

from dataclasses import dataclass, replace

import numpy as np

from backend.planning.costs import objective_eur
from backend.planning.mpc import plan_charging
from backend.planning.problem import Array, ChargingPlan, ChargingProblem

NOTICEABLE_KWH = 0.01


@dataclass(frozen=True, slots=True)
class LongerStay:
    """What staying longer would change for the whole site.

    Attributes:
        hours: How much longer.
        saves_eur: What the site would pay less, preferences counted.
        gains_kwh: How much less would be short.
    """

    hours: float
    saves_eur: float
    gains_kwh: float


def longer_stay(
    problem: ChargingProblem, plan: ChargingPlan, vehicle: int, *, hours: float
) -> LongerStay:
    """Solve again as if the vehicle left later; beyond the horizon all stays as in its last step.

    Only the shortfall of the plan and what it costs are compared, each for the whole site.
    """
    if not len(problem.step_h) or not problem.available_h[vehicle].any():
        return LongerStay(hours, 0.0, 0.0)
    other = with_longer_stay(problem, vehicle, hours=hours)
    better = plan_charging(other)
    gains_kwh = float(plan.shortfall_kwh.sum() - better.shortfall_kwh.sum())
    if gains_kwh > NOTICEABLE_KWH:
        return LongerStay(hours, 0.0, gains_kwh)
    saves_eur = objective_eur(problem, plan) - objective_eur(other, better)
    return LongerStay(hours, max(saves_eur, 0.0), 0.0)


def with_longer_stay(problem: ChargingProblem, vehicle: int, *, hours: float) -> ChargingProblem:
    """The problem with one vehicle leaving later."""
    last = int(np.flatnonzero(problem.available_h[vehicle] > 0)[-1])
    ahead_h = float(problem.step_h[last:].sum() - problem.available_h[vehicle, last])
    step_h = float(problem.step_h.max())
    wider = _padded(problem, int(np.ceil(max(0.0, hours - ahead_h) / step_h)), step_h)
    available_h, limit_kw = wider.available_h.copy(), wider.limit_kw.copy()
    for step in range(last, len(wider.step_h)):
        added_h = min(hours, wider.step_h[step] - available_h[vehicle, step])
        available_h[vehicle, step] += added_h
        limit_kw[vehicle, step] = problem.limit_kw[vehicle, last]
        hours -= added_h
    return replace(wider, available_h=available_h, limit_kw=limit_kw)


def _padded(problem: ChargingProblem, steps: int, step_h: float) -> ChargingProblem:
    """More steps at the end, like the last one but with nobody there."""
    if steps == 0:
        return problem

    def held(array: Array) -> Array:
        return np.concatenate((array, np.repeat(array[..., -1:], steps, axis=-1)), axis=-1)

    grid, v2g = problem.grid, problem.v2g
    return replace(
        problem,
        step_h=np.concatenate((problem.step_h, np.full(steps, step_h))),
        available_h=np.pad(problem.available_h, ((0, 0), (0, steps))),
        limit_kw=held(problem.limit_kw),
        site_limit_kw=held(problem.site_limit_kw),
        price_eur_per_kwh=held(problem.price_eur_per_kwh),
        preference_eur_per_kwh=held(problem.preference_eur_per_kwh),
        previous_kw=None,
        grid=None
        if grid is None
        else replace(
            grid,
            base_load_kw=held(problem.base_load_kw),
            pv_kw=None if grid.pv_kw is None else held(grid.pv_kw),
            export_price_eur_per_kwh=held(problem.export_value_eur_per_kwh),
        ),
        groups=tuple(replace(one, limit_kw=held(one.limit_kw)) for one in problem.groups),
        v2g=None if v2g is None else replace(v2g, discharge_limit_kw=held(v2g.discharge_limit_kw)),
    )
