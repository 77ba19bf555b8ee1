"""A site's hourly energy as examples of a day ahead: 26 inputs, each known 24 hours before.

Energies are divided by the site's own 98th percentile, a figure that never leaves it; what is left
are numbers of one size at every site, so no round for common means and spreads is needed. What the
network learns is how an hour differs from the like days before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from backend.federation.networks import FloatArray

Series = NDArray[np.float64]
Flags = NDArray[np.bool_]

LAGS_H = (24, 25, 26, 48, 72, 144, 167, 168, 169, 336)
FEATURES = (
    *("hour_sin", "hour_cos", "hour_sin_2", "hour_cos_2", "weekday_sin", "weekday_cos"),
    *("is_off_day", "is_off_eve", "is_off_morrow"),
    *(f"lag_{hours}" for hours in LAGS_H),
    *("like_day_3", "like_day_8", "like_day_8_before", "same_hour_7", "same_weekday_4"),
    *("day_mean", "week_mean"),
)
"""Off days are weekends and public holidays; eve and morrow are the days before and after.

`lag_N` is the energy N hours before; `like_day_N` the mean at this hour of the last N days that
were off, or worked, as this one is, `…_before` an hour earlier; `same_hour_7` that of the last
seven days, `same_weekday_4` of the last four such weekdays; `day_mean` and `week_mean` are of the
day and the week that end 24 hours before.
"""

DAY_H, WEEK_DAYS = 24, 7
DAYS_BACK = 56
SETTLED_H, LEAST_ROWS = 12 * DAY_H, 7 * DAY_H  # by then a workday has eight like it behind it
SCALE_QUANTILE = 0.98
SATURDAY = 5


@dataclass(frozen=True, slots=True, eq=False)  # arrays have no single truth value to compare by
class Rows:
    """Examples of one stretch of time.

    Attributes:
        x: Inputs, shape (rows, 26), float32.
        y: Energy beyond the usual, over the site's scale, shape (rows,), float32.
        usual: What like days had, over the site's scale, shape (rows,), float32; the forecast is
            `usual` plus what the network answers.
    """

    x: FloatArray
    y: FloatArray
    usual: FloatArray

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, part: slice) -> "Rows":
        return Rows(self.x[part], self.y[part], self.usual[part])


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """What a participant has: it trains on the first part and judges by the others.

    Attributes:
        train: What it trains on.
        holdout: Later rows; the committee scores on them.
        test: Still later rows that nobody uses but to report; may be empty.
        scale_kwh: What energies were divided by.
    """

    train: Rows
    holdout: Rows
    test: Rows
    scale_kwh: float


class TooFewExamples(ValueError):
    """A series too short to train on and to hold something out."""


def hourly_examples(
    energy_kwh: Sequence[float] | Series,
    start: datetime,
    *,
    timezone: str,
    country: str | None = None,
    holdout_share: float = 0.15,
    test_share: float = 0.0,
) -> Examples:
    """Examples of a series, split in time: train, then holdout, then test.

    The first twelve days only lend their energies to later rows, if a week to train on is left.

    Args:
        energy_kwh: Energy of consecutive hours, NaN where unknown, shape (hours,).
        start: Beginning of the first hour, timezone-aware.
        timezone: IANA name of the site's zone.
        country: ISO 3166 code whose public holidays are days off, or None for weekends only.
        holdout_share: Of the hours, held out.
        test_share: Of the hours, at the end.

    Raises:
        TooFewExamples: If training or holdout would be empty.
    """
    series = np.asarray(energy_kwh, dtype=np.float64)
    until_test = round(len(series) * (1 - test_share))
    until_holdout = round(len(series) * (1 - test_share - holdout_share))
    scale = scale_of(series[:until_holdout])
    rows, hours = _rows(series / scale, start, timezone=timezone, country=country)
    first, second = np.searchsorted(hours, [until_holdout, until_test])
    if not first or first == second:
        raise TooFewExamples(f"{len(series)} hours leave {first} rows to train on")
    # The usual of a site's first days is that of two or three days: how hours differ from it is
    # noise, and said nothing of later hours. Who has little more trains on it all the same.
    settled = int(np.searchsorted(hours, SETTLED_H))
    begin = settled if first - settled >= LEAST_ROWS else 0
    return Examples(rows[begin:first], rows[first:second], rows[second:], scale)


def scale_of(energy_kwh: Series) -> float:
    """The 98th percentile, or the largest value where that is zero, or 1."""
    known = energy_kwh[np.isfinite(energy_kwh)]
    if not known.size:
        return 1.0
    quantile = float(np.quantile(known, SCALE_QUANTILE))
    return quantile or float(known.max()) or 1.0


def _rows(
    energy: Series, start: datetime, *, timezone: str, country: str | None
) -> tuple[Rows, NDArray[np.int64]]:
    """Rows of every hour that has an energy and a usual, and which hours these are."""
    columns = feature_columns(energy, start, timezone=timezone, country=country)
    usual = columns["like_day_8"]
    hours = np.flatnonzero(np.isfinite(energy) & np.isfinite(usual))
    table = np.stack([columns[name] for name in FEATURES], axis=1)[hours]
    usual = usual[hours]
    # A young site has few days behind it: what it lacks is taken to have been as usual.
    table = np.where(np.isnan(table), usual[:, None], table)
    rest = energy[hours] - usual
    rows = Rows(*(np.ascontiguousarray(one, dtype=np.float32) for one in (table, rest, usual)))
    return rows, hours


def feature_columns(
    energy: Series, start: datetime, *, timezone: str, country: str | None
) -> dict[str, Series]:
    """Every input of every hour by name, shape (hours,); NaN where the past is unknown."""
    calendar = _calendar(start, len(energy), timezone=timezone, country=country)
    is_off, weekday = calendar["is_off_day"], calendar["weekday"]
    past = {shift: _days_before(energy, shift_h=shift) for shift in (0, 1)}
    like = _days_before(is_off, shift_h=0) == is_off[:, None]
    same = _days_before(weekday, shift_h=0) == weekday[:, None]
    always = np.ones_like(like)
    like_8 = _mean_of_last(past[0], like, days=8)
    usual = np.where(np.isnan(like_8), _mean_of_last(past[0], always, days=7), like_8)
    before = _mean_of_last(past[1], like, days=8)
    return {
        **_waves(calendar["hour"], weekday),
        **{name: calendar[name] - 0.5 for name in FEATURES[6:9]},
        **{f"lag_{hours}": _lag(energy, hours) for hours in LAGS_H},
        "like_day_3": _mean_of_last(past[0], like, days=3),
        "like_day_8": usual,
        "like_day_8_before": before,
        "same_hour_7": _mean_of_last(past[0], always, days=7),
        "same_weekday_4": _mean_of_last(past[0], same, days=4),
        "day_mean": _trailing_mean(energy, DAY_H),
        "week_mean": _trailing_mean(energy, WEEK_DAYS * DAY_H),
    }


def _calendar(
    start: datetime, hours: int, *, timezone: str, country: str | None
) -> dict[str, Series]:
    zone, begin = ZoneInfo(timezone), start.astimezone(UTC)
    local = [(begin + timedelta(hours=i)).astimezone(zone) for i in range(hours)]
    days = [moment.date() for moment in local]
    off = _off_days(days, country)
    one = timedelta(days=1)
    return {
        "hour": np.array([moment.hour for moment in local], dtype=np.float64),
        "weekday": np.array([day.weekday() for day in days], dtype=np.float64),
        "is_off_day": np.array([off[day] for day in days], dtype=np.float64),
        "is_off_eve": np.array([off[day - one] for day in days], dtype=np.float64),
        "is_off_morrow": np.array([off[day + one] for day in days], dtype=np.float64),
    }


def _off_days(days: Sequence[date], country: str | None) -> dict[date, bool]:
    import holidays  # noqa: PLC0415  # a tenth of a second that only who makes examples pays

    first, last = min(days) - timedelta(days=1), max(days) + timedelta(days=1)
    years = range(first.year, last.year + 1)
    public = holidays.country_holidays(country, years=years) if country else ()
    span = [first + timedelta(days=i) for i in range((last - first).days + 1)]
    return {day: day.weekday() >= SATURDAY or day in public for day in span}


def _waves(hour: Series, weekday: Series) -> dict[str, Series]:
    daily, weekly = 2 * np.pi * hour / DAY_H, 2 * np.pi * weekday / WEEK_DAYS
    return {
        "hour_sin": np.sin(daily),
        "hour_cos": np.cos(daily),
        "hour_sin_2": np.sin(2 * daily),
        "hour_cos_2": np.cos(2 * daily),
        "weekday_sin": np.sin(weekly),
        "weekday_cos": np.cos(weekly),
    }


def _lag(series: Series, hours: int) -> Series:
    """The series so many hours before, NaN before its beginning."""
    return np.concatenate([np.full(hours, np.nan), series])[: len(series)]


def _days_before(series: Series, *, shift_h: int) -> Series:
    """The same hour, less the shift, of 1 to 56 days before, shape (hours, days)."""
    lags = [DAY_H * day + shift_h for day in range(1, DAYS_BACK + 1)]
    return np.stack([_lag(series, hours) for hours in lags], axis=1)


def _mean_of_last(past: Series, is_like: Flags, *, days: int) -> Series:
    """Mean of the last `days` known values among the like ones; NaN if there are none."""
    counts = is_like & np.isfinite(past)
    counts &= np.cumsum(counts, axis=1) <= days
    total = np.where(counts, past, 0.0).sum(axis=1)
    number = counts.sum(axis=1)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def _trailing_mean(series: Series, hours: int) -> Series:
    """Mean of the known values of so many hours that end 24 hours before each hour begins."""
    known = np.isfinite(series)
    sums = np.concatenate([[0.0], np.cumsum(np.where(known, series, 0.0))])
    numbers = np.concatenate([[0], np.cumsum(known)])
    end = np.clip(np.arange(len(series)) - DAY_H + 1, 0, None)
    begin = np.clip(end - hours, 0, None)
    number = numbers[end] - numbers[begin]
    total = sums[end] - sums[begin]
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)
