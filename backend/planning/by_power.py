"""Plans for vehicles whose losses depend on the charging power.

Chargers lose a part of the power and draw a constant beside it, so little power is the dearest way
to charge: energy in the battery is no concave function of power, and no convex programme holds it.
A plan is made with each vehicle's best efficiency, which is safe, then with what its own plan would
have on the mean; each is made true to the curve, and the best of them is kept.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from backend.planning.checker import violations
from backend.planning.costs import weighed
from backend.planning.curve import EfficiencyCurve
from backend.planning.exact import EXACT_KWH
from backend.planning.limits import SharedLimits
from backend.planning.problem import Array, ChargingPlan, ChargingProblem
from backend.planning.rounding import has_steps
from backend.planning.storage import settled

ROUNDS = 3
"""Plans that are made, each with the mean efficiencies of the one before."""

MORE = 1.05
"""What is asked for once more of what was missing; what is too much is taken away again."""

SAME = 1e-3
"""Efficiencies that differ by no more are the same."""


def planned_by_power(
    problem: ChargingProblem,
    curve: EfficiencyCurve,
    *,
    plan: Callable[[ChargingProblem], ChargingPlan],
    fallback: Callable[[ChargingProblem], ChargingPlan],
) -> ChargingPlan:
    """The best plan found with the efficiencies of a curve.

    Args:
        problem: The site.
        curve: Its vehicles' efficiencies by power.
        plan: Plans a site whose vehicles have one efficiency each.
        fallback: Plans it in a way that cannot fail; vehicles do not give.
    """
    best: ChargingPlan | None = None
    efficiency, wanted_kwh = curve.highest, problem.demand_kwh
    for _ in range(ROUNDS):
        of_one = plan(replace(_with_one(problem, efficiency), demand_kwh=wanted_kwh))
        found = _true_to(problem, curve, of_one)
        is_better = best is None or weighed(problem, found) < weighed(problem, best)
        if is_better and not violations(problem, found):
            best = found
        if not _is_free(problem):
            # A battery is never taken to be emptier than it is, so more is asked for instead.
            missing_kwh = problem.demand_kwh - found.energy_kwh
            wanted_kwh = wanted_kwh + MORE * np.maximum(missing_kwh, 0.0)
            if np.all(missing_kwh <= EXACT_KWH):
                break
            continue
        means = _mean_efficiency(problem, curve, of_one.setpoint_kw)
        if np.all(np.abs(means - efficiency) < SAME):
            break
        efficiency = means
    if best is not None:
        return best
    return fallback(problem)


def _with_one(problem: ChargingProblem, efficiency: Array) -> ChargingProblem:
    """The site with one efficiency for each vehicle, shape (vehicles,)."""
    return replace(problem, efficiency_curve=None, efficiency=efficiency)


def _mean_efficiency(problem: ChargingProblem, curve: EfficiencyCurve, setpoint_kw: Array) -> Array:
    """Battery energy per energy drawn of a plan; at full power for who does not charge."""
    charging_kw = np.maximum(setpoint_kw, 0.0)
    drawn_kwh = (charging_kw * problem.available_h).sum(axis=1)
    stored_kwh = (curve.battery_kw(charging_kw) * problem.available_h).sum(axis=1)
    return np.where(
        drawn_kwh > EXACT_KWH,
        stored_kwh / np.where(drawn_kwh > EXACT_KWH, drawn_kwh, 1.0),
        curve.highest,
    )


def _true_to(
    problem: ChargingProblem, curve: EfficiencyCurve, of_one: ChargingPlan
) -> ChargingPlan:
    """The plan with what each vehicle gets too much or too little by the curve put right."""
    setpoint_kw, battery_kw = of_one.setpoint_kw.copy(), of_one.flows.battery_kw
    left = SharedLimits.of(problem, battery_kw=battery_kw)
    left.room_kw = np.minimum(left.room_kw, _below_peak(problem, left, of_one))
    left.take_all(setpoint_kw)
    missing_kwh = problem.demand_kwh - problem.battery_energy_kwh(setpoint_kw).sum(axis=1)
    for vehicle in np.flatnonzero(np.abs(missing_kwh) > EXACT_KWH).tolist():
        before_kw = setpoint_kw[vehicle].copy()
        of_vehicle, missed_kwh = curve.of(np.array([vehicle])), float(missing_kwh[vehicle])
        if missed_kwh < 0:
            setpoint_kw[vehicle] = _lowered(problem, of_vehicle, before_kw, vehicle, -missed_kwh)
        elif _is_free(problem):
            room_kw = np.minimum(problem.limit_kw[vehicle], before_kw + left.left_kw(vehicle))
            setpoint_kw[vehicle] = _raised(
                problem, of_vehicle, before_kw, vehicle, missed_kwh, highest_kw=room_kw
            )
        left.take(vehicle, setpoint_kw[vehicle] - before_kw)
    return ChargingPlan.of(
        problem,
        setpoint_kw,
        method=of_one.method,
        solver=of_one.solver,
        battery_kw=settled(problem, setpoint_kw, battery_kw),
        site_limit_price_eur_per_kw=of_one.site_limit_price_eur_per_kw,
        prices=of_one.prices,
    )


def _below_peak(problem: ChargingProblem, limits: SharedLimits, plan: ChargingPlan) -> Array:
    """What the limits may come to without a higher peak that is paid for, (limits, steps)."""
    room_kw = np.full_like(limits.room_kw, np.inf)
    if problem.grid is not None and problem.grid.demand_charge_eur_per_kw > 0:
        highest_kw = max(plan.flows.peak_kw, problem.grid.free_peak_kw)
        beside_kw = problem.base_load_kw - problem.pv_kw + plan.flows.battery_kw
        room_kw[0] = highest_kw - beside_kw
    return room_kw


def _raised(
    problem: ChargingProblem,
    curve: EfficiencyCurve,
    setpoint_kw: Array,
    vehicle: int,
    missing_kwh: float,
    *,
    highest_kw: Array,
) -> Array:
    """One vehicle's setpoints with what it misses: where it charges first, then the cheapest."""
    power_kw, hours = setpoint_kw.copy(), problem.available_h[vehicle]
    can_change = (hours > 0) & (highest_kw > power_kw)
    can_change[:1] &= not has_steps(problem)
    order = np.lexsort((problem.cost_eur_per_kwh[vehicle], power_kw <= 0))
    for step in order[can_change[order]]:
        now_kw, most_kw = curve.battery_kw(np.array([[power_kw[step], highest_kw[step]]]))[0]
        battery_kw = min(most_kw, now_kw + missing_kwh / hours[step])
        missing_kwh -= (battery_kw - now_kw) * hours[step]
        drawn_kw = curve.drawn_kw(np.array([[battery_kw]]))[0, 0]
        power_kw[step] = min(drawn_kw, highest_kw[step])
        if missing_kwh <= EXACT_KWH:
            break
    return power_kw


def _lowered(
    problem: ChargingProblem,
    curve: EfficiencyCurve,
    setpoint_kw: Array,
    vehicle: int,
    excess_kwh: float,
) -> Array:
    """One vehicle's setpoints without what it has too much, the last steps first."""
    power_kw, hours = setpoint_kw.copy(), problem.available_h[vehicle]
    can_change = (hours > 0) & (power_kw > 0)
    can_change[:1] &= not has_steps(problem)
    for step in np.flatnonzero(can_change)[::-1]:
        now_kw = curve.battery_kw(power_kw[None, step, None])[0, 0]
        battery_kw = max(0.0, now_kw - excess_kwh / hours[step])
        excess_kwh -= (now_kw - battery_kw) * hours[step]
        power_kw[step] = curve.drawn_kw(np.array([[battery_kw]]))[0, 0]
        if excess_kwh <= 0:
            break
    return power_kw


def _is_free(problem: ChargingProblem) -> bool:
    """Whether power can be added in any step whatever a battery holds then."""
    return problem.taper is None and problem.v2g is None
