"""Irregular telemetry made ready for learning: cleaned traces, lags, gaps, states by slot.

Points come every few minutes with gaps of hours to days, twice and out of order. Nothing is made
up across a gap: what would reach over it is NaN or unknown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from backend.forecasting.availability_history import (
    SLOT,
    UNKNOWN,
    PlugHistory,
    StateArray,
)
from backend.forecasting.history import BoolArray, FloatArray, IntArray

GAP_MIN = 240.0
"""Silence longer than this is a gap."""

LAGS = 3
FEWEST_POINTS = 48
SHORTEST_TRACE_H = 48.0

NOW_NAMES = (
    "age_min",
    "soc_percent",
    "power_percent_per_h",
    "since_last_min",
    "is_after_gap",
    *(f"soc_lag_{lag}" for lag in range(1, LAGS + 1)),
    *(f"soc_delta_{lag}" for lag in range(1, LAGS + 1)),
)


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """The telemetry of one vehicle, in order of time, one point per moment; arrays (points,).

    Attributes:
        vehicle_id: The vehicle.
        battery_capacity_kwh: Its battery.
        at_s: Seconds since 1970 in UTC, strictly ascending.
        soc_percent: State of charge, NaN if unknown.
        is_plugged_in: 1, 0 or -1 if unknown.
        power_kw: Charging power, NaN if unknown.
    """

    vehicle_id: str
    battery_capacity_kwh: float
    at_s: IntArray
    soc_percent: FloatArray
    is_plugged_in: StateArray
    power_kw: FloatArray

    @property
    def is_very_short(self) -> bool:
        """Whether there is too little of it to learn from."""
        if len(self.at_s) < FEWEST_POINTS:
            return True
        return bool(self.at_s[-1] - self.at_s[0] < SHORTEST_TRACE_H * 3600)


def trace_of(
    vehicle_id: str,
    battery_capacity_kwh: float,
    *,
    at_s: IntArray,
    soc_percent: FloatArray,
    is_plugged_in: StateArray,
    power_kw: FloatArray,
) -> Trace:
    """A trace of points in any order; of several at one moment the first to come counts.

    Raises:
        ValueError: If a state of charge lies outside 0 to 100 or a power is negative.
    """
    if np.any((soc_percent < 0) | (soc_percent > 100)) or np.any(power_kw < 0):  # noqa: PLR2004
        raise ValueError("telemetry needs 0 to 100 % and no negative power")
    _, first = np.unique(at_s, return_index=True)
    return Trace(
        vehicle_id,
        battery_capacity_kwh,
        at_s[first],
        soc_percent[first],
        is_plugged_in[first],
        power_kw[first],
    )


def since_last_min(trace: Trace) -> FloatArray:
    """Minutes since the point before, NaN for the first, shape (points,)."""
    return np.diff(trace.at_s, prepend=np.nan) / 60


def is_after_gap(trace: Trace, *, gap_min: float = GAP_MIN) -> BoolArray:
    """Whether a gap lies before each point; before the first one lies nothing else."""
    silence_min = since_last_min(trace)
    return np.isnan(silence_min) | (silence_min > gap_min)


def soc_lags(trace: Trace, *, gap_min: float = GAP_MIN) -> FloatArray:
    """State of charge one to three points before, NaN across a gap, shape (points, 3)."""
    breaks = np.cumsum(is_after_gap(trace, gap_min=gap_min))
    lags = np.full((len(trace.at_s), LAGS), np.nan)
    for lag in range(1, LAGS + 1):
        is_same_run = breaks[lag:] == breaks[:-lag]
        lags[lag:, lag - 1] = np.where(is_same_run, trace.soc_percent[:-lag], np.nan)
    return lags


def now_features(trace: Trace, at_s: IntArray, *, gap_min: float = GAP_MIN) -> FloatArray:
    """What the last point says at some moments, columns as in `NOW_NAMES`, shape (moments, 11).

    All NaN where the last point is older than a gap, or there is none.
    """
    last = np.searchsorted(trace.at_s, at_s, side="right") - 1
    place = np.maximum(last, 0)
    age_min = (at_s - trace.at_s[place]) / 60
    lags = soc_lags(trace, gap_min=gap_min)
    columns = np.column_stack(
        [
            age_min,
            trace.soc_percent[place],
            100 * trace.power_kw[place] / trace.battery_capacity_kwh,
            since_last_min(trace)[place],
            is_after_gap(trace, gap_min=gap_min)[place],
            lags[place],
            trace.soc_percent[place, None] - lags[place],
        ]
    )
    columns[(last < 0) | (age_min > gap_min)] = np.nan
    return columns


def soc_at(trace: Trace, at_s: IntArray, *, gap_min: float = GAP_MIN) -> FloatArray:
    """State of charge between two points with no gap between them, else NaN, shape (moments,)."""
    known = np.isfinite(trace.soc_percent)
    times, values = trace.at_s[known], trace.soc_percent[known]
    if len(times) == 0:
        return np.full(len(at_s), np.nan)
    after = np.searchsorted(times, at_s, side="left")
    before = np.clip(after - (times[np.minimum(after, len(times) - 1)] != at_s), 0, None)
    after = np.minimum(after, len(times) - 1)
    is_inside = (at_s >= times[0]) & (at_s <= times[-1])
    is_close = times[after] - times[before] <= gap_min * 60
    return np.where(is_inside & is_close, np.interp(at_s, times, values), np.nan)


def states_at(trace: Trace, at_s: IntArray, *, gap_min: float = GAP_MIN) -> StateArray:
    """Whether it was plugged in, by the last point that is no older than a gap; else unknown."""
    known = trace.is_plugged_in >= 0
    times, states = trace.at_s[known], trace.is_plugged_in[known]
    if len(times) == 0:
        return np.full(len(at_s), UNKNOWN)
    last = np.searchsorted(times, at_s, side="right") - 1
    is_fresh = (last >= 0) & (at_s - times[np.maximum(last, 0)] <= gap_min * 60)
    return np.where(is_fresh, states[np.maximum(last, 0)], UNKNOWN).astype(np.int8)


@dataclass(frozen=True, slots=True, eq=False)
class Fleet:
    """Vehicles with their telemetry on one grid of quarter-hours.

    Attributes:
        traces: The vehicles.
        plugs: When they were plugged in.
        moment_s: When each slot is looked at, seconds since 1970: its beginning, but the last one
            at the end of what is known, shape (slots,).
        soc_percent: State of charge at these moments, NaN where unknown, shape (vehicles, slots).
        gap_min: How long a silence is a gap.
    """

    traces: tuple[Trace, ...]
    plugs: PlugHistory
    moment_s: IntArray
    soc_percent: NDArray[np.float32]
    gap_min: float


def fleet_of(
    traces: Sequence[Trace],
    *,
    start: datetime,
    end: datetime,
    timezone: str,
    country: str | None,
    gap_min: float = GAP_MIN,
) -> Fleet:
    """The fleet from `start`, on the hour, up to `end`, whose slot is the last.

    Points after `end` are not looked at; the last slot shows what is known at `end` itself.
    """
    slots = (end - start) // SLOT + 1
    moments = int(start.timestamp()) + np.arange(slots) * int(SLOT.total_seconds())
    moments[-1] = int(end.timestamp())
    known = [_until(trace, int(end.timestamp())) for trace in traces]
    state = np.full((len(known), slots), UNKNOWN)
    soc = np.full((len(known), slots), np.nan, dtype=np.float32)
    for row, trace in enumerate(known):
        state[row] = states_at(trace, moments, gap_min=gap_min)
        soc[row] = soc_at(trace, moments, gap_min=gap_min)
    ids = tuple(trace.vehicle_id for trace in known)
    plugs = PlugHistory(ids, timezone, country, start, state)
    return Fleet(tuple(known), plugs, moments, soc, gap_min)


def _until(trace: Trace, end_s: int) -> Trace:
    kept = slice(0, int(np.searchsorted(trace.at_s, end_s, side="right")))
    return Trace(
        trace.vehicle_id,
        trace.battery_capacity_kwh,
        trace.at_s[kept],
        trace.soc_percent[kept],
        trace.is_plugged_in[kept],
        trace.power_kw[kept],
    )
