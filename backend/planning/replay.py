"""Real days lived through again: a policy sees what had happened by then, and nothing else.

Every setpoint is judged before it is carried out. Nothing is corrected: a policy that breaks a
limit breaks it here too, and the replay says so.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from backend.planning.curve import EfficiencyCurve

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

TOLERANCE_KW = 1e-6
MET_KWH = 0.1
"""A vehicle that misses no more than this is fully served."""

FULL_KWH = 1e-9
LAST_POWER_SHARE = 0.25
"""Share of its power a battery still takes when it is nearly full."""

Code = Literal["negative_power", "plug_limit", "site_limit", "too_much_energy", "minimum_power"]


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """What a policy knows of the site from the start of the day.

    Attributes:
        step_h: Length of each step.
        price_eur_per_kwh: Purchase price, shape (steps,).
        limit_kw: Highest load, infinite if there is no limit, shape (steps,).
        demand_charge_eur_per_kw: Price of each kW of the day's peak.
    """

    step_h: float
    price_eur_per_kwh: Array
    limit_kw: Array
    demand_charge_eur_per_kw: float = 0.0

    @property
    def steps(self) -> int:
        """Steps of the day."""
        return len(self.price_eur_per_kwh)


@dataclass(frozen=True, slots=True, eq=False)
class Visits:
    """The vehicles of a day, in order of arrival; every array has shape (vehicles,).

    Attributes:
        arrival: Step in which each plugs in.
        departure: Step before which it unplugs, later than the arrival.
        demand_kwh: Energy it wants.
        max_kw: Highest power of plug and vehicle.
        stated_departure: Step the driver named; None where the truth is known.
        min_kw: Setpoint below which the charger is off; None is nothing.
        taper_kwh: Open energy below which the battery takes less and less; None is nothing.
        efficiency: Battery energy per energy drawn, by power; None is 1. The energies here are the
            battery's.
    """

    arrival: Indices
    departure: Indices
    demand_kwh: Array
    max_kw: Array
    stated_departure: Indices | None = None
    min_kw: Array | None = None
    taper_kwh: Array | None = None
    efficiency: EfficiencyCurve | None = None

    def battery_kw(self, power_kw: Array) -> Array:
        """What reaches the batteries of the power of every vehicle, both (vehicles, steps)."""
        return power_kw if self.efficiency is None else self.efficiency.battery_kw(power_kw)

    def accepted_kw(self, rows: Indices, open_kwh: Array) -> Array:
        """What plug and battery take, given the open energy of these vehicles."""
        if self.taper_kwh is None:
            return self.max_kw[rows]
        knee_kwh = np.maximum(self.taper_kwh[rows], FULL_KWH)
        share = LAST_POWER_SHARE + (1 - LAST_POWER_SHARE) * np.minimum(open_kwh / knee_kwh, 1.0)
        return np.asarray(self.max_kw[rows] * share)


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """What a policy knows at one step; arrays over vehicles that are there and not yet full.

    Attributes:
        site: The site, its limits and prices.
        step: The step whose setpoints are asked for.
        vehicles: Rows of the vehicles, in order of arrival, shape (vehicles,).
        arrival: Steps in which they came, shape (vehicles,).
        departure: Steps before which they are said to leave, after this one, shape (vehicles,).
        open_kwh: Energy still wanted, shape (vehicles,).
        limit_kw: Highest power plug and battery take now, shape (vehicles,).
        plug_kw: Rating of plug and vehicle, shape (vehicles,).
        min_kw: Setpoint below which a charger is off, shape (vehicles,).
        taper_kwh: Open energy below which batteries take less and less, shape (vehicles,).
        peak_kw: Highest load of the day so far.
        efficiency: Battery energy per energy drawn, by power; None is 1.
    """

    site: Site
    step: int
    vehicles: Indices
    arrival: Indices
    departure: Indices
    open_kwh: Array
    limit_kw: Array
    plug_kw: Array
    min_kw: Array
    taper_kwh: Array
    peak_kw: float
    efficiency: EfficiencyCurve | None = None

    @property
    def site_limit_kw(self) -> float:
        """Highest load of this step."""
        return float(self.site.limit_kw[self.step])

    @property
    def usable_kw(self) -> Array:
        """Highest power a vehicle can make use of in this step, shape (vehicles,)."""
        return np.minimum(self.limit_kw, self.filling_kw)

    @property
    def filling_kw(self) -> Array:
        """Power that would fill each vehicle in this step, shape (vehicles,)."""
        battery_kw = self.open_kwh / self.site.step_h
        if self.efficiency is None:
            return battery_kw
        return self.efficiency.drawn_kw(battery_kw[:, None])[:, 0]


Policy = Callable[[State], Array]
"""Gives the setpoint in kW of each vehicle of the state."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A setpoint that must not be.

    Attributes:
        code: What it breaks.
        step: In which step.
        excess_kw: By how much.
    """

    code: Code
    step: int
    excess_kw: float


@dataclass(frozen=True, slots=True, eq=False)
class Replay:
    """A day as a policy made it.

    Attributes:
        power_kw: Power of each vehicle, shape (vehicles, steps).
        violations: What the policy broke, in order of time.
        step_cpu_s: Processor time of each decision, shape (decisions,).
    """

    power_kw: Array
    violations: tuple[Violation, ...]
    step_cpu_s: Array


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a day came to.

    Attributes:
        vehicles: How many came.
        met: How many were fully served.
        demand_kwh: Energy wanted.
        delivered_kwh: Energy charged.
        peak_kw: Highest load.
        bill_eur: Energy and demand charge.
    """

    vehicles: int
    met: int
    demand_kwh: float
    delivered_kwh: float
    peak_kw: float
    bill_eur: float


def replay(site: Site, visits: Visits, policy: Policy) -> Replay:
    """Let a policy decide every step of a day.

    Raises:
        ValueError: If the policy's answer has a wrong shape or a value that is not finite.
    """
    power_kw = np.zeros((len(visits.demand_kwh), site.steps))
    open_kwh = visits.demand_kwh.astype(np.float64)
    found: list[Violation] = []
    cpu_s: list[float] = []
    for step in range(site.steps):
        state = _seen(site, visits, step, open_kwh=open_kwh, load_kw=power_kw[:, :step].sum(axis=0))
        if len(state.vehicles) == 0:
            continue
        began_s = time.process_time()
        setpoint_kw = np.asarray(policy(state), dtype=np.float64)
        cpu_s.append(time.process_time() - began_s)
        if setpoint_kw.shape != state.open_kwh.shape or not np.all(np.isfinite(setpoint_kw)):
            raise ValueError(f"setpoints of step {step} are not one number for each vehicle")
        found += _violations(state, setpoint_kw)
        drawn_kw = np.clip(setpoint_kw, 0.0, state.usable_kw)
        power_kw[state.vehicles, step] = drawn_kw
        stored_kw = visits.battery_kw(power_kw[:, step : step + 1])[state.vehicles, 0]
        open_kwh[state.vehicles] -= stored_kw * site.step_h
    return Replay(power_kw, tuple(found), np.array(cpu_s))


def outcome(site: Site, visits: Visits, power_kw: Array) -> Outcome:
    """What powers of shape (vehicles, steps) come to."""
    energy_kwh = visits.battery_kw(power_kw).sum(axis=1) * site.step_h
    load_kw = power_kw.sum(axis=0)
    peak_kw = float(load_kw.max(initial=0.0))
    energy_eur = float(load_kw @ site.price_eur_per_kwh) * site.step_h
    return Outcome(
        vehicles=len(visits.demand_kwh),
        met=int(np.sum(visits.demand_kwh - energy_kwh <= MET_KWH)),
        demand_kwh=float(visits.demand_kwh.sum()),
        delivered_kwh=float(energy_kwh.sum()),
        peak_kw=peak_kw,
        bill_eur=energy_eur + site.demand_charge_eur_per_kw * peak_kw,
    )


def _seen(site: Site, visits: Visits, step: int, *, open_kwh: Array, load_kw: Array) -> State:
    """What is known at the start of a step."""
    is_there = (visits.arrival <= step) & (step < visits.departure)
    rows = np.flatnonzero(is_there & (open_kwh > FULL_KWH))
    said = visits.departure if visits.stated_departure is None else visits.stated_departure
    return State(
        site=site,
        step=step,
        vehicles=rows,
        arrival=visits.arrival[rows],
        departure=np.clip(said[rows], step + 1, site.steps),
        open_kwh=open_kwh[rows].copy(),
        limit_kw=visits.accepted_kw(rows, open_kwh[rows]),
        plug_kw=visits.max_kw[rows],
        min_kw=_of(visits.min_kw, rows),
        taper_kwh=_of(visits.taper_kwh, rows),
        peak_kw=float(load_kw.max(initial=0.0)),
        efficiency=None if visits.efficiency is None else visits.efficiency.of(rows),
    )


def _of(values: Array | None, rows: Indices) -> Array:
    return np.zeros(len(rows)) if values is None else values[rows]


def _violations(state: State, setpoint_kw: Array) -> list[Violation]:
    """What the setpoints of one step break.

    A vehicle may be given less than the charger's minimum if it can use no more, and the minimum
    if it can use no more than less: it stops by itself.
    """
    needed_kw = np.maximum(state.filling_kw, state.min_kw)
    is_too_small = (setpoint_kw > TOLERANCE_KW) & (setpoint_kw < state.usable_kw - TOLERANCE_KW)
    excesses: tuple[tuple[Code, Array], ...] = (
        ("negative_power", -setpoint_kw),
        ("plug_limit", setpoint_kw - state.plug_kw),
        ("too_much_energy", setpoint_kw - needed_kw),
        ("site_limit", np.array([setpoint_kw.sum() - state.site_limit_kw])),
        ("minimum_power", np.where(is_too_small, state.min_kw - setpoint_kw, 0.0)),
    )
    worst = ((code, float(excess.max())) for code, excess in excesses)
    return [
        Violation(code, state.step, excess_kw)
        for code, excess_kw in worst
        if excess_kw > TOLERANCE_KW
    ]
