"""What a site may have beside chargers under one limit; each part is optional.

Every class says what is wrong with itself for a site of so many vehicles and steps; the problem
that holds it refuses it by name.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Shape = tuple[int, ...]

AnyPhase = -1
"""A charger that draws the same from all three phases."""


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """The connection to the grid: what else flows through it and what its peak costs.

    With it, the site limit is that of the connection: charging gets what base load and sun leave.
    Surplus sun is exported, or curtailed when that is worth more.

    Attributes:
        base_load_kw: What the site draws beside charging, shape (steps,); None is nothing.
        pv_kw: What the sun gives, shape (steps,); None is nothing.
        export_price_eur_per_kwh: What exported energy earns, shape (steps,); None is nothing. It
            counts as the purchase price where it is higher, because a meter sees only the sum.
        export_limit_kw: Highest export.
        demand_charge_eur_per_kw: Price of each kW of peak import above the free peak.
        peak_so_far_kw: Highest import of the billing period until now; it is paid anyway.
        expected_peak_kw: The peak that has to be expected anyway, such as that of like days.
    """

    base_load_kw: Array | None = None
    pv_kw: Array | None = None
    export_price_eur_per_kwh: Array | None = None
    export_limit_kw: float = float("inf")
    demand_charge_eur_per_kw: float = 0.0
    peak_so_far_kw: float = 0.0
    expected_peak_kw: float = 0.0

    @property
    def free_peak_kw(self) -> float:
        """The peak import that costs nothing more."""
        return max(self.peak_so_far_kw, self.expected_peak_kw)

    def faults(self, _vehicles: int, steps: int) -> Iterator[str]:
        """What cannot be."""
        arrays = {"base_load_kw": self.base_load_kw, "pv_kw": self.pv_kw}
        yield from _faults(arrays, (steps,))
        prices = {"export_price_eur_per_kwh": self.export_price_eur_per_kwh}
        yield from _faults(prices, (steps,), may_be_negative=True)
        for name in ("demand_charge_eur_per_kw", "peak_so_far_kw", "expected_peak_kw"):
            if not 0 <= getattr(self, name) < np.inf:
                yield f"{name} is negative or not finite"
        if not self.export_limit_kw >= 0:
            yield "export_limit_kw has a negative value"


@dataclass(frozen=True, slots=True, eq=False)
class GroupLimit:
    """A limit that some of the vehicles share; a tree of them is given one by one, in any order.

    Attributes:
        vehicles: Rows of the vehicles behind it.
        limit_kw: Highest sum of their setpoints, shape (steps,).
        name: What to call it.
    """

    vehicles: tuple[int, ...]
    limit_kw: Array
    name: str = "group"

    def faults(self, vehicles: int, steps: int) -> Iterator[str]:
        """What cannot be."""
        yield from _faults({"limit_kw": self.limit_kw}, (steps,))
        if any(not 0 <= vehicle < vehicles for vehicle in self.vehicles):
            yield "vehicles has a row that is not there"
        if len(set(self.vehicles)) < len(self.vehicles):
            yield "vehicles has a row twice"


@dataclass(frozen=True, slots=True, eq=False)
class Phases:
    """A three-phase connection with chargers between two lines or between a line and neutral.

    Attributes:
        phase: Where each charger is: 0, 1, 2 for AB, BC, CA (or A, B, C), -1 for all three alike,
            shape (vehicles,).
        limit_a: Highest current of the lines A, B and C, shape (3,).
        voltage_v: Voltage a charger sees between its terminals.
        connection: Whether single-phase chargers are between lines or between line and neutral.
        unbalance_a: Highest difference between the currents of two pairs (or phases); None if free.
    """

    phase: npt.NDArray[np.intp]
    limit_a: Array
    voltage_v: float = 230.0
    connection: Literal["line_to_line", "line_to_neutral"] = "line_to_neutral"
    unbalance_a: float | None = None

    def faults(self, vehicles: int, _steps: int) -> Iterator[str]:
        """What cannot be."""
        yield from _faults({"limit_a": self.limit_a}, (3,))
        if self.phase.shape != (vehicles,):
            yield f"phase has shape {self.phase.shape}, expected {(vehicles,)}"
        if np.any((self.phase < AnyPhase) | (self.phase > 2)):  # noqa: PLR2004 - three phases
            yield "phase has a value other than -1, 0, 1 or 2"
        if not 0 < self.voltage_v < np.inf:
            yield "voltage_v is not positive"
        if self.unbalance_a is not None and not self.unbalance_a >= 0:
            yield "unbalance_a has a negative value"


@dataclass(frozen=True, slots=True, eq=False)
class Tiers:
    """How much each kWh of a demand matters: first the reserve, then the trip, then comfort.

    Attributes:
        reserve_kwh: The part of the demand that keeps the battery safe, shape (vehicles,).
        trip_kwh: The part the trip takes; what the demand has beyond both is comfort, shape
            (vehicles,).
    """

    reserve_kwh: Array
    trip_kwh: Array

    def faults(self, vehicles: int, _steps: int) -> Iterator[str]:
        """What cannot be."""
        arrays = {"reserve_kwh": self.reserve_kwh, "trip_kwh": self.trip_kwh}
        yield from _faults(arrays, (vehicles,))


@dataclass(frozen=True, slots=True, eq=False)
class Taper:
    """Batteries that take less power when they get full.

    From the knee on the highest power falls by the slope with each kWh.

    Attributes:
        knee_kwh: Energy still to charge before the knee; negative beyond it, shape (vehicles,).
        power_kw: Highest power at the knee, shape (vehicles,).
        slope_kw_per_kwh: Fall of the highest power, 0 for a battery without, shape (vehicles,).
        binds_at: Share of the energy of a step after which its setpoint has to be within the
            falling power. At 1, the end, every setpoint can be held to the end of its step, which
            is the safe reading; 0 is for batteries that settle their power when a step begins.
    """

    knee_kwh: Array
    power_kw: Array
    slope_kw_per_kwh: Array
    binds_at: float = 1.0

    def possible_kwh(self, limit_kw: Array, hours: Array) -> Array:
        """Energy a battery alone could take, shape (vehicles,).

        Args:
            limit_kw: Highest setpoint, shape (vehicles, steps).
            hours: Battery energy per kW of setpoint, shape (vehicles, steps).
        """
        taken_kwh = np.zeros(len(self.knee_kwh))
        for limit, hour in zip(limit_kw.T, hours.T, strict=True):
            falling_kw = self.power_kw + self.slope_kw_per_kwh * (self.knee_kwh - taken_kwh)
            falling_kw = falling_kw / (1 + self.binds_at * self.slope_kw_per_kwh * hour)
            highest_kw = np.where(self.slope_kw_per_kwh > 0, np.minimum(limit, falling_kw), limit)
            taken_kwh += np.maximum(highest_kw, 0.0) * hour
        return taken_kwh

    def faults(self, vehicles: int, _steps: int) -> Iterator[str]:
        """What cannot be."""
        if not 0 <= self.binds_at <= 1:
            yield "binds_at is not between 0 and 1"
        yield from _faults({"knee_kwh": self.knee_kwh}, (vehicles,), may_be_negative=True)
        arrays = {"power_kw": self.power_kw, "slope_kw_per_kwh": self.slope_kw_per_kwh}
        yield from _faults(arrays, (vehicles,))


@dataclass(frozen=True, slots=True, eq=False)
class VehicleToGrid:
    """Vehicles that may give energy back.

    Attributes:
        discharge_limit_kw: Highest power out of each vehicle, shape (vehicles, steps).
        energy_kwh: What each battery holds now, shape (vehicles,).
        capacity_kwh: The most it can hold, shape (vehicles,).
        floor_kwh: What it is never discharged below, such as reserve and trip, shape (vehicles,).
        wear_eur_per_kwh: What each discharged kWh costs the battery, shape (vehicles,).
        efficiency: Energy given per energy taken from the battery, shape (vehicles,).
    """

    discharge_limit_kw: Array
    energy_kwh: Array
    capacity_kwh: Array
    floor_kwh: Array
    wear_eur_per_kwh: Array
    efficiency: Array

    def faults(self, vehicles: int, steps: int) -> Iterator[str]:
        """What cannot be."""
        yield from _faults({"discharge_limit_kw": self.discharge_limit_kw}, (vehicles, steps))
        names = ("energy_kwh", "capacity_kwh", "floor_kwh", "wear_eur_per_kwh", "efficiency")
        yield from _faults({name: getattr(self, name) for name in names}, (vehicles,))
        yield from _efficiency_faults(self.efficiency)


@dataclass(frozen=True, slots=True)
class Battery:
    """A stationary battery; it ends the horizon with at least what it holds now.

    Attributes:
        power_kw: Highest power in and out.
        capacity_kwh: The most it can hold.
        energy_kwh: What it holds now.
        efficiency: Energy out per energy in, half of the loss each way.
        wear_eur_per_kwh: What each discharged kWh costs the battery.
    """

    power_kw: float
    capacity_kwh: float
    energy_kwh: float
    efficiency: float = 0.9
    wear_eur_per_kwh: float = 0.0

    def faults(self, _vehicles: int, _steps: int) -> Iterator[str]:
        """What cannot be."""
        for name in ("power_kw", "capacity_kwh", "energy_kwh", "wear_eur_per_kwh"):
            if not 0 <= getattr(self, name) < np.inf:
                yield f"{name} is negative or not finite"
        if self.energy_kwh > self.capacity_kwh:
            yield "energy_kwh is above capacity_kwh"
        yield from _efficiency_faults(np.array([self.efficiency]))


def _faults(
    arrays: Mapping[str, Array | None], shape: Shape, *, may_be_negative: bool = False
) -> Iterator[str]:
    """What is wrong with arrays that should have this shape; None is fine."""
    for name, array in arrays.items():
        if array is None:
            continue
        if array.shape != shape:
            yield f"{name} has shape {array.shape}, expected {shape}"
        elif not np.all(np.isfinite(array)):
            yield f"{name} has a value that is not finite"
        elif not may_be_negative and np.any(array < 0):
            yield f"{name} has a negative value"


def _efficiency_faults(efficiency: Array) -> Iterator[str]:
    if not np.all((efficiency > 0) & (efficiency <= 1)):
        yield "efficiency is not above 0 and at most 1"
