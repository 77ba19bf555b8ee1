"""When the vehicles of a fleet were plugged in, quarter-hour by quarter-hour."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Self

import numpy as np
from numpy.typing import NDArray

from backend.forecasting.calendar import local_calendar
from backend.forecasting.history import FloatArray, IntArray

SLOT = timedelta(minutes=15)
SLOTS_AN_HOUR = 4
SLOTS_A_DAY = 24 * SLOTS_AN_HOUR
UNKNOWN = np.int8(-1)
StateArray = NDArray[np.int8]


@dataclass(frozen=True, slots=True, eq=False)
class PlugHistory:
    """The state of each vehicle at the beginning of each quarter-hour.

    Attributes:
        vehicle_ids: The vehicles.
        timezone: IANA name of the zone the fleet lives by.
        country: ISO 3166 code whose public holidays count, or None for weekends only.
        start: Beginning of the first quarter-hour, UTC, on the hour.
        state: 1 plugged in, 0 not, -1 unknown, shape (vehicles, slots).

    Raises:
        ValueError: If the start is not a whole hour in UTC, or the state has another shape.
    """

    vehicle_ids: tuple[str, ...]
    timezone: str
    country: str | None
    start: datetime
    state: StateArray

    def __post_init__(self) -> None:
        if self.start != floor_hour(self.start) or self.start.utcoffset() != timedelta(0):
            raise ValueError("start has to be a whole hour in UTC")
        if self.state.ndim != 2 or len(self.state) != len(self.vehicle_ids):  # noqa: PLR2004
            raise ValueError(f"state has shape {self.state.shape}, one row per vehicle expected")

    @property
    def slots(self) -> int:
        """Number of quarter-hours."""
        return int(self.state.shape[1])

    def slot_of(self, moment: datetime) -> int:
        """The last quarter-hour that began by then, counted from the start."""
        return (moment - self.start) // SLOT

    @classmethod
    def of_intervals(
        cls,
        vehicle_ids: Sequence[str],
        *,
        vehicle: IntArray,
        plug_in_s: IntArray,
        plug_out_s: IntArray,
        start: datetime,
        end: datetime,
        timezone: str,
        country: str | None,
    ) -> Self:
        """A history in which every stay is known, such as recorded charging sessions.

        Args:
            vehicle_ids: The vehicles.
            vehicle: Position of the vehicle of each stay, shape (stays,).
            plug_in_s: When it plugged in, seconds since 1970 in UTC, shape (stays,).
            plug_out_s: When it left, shape (stays,).
            start: Beginning of the history, on the hour.
            end: End of the history.
            timezone: IANA name of the zone.
            country: Whose public holidays count.
        """
        slots = (end - start) // SLOT
        begin_s, slot_s = int(start.timestamp()), int(SLOT.total_seconds())
        # A vehicle is there at a slot's beginning if it came by then and leaves after.
        first = np.clip(-((begin_s - plug_in_s) // slot_s), 0, slots)
        last = np.clip(-((begin_s - plug_out_s) // slot_s), 0, slots)
        state = np.zeros((len(vehicle_ids), slots), dtype=np.int8)
        for row, begin, finish in zip(vehicle, first, last, strict=True):
            state[row, begin:finish] = 1
        return cls(tuple(vehicle_ids), timezone, country, start, state)


@dataclass(frozen=True, slots=True, eq=False)
class SlotCalendar:
    """Local time of consecutive quarter-hours, and the way back.

    Attributes:
        day: Local day, counted from the first, shape (slots,).
        slot: Quarter-hour of the local day, 0 to 95, shape (slots,).
        weekday: Weekday of each local day, Monday 0, a holiday 6, shape (days,).
        is_off_day: Whether each local day is a weekend day or a holiday, shape (days,).
        index: Quarter-hour counted from the start by local day and slot; -1 where the clock was
            put forward or the day is not wholly there, shape (days, 96).
    """

    day: IntArray
    slot: IntArray
    weekday: IntArray
    is_off_day: NDArray[np.bool_]
    index: IntArray


@lru_cache(maxsize=8)
def slot_calendar(
    start: datetime, *, slots: int, timezone: str, country: str | None
) -> SlotCalendar:
    """The local calendar of so many quarter-hours from `start`, which is on the hour."""
    hours = -(-slots // SLOTS_AN_HOUR)
    local = local_calendar(start, hours=hours, timezone=timezone, country=country)
    day = np.repeat(local.day, SLOTS_AN_HOUR)[:slots]
    quarter = np.tile(np.arange(SLOTS_AN_HOUR), hours)[:slots]
    slot = np.repeat(local.hour, SLOTS_AN_HOUR)[:slots] * SLOTS_AN_HOUR + quarter
    index = np.full((int(day[-1]) + 1, SLOTS_A_DAY), -1, dtype=np.int64)
    index[day, slot] = np.arange(slots)
    return SlotCalendar(day, slot, local.weekday, local.is_off_day, index)


def floor_hour(moment: datetime) -> datetime:
    """The beginning of the hour, UTC."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def occupancy(history: PlugHistory) -> FloatArray:
    """Share of the vehicles of known state that are plugged in; NaN if none, shape (slots,)."""
    known = np.count_nonzero(history.state >= 0, axis=0)
    plugged = np.count_nonzero(history.state == 1, axis=0)
    return np.where(known > 0, plugged / np.maximum(known, 1), np.nan)
