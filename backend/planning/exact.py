"""A solver's setpoints made exact: no limit exceeded and no demand missed by noise alone."""

import numpy as np
import numpy.typing as npt

from backend.planning.limits import SharedLimits, balanced, brought_within
from backend.planning.problem import Array, ChargingProblem
from backend.planning.programme import NOISE_KWH

EXACT_KWH = 1e-9
"""A demand short by more than this is topped up where there is room."""

LITTLE_KWH = 1e-3
"""So little is given in any step with room, whatever it costs there."""

ROUNDS = 5
"""Turns in which batteries and the site settle what both allow."""


def made_exact(
    problem: ChargingProblem,
    setpoint_kw: Array,
    *,
    battery_kw: Array | None = None,
    highest_import_kw: Array | None = None,
) -> Array:
    """Remove a solver's noise.

    Args:
        problem: The site.
        setpoint_kw: What the solver found, shape (vehicles, steps).
        battery_kw: Power into the stationary battery, shape (steps,).
        highest_import_kw: Import that topping up may not exceed, shape (steps,).
    """
    setpoint_kw = _within_own_limits(problem, setpoint_kw)
    whole = SharedLimits.of(problem, battery_kw=battery_kw)
    setpoint_kw = brought_within(whole, setpoint_kw)
    setpoint_kw = _without_excess_energy(problem, setpoint_kw)
    setpoint_kw = within_stored(problem, setpoint_kw, battery_kw)
    setpoint_kw = balanced(problem, _without_excess_energy(problem, setpoint_kw))
    left = SharedLimits.of(problem, battery_kw=battery_kw, highest_import_kw=highest_import_kw)
    left.take_all(setpoint_kw)
    return topped_up(problem, setpoint_kw, left)


def _fill_noise(
    problem: ChargingProblem, setpoint_kw: Array, missing_kwh: Array, left: SharedLimits
) -> None:
    """Give vehicles that miss next to nothing that in one step they charge in; in place.

    Only in steps where every shared limit has room for all of them together.
    """
    hours = problem.available_h * problem.charging_efficiency[:, None]
    little = (missing_kwh > EXACT_KWH) & (missing_kwh < LITTLE_KWH) & ~_falls(problem)
    vehicles = np.flatnonzero(little)
    if not len(vehicles) or not setpoint_kw.shape[1]:
        return
    power = setpoint_kw[vehicles]
    added_kw = power_kw(np.repeat(missing_kwh[vehicles, None], power.shape[1], 1), hours[vehicles])
    has_room = left.room_kw.min(axis=0) > added_kw.sum(axis=0)
    fits = (power > 0) & (power + added_kw <= problem.limit_kw[vehicles]) & has_room
    step = np.argmax(fits, axis=1)
    can = fits[np.arange(len(vehicles)), step]
    chosen, step = vehicles[can], step[can]
    added = np.zeros_like(setpoint_kw)
    added[chosen, step] = added_kw[np.flatnonzero(can), step]
    setpoint_kw += added
    left.take_all(added)
    missing_kwh[chosen] = 0.0


def within_stored(
    problem: ChargingProblem, setpoint_kw: Array, battery_kw: Array | None = None
) -> Array:
    """Lower what batteries cannot take or give at the time, and what then exceeds the site.

    Giving less raises the load, which can take power from others, so both are done in turn.
    """
    vehicles = np.flatnonzero(_depends_on_charge(problem)).tolist()
    for _ in range(ROUNDS if vehicles else 0):
        before_kw, setpoint_kw = setpoint_kw, setpoint_kw.copy()
        for vehicle in vehicles:
            setpoint_kw[vehicle] = _possible_in_turn(problem, setpoint_kw[vehicle], vehicle)
        setpoint_kw = brought_within(SharedLimits.of(problem, battery_kw=battery_kw), setpoint_kw)
        if np.array_equal(before_kw, setpoint_kw):
            break
    return setpoint_kw


def _possible_in_turn(problem: ChargingProblem, setpoint_kw: Array, vehicle: int) -> Array:
    """One vehicle's setpoints, shape (steps,), as far as its battery allows step after step."""
    changed_kw = setpoint_kw.copy()
    efficiency, held_kwh = float(problem.charging_efficiency[vehicle]), 0.0
    taper, v2g = problem.taper, problem.v2g
    for step, hours in enumerate(problem.available_h[vehicle]):
        power = float(setpoint_kw[step])
        if power > 0:
            if taper is not None and taper.slope_kw_per_kwh[vehicle] > 0:
                slope, knee_kwh = taper.slope_kw_per_kwh[vehicle], taper.knee_kwh[vehicle]
                falling_kw = taper.power_kw[vehicle] + slope * (knee_kwh - held_kwh)
                falls_h = taper.binds_at * hours * efficiency
                power = max(0.0, min(power, falling_kw / (1 + slope * falls_h)))
            if v2g is not None and v2g.discharge_limit_kw[vehicle].any():
                room_kwh = v2g.capacity_kwh[vehicle] - v2g.energy_kwh[vehicle] - held_kwh
                power = max(0.0, min(power, room_kwh / (hours * efficiency)))
            held_kwh += power * hours * efficiency
        elif power < 0 and v2g is not None:
            lowest_kwh = min(0.0, v2g.floor_kwh[vehicle] - v2g.energy_kwh[vehicle])
            given_kwh = max(0.0, held_kwh - lowest_kwh) * v2g.efficiency[vehicle]
            power = -min(-power, given_kwh / hours)
            held_kwh += power * hours / v2g.efficiency[vehicle]
        changed_kw[step] = power
    return changed_kw


def topped_up(problem: ChargingProblem, setpoint_kw: Array, left: SharedLimits) -> Array:
    """Give vehicles what they miss where there is room, the cheapest steps first.

    Vehicles that would hold too much are left as they are.

    Args:
        problem: The site.
        setpoint_kw: Setpoints within every limit, shape (vehicles, steps).
        left: What they leave of the shared limits; used up here.
    """
    setpoint_kw = setpoint_kw.copy()
    efficiency = problem.charging_efficiency
    missing_kwh = problem.demand_kwh - problem.battery_energy_kwh(setpoint_kw).sum(axis=1)
    missing_kwh[_has_no_room(problem, setpoint_kw, missing_kwh)] = 0.0
    _fill_noise(problem, setpoint_kw, missing_kwh, left)
    falls = _falls(problem)
    open_steps = np.any(left.room_kw[:1] > 0, axis=0)
    for vehicle in np.flatnonzero(missing_kwh > EXACT_KWH).tolist():
        hours = problem.available_h[vehicle] * efficiency[vehicle]
        usable_kw = np.where(hours > 0, problem.limit_kw[vehicle], 0.0) - setpoint_kw[vehicle]
        usable_kw = np.where(open_steps & (setpoint_kw[vehicle] >= 0), usable_kw, 0.0)
        if not usable_kw.any():
            continue
        room_kw = np.minimum(np.maximum(usable_kw, 0.0), left.left_kw(vehicle))
        if room_kw @ hours <= EXACT_KWH:
            continue
        cost = problem.price_eur_per_kwh + problem.preference_eur_per_kwh[vehicle]
        order = np.argsort(cost, kind="stable")
        room_kwh = (room_kw * hours)[order]
        before_kwh = np.cumsum(room_kwh) - room_kwh
        added_kwh = np.empty_like(room_kwh)
        added_kwh[order] = np.clip(missing_kwh[vehicle] - before_kwh, 0.0, room_kwh)
        added_kw = np.minimum(power_kw(added_kwh, hours), room_kw)
        if falls[vehicle]:
            more_kw = _possible_in_turn(problem, setpoint_kw[vehicle] + added_kw, vehicle)
            added_kw = more_kw - setpoint_kw[vehicle]
            if added_kw @ hours <= EXACT_KWH:
                continue
        setpoint_kw[vehicle] += added_kw
        left.take(vehicle, added_kw)
    return setpoint_kw


def power_kw(energy_kwh: Array, hours: Array) -> Array:
    """Power that gives this energy in these hours; 0 where there is no time."""
    return np.asarray(np.where(hours > 0, energy_kwh / np.where(hours > 0, hours, 1.0), 0.0))


def cheapest_first(cost: Array, room_kwh: Array, demand_kwh: Array) -> Array:
    """Fill each vehicle's steps from the cheapest, the earlier of equals first.

    Args:
        cost: What orders the steps, shape (vehicles, steps).
        room_kwh: Highest energy of each step, shape (vehicles, steps).
        demand_kwh: Energy to place, shape (vehicles,).

    Returns:
        Energy of each step, shape (vehicles, steps).
    """
    order = np.argsort(cost, axis=1, kind="stable")
    sorted_kwh = np.take_along_axis(room_kwh, order, axis=1)
    before_kwh = np.cumsum(sorted_kwh, axis=1) - sorted_kwh
    filled_kwh = np.clip(demand_kwh[:, None] - before_kwh, 0.0, sorted_kwh)
    energy_kwh = np.empty_like(room_kwh)
    np.put_along_axis(energy_kwh, order, filled_kwh, axis=1)
    return energy_kwh


def _within_own_limits(problem: ChargingProblem, setpoint_kw: Array) -> Array:
    is_noise = np.abs(setpoint_kw) * problem.available_h < NOISE_KWH
    usable_kw = np.where(problem.available_h > 0, problem.limit_kw, 0.0)
    lowest_kw: Array | float = 0.0
    if problem.v2g is not None:
        lowest_kw = -np.where(problem.available_h > 0, problem.v2g.discharge_limit_kw, 0.0)
    return np.asarray(np.clip(np.where(is_noise, 0.0, setpoint_kw), lowest_kw, usable_kw))


def _without_excess_energy(problem: ChargingProblem, setpoint_kw: Array) -> Array:
    """Lower the charging of vehicles that would get more than their demand."""
    stored_kwh = problem.battery_energy_kwh(setpoint_kw)
    charged_kwh = np.maximum(stored_kwh, 0.0).sum(axis=1)
    excess_kwh = stored_kwh.sum(axis=1) - problem.demand_kwh
    share = 1 - np.maximum(excess_kwh, 0.0) / np.where(charged_kwh > 0, charged_kwh, 1.0)
    return np.asarray(np.where(setpoint_kw > 0, setpoint_kw * share[:, None], setpoint_kw))


def _has_no_room(problem: ChargingProblem, setpoint_kw: Array, missing_kwh: Array) -> Array:
    """Vehicles that what they miss cannot simply be added to, shape (vehicles,)."""
    if problem.v2g is None or not setpoint_kw.shape[1]:
        return np.zeros(len(missing_kwh), dtype=bool)
    fullest_kwh = problem.battery_energy_kwh(setpoint_kw).cumsum(axis=1).max(axis=1)
    room_kwh = problem.v2g.capacity_kwh - problem.v2g.energy_kwh - fullest_kwh
    return np.asarray(room_kwh < missing_kwh)


def _falls(problem: ChargingProblem) -> npt.NDArray[np.bool_]:
    """Vehicles whose power falls when they get full, shape (vehicles,)."""
    if problem.taper is None:
        return np.zeros(len(problem.demand_kwh), dtype=bool)
    return np.asarray(problem.taper.slope_kw_per_kwh > 0)


def _depends_on_charge(problem: ChargingProblem) -> npt.NDArray[np.bool_]:
    """Vehicles whose limits depend on what they hold, shape (vehicles,)."""
    depends = _falls(problem)
    if problem.v2g is not None:
        depends |= (problem.v2g.discharge_limit_kw > 0).any(axis=1)
    return depends
