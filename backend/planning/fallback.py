"""Plans made without solving: the safe one if the optimiser fails, and the uncontrolled one."""

import numpy as np
import numpy.typing as npt

from backend.planning.costs import departure_h
from backend.planning.limits import SharedLimits
from backend.planning.problem import Array, ChargingPlan, ChargingProblem
from backend.planning.rounding import settable


def earliest_deadline(problem: ChargingProblem) -> ChargingPlan:
    """Charge at once, who leaves first being served first; always within every limit.

    Vehicles that leave at the same time are served by urgency, then in order of arrival. Neither
    vehicles nor the stationary battery give energy.
    """
    order = np.lexsort((-problem.urgency, departure_h(problem)))
    setpoint_kw = _served_in_order(problem.at_best_efficiency(), order)
    return ChargingPlan.of(problem, setpoint_kw, method="fallback")


def uncontrolled(problem: ChargingProblem) -> ChargingPlan:
    """Charge at full power on arrival, first come first served: the cost of not being smart."""
    first_step = np.argmax(problem.available_h > 0, axis=1) if problem.available_h.size else []
    order = np.argsort(np.asarray(first_step, dtype=np.intp), kind="stable")
    setpoint_kw = _served_in_order(problem.at_best_efficiency(), order)
    return ChargingPlan.of(problem, setpoint_kw, method="uncontrolled")


def _served_in_order(problem: ChargingProblem, order: npt.NDArray[np.intp]) -> Array:
    """Give each vehicle in turn what it can take of what is left, as early as it can be set."""
    setpoint_kw = np.zeros_like(problem.limit_kw)
    left = SharedLimits.of(problem)
    efficiency = problem.charging_efficiency
    for vehicle in order:
        hours = problem.available_h[vehicle] * efficiency[vehicle]
        usable_kw = np.where(hours > 0, problem.limit_kw[vehicle], 0.0)
        room_kw = np.minimum(usable_kw, left.left_kw(vehicle))
        setpoint_kw[vehicle] = _as_early(problem, vehicle, room_kw, hours)
        left.take(vehicle, setpoint_kw[vehicle])
    return settable(problem, setpoint_kw)


def _as_early(problem: ChargingProblem, vehicle: int, room_kw: Array, hours: Array) -> Array:
    """Fill steps from the first until the demand is met, within a falling power if it has one."""
    demand_kwh, taper = problem.demand_kwh[vehicle], problem.taper
    if taper is not None and taper.slope_kw_per_kwh[vehicle] > 0:
        knee_kwh, power_kw = taper.knee_kwh[vehicle], taper.power_kw[vehicle]
        slope, charged_kwh, given_kw = taper.slope_kw_per_kwh[vehicle], 0.0, np.zeros(len(hours))
        for step, hour in enumerate(hours):
            falling_kw = power_kw + slope * (knee_kwh - charged_kwh)
            falling_kw = falling_kw / (1 + taper.binds_at * slope * hour)
            wanted_kw = (demand_kwh - charged_kwh) / hour if hour > 0 else 0.0
            given_kw[step] = max(0.0, min(room_kw[step], power_kw, falling_kw, wanted_kw))
            charged_kwh += given_kw[step] * hour
        return given_kw
    room_kwh = room_kw * hours
    before_kwh = np.cumsum(room_kwh) - room_kwh
    filled_kwh = np.clip(demand_kwh - before_kwh, 0.0, room_kwh)
    share = filled_kwh / np.where(room_kwh > 0, room_kwh, 1.0)
    return np.asarray(room_kw * share)
