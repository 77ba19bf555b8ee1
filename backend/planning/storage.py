"""A stationary battery beside vehicles whose setpoints are fixed."""

import numpy as np

from backend.planning.equipment import Battery
from backend.planning.problem import Array, ChargingProblem


def settled(problem: ChargingProblem, setpoint_kw: Array, battery_kw: Array | None) -> Array | None:
    """The battery's power, shape (steps,), as far as it can hold it and the export limit allows.

    What rounding took from vehicles, setpoints of shape (vehicles, steps), is not exported instead.
    """
    if problem.battery is None or battery_kw is None:
        return None
    export_kw = 0.0 if problem.grid is None else problem.grid.export_limit_kw
    lowest_kw = -setpoint_kw.sum(axis=0) - problem.base_load_kw - export_kw
    return _possible(problem.battery, np.maximum(battery_kw, lowest_kw), problem.step_h)


def _possible(battery: Battery, wanted_kw: Array, hours: Array) -> Array:
    """What the battery can take and give of this, step after step."""
    one_way, held_kwh = float(np.sqrt(battery.efficiency)), battery.energy_kwh
    power_kw = np.clip(wanted_kw, -battery.power_kw, battery.power_kw)
    for step, hour in enumerate(hours):
        if power_kw[step] > 0:
            room_kwh = battery.capacity_kwh - held_kwh
            power_kw[step] = min(power_kw[step], max(room_kwh, 0.0) / (one_way * hour))
            held_kwh += power_kw[step] * one_way * hour
        else:
            power_kw[step] = -min(-power_kw[step], max(held_kwh, 0.0) * one_way / hour)
            held_kwh += power_kw[step] / one_way * hour
    return power_kw
