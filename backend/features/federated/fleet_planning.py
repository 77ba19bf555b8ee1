"""The planner as a fleet's teacher: each stay planned day-ahead, energy out of vehicles allowed.

A vehicle is planned once a day, when it is away whatever it does, on what its battery will hold
when it is plugged in, and with the prices of the day. What the plan does is what was right.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from backend.federation.fleet_world import (
    CHARGE,
    DISCHARGE,
    HOURS,
    IDLE,
    STEP_H,
    Flags,
    FleetLife,
    FleetWorld,
    Floats,
    Labels,
    live,
)
from backend.planning.equipment import Grid, VehicleToGrid
from backend.planning.mpc import plan_charging
from backend.planning.problem import ChargingProblem

Indices: TypeAlias = NDArray[np.int64]

TARGET_SOC, RESERVE_SOC = 0.8, 0.3
WEAR_EUR_PER_KWH = 0.03
MOST_AT_ONCE = 250
"""Vehicles in one problem: they have nothing in common but the price."""

_NOTHING = 0.02
"""A setpoint of a smaller share of the vehicle's power is no deed."""


@dataclass(slots=True)
class _Plans:
    """The setpoints of every vehicle, filled in day by day, in kW, shape (vehicles, steps)."""

    world: FleetWorld
    setpoint_kw: Floats

    def decide(self, step: int, soc: Floats) -> tuple[Labels, Floats]:
        """What the plans say; new ones are made where a day begins."""
        for start_h in (0, HOURS // 2):
            if step == 0 or step % HOURS == start_h:
                group = np.flatnonzero(self.world.cycle_start_h == start_h)
                until = step + HOURS - (step - start_h) % HOURS
                for first in range(0, len(group), MOST_AT_ONCE):
                    chosen = group[first : first + MOST_AT_ONCE]
                    self._plan(chosen, step, min(until, self.world.steps), soc[chosen])
        power_kw = self.setpoint_kw[:, step]
        share = power_kw / self.world.power_kw
        action = np.select([share > _NOTHING, share < -_NOTHING], [CHARGE, DISCHARGE], IDLE)
        return action.astype(np.int8), power_kw

    def _plan(self, chosen: Indices, step: int, until: int, soc: Floats) -> None:
        world, span = self.world, slice(step, until)
        is_there = world.is_plugged_in[chosen, span]
        comes = is_there.any(axis=1)
        if not comes.any():
            return
        chosen, is_there, soc = chosen[comes], is_there[comes], soc[comes]
        before = np.cumsum(is_there, axis=1) == 0
        driven_kwh = (world.drive_kwh[chosen, span] * before).sum(axis=1)
        held_kwh = np.maximum(soc * world.capacity_kwh[chosen] - driven_kwh, 0.0)
        plan = plan_charging(_problem(world, chosen, span, is_there, held_kwh))
        self.setpoint_kw[chosen, span] = plan.setpoint_kw


def live_by_plan(world: FleetWorld) -> FleetLife:
    """Let the planner drive the fleet."""
    plans = _Plans(world, np.zeros((world.vehicles, world.steps)))
    return live(world, plans.decide)


def _problem(
    world: FleetWorld, chosen: Indices, span: slice, is_there: Flags, held_kwh: Floats
) -> ChargingProblem:
    """One day of some vehicles as one site whose connection never binds."""
    price, capacity_kwh = world.price_eur_per_kwh[span], world.capacity_kwh[chosen]
    limit_kw = world.power_kw[chosen, None] * is_there
    vehicles, steps = limit_kw.shape
    reserve_kwh = np.minimum(RESERVE_SOC * capacity_kwh, held_kwh)
    reachable_kwh = limit_kw.sum(axis=1) * STEP_H
    wanted_kwh = np.maximum(TARGET_SOC * capacity_kwh - held_kwh, 0.0)
    return ChargingProblem(
        step_h=np.full(steps, STEP_H),
        available_h=np.where(is_there, STEP_H, 0.0),
        limit_kw=limit_kw,
        demand_kwh=np.minimum(wanted_kwh, reachable_kwh),
        site_limit_kw=np.full(steps, float(limit_kw.sum()) + 1.0),
        price_eur_per_kwh=price,
        preference_eur_per_kwh=np.zeros((vehicles, steps)),
        urgency=np.ones(vehicles),
        grid=Grid(export_price_eur_per_kwh=price),
        v2g=VehicleToGrid(
            discharge_limit_kw=limit_kw,
            energy_kwh=held_kwh,
            capacity_kwh=capacity_kwh,
            floor_kwh=reserve_kwh,
            wear_eur_per_kwh=np.full(vehicles, WEAR_EUR_PER_KWH),
            efficiency=np.ones(vehicles),
        ),
    )
