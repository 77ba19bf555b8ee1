"""A simulated fleet: what vehicles drive, when they are plugged in, and what energy costs.

One step is an hour. Losses of charging are left out, so that plan and simulation agree.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]
Labels: TypeAlias = NDArray[np.int8]

STEP_H = 1.0
HOURS = 24
ACTIONS = ("charge", "discharge", "idle")
CHARGE, DISCHARGE, IDLE = range(3)
FLOOR_SOC = 0.1
"""No discharging below this share of the battery."""

LOW, HIGH = 0.3, 0.7
"""Thresholds of the rule, on SoC and on the normalised price."""

_DAY_PARKER_SHARE = 0.4
_WORLD_STREAM = 1


@dataclass(frozen=True, slots=True)
class PriceScale:
    """Which prices count as 0 and as 1: the lowest and highest of the simulated time.

    Attributes:
        low_eur_per_kwh: Normalised to 0.
        high_eur_per_kwh: Normalised to 1.
    """

    low_eur_per_kwh: float
    high_eur_per_kwh: float

    def share(self, price_eur_per_kwh: Floats) -> Floats:
        """Prices as numbers from 0 to 1; what lies outside the scale is its end."""
        width = self.high_eur_per_kwh - self.low_eur_per_kwh
        raw = (np.asarray(price_eur_per_kwh) - self.low_eur_per_kwh) / (width or 1.0)
        return np.clip(raw, 0.0, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class FleetWorld:
    """Vehicles and what happens to them, step by step from a midnight on.

    Attributes:
        capacity_kwh: Of each battery, shape (vehicles,).
        power_kw: Highest power in and out, shape (vehicles,).
        start_soc: Share of the battery that is full at the beginning, shape (vehicles,).
        is_plugged_in: Shape (vehicles, steps).
        drive_kwh: What driving takes in each step, shape (vehicles, steps).
        cycle_start_h: Hour of day at which a vehicle is away whatever it does: its plans begin
            there, shape (vehicles,).
        price_eur_per_kwh: For drawing and giving alike, shape (steps,).
    """

    capacity_kwh: Floats
    power_kw: Floats
    start_soc: Floats
    is_plugged_in: Flags
    drive_kwh: Floats
    cycle_start_h: NDArray[np.int64]
    price_eur_per_kwh: Floats

    @property
    def vehicles(self) -> int:
        """How many there are."""
        return len(self.capacity_kwh)

    @property
    def steps(self) -> int:
        """How long it lasts."""
        return len(self.price_eur_per_kwh)

    @property
    def hour(self) -> Floats:
        """Hour of day of each step, shape (steps,)."""
        return (np.arange(self.steps) % HOURS).astype(np.float64)

    @property
    def scale(self) -> PriceScale:
        """The ends of its prices."""
        return PriceScale(float(self.price_eur_per_kwh.min()), float(self.price_eur_per_kwh.max()))


@dataclass(frozen=True, slots=True, eq=False)
class FleetLife:
    """What the vehicles of a world did.

    Attributes:
        soc: Share of the battery that is full when a step begins, shape (vehicles, steps).
        action: What a teacher says is right there, an index into `ACTIONS`, (vehicles, steps).
        energy_kwh: What flowed into the battery, negative out of it, (vehicles, steps).
    """

    soc: Floats
    action: Labels
    energy_kwh: Floats


def make_world(vehicles: int, steps: int, *, seed: int) -> FleetWorld:
    """Draw a fleet: home and depot vehicles there at night, commuters there by day.

    Raises:
        ValueError: If there would be nobody or no time.
    """
    if vehicles < 1 or steps < 1:
        raise ValueError("A fleet has at least one vehicle and one step.")
    rng = np.random.default_rng([seed, _WORLD_STREAM])
    by_day = rng.random(vehicles) < _DAY_PARKER_SHARE
    capacity_kwh = rng.uniform(40.0, 80.0, vehicles)
    plugged, drive_kwh = _days(rng, by_day, steps)
    return FleetWorld(
        capacity_kwh=capacity_kwh,
        power_kw=rng.choice([7.4, 11.0], vehicles),
        start_soc=rng.uniform(0.4, 0.9, vehicles),
        is_plugged_in=plugged,
        drive_kwh=drive_kwh,
        cycle_start_h=np.where(by_day, 0, HOURS // 2),
        price_eur_per_kwh=_prices(rng, steps),
    )


def _days(rng: np.random.Generator, by_day: Flags, steps: int) -> tuple[Flags, Floats]:
    """When each vehicle is there, and its trips in the hours beside."""
    days, vehicles = -(-steps // HOURS), len(by_day)
    habit = rng.uniform(5.0, 18.0, vehicles)  # kWh of a day's driving
    arrival = np.where(by_day, 8, 18)[:, None] + rng.integers(-1, 2, (vehicles, days))
    departure = np.where(by_day, 16, 7)[:, None] + rng.integers(-1, 2, (vehicles, days))
    hour = np.arange(HOURS)[None, None, :]
    since, until = arrival[:, :, None], departure[:, :, None]
    there = np.where(
        by_day[:, None, None],
        (hour >= since) & (hour < until),
        (hour >= since) | (hour < until),
    )
    trip_kwh = habit[:, None] / 2 * rng.uniform(0.7, 1.3, (vehicles, days))
    drives = ((hour == since - 1) | (hour == until)) * trip_kwh[:, :, None]
    shape = (vehicles, days * HOURS)
    return there.reshape(shape)[:, :steps], drives.reshape(shape)[:, :steps]


def _prices(rng: np.random.Generator, steps: int) -> Floats:
    """Day-ahead prices with a morning and an evening peak and dearer and cheaper days."""
    hour, day = np.arange(steps) % HOURS, np.arange(steps) // HOURS
    morning, evening = np.exp(-(((hour - 8) / 2) ** 2)), np.exp(-(((hour - 19) / 2.5) ** 2))
    sun = np.exp(-(((hour - 13) / 2) ** 2))
    level = rng.uniform(0.85, 1.2, day[-1] + 1)[day]
    shape = 0.16 + 0.14 * morning + 0.24 * evening - 0.08 * sun
    return np.asarray(np.maximum(0.01, level * shape + rng.normal(0.0, 0.02, steps)))


Decide = Callable[[int, Floats], tuple[Labels, Floats]]
"""Takes step and SoC, shape (vehicles,); gives actions and powers in kW, shape (vehicles,)."""


def live(world: FleetWorld, decide: Decide) -> FleetLife:
    """Let a teacher drive the fleet; batteries and plugs bound what it asks for."""
    shape = (world.vehicles, world.steps)
    soc, energy_kwh = np.zeros(shape), np.zeros(shape)
    action = np.full(shape, IDLE, dtype=np.int8)
    held_kwh = world.start_soc * world.capacity_kwh
    for step in range(world.steps):
        soc[:, step] = held_kwh / world.capacity_kwh
        action[:, step], power_kw = decide(step, soc[:, step])
        energy_kwh[:, step] = _flow(world, step, held_kwh, power_kw)
        held_kwh = held_kwh + energy_kwh[:, step] - world.drive_kwh[:, step]
        held_kwh = np.maximum(held_kwh, 0.0)  # an empty vehicle is towed
    return FleetLife(soc, action, energy_kwh)


def _flow(world: FleetWorld, step: int, held_kwh: Floats, power_kw: Floats) -> Floats:
    room_kwh = world.capacity_kwh - held_kwh
    to_give_kwh = np.maximum(held_kwh - FLOOR_SOC * world.capacity_kwh, 0.0)
    wanted_kwh = np.clip(power_kw, -world.power_kw, world.power_kw) * STEP_H
    flow = np.minimum(np.maximum(wanted_kwh, -to_give_kwh), room_kwh)
    return np.where(world.is_plugged_in[:, step], flow, 0.0)


def rule(soc: Floats, price_share: Floats) -> Labels:
    """Charge if SoC or price is low, discharge if both are high, else idle.

    Args:
        soc: Share of the battery that is full.
        price_share: The price normalised to 0..1, see `PriceScale`.
    """
    is_low, are_high = (soc < LOW) | (price_share < LOW), (soc > HIGH) & (price_share > HIGH)
    return np.select([is_low, are_high], [CHARGE, DISCHARGE], IDLE).astype(np.int8)


def live_by_rule(world: FleetWorld) -> FleetLife:
    """Let `rule` drive the fleet at full power."""
    price_share = world.scale.share(world.price_eur_per_kwh)
    sign = np.array([1.0, -1.0, 0.0])

    def _decide(step: int, soc: Floats) -> tuple[Labels, Floats]:
        action = rule(soc, np.full_like(soc, price_share[step]))
        return action, sign[action] * world.power_kw

    return live(world, _decide)
