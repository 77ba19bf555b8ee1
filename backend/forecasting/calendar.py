"""The local calendar of a site: its hours, weekdays and days off."""

from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import holidays
import numpy as np
from numpy.typing import NDArray

SATURDAY = 5
SUNDAY = 6


@dataclass(frozen=True, slots=True, eq=False)
class LocalCalendar:
    """Local time of consecutive hours.

    Attributes:
        day: Local day, counted from the day of the first hour, shape (hours,).
        hour: Local hour of day, 0 to 23, shape (hours,).
        weekday: Weekday of each local day, shape (days,); Monday is 0, a public holiday and a day
            on which the site is closed count as a Sunday.
        is_off_day: Whether each local day is a weekend day, a public holiday or a closure, shape
            (days,).
        is_off_eve: Whether the day before each local day was off, shape (days,): it decides what
            the night brings to a site where vehicles stay overnight.
    """

    day: NDArray[np.int64]
    hour: NDArray[np.int64]
    weekday: NDArray[np.int64]
    is_off_day: NDArray[np.bool_]
    is_off_eve: NDArray[np.bool_]


@lru_cache(maxsize=1)
def known_countries() -> list[str]:
    """ISO 3166 codes of the countries whose public holidays are known, in order."""
    return sorted(holidays.list_supported_countries(include_aliases=False))


def is_known_country(country: str) -> bool:
    """Whether the public holidays of this ISO 3166 country code are known."""
    return country in known_countries()


@lru_cache(maxsize=128)
def local_calendar(
    start: datetime,
    *,
    hours: int,
    timezone: str,
    country: str | None,
    closures: tuple[date, ...] = (),
) -> LocalCalendar:
    """Compute the local calendar of `hours` consecutive hours.

    Args:
        start: Beginning of the first hour, UTC.
        hours: How many hours, at least one.
        timezone: IANA name of the zone.
        country: Whose public holidays are days off, or None for weekends only.
        closures: Further local days off.

    Returns:
        The calendar; its arrays are shared between callers and read-only.
    """
    zone = ZoneInfo(timezone)
    begin_s = int(start.astimezone(UTC).timestamp())
    local = [datetime.fromtimestamp(begin_s + 3600 * i, tz=zone) for i in range(hours)]
    first = local[0].date()
    day = np.array([moment.toordinal() for moment in local], dtype=np.int64) - first.toordinal()
    dates = [first + timedelta(days=i) for i in range(-1, int(day[-1]) + 1)]  # from the eve on
    weekday = np.array([each.weekday() for each in dates], dtype=np.int64)
    is_closed = np.array([each in closures for each in dates], dtype=np.bool_)
    weekday[_is_holiday(dates, country) | is_closed] = SUNDAY
    is_off_day = weekday >= SATURDAY
    calendar = LocalCalendar(
        day=day,
        hour=np.array([moment.hour for moment in local], dtype=np.int64),
        weekday=weekday[1:],
        is_off_day=is_off_day[1:],
        is_off_eve=is_off_day[:-1],
    )
    for field in fields(calendar):
        getattr(calendar, field.name).setflags(write=False)
    return calendar


def _is_holiday(dates: list[date], country: str | None) -> NDArray[np.bool_]:
    if country is None:
        return np.zeros(len(dates), dtype=np.bool_)
    years = range(dates[0].year, dates[-1].year + 1)
    public = holidays.country_holidays(country, years=years)
    return np.array([each in public for each in dates], dtype=np.bool_)
