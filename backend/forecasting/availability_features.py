"""What the availability model sees of a vehicle at an origin: only what was known by then.

A feature that needs the present is NaN when the present is unknown, as after a gap in the
telemetry: it is masked, never made up.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from backend.forecasting.availability_history import (
    SLOTS_A_DAY,
    SLOTS_AN_HOUR,
    PlugHistory,
    SlotCalendar,
    occupancy,
    slot_calendar,
)
from backend.forecasting.history import FloatArray, IntArray

LOOKBACK_DAYS = 56
HALF_LIVES_DAYS = (7.0, 28.0)
SLOTS_A_WEEK = 7 * SLOTS_A_DAY

FEATURE_NAMES = (
    "lead_h",
    "local_hour",
    "weekday",
    "is_off_day",
    "like_day_share_7",
    "like_day_share_28",
    "weekday_share",
    "fleet_share",
    "one_week_ago",
    "two_weeks_ago",
    "three_weeks_ago",
    "four_weeks_ago",
    "one_day_ago",
    "two_days_ago",
    "three_days_ago",
    "plug_ins_28d",
    "is_plugged_in",
    "in_state_h",
    "since_plug_in_h",
    "plug_ins_7d",
    "plug_ins_today",
    "here_today_h",
    "same_state_share",
    "occupancy",
    "occupancy_change_1h",
)
LIVE = (
    "is_plugged_in",
    "in_state_h",
    "since_plug_in_h",
    "plug_ins_7d",
    "plug_ins_today",
    "here_today_h",
    "same_state_share",
    "occupancy",
    "occupancy_change_1h",
)
"""What is unknown after a gap."""


@dataclass(frozen=True, slots=True, eq=False)
class Questions:
    """Who is asked about, when, and how far ahead; arrays (rows,).

    Attributes:
        vehicle: Position in `PlugHistory.vehicle_ids`.
        origin: Quarter-hour of the question; states up to its beginning are known.
        lead: Quarter-hours ahead, at least 1.
    """

    vehicle: IntArray
    origin: IntArray
    lead: IntArray

    def at(self, rows: NDArray[np.bool_] | IntArray) -> "Questions":
        """Some of the questions."""
        return Questions(self.vehicle[rows], self.origin[rows], self.lead[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """A history prepared for looking up the features of many questions.

    Attributes:
        history: The history itself.
        calendar: Local time of it and of what lies ahead.
        occupancy: Share of the fleet plugged in, shape (slots,).
        plug_ins: Plug-ins up to and with each slot, shape (vehicles, slots); so the next three.
        changed: Slot of the last change of state, -1 if none.
        plugged: Slot of the last plug-in, -1 if none.
        here: Slots spent plugged in.
    """

    history: PlugHistory
    calendar: SlotCalendar
    occupancy: FloatArray
    plug_ins: NDArray[np.int32]
    changed: NDArray[np.int32]
    plugged: NDArray[np.int32]
    here: NDArray[np.int32]

    @classmethod
    def of(cls, history: PlugHistory, *, slots_ahead: int) -> Self:
        """Prepare a history; the calendar reaches so many slots beyond it."""
        state = history.state
        slots = np.arange(state.shape[1], dtype=np.int32)
        before = _last_known_before(state)
        is_plug_in = (state == 1) & (before != 1)
        is_change = (state >= 0) & (before != state)
        calendar = slot_calendar(
            history.start,
            slots=history.slots + slots_ahead,
            timezone=history.timezone,
            country=history.country,
        )
        return cls(
            history=history,
            calendar=calendar,
            occupancy=occupancy(history),
            plug_ins=np.cumsum(is_plug_in, axis=1, dtype=np.int32),
            changed=np.maximum.accumulate(np.where(is_change, slots, -1), axis=1).astype(np.int32),
            plugged=np.maximum.accumulate(np.where(is_plug_in, slots, -1), axis=1).astype(np.int32),
            here=np.cumsum(state == 1, axis=1, dtype=np.int32),
        )


def features(known: Known, asked: Questions) -> FloatArray:
    """The features of each question, columns as in `FEATURE_NAMES`, shape (rows, 25).

    Values of the history after a question's origin are not looked at.
    """
    calendar, target = known.calendar, asked.origin + asked.lead
    columns = {
        "lead_h": asked.lead / SLOTS_AN_HOUR,
        "local_hour": calendar.slot[target] / SLOTS_AN_HOUR,
        "weekday": calendar.weekday[calendar.day[target]].astype(np.float64),
        "is_off_day": calendar.is_off_day[calendar.day[target]].astype(np.float64),
        **_lags(known, asked),
        **_recent(known, asked),
        **_shares(known, asked),
    }
    return np.column_stack([columns[name] for name in FEATURE_NAMES])


def without_live(rows: FloatArray, hidden: NDArray[np.bool_]) -> FloatArray:
    """The features with the present of some rows hidden, as after a gap."""
    masked = rows.copy()
    for name in LIVE:
        masked[hidden, FEATURE_NAMES.index(name)] = np.nan
    return masked


def _last_known_before(state: NDArray[np.int8]) -> NDArray[np.int8]:
    """The last known state before each slot, -1 if there is none, shape (vehicles, slots)."""
    slots = np.arange(state.shape[1], dtype=np.int32)
    known = np.maximum.accumulate(np.where(state >= 0, slots, -1), axis=1)
    last = np.where(known >= 0, np.take_along_axis(state, np.maximum(known, 0), axis=1), -1)
    return np.hstack([np.full((len(state), 1), -1), last[:, :-1]]).astype(np.int8)


def _lags(known: Known, asked: Questions) -> dict[str, FloatArray]:
    """The state at the same local time some days and weeks before the target."""
    target = asked.origin + asked.lead
    days = {
        "one_week_ago": 7,
        "two_weeks_ago": 14,
        "three_weeks_ago": 21,
        "four_weeks_ago": 28,
        "one_day_ago": 1,
        "two_days_ago": 2,
        "three_days_ago": 3,
    }
    states = {
        name: _state_at(known, asked, days_before(known.calendar, target, back))
        for name, back in days.items()
    }
    return {name: np.where(state >= 0, state, np.nan) for name, state in states.items()}


def _recent(known: Known, asked: Questions) -> dict[str, FloatArray]:
    """The present and the way to it; NaN where the present is unknown."""
    vehicle, origin = asked.vehicle, asked.origin
    now = known.history.state[vehicle, origin]
    midnight = origin - known.calendar.slot[origin]
    share = known.occupancy
    columns = {
        "is_plugged_in": now.astype(np.float64),
        "in_state_h": _hours_since(known.changed[vehicle, origin], origin),
        "since_plug_in_h": _hours_since(known.plugged[vehicle, origin], origin),
        "plug_ins_7d": _since(known.plug_ins, vehicle, origin, origin - SLOTS_A_WEEK),
        "plug_ins_today": _since(known.plug_ins, vehicle, origin, midnight - 1),
        "here_today_h": _since(known.here, vehicle, origin, midnight - 1) / SLOTS_AN_HOUR,
        "occupancy": share[origin],
        "occupancy_change_1h": share[origin] - share[np.maximum(origin - SLOTS_AN_HOUR, 0)],
    }
    fresh = {name: np.where(now >= 0, values, np.nan) for name, values in columns.items()}
    month = _since(known.plug_ins, vehicle, origin, origin - 4 * SLOTS_A_WEEK)
    return {"plug_ins_28d": month, **fresh}


def _hours_since(event: NDArray[np.int32], origin: IntArray) -> FloatArray:
    return np.where(event >= 0, (origin - event) / SLOTS_AN_HOUR, np.nan)


def _since(
    count: NDArray[np.int32], vehicle: IntArray, origin: IntArray, after: IntArray
) -> FloatArray:
    """How much a running count grew after a slot."""
    before = np.where(after >= 0, count[vehicle, np.maximum(after, 0)], 0)
    return (count[vehicle, origin] - before).astype(np.float64)


def _shares(known: Known, asked: Questions) -> dict[str, FloatArray]:
    """How often the vehicle was there at the target's local time on days before.

    Days count less the longer ago they are; `same_state_share` counts only like days on which the
    vehicle's situation at the origin's local time was the same as now.
    """
    rows = len(asked.origin)
    now = situation(known, asked, asked.origin)
    sums = {name: np.zeros((2, rows)) for name in ("7", "28", "weekday", "same", "fleet")}
    for back in range(1, LOOKBACK_DAYS + 1):
        then, before, is_like = like_day(known, asked, back)
        state = _state_at(known, asked, then)
        is_there, counts = state == 1, is_like & (state >= 0)
        is_same = counts & (situation(known, asked, before) == now)
        quick, slow = (0.5 ** (back / half_life) for half_life in HALF_LIVES_DAYS)
        add(sums["7"], quick * counts, is_there)
        add(sums["28"], slow * counts, is_there)
        add(sums["same"], slow * is_same, is_there)
        if back % 7 == 0:
            add(sums["weekday"], slow * (state >= 0), is_there)
        fleet = known.occupancy[np.clip(then, 0, known.history.slots - 1)]
        is_known = is_like & (then >= 0) & (then <= asked.origin) & np.isfinite(fleet)
        add(sums["fleet"], slow * is_known, np.where(is_known, fleet, 0.0))
    shares = {name: ratio(both) for name, both in sums.items()}
    return {
        "like_day_share_7": shares["7"],
        "like_day_share_28": shares["28"],
        "weekday_share": shares["weekday"],
        "fleet_share": shares["fleet"],
        "same_state_share": np.where(now >= 0, shares["same"], np.nan),
    }


def days_before(calendar: SlotCalendar, slot: IntArray, days: int) -> IntArray:
    """The slot with the same local time so many days before; -1 if there is none."""
    day = calendar.day[slot] - days
    return np.where(day >= 0, calendar.index[np.maximum(day, 0), calendar.slot[slot]], -1)


def like_day(
    known: Known, asked: Questions, back: int
) -> tuple[IntArray, IntArray, NDArray[np.bool_]]:
    """The same local times so many days before, and whether the target's day is alike.

    An off day is like an off day and a work day like a work day.

    Returns:
        Slot of the target's local time, of the origin's, -1 where there is none or it was still
        ahead, and whether the target's days are alike, shape (rows,) each.
    """
    calendar, target = known.calendar, asked.origin + asked.lead
    then = days_before(calendar, target, back)
    day = calendar.day[target]
    was_off = calendar.is_off_day[np.maximum(day - back, 0)]
    is_like = (day >= back) & (was_off == calendar.is_off_day[day])
    return (
        np.where(then <= asked.origin, then, -1),
        days_before(calendar, asked.origin, back),
        is_like,
    )


def situation(known: Known, asked: Questions, slot: IntArray) -> NDArray[np.int8]:
    """0 not there yet that day, 1 plugged in, 2 gone again, -1 unknown, shape (rows,)."""
    state = _state_at(known, asked, slot)
    place = np.maximum(slot, 0)
    midnight = place - known.calendar.slot[place]
    place = np.minimum(place, asked.origin)
    was_here = _since(known.here, asked.vehicle, place, midnight - 1) > 0
    return np.where(state == 0, 2 * was_here, state).astype(np.int8)


def _state_at(known: Known, asked: Questions, slot: IntArray) -> NDArray[np.int8]:
    """State of each row's vehicle at a slot; unknown outside what was known at the origin."""
    is_past = (slot >= 0) & (slot <= asked.origin)
    states = known.history.state[asked.vehicle, np.where(is_past, slot, 0)]
    return np.where(is_past, states, -1).astype(np.int8)


def add(sums: FloatArray, weight: FloatArray, value: FloatArray | NDArray[np.bool_]) -> None:
    """Add to a weighted sum of values and the sum of weights, shape (2, rows)."""
    sums[0] += weight * value
    sums[1] += weight


def ratio(sums: FloatArray) -> FloatArray:
    """The weighted mean; NaN without any weight, shape (rows,)."""
    return np.where(sums[1] > 0, sums[0] / np.maximum(sums[1], 1e-12), np.nan)
