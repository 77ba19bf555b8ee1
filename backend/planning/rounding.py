"""The first step made settable: chargers are off below a minimum and know only some levels.

The step that is carried out is rounded by largest remainder: everybody gets the setting below the
plan, then those are raised who have no time to lose, then those who lost most, until the planned
load is reached and as far as the limits allow. What this moves is caught up in the later steps.
"""

import numpy as np

from backend.planning.exact import topped_up, within_stored
from backend.planning.limits import SharedLimits, balanced
from backend.planning.problem import Array, ChargingProblem
from backend.planning.programme import NOISE_KWH

TINY_KW = 1e-9
SNAP_KW = 1e-7


def settable(
    problem: ChargingProblem, setpoint_kw: Array, battery_kw: Array | None = None
) -> Array:
    """Setpoints, shape (vehicles, steps), whose first step the chargers can be set to."""
    if not has_steps(problem) or not setpoint_kw.size:
        return setpoint_kw
    planned_kw = _snapped(problem, setpoint_kw[:, 0])
    lower_kw, upper_kw = _neighbours(problem, planned_kw)
    first_kw = np.where(planned_kw < 0, planned_kw, lower_kw)
    left = SharedLimits.of(problem, battery_kw=battery_kw)
    left.room_kw = left.room_kw[:, :1].copy()
    left.take_all(first_kw[:, None])
    missing_kw = float((planned_kw - first_kw).sum())
    urgent = _has_no_time(problem, setpoint_kw, first_kw)
    finishing = _finishes(problem, planned_kw)
    for vehicle in _order(planned_kw, lower_kw, upper_kw, urgent):
        more_kw = upper_kw[vehicle] - lower_kw[vehicle]
        is_wanted = urgent[vehicle] or finishing[vehicle] or missing_kw >= more_kw / 2
        if is_wanted and more_kw <= left.left_kw(vehicle)[0]:
            first_kw[vehicle] = upper_kw[vehicle]
            left.take(vehicle, np.array([more_kw]))
            missing_kw -= more_kw
    first_kw = _allowed(problem, _balanced(problem, first_kw), battery_kw)
    return _caught_up(problem, setpoint_kw, first_kw, battery_kw)


def has_steps(problem: ChargingProblem) -> bool:
    """Whether there are powers that chargers cannot be set to."""
    return problem.min_power_kw is not None or problem.levels_kw is not None


def _snapped(problem: ChargingProblem, planned_kw: Array) -> Array:
    """Powers that a solver left a trifle beside a setting put on it, shape (vehicles,)."""
    known_kw = lowest_kw(problem)[:, None] if problem.levels_kw is None else problem.levels_kw
    if not known_kw.shape[1]:
        return planned_kw
    nearest = np.abs(known_kw - planned_kw[:, None]).argmin(axis=1)
    setting_kw = known_kw[np.arange(len(known_kw)), nearest]
    return np.asarray(np.where(np.abs(setting_kw - planned_kw) < SNAP_KW, setting_kw, planned_kw))


def _neighbours(problem: ChargingProblem, planned_kw: Array) -> tuple[Array, Array]:
    """The settings at or below and above each planned power, inf where there is none."""
    lowest_kw = np.zeros(len(planned_kw))
    if problem.min_power_kw is not None:
        lowest_kw = problem.min_power_kw
    if problem.levels_kw is None:
        is_on = planned_kw >= lowest_kw
        lower_kw = np.where(is_on, planned_kw, 0.0)
        upper_kw = np.where(is_on | (planned_kw <= 0), np.inf, lowest_kw)
    else:
        known_kw = np.where(problem.levels_kw < lowest_kw[:, None], np.inf, problem.levels_kw)
        is_below = known_kw <= planned_kw[:, None] + TINY_KW
        lower_kw = np.where(is_below, known_kw, 0.0).max(axis=1, initial=0.0)
        upper_kw = np.where(is_below, np.inf, known_kw).min(axis=1, initial=np.inf)
    lower_kw = (
        np.minimum(lower_kw, np.maximum(planned_kw, 0.0)) if problem.levels_kw is None else lower_kw
    )
    return lower_kw, np.where(_is_possible(problem, upper_kw), upper_kw, np.inf)


def _is_possible(problem: ChargingProblem, power_kw: Array) -> Array:
    """Whether each vehicle could take this power in the first step, shape (vehicles,)."""
    hours = problem.available_h[:, 0] * problem.charging_efficiency
    highest_kw = np.where(problem.available_h[:, 0] > 0, problem.limit_kw[:, 0], 0.0)
    stored_kwh = hours * np.where(np.isfinite(power_kw), power_kw, 0.0)
    if problem.taper is not None:
        at_kwh = problem.taper.binds_at * stored_kwh
        beyond_kwh = np.maximum(at_kwh - problem.taper.knee_kwh, 0.0)
        falling_kw = problem.taper.power_kw - problem.taper.slope_kw_per_kwh * beyond_kwh
        falls = problem.taper.slope_kw_per_kwh > 0
        highest_kw = np.where(falls, np.minimum(highest_kw, falling_kw), highest_kw)
    is_lowest = power_kw <= lowest_kw(problem) + TINY_KW
    fits = (stored_kwh <= problem.demand_kwh) | (is_lowest & (problem.demand_kwh > TINY_KW))
    return np.asarray((power_kw <= highest_kw) & fits)


def lowest_kw(problem: ChargingProblem) -> Array:
    """The lowest setting of each charger that is not off, shape (vehicles,)."""
    least_kw = np.zeros(len(problem.demand_kwh))
    if problem.min_power_kw is not None:
        least_kw = problem.min_power_kw
    if problem.levels_kw is None or not problem.levels_kw.shape[1]:
        return least_kw
    known_kw = np.where(problem.levels_kw < least_kw[:, None], np.inf, problem.levels_kw)
    return np.asarray(known_kw.min(axis=1))


def _has_no_time(problem: ChargingProblem, setpoint_kw: Array, first_kw: Array) -> Array:
    """Whom the setting below would leave short even at full power from then on, (vehicles,)."""
    later_kwh = (problem.limit_kw * problem.available_h)[:, 1:].sum(axis=1)
    hours = problem.available_h[:, 0]
    reachable_kwh = (first_kw * hours + later_kwh) * problem.charging_efficiency
    planned_kwh = problem.battery_energy_kwh(setpoint_kw).sum(axis=1)
    return np.asarray(reachable_kwh < planned_kwh - TINY_KW)


def _finishes(problem: ChargingProblem, planned_kw: Array) -> Array:
    """Whom the planned first step gives all that is still wanted, shape (vehicles,)."""
    planned_kwh = planned_kw * problem.available_h[:, 0] * problem.charging_efficiency
    return np.asarray((planned_kw > 0) & (planned_kwh >= problem.demand_kwh - NOISE_KWH))


def _order(planned_kw: Array, lower_kw: Array, upper_kw: Array, urgent: Array) -> Array:
    """Vehicles that can be raised, the urgent first, then by the share they lost."""
    gap_kw = upper_kw - lower_kw
    lost = np.maximum(planned_kw - lower_kw, 0.0) / np.where(np.isfinite(gap_kw), gap_kw, 1.0)
    order = np.lexsort((-lost, ~np.asarray(urgent, dtype=bool)))
    return np.asarray(order[np.isfinite(upper_kw[order]) & (lost[order] > 0)])


def _balanced(problem: ChargingProblem, first_kw: Array) -> Array:
    """Switch chargers off on the fullest phase until the unbalance limit is kept."""
    phases = problem.phases
    if phases is None or phases.unbalance_a is None:
        return first_kw
    limit_kw, first_kw = phases.unbalance_a * phases.voltage_v / 1000, first_kw.copy()
    while True:
        pair_kw = np.array([first_kw[phases.phase == pair].sum() for pair in range(3)])
        fullest = int(np.argmax(pair_kw))
        on = np.flatnonzero((phases.phase == fullest) & (first_kw > 0))
        if pair_kw.max() - pair_kw.min() <= limit_kw or not len(on):
            return first_kw
        first_kw[on[np.argmin(first_kw[on])]] = 0.0


def _allowed(problem: ChargingProblem, first_kw: Array, battery_kw: Array | None) -> Array:
    """The first step if it keeps the shared limits, else without giving, else nothing.

    Lowering what charges can only break limits where others give.
    """
    for allowed_kw in (first_kw, np.maximum(first_kw, 0.0)):
        left = SharedLimits.of(problem, battery_kw=battery_kw)
        if np.all(left.weight @ allowed_kw <= left.room_kw[:, 0] + TINY_KW):
            return allowed_kw
    return 0.0 * first_kw


def _caught_up(
    problem: ChargingProblem, setpoint_kw: Array, first_kw: Array, battery_kw: Array | None
) -> Array:
    """Later steps give less to who was raised, and more to who was lowered where there is room.

    Who was lowered and gives energy later gives less of it.
    """
    changed = setpoint_kw.copy()
    changed[:, 0] = first_kw
    stored_kwh = problem.battery_energy_kwh(changed)
    later_kwh = np.maximum(stored_kwh[:, 1:], 0.0).sum(axis=1)
    excess_kwh = np.clip(stored_kwh.sum(axis=1) - problem.demand_kwh, 0.0, later_kwh)
    share = 1 - excess_kwh / np.where(later_kwh > 0, later_kwh, 1.0)
    planned_kwh = problem.battery_energy_kwh(setpoint_kw).sum(axis=1)
    given_kwh = np.maximum(-stored_kwh[:, 1:], 0.0).sum(axis=1)
    missing_kwh = np.clip(planned_kwh - stored_kwh.sum(axis=1), 0.0, given_kwh)
    gives = 1 - missing_kwh / np.where(given_kwh > 0, given_kwh, 1.0)
    later_kw = changed[:, 1:]
    changed[:, 1:] = later_kw * np.where(later_kw > 0, share[:, None], gives[:, None])
    lowered = balanced(problem, within_stored(problem, changed, battery_kw))
    changed = _keeping_first(lowered, changed)
    left = SharedLimits.of(problem, battery_kw=battery_kw)
    left.take_all(changed)
    left.room_kw[:, :1] = 0.0
    return topped_up(problem, changed, left)


def _keeping_first(lowered_kw: Array, settable_kw: Array) -> Array:
    """Later steps from one, the first from the other, unless that was lowered: then it is off."""
    was_lowered = lowered_kw[:, 0] < settable_kw[:, 0] - TINY_KW
    kept_kw = lowered_kw.copy()
    kept_kw[:, 0] = np.where(was_lowered, 0.0, settable_kw[:, 0])
    return kept_kw
