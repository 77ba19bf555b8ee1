"""How far a plan exceeds the optional parts of its problem, worked out from these alone.

Every check gives its code and an excess of shape (vehicles or 1, steps or 1): positive where the
plan breaks the problem.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np

from backend.planning.curve import EfficiencyCurve
from backend.planning.equipment import Battery, Phases, Taper, VehicleToGrid
from backend.planning.problem import Array, ChargingPlan, ChargingProblem

EquipmentCode = Literal[
    "group_limit",
    "export_limit",
    "line_current",
    "unbalance",
    "taper",
    "discharge_limit",
    "below_floor",
    "above_capacity",
    "battery_power",
    "battery_energy",
    "below_minimum_power",
    "between_levels",
]
Check = tuple[EquipmentCode, Array]


def equipment_checks(problem: ChargingProblem, plan: ChargingPlan) -> Iterator[Check]:
    """Every excess over an optional part of the problem."""
    power_kw = plan.setpoint_kw
    for group in problem.groups:
        load_kw = power_kw[list(group.vehicles)].sum(axis=0)
        yield "group_limit", (load_kw - group.limit_kw)[None]
    if problem.grid is not None:
        yield "export_limit", (plan.flows.export_kw - problem.grid.export_limit_kw)[None]
    if problem.phases is not None:
        yield from _phase_checks(problem.phases, power_kw)
    if problem.taper is not None:
        yield "taper", _over_taper_kw(problem, problem.taper, power_kw)
    if problem.v2g is not None:
        yield from _vehicle_to_grid_checks(problem, problem.v2g, power_kw)
    if problem.battery is not None:
        yield from _battery_checks(problem.battery, plan.flows.battery_kw, problem.step_h)
    yield from _setpoint_checks(problem, power_kw)


def _phase_checks(phases: Phases, power_kw: Array) -> Iterator[Check]:
    """Currents as phasors, 120 degrees apart, in kA of kW per V; excess in kW at that voltage."""
    pair_kw = np.stack([power_kw[phases.phase == pair].sum(axis=0) for pair in range(3)])
    pair_kw = pair_kw + power_kw[phases.phase == -1].sum(axis=0) / 3
    turn = np.exp(2j * np.pi / 3 * np.arange(3))[:, None]
    phasor = pair_kw * turn
    is_delta = phases.connection == "line_to_line"
    line = phasor - np.roll(phasor, 1, axis=0) if is_delta else phasor
    a_to_kw = phases.voltage_v / 1000
    yield "line_current", (np.abs(line) - phases.limit_a[:, None] * a_to_kw).max(0, keepdims=True)
    if phases.unbalance_a is not None:
        spread_kw = pair_kw.max(axis=0) - pair_kw.min(axis=0)
        yield "unbalance", (spread_kw - phases.unbalance_a * a_to_kw)[None]


def _over_taper_kw(problem: ChargingProblem, taper: Taper, power_kw: Array) -> Array:
    """Setpoints against the power that is left when they have to be within, (vehicles, steps)."""
    stored_kwh = _stored_kwh(problem, power_kw)
    charged_kwh = stored_kwh.cumsum(axis=1) - (1 - taper.binds_at) * stored_kwh
    beyond_kwh = np.maximum(charged_kwh - taper.knee_kwh[:, None], 0.0)
    slope = taper.slope_kw_per_kwh[:, None]
    over_kw = power_kw - np.maximum(taper.power_kw[:, None] - slope * beyond_kwh, 0.0)
    return np.where((slope > 0) & (power_kw > 0), over_kw, 0.0)


def _vehicle_to_grid_checks(
    problem: ChargingProblem, v2g: VehicleToGrid, power_kw: Array
) -> Iterator[Check]:
    allowed_kw = np.where(problem.available_h > 0, v2g.discharge_limit_kw, 0.0)
    yield "discharge_limit", -power_kw - allowed_kw
    held_kwh = v2g.energy_kwh[:, None] + _stored_kwh(problem, power_kw).cumsum(axis=1)
    lowest_kwh = np.minimum(v2g.floor_kwh, v2g.energy_kwh)[:, None]
    gives = np.any(power_kw < 0, axis=1, keepdims=True)
    yield "below_floor", np.where(gives, lowest_kwh - held_kwh, 0.0)
    yield "above_capacity", np.where(gives, held_kwh - v2g.capacity_kwh[:, None], 0.0)


def _stored_kwh(problem: ChargingProblem, power_kw: Array) -> Array:
    """Energy each step puts into each battery, shape (vehicles, steps)."""
    grid_kwh = power_kw * problem.available_h
    charging = 1.0 if problem.efficiency is None else problem.efficiency[:, None]
    giving = 1.0 if problem.v2g is None else problem.v2g.efficiency[:, None]
    charged_kwh = np.maximum(grid_kwh, 0.0) * charging
    if problem.efficiency_curve is not None:
        kept = kept_kw(problem.efficiency_curve, np.maximum(power_kw, 0.0))
        charged_kwh = kept * problem.available_h
    return charged_kwh + np.minimum(grid_kwh, 0.0) / giving


def kept_kw(curve: EfficiencyCurve, power_kw: Array) -> Array:
    """What reaches the batteries of powers of shape (vehicles, steps), vehicle by vehicle."""
    rows = []
    for at_kw, efficiency, drawn_kw in zip(curve.power_kw, curve.efficiency, power_kw, strict=True):
        kept = np.interp(drawn_kw, np.append(0.0, at_kw), np.append(0.0, at_kw * efficiency))
        rows.append(np.where(drawn_kw > at_kw[-1], drawn_kw * efficiency[-1], kept))
    return np.array(rows).reshape(power_kw.shape)


def _battery_checks(battery: Battery, battery_kw: Array, step_h: Array) -> Iterator[Check]:
    one_way = np.sqrt(battery.efficiency)
    grid_kwh = battery_kw * step_h
    stored_kwh = np.maximum(grid_kwh, 0.0) * one_way + np.minimum(grid_kwh, 0.0) / one_way
    held_kwh = battery.energy_kwh + stored_kwh.cumsum()
    yield "battery_power", (np.abs(battery_kw) - battery.power_kw)[None]
    yield "battery_energy", np.maximum(-held_kwh, held_kwh - battery.capacity_kwh)[None]
    if held_kwh.size:
        yield "battery_energy", np.array([[battery.energy_kwh - held_kwh[-1]]])


def _setpoint_checks(problem: ChargingProblem, power_kw: Array) -> Iterator[Check]:
    """Whether the chargers know the setpoints of the first step, where they are not off."""
    first_kw = power_kw[:, :1]
    is_on = first_kw > 0
    if problem.min_power_kw is not None:
        missing_kw = problem.min_power_kw[:, None] - first_kw
        yield "below_minimum_power", np.where(is_on, missing_kw, 0.0)
    if problem.levels_kw is not None and power_kw.shape[1]:
        known_kw = np.pad(problem.levels_kw, ((0, 0), (1, 0)))
        away_kw = np.abs(known_kw - first_kw).min(axis=1)
        yield "between_levels", np.where(is_on, away_kw[:, None], 0.0)
