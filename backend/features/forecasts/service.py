"""Demand history: what was drawn, where vehicles stood, since when a site is observed."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import Session

from backend.database import insert_missing
from backend.features.forecasts.models import DemandInterval, DemandSeries
from backend.features.forecasts.queries import HOUR, QUARTER

LONGEST_GAP = timedelta(days=14)  # without news for longer than this, an observation has ended
STILL_OBSERVED = timedelta(hours=2)


def add_plug_in(db: Session, site_id: str, *, at: datetime) -> None:
    """Count a session that began; its demand follows with its readings."""
    _add(db, site_id, [_interval(_floor_quarter(at), 0.0, 0.0, 1, at)], now=at)


def add_demand(
    db: Session, site_id: str, *, start: datetime, end: datetime, energy_kwh: float, now: datetime
) -> None:
    """Add one vehicle's stretch of being plugged in; its energy is spread evenly over it."""
    _spread(db, site_id, start, end, energy_kwh=energy_kwh, vehicles=1, now=now)


def add_energy(
    db: Session, site_id: str, *, start: datetime, end: datetime, energy_kwh: float, now: datetime
) -> None:
    """Add energy alone, for a vehicle whose stay is added apart from it."""
    _spread(db, site_id, start, end, energy_kwh=energy_kwh, vehicles=0, now=now)


def _spread(
    db: Session,
    site_id: str,
    start: datetime,
    end: datetime,
    *,
    energy_kwh: float,
    vehicles: int,
    now: datetime,
) -> None:
    if end <= start:
        if energy_kwh > 0:  # a session over in the moment it began, as in a demonstration
            _add(db, site_id, [_interval(_floor_quarter(start), energy_kwh, 0.0, 0, now)], now=now)
        return
    rows = []
    for quarter, share_h in _quarters(start, end):
        share = share_h * HOUR / (end - start)
        occupancy = vehicles * share_h * (HOUR / QUARTER)
        rows.append(_interval(quarter, energy_kwh * share, occupancy, 0, now))
    _add(db, site_id, rows, now=now)


def _quarters(start: datetime, end: datetime) -> Iterator[tuple[datetime, float]]:
    """Each quarter-hour that a stretch touches, and the hours it touches it."""
    quarter = _floor_quarter(start)
    while quarter < end:
        overlap = min(end, quarter + QUARTER) - max(start, quarter)
        yield quarter, overlap / HOUR
        quarter += QUARTER


def _interval(
    start_at: datetime, energy_kwh: float, occupancy: float, started: int, now: datetime
) -> dict[str, Any]:
    return {
        "start_at": start_at,
        "energy_kwh": energy_kwh,
        "occupancy": occupancy,
        "sessions_started": started,
        "available_at": now,
    }


def _floor_quarter(moment: datetime) -> datetime:
    return moment.replace(minute=moment.minute // 15 * 15, second=0, microsecond=0)


def _add(db: Session, site_id: str, rows: list[dict[str, Any]], *, now: datetime) -> None:
    """Add to the quarter-hours' values, whatever is there; the site's series is locked first."""
    observe(db, site_id, since=rows[0]["start_at"], until=now)
    dialect = db.get_bind().dialect.name
    insert = sqlite_insert if dialect == "sqlite" else postgresql_insert
    statement = insert(DemandInterval).values([{"site_id": site_id, **row} for row in rows])
    sums = {
        name: getattr(DemandInterval, name) + statement.excluded[name]
        for name in ("energy_kwh", "occupancy", "sessions_started")
    }
    db.execute(
        statement.on_conflict_do_update(
            index_elements=["site_id", "start_at"],
            set_={**sums, "available_at": statement.excluded.available_at},
        )
    )


def observe(db: Session, site_id: str, *, since: datetime, until: datetime) -> None:
    """Widen the span in which the site is known to have been observed.

    The span has no holes: after a gap too long to take for quiet, the newer span alone counts.
    """
    row = {"site_id": site_id, "observed_from": since, "observed_to": until}
    if insert_missing(db, DemandSeries, row):
        return
    series = db.get_one(DemandSeries, site_id, with_for_update=True, populate_existing=True)
    if since > series.observed_to + LONGEST_GAP:
        series.observed_from, series.observed_to = since, until
    elif until >= series.observed_from - LONGEST_GAP:
        series.observed_from = min(series.observed_from, since)
        series.observed_to = max(series.observed_to, until)
    db.flush()


def keep_observed(db: Session, *, now: datetime) -> None:
    """Note that sites observed until lately still are, however quiet they have been since."""
    db.execute(
        update(DemandSeries)
        .where(DemandSeries.observed_to > now - STILL_OBSERVED, DemandSeries.observed_to < now)
        .values(observed_to=now)
        .execution_options(synchronize_session=False)
    )
