"""What a site's demand was, hour by hour: the input of every forecast."""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Self
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from backend.forecasting.calendar import is_known_country

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True, eq=False)  # arrays have no single truth value to compare by
class SiteHistory:
    """The demand of one site on a contiguous hourly grid in UTC.

    Zero means that nothing happened, NaN that nothing is known.

    Attributes:
        site_id: The site.
        timezone: IANA name of the zone the site lives by, such as Europe/Helsinki.
        country: ISO 3166 code whose public holidays the site keeps, or None for no holidays.
        start: Beginning of the first hour, UTC, on the hour.
        energy_kwh: Energy delivered in each hour, shape (hours,).
        occupancy: Mean number of vehicles plugged in, shape (hours,).
        sessions_started: Charging sessions that began in each hour, shape (hours,).
        temperature_c: Outdoor temperature, known in advance, NaN where unknown, shape
            (at least hours,): what goes beyond the history is the weather forecast.
        price_eur_per_kwh: Energy price, known in advance in the same way.
        closures: Local days on which the site is closed though they are no holidays.
        available_at_h: When each hour's values became known, in hours from the start, shape
            (hours,); None if each was known at its end.

    Raises:
        ValueError: If shapes differ, a value is negative or infinite, the start is not a whole
            hour in UTC, or the zone or the country is unknown.
    """

    site_id: str
    timezone: str
    country: str | None
    start: datetime
    energy_kwh: FloatArray
    occupancy: FloatArray
    sessions_started: FloatArray
    temperature_c: FloatArray | None = None
    price_eur_per_kwh: FloatArray | None = None
    closures: tuple[date, ...] = ()
    available_at_h: FloatArray | None = None

    def __post_init__(self) -> None:
        _check_start(self.start)
        _check_place(self.timezone, self.country)
        for name in ("energy_kwh", "occupancy", "sessions_started"):
            values = np.asarray(getattr(self, name), dtype=np.float64)
            _check_values(name, values, hours=len(self.energy_kwh))
            object.__setattr__(self, name, values)
        for name in ("temperature_c", "price_eur_per_kwh", "available_at_h"):
            if getattr(self, name) is not None:
                values = np.asarray(getattr(self, name), dtype=np.float64)
                if values.ndim != 1 or values.size < self.hours:
                    raise ValueError(f"{name} has to cover every hour of the history")
                object.__setattr__(self, name, values)

    @property
    def hours(self) -> int:
        """Number of hours in the history."""
        return len(self.energy_kwh)

    @property
    def end(self) -> datetime:
        """End of the last hour."""
        return self.start + self.hours * HOUR

    def index_of(self, moment: datetime) -> int:
        """The hour `moment` falls into, counted from the start; may lie outside the history."""
        return (moment - self.start) // HOUR

    def cut(self, *, since_h: int, until_h: int) -> Self:
        """The hours from `since_h` on and before `until_h`, counted from the start."""
        last = min(until_h, self.hours)
        first = min(max(since_h, 0), last)
        known = None if self.available_at_h is None else self.available_at_h[first:last] - first
        return replace(
            self,
            start=self.start + first * HOUR,
            energy_kwh=self.energy_kwh[first:last],
            occupancy=self.occupancy[first:last],
            sessions_started=self.sessions_started[first:last],
            temperature_c=None if self.temperature_c is None else self.temperature_c[first:],
            price_eur_per_kwh=(
                None if self.price_eur_per_kwh is None else self.price_eur_per_kwh[first:]
            ),
            available_at_h=known,
        )

    def known_at(self, origin: int) -> Self:
        """What was known at the beginning of an hour: later hours cut off, late values unknown."""
        if self.available_at_h is None:
            return self.cut(since_h=0, until_h=origin)
        is_late = self.available_at_h > origin
        hidden = {
            name: np.where(is_late, np.nan, getattr(self, name))
            for name in ("energy_kwh", "occupancy", "sessions_started")
        }
        return replace(self, **hidden).cut(since_h=0, until_h=origin)  # type: ignore[arg-type]

    def missing_share(self, *, since_h: int, until_h: int) -> float:
        """Share of the hours in a span whose energy is not known; 0 for an empty span."""
        span = until_h - since_h
        known = np.count_nonzero(np.isfinite(self.energy_kwh[max(since_h, 0) : max(until_h, 0)]))
        return 1.0 - known / span if span > 0 else 0.0


def _check_start(start: datetime) -> None:
    if start.tzinfo is None or start.utcoffset() != timedelta(0):
        raise ValueError("start has to be in UTC")
    if start.astimezone(UTC).replace(minute=0, second=0, microsecond=0) != start:
        raise ValueError("start has to be on the hour")


def _check_place(timezone: str, country: str | None) -> None:
    try:
        ZoneInfo(timezone)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"unknown time zone {timezone!r}") from error
    if country is not None and not is_known_country(country):
        raise ValueError(f"no public holidays are known for country {country!r}")


def _check_values(name: str, values: FloatArray, *, hours: int) -> None:
    if values.shape != (hours,):
        raise ValueError(f"{name} has shape {values.shape}, expected ({hours},)")
    if np.any(np.isinf(values)) or np.any(values < 0):
        raise ValueError(f"{name} has to be finite and not negative")
