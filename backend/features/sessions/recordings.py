"""Recorded sessions: from a CSV file to days that can be lived through again."""

import csv
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import islice
from pathlib import Path

import numpy as np

from backend.planning import policies
from backend.planning.replay import Array, Site, Visits, replay

STEP_H = 0.25
DEMAND_CHARGE_PER_KW = 15.51 / 30  # a day's share of a month's
LEAST_CURRENT_KW = 6 * 208 / 1000  # 6 A on the plugs of the recorded sites
FAST_PLUG_KW = 25.0  # what charges faster is no workplace plug and is left out
LIKE_WEEKS = (1, 2, 3, 4)
HISTORY = timedelta(days=75)
OFF_PEAK, MID_PEAK, ON_PEAK = 0.05623, 0.0925, 0.26668  # USD/kWh
PRICE_HOURS = ((0, OFF_PEAK), (8, MID_PEAK), (12, ON_PEAK), (18, MID_PEAK), (23, OFF_PEAK))
FRIDAY, BUSY_SESSIONS, STATEMENTS = 4, 20, 5


@dataclass(frozen=True, slots=True)
class Recorded:
    """One recorded session.

    Attributes:
        driver: Who it was; empty if unknown.
        stated_departure: What the driver said; None if nothing.
    """

    site: str
    driver: str
    arrival: datetime
    departure: datetime
    stated_departure: datetime | None
    energy_kwh: float
    max_kw: float


@dataclass(frozen=True, slots=True)
class Recording:
    """The sessions of one site, by the local date of their arrival, in order of arrival."""

    site: str
    days: Mapping[date, tuple[Recorded, ...]]

    def on(self, day: date) -> tuple[Recorded, ...]:
        """The sessions of a day."""
        return self.days.get(day, ())

    def like(self, day: date) -> tuple[tuple[Recorded, ...], ...]:
        """The sessions of the same weekday of the four weeks before."""
        return tuple(self.on(day - timedelta(weeks=weeks)) for weeks in LIKE_WEEKS)

    def ended_before(self, day: date) -> tuple[Recorded, ...]:
        """The sessions of the 75 days before that had ended when the day began."""
        return tuple(
            session
            for earlier, sessions in self.days.items()
            if day - HISTORY <= earlier < day
            for session in sessions
            if session.departure.date() < day
        )


@dataclass(frozen=True, slots=True, eq=False)
class Day:
    """A day to be lived through again.

    Attributes:
        sessions: What happened, in the order of the visits.
        like: The visits of like days.
        past: Sessions that had ended before.
    """

    date: date
    site: Site
    visits: Visits
    sessions: tuple[Recorded, ...]
    like: tuple[Visits, ...]
    past: tuple[Recorded, ...]


def read_sessions(file: Path) -> dict[str, Recording]:
    """Read a file of sessions, each site apart.

    Raises:
        KeyError: If a column is missing.
        ValueError: If a value cannot be read.
    """
    with file.open(newline="", encoding="utf-8") as lines:
        sessions = [_recorded(row) for row in csv.DictReader(lines)]
    kept = sorted(
        (session for session in sessions if session.max_kw < FAST_PLUG_KW),
        key=lambda session: session.arrival,
    )
    by_site: dict[str, dict[date, list[Recorded]]] = defaultdict(lambda: defaultdict(list))
    for session in kept:
        by_site[session.site][session.arrival.date()].append(session)
    return {
        site: Recording(site, {day: tuple(found) for day, found in days.items()})
        for site, days in by_site.items()
    }


def _recorded(row: Mapping[str, str]) -> Recorded:
    stated = row.get("requested_departure", "")
    return Recorded(
        site=row["site"],
        driver=row.get("user", ""),
        arrival=datetime.fromisoformat(row["arrival"]),
        departure=datetime.fromisoformat(row["departure"]),
        stated_departure=datetime.fromisoformat(stated) if stated else None,
        energy_kwh=float(row["energy_kwh"]),
        max_kw=float(row["max_kw"]),
    )


def prices(step_h: float = STEP_H) -> Array:
    """Energy price of a summer weekday in USD/kWh, shape (steps,).

    Source: Southern California Edison, TOU-EV-4, March 2019.
    """
    hour = np.arange(round(24 / step_h)) * step_h
    starts, price = zip(*PRICE_HOURS, strict=True)
    return np.array(price)[np.searchsorted(starts, hour, side="right") - 1]


def day_of(
    recording: Recording,
    day: date,
    *,
    cap: float,
    step_h: float = STEP_H,
    is_stated: bool = False,
) -> Day:
    """Prepare a day under a limit that is a share of its uncontrolled peak.

    Args:
        recording: The sessions of the site.
        day: The local date.
        cap: Site limit as a share of the day's uncontrolled peak; infinite for no limit.
        step_h: Length of a step; a divisor of an hour.
        is_stated: Whether departures are what drivers said; who said nothing is then left out.
    """
    visits, sessions = _visits(recording.on(day), day, step_h=step_h, is_stated=is_stated)
    free = Site(step_h, prices(step_h), np.full(round(24 / step_h), np.inf), DEMAND_CHARGE_PER_KW)
    peak_kw = replay(free, visits, policies.uncontrolled).power_kw.sum(axis=0).max(initial=0.0)
    limit_kw = np.full(free.steps, np.inf if math.isinf(cap) else cap * peak_kw)
    like = (
        _visits(earlier, day - timedelta(weeks=weeks), step_h=step_h, is_stated=is_stated)[0]
        for weeks, earlier in zip(LIKE_WEEKS, recording.like(day), strict=True)
    )
    return Day(
        date=day,
        site=replace(free, limit_kw=limit_kw),
        visits=visits,
        sessions=sessions,
        like=tuple(replace(one, stated_departure=None) for one in like),
        past=recording.ended_before(day),
    )


def with_equipment(day: Day, *, min_kw: float = LEAST_CURRENT_KW, taper_kwh: float = 0.0) -> Day:
    """The same day with chargers that are off below a minimum and batteries that taper.

    Args:
        day: The day.
        min_kw: Setpoint below which a charger is off.
        taper_kwh: Open energy below which batteries take less and less.
    """
    every = np.ones(len(day.visits.demand_kwh))
    visits = replace(
        day.visits,
        min_kw=np.minimum(min_kw, day.visits.max_kw),
        taper_kwh=taper_kwh * every if taper_kwh else None,
    )
    return replace(day, visits=visits)


def _visits(
    sessions: Iterable[Recorded], day: date, *, step_h: float, is_stated: bool
) -> tuple[Visits, tuple[Recorded, ...]]:
    """Sessions on the grid: arrival rounded up, departure down, both within the day."""
    rows = []
    for session in sessions:
        said = session.stated_departure or session.departure
        first = math.ceil(steps_since_midnight(session.arrival, day, step_h) - 1e-9)
        last, stated = (
            math.floor(steps_since_midnight(end, day, step_h) + 1e-9)
            for end in (session.departure, said)
        )
        if first < last and not (is_stated and session.stated_departure is None):
            rows.append((session, first, last, stated))
    kept = tuple(row[0] for row in rows)
    grid = np.array([row[1:] for row in rows], dtype=np.intp).reshape(len(rows), 3)
    arrival, departure = grid[:, 0], grid[:, 1]
    max_kw = np.array([session.max_kw for session in kept], dtype=np.float64)
    wanted_kwh = np.array([session.energy_kwh for session in kept], dtype=np.float64)
    possible_kwh = max_kw * step_h * (departure - arrival)
    return Visits(
        arrival=arrival,
        departure=departure,
        demand_kwh=np.minimum(wanted_kwh, possible_kwh),
        max_kw=max_kw,
        stated_departure=grid[:, 2] if is_stated else None,
    ), kept


def steps_since_midnight(moment: datetime, day: date, step_h: float) -> float:
    """Steps since local midnight of the day, within the day, by the clock on the wall."""
    midnight = datetime.combine(day, datetime.min.time())
    passed_h = (moment.replace(tzinfo=None) - midnight) / timedelta(hours=1)
    return min(max(passed_h, 0.0), 24.0) / step_h


def days_to_measure(recording: Recording, *, count: int = 10) -> tuple[date, ...]:
    """The first Mondays to Thursdays with 20 sessions and four earlier same weekdays."""
    found = (
        day
        for day, sessions in sorted(recording.days.items())
        if day.weekday() < FRIDAY and len(sessions) >= BUSY_SESSIONS and all(recording.like(day))
    )
    return tuple(islice(found, count))


def days_with_statements(recording: Recording) -> tuple[date, ...]:
    """Workdays with five stated departures, 75 days into the recording or later."""
    first = min(recording.days, default=date.max)
    return tuple(
        day
        for day, sessions in sorted(recording.days.items())
        if day.weekday() <= FRIDAY
        and day - first >= HISTORY
        and sum(session.stated_departure is not None for session in sessions) >= STATEMENTS
    )
