"""Telemetry of vehicles whose real stays at chargers are known: simulated, and only that.

When a vehicle was plugged in, how long it charged and how much are taken as recorded; battery,
state of charge and the points' times are drawn. A vehicle charges only at these stays, so between
two of them its state of charge falls by what the next one needs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from backend.forecasting.history import BoolArray, FloatArray, IntArray
from backend.forecasting.telemetry_features import Trace

DAY_S = 86_400
NEVER_BELOW_PERCENT = 5.0


@dataclass(frozen=True, slots=True)
class SimulationSettings:
    """How telemetry is drawn.

    Attributes:
        seed: The same seed gives the same telemetry.
        step_min: Shortest and longest time between two points.
        gaps_per_day: Mean number of gaps that begin in a day.
        gap_h: Shortest, median and longest gap, log-normally spread.
        duplicate_share: Share of the points that come twice.
        shuffled_share: Share of the points that come after the next one.
        capacities_kwh: Batteries; a vehicle has one that holds its largest charge.
        charge_limits_percent: Where vehicles stop charging by themselves; each has its own.
        efficiency: Share of the metered energy that reaches the battery.
        taper: Power at the beginning and at the end of a charge differ from its mean by this share.
        driving_min: Time after leaving, and before coming, in which all driving is done.
        driving_share: Least and largest share of it that is done after leaving.
        soc_step_percent: Vehicles report multiples of this.
    """

    seed: int = 0
    step_min: tuple[float, float] = (1.0, 10.0)
    gaps_per_day: float = 0.12
    gap_h: tuple[float, float, float] = (2.0, 9.0, 96.0)
    duplicate_share: float = 0.01
    shuffled_share: float = 0.005
    capacities_kwh: tuple[float, ...] = (24.0, 40.0, 58.0, 75.0, 100.0)
    charge_limits_percent: tuple[float, ...] = (80.0, 90.0, 100.0)
    efficiency: float = 0.9
    taper: float = 0.3
    driving_min: float = 45.0
    driving_share: tuple[float, float] = (0.25, 0.75)
    soc_step_percent: float = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class RecordedStays:
    """The stays of one vehicle in order of time; arrays (stays,).

    Attributes:
        vehicle_id: The vehicle.
        plug_in_s: Seconds since 1970 in UTC.
        charge_end_s: When it stopped charging; the departure if it never did.
        plug_out_s: When it left.
        energy_kwh: What the meter counted.
    """

    vehicle_id: str
    plug_in_s: IntArray
    charge_end_s: IntArray
    plug_out_s: IntArray
    energy_kwh: FloatArray


def simulate(
    stays: RecordedStays,
    *,
    begin_s: int,
    end_s: int,
    settings: SimulationSettings | None = None,
    battery_capacity_kwh: float | None = None,
) -> Trace:
    """Telemetry of one vehicle, in the order in which it arrives: twice and late points included.

    Args:
        stays: When it was plugged in and what it charged.
        begin_s: First possible point, seconds since 1970.
        end_s: No point from here on.
        settings: How the telemetry is drawn.
        battery_capacity_kwh: Its battery, if that is known.
    """
    chosen = settings or SimulationSettings()
    rng = np.random.default_rng([chosen.seed, *stays.vehicle_id.encode()])
    stays = _apart(stays)
    capacity_kwh = battery_capacity_kwh or _capacity_kwh(stays, chosen, rng)
    knot_s, knot_percent = _soc_knots(stays, capacity_kwh, chosen, rng)
    at_s = _moments(begin_s, end_s, chosen, rng)
    soc = np.interp(at_s, knot_s, knot_percent) if len(knot_s) else np.full(len(at_s), 50.0)
    stay = np.searchsorted(stays.plug_in_s, at_s, side="right") - 1
    is_plugged_in = _within(stays.plug_out_s, stay, at_s)
    is_charging = _within(stays.charge_end_s, stay, at_s)
    return Trace(
        vehicle_id=stays.vehicle_id,
        battery_capacity_kwh=capacity_kwh,
        at_s=at_s,
        soc_percent=np.clip(
            np.round(soc / chosen.soc_step_percent) * chosen.soc_step_percent, 0, 100
        ),
        is_plugged_in=is_plugged_in.astype(np.int8),
        power_kw=np.where(is_charging, _power_kw(stays, stay, at_s, chosen), 0.0),
    )


def _apart(stays: RecordedStays) -> RecordedStays:
    """The stays that begin after the one before has ended, and give energy a vehicle can take."""
    order = np.argsort(stays.plug_in_s, kind="stable")
    before = np.maximum.accumulate(np.concatenate(([0], stays.plug_out_s[order][:-1])))
    order = order[(stays.plug_in_s[order] > before) & (stays.energy_kwh[order] > 0)]
    return RecordedStays(
        stays.vehicle_id,
        stays.plug_in_s[order],
        np.minimum(stays.charge_end_s[order], stays.plug_out_s[order]),
        stays.plug_out_s[order],
        stays.energy_kwh[order],
    )


def _capacity_kwh(stays: RecordedStays, chosen: SimulationSettings, rng: Generator) -> float:
    """A battery that takes its largest charge within three quarters of its capacity."""
    most_kwh = chosen.efficiency * float(stays.energy_kwh.max(initial=0.0))
    fitting = [one for one in chosen.capacities_kwh if one * 0.75 >= most_kwh]
    if not fitting:
        return most_kwh / 0.75
    return float(rng.choice(fitting[:2]))


def _soc_knots(
    stays: RecordedStays, capacity_kwh: float, chosen: SimulationSettings, rng: Generator
) -> tuple[FloatArray, FloatArray]:
    """State of charge at the moments between which it changes steadily.

    Who stops charging before leaving is full, up to the limit the vehicle has. Who does not leaves
    with at least what is there at the next arrival.
    """
    limit = float(rng.choice(chosen.charge_limits_percent))
    gained = 100 * chosen.efficiency * stays.energy_kwh / capacity_kwh
    limit = max(limit, float(gained.max(initial=0.0)) + NEVER_BELOW_PERCENT)
    is_full = stays.charge_end_s < stays.plug_out_s
    left = np.zeros(len(gained))
    needed = NEVER_BELOW_PERCENT
    for stay in reversed(range(len(gained))):
        least = max(needed, NEVER_BELOW_PERCENT + gained[stay])
        left[stay] = limit if is_full[stay] else min(limit, least)
        needed = left[stay] - gained[stay]
    came = left - gained
    times: list[float] = []
    values: list[float] = []
    for stay, soc_in in enumerate(came):
        share = rng.uniform(*chosen.driving_share)
        _drive(times, values, float(stays.plug_in_s[stay]), soc_in, share=share, chosen=chosen)
        shares = np.linspace(0, 1, 6)
        charge_s = stays.charge_end_s[stay] - stays.plug_in_s[stay]
        times += (stays.plug_in_s[stay] + shares * charge_s).tolist()
        curve = shares * (1 + chosen.taper * (1 - shares))
        values += (soc_in + gained[stay] * curve).tolist()
        times.append(float(stays.plug_out_s[stay]))
        values.append(float(left[stay]))
    return np.array(times), np.array(values)


def _drive(
    times: list[float],
    values: list[float],
    until_s: float,
    soc_percent: float,
    *,
    share: float,
    chosen: SimulationSettings,
) -> None:
    """A share of the driving after the last departure, the rest before this arrival."""
    if not times:
        return
    ride_s = min(60 * chosen.driving_min, (until_s - times[-1]) / 3)
    between = values[-1] + share * (soc_percent - values[-1])
    times += [times[-1] + ride_s, until_s - ride_s]
    values += [between, between]


def _moments(begin_s: int, end_s: int, chosen: SimulationSettings, rng: Generator) -> IntArray:
    """When points come: every few minutes but for gaps, some twice, some late."""
    shortest_s, longest_s = (60 * one for one in chosen.step_min)
    most = int((end_s - begin_s) / shortest_s) + 1
    expected = int(2 * (end_s - begin_s) / (shortest_s + longest_s) * 1.2) + 100
    steps = rng.uniform(shortest_s, longest_s, min(most, expected))
    at_s = (begin_s + np.cumsum(steps)).astype(np.int64)
    at_s = at_s[at_s < end_s]
    at_s = at_s[~_is_in_gap(at_s, begin_s, end_s, chosen, rng)]
    at_s = np.repeat(at_s, 1 + (rng.random(len(at_s)) < chosen.duplicate_share))
    late = np.flatnonzero(rng.random(max(len(at_s) - 1, 0)) < chosen.shuffled_share)
    for place in late:
        at_s[place], at_s[place + 1] = at_s[place + 1], at_s[place]
    return at_s


def _is_in_gap(
    at_s: IntArray, begin_s: int, end_s: int, chosen: SimulationSettings, rng: Generator
) -> BoolArray:
    shortest_h, median_h, longest_h = chosen.gap_h
    count = rng.poisson(chosen.gaps_per_day * (end_s - begin_s) / DAY_S)
    starts = rng.uniform(begin_s, end_s, count)
    length_h = np.clip(median_h * rng.lognormal(0.0, 0.9, count), shortest_h, longest_h)
    hidden = np.zeros(len(at_s), dtype=np.bool_)
    for start, hours in zip(starts, length_h, strict=True):
        hidden |= (at_s >= start) & (at_s < start + 3600 * hours)
    return hidden


def _within(end_s: IntArray, stay: IntArray, at_s: IntArray) -> BoolArray:
    if len(end_s) == 0:
        return np.zeros(len(at_s), dtype=np.bool_)
    return np.asarray((stay >= 0) & (at_s < end_s[np.maximum(stay, 0)]))


def _power_kw(
    stays: RecordedStays, stay: IntArray, at_s: IntArray, chosen: SimulationSettings
) -> FloatArray:
    """Charging power at the meter, falling over the charge."""
    if len(stays.plug_in_s) == 0:
        return np.zeros(len(at_s))
    place = np.maximum(stay, 0)
    length_s = np.maximum(stays.charge_end_s - stays.plug_in_s, 60)[place]
    share = np.clip((at_s - stays.plug_in_s[place]) / length_s, 0, 1)
    mean_kw = stays.energy_kwh[place] * 3600 / length_s
    return np.asarray(mean_kw * (1 + chosen.taper * (1 - 2 * share)))
