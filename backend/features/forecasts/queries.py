"""Reading demand history and issued forecasts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from backend.features.forecasts.models import (
    DemandInterval,
    DemandSeries,
    DriftAlarm,
    ModelVersion,
    SiteClosure,
    SiteForecast,
    SiteRegressor,
)
from backend.features.sites.models import Site
from backend.forecasting.history import BoolArray, FloatArray, SiteHistory

HOUR = timedelta(hours=1)
QUARTER = timedelta(minutes=15)
FRESH = timedelta(hours=24)
THREE_HOURS_S = 3 * 3600
MOST_AT_ONCE = 500
SETTLING_H = 1.0
"""What comes within this time counts as in time: an hour's forecast is renewed while it runs."""

LONGEST_LATE_H = 4 * 24.0
"""What comes later still was entered afterwards, as from an archive, and counts as in time."""


@dataclass(frozen=True, slots=True)
class IssuedForecast:
    """A stored forecast, from its first hour on."""

    site_id: str
    issued_at: datetime
    source: str
    model_id: str | None
    first_hour_at: datetime
    mean_kwh: list[float]
    p10_kwh: list[float]
    p90_kwh: list[float]
    occupancy: list[float]
    sessions_started: list[float] | None = None
    quantiles_kwh: list[list[float]] | None = None

    @property
    def hour_starts(self) -> tuple[datetime, ...]:
        """Beginning of each hour, UTC."""
        return tuple(self.first_hour_at + i * HOUR for i in range(len(self.mean_kwh)))


def current(db: Session, site_id: str, *, now: datetime) -> IssuedForecast | None:
    """The newest stored forecast that covers this hour and was issued within a day."""
    row = db.scalar(
        select(SiteForecast)
        .where(SiteForecast.site_id == site_id, SiteForecast.first_hour_at <= now)
        .where(SiteForecast.first_hour_at > now - FRESH)
        .order_by(SiteForecast.first_hour_at.desc(), SiteForecast.issued_at.desc())
        .limit(1)
    )
    if row is None or now >= row.first_hour_at + len(row.mean_kwh) * HOUR:
        return None
    return IssuedForecast(
        site_id=row.site_id,
        issued_at=row.issued_at,
        source=row.source,
        model_id=row.model_id,
        first_hour_at=row.first_hour_at,
        mean_kwh=row.mean_kwh,
        p10_kwh=row.p10_kwh,
        p90_kwh=row.p90_kwh,
        occupancy=row.occupancy,
        sessions_started=row.sessions_started,
        quantiles_kwh=row.quantiles_kwh,
    )


def champion(db: Session, kind: str) -> ModelVersion | None:
    """The model version in service."""
    query = select(ModelVersion).where(ModelVersion.kind == kind, ModelVersion.status == "champion")
    return db.scalar(query.order_by(ModelVersion.id.desc()).limit(1))


def history_of(db: Session, site: Site, *, until: datetime) -> SiteHistory:
    """Demand of a site in the whole hours before `until` in which it was observed.

    What was not observed is not zero: the history ends where the observation does, and hours that
    were observed only partly are left out. Empty if the site was never observed. An hour of which a
    part became known after `until` is unknown; one that was late before it says since when it is
    known.
    """
    start, table, known_at_h = _quarters(db, site, until=until)
    hourly = table.sum(axis=2)
    return SiteHistory(
        site_id=site.id,
        timezone=site.timezone,
        country=site.country,
        start=start,
        energy_kwh=hourly[0],
        occupancy=hourly[1] * (QUARTER / HOUR),
        sessions_started=hourly[2],
        temperature_c=_regressor(db, site.id, "temperature_c", start=start, hours=table.shape[1]),
        price_eur_per_kwh=_regressor(
            db, site.id, "price_eur_per_kwh", start=start, hours=table.shape[1]
        ),
        closures=closures_of(db, site.id),
        available_at_h=_late(known_at_h),
    )


def quarters_of(db: Session, site: Site, *, until: datetime) -> tuple[datetime, FloatArray]:
    """The same hours by quarter: start and (energy, occupancy, sessions) of shape (3, hours, 4)."""
    start, table, _ = _quarters(db, site, until=until)
    return start, table


def _quarters(
    db: Session, site: Site, *, until: datetime
) -> tuple[datetime, FloatArray, FloatArray]:
    """Start, table (3, hours, 4) and when each hour became known, in hours from the start."""
    end = _floor_hour(until)
    series = db.get(DemandSeries, site.id)
    if series is not None:
        end = min(end, _floor_hour(series.observed_to))
    start = min(_ceil_hour(series.observed_from), end) if series else end
    table = np.zeros((3, (end - start) // QUARTER))
    known_at_h = np.zeros((end - start) // HOUR)
    rows = db.execute(
        select(
            DemandInterval.start_at,
            DemandInterval.available_at,
            DemandInterval.energy_kwh,
            DemandInterval.occupancy,
            DemandInterval.sessions_started,
        )
        .where(DemandInterval.site_id == site.id)
        .where(DemandInterval.start_at >= start, DemandInterval.start_at < end)
    )
    for start_at, available_at, *values in rows:
        hour = (start_at - start) // HOUR
        table[:, (start_at - start) // QUARTER] += values
        known_at_h[hour] = max(known_at_h[hour], (available_at - start) / HOUR)
    by_hour = table.reshape(3, -1, 4)
    by_hour[:, _withheld(known_at_h, until_h=(until - start) / HOUR)] = np.nan
    return start, by_hour, known_at_h


def _withheld(known_at_h: FloatArray, *, until_h: float) -> BoolArray:
    """Hours that became known after a moment, unless they were entered long afterwards."""
    late_h = known_at_h - np.arange(1, known_at_h.size + 1)
    withheld: BoolArray = (known_at_h > until_h) & (late_h <= LONGEST_LATE_H)
    return withheld


def _late(known_at_h: FloatArray) -> FloatArray | None:
    """When each hour became known, its end where it came in time; None if every one did."""
    end_h = np.arange(1.0, known_at_h.size + 1)
    late_h = known_at_h - end_h
    is_late = (late_h > SETTLING_H) & (late_h <= LONGEST_LATE_H)
    return np.where(is_late, known_at_h, end_h) if is_late.any() else None


def closures_of(db: Session, site_id: str) -> tuple[date, ...]:
    """The days on which a site is closed, in order."""
    query = select(SiteClosure.day).where(SiteClosure.site_id == site_id).order_by(SiteClosure.day)
    return tuple(db.scalars(query))


def issued_since(db: Session, site_id: str, *, since: datetime) -> list[SiteForecast]:
    """The first stored forecast of each three hours from a moment on, oldest first."""
    query = (
        select(SiteForecast)
        .where(SiteForecast.site_id == site_id, SiteForecast.first_hour_at >= since)
        .order_by(SiteForecast.first_hour_at, SiteForecast.issued_at)
    )
    first_of: dict[int, SiteForecast] = {}
    for row in db.scalars(query):
        first_of.setdefault(int(row.first_hour_at.timestamp()) // THREE_HOURS_S, row)
    return list(first_of.values())


def issued_at_midnight(db: Session, site_id: str, *, since: datetime) -> list[SiteForecast]:
    """The forecasts that begin at midnight UTC, the first of each day, oldest first."""
    keys = [
        (first_hour_at, issued_at)
        for first_hour_at, issued_at in db.execute(
            select(SiteForecast.first_hour_at, SiteForecast.issued_at)
            .where(SiteForecast.site_id == site_id, SiteForecast.first_hour_at >= since)
            .order_by(SiteForecast.first_hour_at, SiteForecast.issued_at.desc())
        )
        if first_hour_at.hour == 0
    ]
    first_of = dict(keys)  # the last word on a key is the earliest issued
    query = select(SiteForecast).where(
        SiteForecast.site_id == site_id, SiteForecast.issued_at.in_(first_of.values())
    )
    return list(db.scalars(query.order_by(SiteForecast.first_hour_at)))


def forget_issued(db: Session, *, all_before: datetime, but_midnight_before: datetime) -> None:
    """Delete old forecasts: all of long ago, of later ones those that do not begin at midnight."""
    db.execute(delete(SiteForecast).where(SiteForecast.issued_at < all_before))
    times = db.scalars(
        select(SiteForecast.first_hour_at)
        .where(SiteForecast.issued_at < but_midnight_before)
        .distinct()
    )
    gone = [one for one in times if one.hour != 0]
    for first in range(0, len(gone), MOST_AT_ONCE):
        some = gone[first : first + MOST_AT_ONCE]
        db.execute(
            delete(SiteForecast).where(
                SiteForecast.issued_at < but_midnight_before, SiteForecast.first_hour_at.in_(some)
            )
        )


def alarms_since(db: Session, site_ids: Sequence[str], *, since: date) -> list[DriftAlarm]:
    """Alarms and warnings of some sites from a day on, newest first."""
    query = (
        select(DriftAlarm)
        .where(DriftAlarm.site_id.in_(site_ids), DriftAlarm.day >= since)
        .order_by(DriftAlarm.day.desc(), DriftAlarm.site_id, DriftAlarm.signal)
    )
    return list(db.scalars(query))


def regressors_ahead(
    db: Session, site_id: str, *, since: datetime, until: datetime
) -> list[tuple[str, str, bool]]:
    """Name, source and whether it is simulated of what is known of some hours in advance."""
    query = (
        select(SiteRegressor.name, SiteRegressor.source, SiteRegressor.is_simulated)
        .where(SiteRegressor.site_id == site_id)
        .where(SiteRegressor.valid_at >= since, SiteRegressor.valid_at < until)
        .distinct()
        .order_by(SiteRegressor.name, SiteRegressor.source)
    )
    return [(name, source, is_simulated) for name, source, is_simulated in db.execute(query)]


def _regressor(
    db: Session, site_id: str, name: str, *, start: datetime, hours: int
) -> FloatArray | None:
    """Values by hour from the start of a history to as far as they are known; None without any."""
    query = select(SiteRegressor.valid_at, SiteRegressor.value).where(
        SiteRegressor.site_id == site_id,
        SiteRegressor.name == name,
        SiteRegressor.valid_at >= start,
    )
    known = {(valid_at - start) // HOUR: value for valid_at, value in db.execute(query)}
    if not known:
        return None
    values = np.full(max(hours, max(known) + 1), np.nan)
    values[list(known)] = list(known.values())
    return values


def _floor_hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _ceil_hour(moment: datetime) -> datetime:
    floor = _floor_hour(moment)
    return floor if floor == moment else floor + HOUR
