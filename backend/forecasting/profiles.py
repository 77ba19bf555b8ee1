"""Day profiles: what a site usually does at an hour of day, from its own past."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from backend.forecasting.calendar import LocalCalendar
from backend.forecasting.history import BoolArray, FloatArray, IntArray

HOURS_A_DAY = 24


@dataclass(frozen=True, slots=True, eq=False)
class DayTable:
    """Hourly values arranged by local day and local hour.

    An hour the clock repeats in autumn holds the mean of both, one it skips in spring holds NaN.

    Attributes:
        value: Value of each local hour, NaN where unknown, shape (days, 24).
    """

    value: FloatArray

    @classmethod
    def of(cls, values: FloatArray, calendar: LocalCalendar) -> Self:
        """Arrange hourly values, NaN where unknown, by the calendar of the same hours."""
        days = calendar.weekday.size
        cell = calendar.day[: values.size] * HOURS_A_DAY + calendar.hour[: values.size]
        known = np.isfinite(values)
        cells = days * HOURS_A_DAY
        total = np.bincount(cell[known], values[known], cells).astype(np.float64)
        count = np.bincount(cell[known], minlength=cells)
        return cls(_ratio(total, count).reshape(days, HOURS_A_DAY))

    def like_day_mean(
        self,
        *,
        days: int,
        kind: IntArray | BoolArray,
        day: IntArray,
        last_day: IntArray,
        hour: IntArray,
    ) -> FloatArray:
        """Mean at one hour over the last days of the same kind as a day.

        Args:
            days: How many days of the kind to average.
            kind: What makes days alike, such as whether they are off, shape (days,).
            day: The day asked about, shape (rows,).
            last_day: Last day that may be used, -1 for none, shape (rows,).
            hour: Local hour, shape (rows,).

        Returns:
            The means, NaN where no such day is known, shape (rows,).
        """
        result = np.full(hour.shape, np.nan)
        wanted = kind[day]
        for each in np.unique(wanted):
            is_like = kind == each
            means = _trailing_mean(self.value[is_like], days)
            like_days_until = np.concatenate([[0], np.cumsum(is_like)])
            rows = wanted == each
            result[rows] = means[like_days_until[last_day[rows] + 1], hour[rows]]
        return result

    def like_day_quantiles(
        self,
        levels: Sequence[float],
        *,
        days: int,
        kind: IntArray | BoolArray,
        day: IntArray,
        last_day: IntArray,
        hour: IntArray,
        is_around: bool = False,
    ) -> FloatArray:
        """Quantiles at one hour over the last days of the same kind as a day.

        Args:
            levels: Which quantiles, each in 0..1.
            days: How many days of the kind to take.
            kind: What makes days alike, shape (days,).
            day: The day asked about, shape (rows,).
            last_day: Last day that may be used, -1 for none, shape (rows,).
            hour: Local hour, shape (rows,).
            is_around: Take the hours before and after into the sample too; `last_day` has to be
                known at the hour after.

        Returns:
            The quantiles, NaN where no such day is known, shape (rows, levels).
        """
        result = np.full((hour.size, len(levels)), np.nan)
        wanted = kind[day]
        for each in np.unique(wanted):
            is_like = kind == each
            quantiles = _trailing_quantiles(self.value[is_like], days, levels, is_around=is_around)
            like_days_until = np.concatenate([[0], np.cumsum(is_like)])
            rows = wanted == each
            result[rows] = quantiles[like_days_until[last_day[rows] + 1], hour[rows]]
        return result

    def at(self, *, day: IntArray, last_day: IntArray, hour: IntArray) -> FloatArray:
        """The value of a day and hour, NaN if it lies after `last_day`, shape (rows,)."""
        result = np.full(day.shape, np.nan)
        known = (day >= 0) & (day <= last_day)
        result[known] = self.value[day[known], hour[known]]
        return result

    def last_values(self, *, days: int, is_like: BoolArray, last_day: int, hour: int) -> FloatArray:
        """The known values of the last like days at one hour, shape (at most days,)."""
        past: FloatArray = self.value[: last_day + 1, hour]
        past = past[is_like[: last_day + 1]]
        return past[np.isfinite(past)][-days:]


def _trailing_mean(value: FloatArray, days: int) -> FloatArray:
    """Row n is the mean of the last `days` of the first n rows; row 0 is NaN."""
    total = np.pad(np.cumsum(np.nan_to_num(value), axis=0), ((1, 0), (0, 0)))
    count = np.pad(np.cumsum(np.isfinite(value), axis=0), ((1, 0), (0, 0)))
    since = np.maximum(np.arange(len(total)) - days, 0)
    return _ratio(total - total[since], count - count[since])


def _trailing_quantiles(
    value: FloatArray, days: int, levels: Sequence[float], *, is_around: bool
) -> FloatArray:
    """Row n holds the quantiles of the last `days` of the first n rows, shape (n, 24, levels)."""
    sample = np.pad(value, ((days, 0), (0, 0)), constant_values=np.nan)
    window = sliding_window_view(sample, days, axis=0)
    if is_around:
        wide = np.pad(window, ((0, 0), (1, 1), (0, 0)), constant_values=np.nan)
        window = np.concatenate([wide[:, :-2], window, wide[:, 2:]], axis=2)
    ordered = np.sort(window, axis=2)  # NaN goes to the end
    last = np.count_nonzero(np.isfinite(ordered), axis=2) - 1
    return np.stack([_at_share(ordered, last, level) for level in levels], axis=2)


def _at_share(ordered: FloatArray, last: IntArray, level: float) -> FloatArray:
    """Linear interpolation at a share of the way from the first to the last known value."""
    place = np.maximum(level * last, 0.0)
    low = place.astype(np.int64)[:, :, np.newaxis]
    high = np.minimum(low + 1, np.maximum(last, 0)[:, :, np.newaxis])
    below = np.take_along_axis(ordered, low, axis=2)[:, :, 0]
    above = np.take_along_axis(ordered, high, axis=2)[:, :, 0]
    value: FloatArray = below + (above - below) * (place - low[:, :, 0])
    return value


def _ratio(total: FloatArray, count: IntArray) -> FloatArray:
    """Total divided by count, NaN where nothing was counted."""
    result = np.full(total.shape, np.nan)
    np.divide(total, count, out=result, where=count > 0)
    return result
