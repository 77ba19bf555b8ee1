"""What the demonstration's vehicles said of themselves: simulated, as all of it.

Thin on purpose: a point about every hour, and one at each plug-in and plug-out. `telemetry
generate` draws it as dense and as faulty as real vehicles send it.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any

import numpy as np
from sqlalchemy import delete, insert
from sqlalchemy.orm import Session

from backend.features.demo.world import DemoSession, World
from backend.features.vehicles.models import TelemetryPoint
from backend.features.vehicles.telemetry import keep_newest_soc

EVERY_MIN = (40.0, 80.0)
SEED = 20
DRIVING_MIN = 45.0
QUARTER = timedelta(minutes=15)


def add_telemetry(db: Session, world: World) -> None:
    """Replace the telemetry of the world's vehicles by that of their sessions."""
    dids = [one.did for one in world.vehicles]
    db.execute(delete(TelemetryPoint).where(TelemetryPoint.vehicle_did.in_(dids)))
    by_vehicle = attrgetter("vehicle_did", "started_at")
    sessions = groupby(sorted(world.sessions, key=by_vehicle), key=attrgetter("vehicle_did"))
    for place, (did, its) in enumerate(sessions):
        rows = list(_points(did, list(its), world, np.random.default_rng([SEED, place])))
        if rows:
            db.execute(insert(TelemetryPoint), rows)
            keep_newest_soc(db, did, soc_percent=rows[-1]["soc_percent"], at=rows[-1]["at"])


def _points(
    did: str, sessions: Sequence[DemoSession], world: World, rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """The points of one vehicle in order of time."""
    knots, percent = _state_of_charge(sessions)
    begin_s, end_s = int(sessions[0].started_at.timestamp()), int(world.end.timestamp())
    steps = rng.uniform(*EVERY_MIN, int((end_s - begin_s) / 60 / EVERY_MIN[0]) + 1)
    ticks = begin_s + np.cumsum(60 * steps).astype(np.int64)
    events = [int(t.timestamp()) for one in sessions for t in (one.started_at, one.ended_at)]
    at_s = np.unique(np.concatenate([ticks[ticks < end_s], events]))
    starts = np.array([one.started_at.timestamp() for one in sessions])
    stay = np.searchsorted(starts, at_s, side="right") - 1
    for moment_s, place, soc in zip(at_s, stay, np.interp(at_s, knots, percent), strict=True):
        one, at = sessions[int(place)], datetime.fromtimestamp(int(moment_s), tz=world.end.tzinfo)
        is_plugged_in = at < one.ended_at
        yield {
            "vehicle_did": did,
            "at": at,
            "is_plugged_in": is_plugged_in,
            "soc_percent": round(float(soc), 1),
            "power_kw": _power_kw(one, at) if is_plugged_in else 0.0,
            "available_at": at,
        }


def _state_of_charge(sessions: Sequence[DemoSession]) -> tuple[list[float], list[float]]:
    """Moments in seconds and percent there; it drives after leaving and before coming."""
    knots: list[float] = []
    percent: list[float] = []
    for one in sessions:
        start_s, end_s = one.started_at.timestamp(), one.ended_at.timestamp()
        if knots:
            ride_s = min(60 * DRIVING_MIN, (start_s - knots[-1]) / 3)
            between = (percent[-1] + one.soc_start_percent) / 2
            knots += [knots[-1] + ride_s, start_s - ride_s]
            percent += [between, between]
        knots.append(start_s)
        percent.append(one.soc_start_percent)
        _charge(one, knots, percent)
        knots.append(max(end_s, knots[-1] + 1))
        percent.append(one.soc_end_percent)
    return knots, percent


def _charge(one: DemoSession, knots: list[float], percent: list[float]) -> None:
    """The way from the first state of charge to the last, quarter-hour by quarter-hour."""
    given = np.cumsum(one.profile_kwh)
    if len(given) == 0 or given[-1] <= 0:
        return
    gained = (one.soc_end_percent - one.soc_start_percent) * given / given[-1]
    for quarter, points in enumerate(gained, 1):
        moment_s = (one.profile_start + quarter * QUARTER).timestamp()
        if knots[-1] < moment_s < one.ended_at.timestamp():
            knots.append(moment_s)
            percent.append(one.soc_start_percent + float(points))


def _power_kw(one: DemoSession, at: datetime) -> float:
    """Mean power of the quarter-hour."""
    quarter = (at - one.profile_start) // QUARTER
    if not 0 <= quarter < len(one.profile_kwh):
        return 0.0
    return round(4 * float(one.profile_kwh[quarter]), 3)
