"""The site plan: the cheapest setpoints that meet every demand within every limit.

Solvers are tried in turn. The first needs no solving: at a site without equipment beyond its
chargers, when every vehicle can have its own best plan and the site has room for all of them
together, that is the optimum. Else the convex programme runs, with PIQP, then Clarabel, then HiGHS
without its quadratic terms. Whatever they return is made exact, its first step settable by rounding
or, where that loses something, by a mixed-integer programme, and the checker judges it; when none
passes, the plan is earliest deadline first.

There is no term against peaks: at a flat price it would contradict charging early, and what a peak
costs is for the demand charge to say.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from backend.planning import integers
from backend.planning.by_power import planned_by_power
from backend.planning.checker import violations
from backend.planning.coarse import coarsened
from backend.planning.costs import shortfall_price, weighed
from backend.planning.exact import cheapest_first, made_exact, power_kw
from backend.planning.fallback import earliest_deadline
from backend.planning.problem import Array, ChargingPlan, ChargingProblem, Prices
from backend.planning.programme import programme_of
from backend.planning.reading import Solution, read, refined
from backend.planning.rounding import settable
from backend.planning.standard import NotSolved, solve
from backend.planning.storage import settled

__all__ = ["SOLVERS", "NotSolved", "Solution", "Solver", "plan_charging", "warm_up"]

SHORT_KWH = 0.005
"""A vehicle that gives energy may not be short by more than this."""

Solver = Callable[[ChargingProblem, float | None], Solution]
"""Takes the problem and the seconds left, if limited; raises NotSolved."""


def alone(problem: ChargingProblem, _time_left_s: float | None = None) -> Solution:
    """Each vehicle's own best plan, which is the site's optimum if all of them fit together.

    Raises:
        NotSolved: If they exceed the site limit together, or the site has more than chargers.
    """
    if not problem.is_plain:
        raise NotSolved("the site has more than chargers under one limit")
    room_kwh, cost = problem.limit_kw * problem.available_h, problem.cost_eur_per_kwh
    energy_kwh = cheapest_first(cost, room_kwh, problem.demand_kwh)
    setpoint_kw = np.minimum(power_kw(energy_kwh, problem.available_h), problem.limit_kw)
    if np.any(setpoint_kw.sum(axis=0) > problem.site_limit_kw):
        raise NotSolved("the site limit binds")
    return Solution(
        setpoint_kw,
        np.zeros(len(problem.step_h)),
        prices=_prices_alone(problem, room_kwh - energy_kwh),
    )


def _prices_alone(problem: ChargingProblem, left_kwh: Array) -> Prices:
    """One more kWh takes the cheapest step with room, or is short if there is none."""
    cost, steps = problem.cost_eur_per_kwh, len(problem.step_h)
    scale = float(np.abs(cost).max(initial=0.0)) or 1.0
    short = shortfall_price(problem, scale) * scale * problem.urgency
    has_room = left_kwh > 0
    energy = np.where(has_room, cost, short[:, None]).min(axis=1, initial=np.inf)
    energy = np.minimum(energy, short)
    power = np.maximum(energy[:, None] - cost, 0.0) * problem.available_h * ~has_room
    return Prices(energy, power, np.zeros(steps), np.zeros((0, steps)))


def piqp(problem: ChargingProblem, _time_left_s: float | None = None) -> Solution:
    """Solve the programme with PIQP, which has no time limit but few iterations.

    Raises:
        NotSolved: If it does not converge.
    """
    return _solved(problem, "PIQP")


def clarabel(problem: ChargingProblem, time_left_s: float | None = None) -> Solution:
    """Solve the programme with Clarabel on one thread.

    Raises:
        NotSolved: If it does not converge in time.
    """
    return _solved(problem, "CLARABEL", time_left_s)


def highs(problem: ChargingProblem, time_left_s: float | None = None) -> Solution:
    """Solve the programme without its quadratic terms by simplex.

    Raises:
        NotSolved: If it does not finish in time.
    """
    return _solved(problem, "HIGHS", time_left_s)


SOLVERS: tuple[tuple[str, Solver], ...] = (
    ("alone", alone),
    ("PIQP", piqp),
    ("CLARABEL", clarabel),
    ("HIGHS", highs),
)


def plan_charging(
    problem: ChargingProblem,
    *,
    deadline_s: float | None = None,
    solvers: Sequence[tuple[str, Solver]] = SOLVERS,
    whole_numbers: bool = True,
) -> ChargingPlan:
    """Find the cheapest setpoints that meet every demand.

    A demand that cannot be met falls short by as little as possible, so a plan always exists. What
    costs the same is charged earlier, the more urgent vehicle first.

    Source: Z. J. Lee et al., "Adaptive Charging Networks", IEEE Trans. Smart Grid, 2021, without
    its terms for load flattening and equal sharing.

    Args:
        problem: The vehicles, limits and prices of one site over one horizon.
        deadline_s: Time after which no further solver is started.
        solvers: The solvers to try, by name.
        whole_numbers: Whether a first step that loses by rounding is solved for once more.

    Returns:
        A plan the checker has passed, or the earliest-deadline plan with method "fallback".
    """
    started_s = time.monotonic()

    def again(other: ChargingProblem) -> ChargingPlan:
        left_s = None if deadline_s is None else started_s + deadline_s - time.monotonic()
        return plan_charging(other, deadline_s=left_s, solvers=solvers, whole_numbers=whole_numbers)

    if problem.efficiency_curve is not None:
        curve = problem.efficiency_curve
        return planned_by_power(problem, curve, plan=again, fallback=earliest_deadline)
    for name, solver in solvers:
        time_left_s = None if deadline_s is None else started_s + deadline_s - time.monotonic()
        if time_left_s is not None and time_left_s <= 0:
            break
        try:
            solution = solver(problem, time_left_s)
        except NotSolved:
            continue
        left_s = None if deadline_s is None else started_s + deadline_s - time.monotonic()
        plan = _plan_of(problem, solution, name, time_left_s=left_s if whole_numbers else 0.0)
        if violations(problem, plan):
            continue
        keeps = _without_givers_in_need(problem, plan)
        if keeps is None:
            return plan
        return again(keeps)
    return earliest_deadline(problem)


def _without_givers_in_need(problem: ChargingProblem, plan: ChargingPlan) -> ChargingProblem | None:
    """The problem in which vehicles do not give that gave and then fall short; None if none did."""
    if problem.v2g is None:
        return None
    in_need = np.any(plan.setpoint_kw < 0, axis=1) & (plan.shortfall_kwh > SHORT_KWH)
    if not in_need.any():
        return None
    limit_kw = np.where(in_need[:, None], 0.0, problem.v2g.discharge_limit_kw)
    return replace(problem, v2g=replace(problem.v2g, discharge_limit_kw=limit_kw))


def _plan_of(
    problem: ChargingProblem, solution: Solution, solver: str, *, time_left_s: float | None
) -> ChargingPlan:
    """The plan a solution makes, with its first step rounded or chosen, whichever is better."""
    plan, relaxed_kw = _rounded(problem, solution, solver)
    if time_left_s is not None and time_left_s <= 0:
        return plan
    if not integers.is_worth_solving(problem, plan, relaxed_kw):
        return plan
    limit_s = integers.TIME_LIMIT_S if time_left_s is None else time_left_s / 2
    try:
        chosen = integers.with_integers(
            problem, solution, time_limit_s=min(limit_s, integers.TIME_LIMIT_S)
        )
    except NotSolved:
        return plan
    other, _ = _rounded(problem, chosen, solver)
    is_better = weighed(problem, other) < weighed(problem, plan)
    return other if is_better and not violations(problem, other) else plan


def _rounded(
    problem: ChargingProblem, solution: Solution, solver: str
) -> tuple[ChargingPlan, Array]:
    """The plan a solution makes once it is exact and can be set, and what it was before."""
    battery_kw = settled(problem, solution.setpoint_kw, solution.battery_kw)
    exact_kw = made_exact(
        problem,
        solution.setpoint_kw,
        battery_kw=battery_kw,
        highest_import_kw=solution.highest_import_kw,
    )
    setpoint_kw = settable(problem, exact_kw, battery_kw)
    plan = ChargingPlan.of(
        problem,
        setpoint_kw,
        method="optimal",
        solver=solver,
        battery_kw=settled(problem, setpoint_kw, battery_kw),
        site_limit_price_eur_per_kw=solution.site_limit_price_eur_per_kw,
        prices=solution.prices,
    )
    return plan, exact_kw


def warm_up() -> None:
    """Import the solver and run it once, so that a worker's first plan is as quick as the next."""
    one, full = np.ones(1), np.ones((2, 1))
    piqp(
        ChargingProblem(
            step_h=one,
            available_h=full,
            limit_kw=full,
            demand_kwh=full[:, 0],
            site_limit_kw=one,
            price_eur_per_kwh=one,
            preference_eur_per_kwh=0 * full,
            urgency=full[:, 0],
        )
    )


def _solved(problem: ChargingProblem, solver: str, time_left_s: float | None = None) -> Solution:
    """Build the programme, solve it and read what was found."""
    coarse, blocks = coarsened(problem)
    programme, layout = programme_of(coarse)
    steps = len(problem.step_h)
    if len(layout.vehicle) == 0 and (problem.battery is None or steps == 0):
        return Solution(np.zeros_like(problem.limit_kw), np.zeros(steps))
    solution = read(coarse, layout, solve(programme, solver, time_left_s))
    return solution if blocks is None else refined(solution, blocks)
