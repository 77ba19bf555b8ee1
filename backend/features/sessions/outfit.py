"""Equipment of a site and its vehicles as the optional parts of the planner's problem.

What nobody stated is left out, so that a site with nothing but chargers stays the plain problem.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, TypedDict

import numpy as np

from backend.features.sessions.situation import Situation
from backend.features.sessions.stay_terms import Abilities
from backend.features.sites.equipment import members_of
from backend.features.sites.limits import limit_curve
from backend.planning.charging_losses import efficiency_curve
from backend.planning.curve import EfficiencyCurve
from backend.planning.equipment import Battery, GroupLimit, Phases, Taper, Tiers, VehicleToGrid
from backend.planning.problem import Array

CONNECTION: Final = "connection"
FINE_LEVELS = 200
"""So many settings stand for any power, beside chargers that know only some."""

ROOMY_KWH = 1e6
"""A battery of which nothing is known is not what limits a vehicle."""


class Parts(TypedDict):
    """The optional parts of a problem that vehicles and site bring with them."""

    efficiency: Array | None
    efficiency_curve: EfficiencyCurve | None
    min_power_kw: Array | None
    levels_kw: Array | None
    tiers: Tiers | None
    phases: Phases | None
    taper: Taper | None
    v2g: VehicleToGrid | None
    battery: Battery | None


def parts(situation: Situation, available_h: Array, *, gone: Array) -> Parts:
    """Every optional part that something was stated for.

    Args:
        situation: The site.
        available_h: Hours of each step that a vehicle is there, shape (sessions, steps).
        gone: 1 where such drivers have usually left, shape (sessions, steps).
    """
    all_ = [one.abilities for one in situation.sessions]
    kept_share = np.array([1 - one.losses.conversion_loss for one in all_])
    curve = _efficiency_curve(situation)
    min_power_kw = np.array([one.min_power_kw for one in all_])
    return Parts(
        efficiency=kept_share if curve is None and np.any(kept_share < 1) else None,
        efficiency_curve=curve,
        min_power_kw=min_power_kw if min_power_kw.any() else None,
        levels_kw=_levels(situation),
        tiers=_tiers(situation),
        phases=_phases(situation),
        taper=_taper(situation),
        v2g=_vehicle_to_grid(all_, np.where(gone > 0, 0.0, available_h)),
        battery=_battery(situation),
    )


def is_steady(abilities: Abilities) -> bool:
    """Whether a vehicle can be given any power up to its highest for all of its stay."""
    return abilities.knee_kwh is None and not abilities.levels_kw


def groups(situation: Situation, edges: Sequence[datetime]) -> tuple[GroupLimit, ...]:
    """The limits of the tree that the vehicles below them could exceed together."""
    timed = situation.surroundings.limits
    equipment = situation.surroundings.equipment
    if not equipment.limits:
        return ()
    below, found = members_of(equipment), []
    for node in equipment.limits:
        lasting_kw = node.power_kw(equipment.voltage_v)
        limit_kw = np.array(limit_curve(timed, lasting_kw, edges, node=node.name))
        rows = [
            place
            for place, one in enumerate(situation.sessions)
            if one.abilities.charger_did in below[node.name]
        ]
        highest_kw = sum(situation.sessions[place].effective_power_kw for place in rows)
        lowest_kw = sum(situation.sessions[place].abilities.discharge_kw for place in rows)
        if np.any(max(highest_kw, lowest_kw) > limit_kw):
            found.append(GroupLimit(tuple(rows), limit_kw, name=node.name))
    return tuple(found)


def _efficiency_curve(situation: Situation) -> EfficiencyCurve | None:
    """Efficiencies by power, where a vehicle draws something beside what it charges."""
    sessions = situation.sessions
    if all(one.abilities.losses.standby_kw == 0 for one in sessions):
        return None
    curves = [
        efficiency_curve(np.array([one.effective_power_kw]), one.abilities.losses)
        for one in sessions
    ]
    return EfficiencyCurve(
        np.concatenate([one.power_kw for one in curves]),
        np.concatenate([one.efficiency for one in curves]),
    )


def _tiers(situation: Situation) -> Tiers | None:
    reserve_kwh = np.array([one.abilities.reserve_kwh for one in situation.sessions])
    comfort_kwh = np.array([one.abilities.comfort_kwh for one in situation.sessions])
    if not (reserve_kwh.any() or comfort_kwh.any()):
        return None
    demand_kwh = np.array([one.remaining_kwh for one in situation.sessions])
    reserve_kwh = np.minimum(reserve_kwh, demand_kwh)
    return Tiers(reserve_kwh, np.maximum(demand_kwh - reserve_kwh - comfort_kwh, 0.0))


def _levels(situation: Situation) -> Array | None:
    """The settings of each charger, shape (sessions, levels); the highest is repeated."""
    known = [one.abilities.levels_kw for one in situation.sessions]
    if not any(known):
        return None
    rows = [
        np.array(levels) if levels else _any_power(one.effective_power_kw, one.abilities)
        for one, levels in zip(situation.sessions, known, strict=True)
    ]
    longest = max(len(row) for row in rows)
    return np.array([np.pad(row, (0, longest - len(row)), mode="edge") for row in rows])


def _any_power(power_kw: float, abilities: Abilities) -> Array:
    least_kw = abilities.min_power_kw or power_kw / FINE_LEVELS
    return np.linspace(min(least_kw, power_kw), power_kw, FINE_LEVELS)


def _phases(situation: Situation) -> Phases | None:
    board = situation.surroundings.equipment.phases
    if board is None or not situation.sessions:
        return None
    return Phases(
        phase=np.array([one.abilities.phase for one in situation.sessions], dtype=np.intp),
        limit_a=np.array(board.limit_a, dtype=np.float64),
        voltage_v=board.voltage_v,
        unbalance_a=board.max_unbalance_a,
    )


def _taper(situation: Situation) -> Taper | None:
    all_ = [one.abilities for one in situation.sessions]
    if all(one.knee_kwh is None for one in all_):
        return None
    return Taper(
        knee_kwh=np.array([ROOMY_KWH if one.knee_kwh is None else one.knee_kwh for one in all_]),
        power_kw=np.array([one.effective_power_kw for one in situation.sessions]),
        slope_kw_per_kwh=np.array([one.slope_kw_per_kwh for one in all_]),
    )


def _vehicle_to_grid(all_: list[Abilities], available_h: Array) -> VehicleToGrid | None:
    if not any(one.discharge_kw for one in all_):
        return None
    discharge_kw = np.array([one.discharge_kw for one in all_])
    gives = discharge_kw > 0
    return VehicleToGrid(
        discharge_limit_kw=np.where(available_h > 0, discharge_kw[:, None], 0.0),
        energy_kwh=np.where(gives, np.array([one.held_kwh or 0.0 for one in all_]), 0.0),
        capacity_kwh=np.where(gives, np.array([one.capacity_kwh for one in all_]), ROOMY_KWH),
        floor_kwh=np.where(gives, np.array([one.floor_kwh for one in all_]), 0.0),
        wear_eur_per_kwh=np.array([one.wear_eur_per_kwh for one in all_]),
        efficiency=np.array([one.discharge_efficiency for one in all_]),
    )


def _battery(situation: Situation) -> Battery | None:
    """The part of the stationary battery above the charge that it always keeps."""
    battery, held_kwh = situation.surroundings.equipment.battery, situation.surroundings.battery_kwh
    if battery is None or held_kwh is None:
        return None
    kept_kwh = battery.capacity_kwh * battery.min_soc_percent / 100
    return Battery(
        power_kw=battery.max_power_kw,
        capacity_kwh=battery.capacity_kwh - kept_kwh,
        energy_kwh=max(0.0, min(held_kwh, battery.capacity_kwh) - kept_kwh),
        efficiency=battery.round_trip_efficiency,
        wear_eur_per_kwh=battery.wear_eur_per_kwh,
    )
