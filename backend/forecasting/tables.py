"""A history prepared for looking up what was known of a site at many origins."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from backend.forecasting.calendar import LocalCalendar, local_calendar
from backend.forecasting.history import BoolArray, FloatArray, IntArray, SiteHistory
from backend.forecasting.profiles import HOURS_A_DAY, DayTable

ACTIVE_KWH = 0.01
LONGEST_DAY_H = 25


@dataclass(frozen=True, slots=True, eq=False)
class SiteTables:
    """A history prepared for looking up the features of many origins.

    Attributes:
        calendar: Local time of the history, of the hours ahead and of one more day.
        energy_kwh: Energy, NaN where unknown, shape (hours,); likewise the next two.
        occupancy: Mean number of vehicles plugged in.
        sessions_started: Charging sessions begun.
        temperature_c: Temperature, NaN where unknown, shape (hours + ahead,).
        price_eur_per_kwh: Energy price, likewise.
        energy_by_day: Energy by local day and hour.
        occupancy_by_day: Occupancy by local day and hour.
        sessions_by_day: Charging sessions begun by local day and hour.
        is_active_by_day: Whether there was energy, 0 or 1, by local day and hour.
        start_h: First hour of the history, counted from 1970.
    """

    calendar: LocalCalendar
    energy_kwh: FloatArray
    occupancy: FloatArray
    sessions_started: FloatArray
    temperature_c: FloatArray
    price_eur_per_kwh: FloatArray
    energy_by_day: DayTable
    occupancy_by_day: DayTable
    sessions_by_day: DayTable
    is_active_by_day: DayTable
    start_h: int

    @classmethod
    def of(cls, history: SiteHistory, *, known_hours: int, hours_ahead: int) -> Self:
        """Prepare the first `known_hours`; hours the history does not have are unknown.

        Args:
            history: The history; what it holds at and after `known_hours` is not looked at.
            known_hours: The origin the tables end at, counted from the start of the history.
            hours_ahead: How far beyond it the calendar has to reach.
        """
        hours = known_hours + hours_ahead
        calendar = local_calendar(
            history.start,
            hours=hours + LONGEST_DAY_H,  # so that the morrow of the last hour is there
            timezone=history.timezone,
            country=history.country,
            closures=history.closures,
        )
        energy_kwh = _resized(history.energy_kwh, known_hours)
        occupancy = _resized(history.occupancy, known_hours)
        sessions = _resized(history.sessions_started, known_hours)
        is_active = np.where(np.isnan(energy_kwh), np.nan, energy_kwh > ACTIVE_KWH)
        return cls(
            calendar=calendar,
            energy_kwh=energy_kwh,
            occupancy=occupancy,
            sessions_started=sessions,
            temperature_c=_known_in_advance(history.temperature_c, hours),
            price_eur_per_kwh=_known_in_advance(history.price_eur_per_kwh, hours),
            energy_by_day=DayTable.of(energy_kwh, calendar),
            occupancy_by_day=DayTable.of(occupancy, calendar),
            sessions_by_day=DayTable.of(sessions, calendar),
            is_active_by_day=DayTable.of(is_active, calendar),
            start_h=int(history.start.timestamp()) // 3600,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Where each row's origin and target lie; all arrays have shape (rows,).

    Attributes:
        origin: Hour at whose beginning the forecast is made.
        lead_h: Hours from the origin to the end of the target.
        target: Hour forecast.
        day: Its local day.
        hour: Its local hour.
        last_day: The last local day of which this hour is known.
        origin_day: The origin's local day.
        origin_hour: The origin's local hour.
    """

    origin: IntArray
    lead_h: IntArray
    target: IntArray
    day: IntArray
    hour: IntArray
    last_day: IntArray
    origin_day: IntArray
    origin_hour: IntArray

    @classmethod
    def of(cls, calendar: LocalCalendar, *, origin: IntArray, lead_h: IntArray) -> Self:
        """Look the moments up."""
        target = origin + lead_h - 1
        day, hour = calendar.day[target], calendar.hour[target]
        origin_day, origin_hour = calendar.day[origin], calendar.hour[origin]
        # The day of the origin is known only up to the hour before it.
        last_day = origin_day - (hour >= origin_hour)
        return cls(origin, lead_h, target, day, hour, last_day, origin_day, origin_hour)

    def like_day_mean(
        self, table: DayTable, kind: IntArray | BoolArray, *, days: int, shift_h: int = 0
    ) -> FloatArray:
        """Mean over the last days of a kind at the target's hour, or so many hours beside it."""
        hour = (self.hour + shift_h) % HOURS_A_DAY
        last_day = self.origin_day - (hour >= self.origin_hour)
        return table.like_day_mean(days=days, kind=kind, day=self.day, last_day=last_day, hour=hour)

    def quantiles(
        self,
        table: DayTable,
        kind: IntArray | BoolArray,
        *,
        levels: Sequence[float],
        days: int,
        is_around: bool = False,
    ) -> FloatArray:
        """Quantiles over the last days of a kind at the target's hour, shape (rows, levels)."""
        known_by = self.hour + is_around
        return table.like_day_quantiles(
            levels,
            days=days,
            kind=kind,
            day=self.day,
            last_day=self.origin_day - (known_by >= self.origin_hour),
            hour=self.hour,
            is_around=is_around,
        )

    def lag(self, values: FloatArray, *, period_h: int, periods: int = 1) -> FloatArray:
        """The value whole periods before the target, the first that is known at the origin."""
        first = -(-self.lead_h // period_h)
        return value_at(values, self.target - period_h * (first + periods - 1))

    def days_before(self, table: DayTable, days: int) -> FloatArray:
        """The value so many local days before the target at its local hour, NaN if unknown."""
        return table.at(day=self.day - days, last_day=self.last_day, hour=self.hour)


def trailing_mean(values: FloatArray, origin: IntArray, hours: int) -> FloatArray:
    """Mean of the known values in the `hours` before each origin; 0 where none is known."""
    total = np.concatenate([[0.0], np.cumsum(np.nan_to_num(values))])
    count = np.concatenate([[0], np.cumsum(np.isfinite(values))])
    since = np.maximum(origin - hours, 0)
    mean: FloatArray = (total[origin] - total[since]) / np.maximum(count[origin] - count[since], 1)
    return mean


def value_at(values: FloatArray, index: IntArray) -> FloatArray:
    """Values at the indices, NaN where there are none."""
    inside = (index >= 0) & (index < values.size)
    result = np.full(index.shape, np.nan)
    result[inside] = values[index[inside]]
    return result


def _known_in_advance(values: FloatArray | None, hours: int) -> FloatArray:
    return _resized(np.zeros(0) if values is None else values, hours)


def _resized(values: FloatArray, hours: int) -> FloatArray:
    """The first `hours` values, NaN for what is missing."""
    return np.pad(values[:hours], (0, max(hours - values.size, 0)), constant_values=np.nan)
