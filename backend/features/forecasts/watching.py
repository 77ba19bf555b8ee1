"""How forecasts did, whether sites have changed, and whether to train anew."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.compute import Compute, Overdue, WorkerLost
from backend.database import Database, insert_missing
from backend.features.forecasts import queries
from backend.features.forecasts.models import DriftAlarm, SiteForecast
from backend.features.forecasts.outlooks import ALARMED, KEPT_AT_MIDNIGHT, KIND
from backend.features.sites.models import Site
from backend.forecasting import metrics
from backend.forecasting.baselines import like_day_mean
from backend.forecasting.drift import (
    REFERENCE_DAYS,
    Alarm,
    find_drift,
    find_misses,
    population_stability,
    why_retrain,
    work_days,
)
from backend.forecasting.evaluation import ACTIVE_KWH
from backend.forecasting.features import feature_rows
from backend.forecasting.history import BoolArray, FloatArray, SiteHistory
from backend.forecasting.tables import SiteTables

log = structlog.get_logger("tasco.forecasts")
WATCHING_TIMEOUT_S = 30.0
JUDGED = timedelta(days=30)
LEAD_BANDS = ((1, 3), (4, 6), (7, 12), (13, 24), (25, 48))
RECENT_H, REFERENCE_H = 14 * 24, 90 * 24
NEW_SITE_H = 14 * 24
LATELY = timedelta(days=10)
FEWEST_HOURS = 7 * 24
FEWEST_ACTIVE_H = 4  # a share of fewer says little
HOURS_A_DAY = 24


@dataclass(frozen=True, slots=True)
class BandFigures:
    """How forecasts of some lead times did; errors are those of the mean, NaN is None."""

    from_lead_h: int
    to_lead_h: int
    hours: int
    mae_kwh: float | None
    wape: float | None
    skill_vs_seasonal_naive: float | None
    coverage_80: float | None


@dataclass(frozen=True, slots=True)
class Compared:
    """Issued forecasts beside what happened, all arrays of shape (rows,)."""

    lead_h: FloatArray
    actual_kwh: FloatArray
    mean_kwh: FloatArray
    lower_kwh: FloatArray
    upper_kwh: FloatArray
    naive_kwh: tuple[FloatArray, FloatArray]


def compared(db: Session, history: SiteHistory, *, since: datetime) -> Compared:
    """Every stored forecast since a moment, hour by hour, against the history."""
    rows = queries.issued_since(db, history.site_id, since=since)
    table = np.array([each for row in rows for each in _hours(row, history)]).reshape(-1, 7).T
    lead, actual, mean, lower, upper, day, week = table
    return Compared(lead, actual, mean, lower, upper, (day, week))


def accuracy(db: Session, history: SiteHistory, *, now: datetime) -> list[BandFigures]:
    """The last 30 days by lead time: error, skill against the better naive, coverage."""
    every = compared(db, history, since=now - JUDGED)
    return [
        _figures(every, (every.lead_h >= first) & (every.lead_h <= last), first, last)
        for first, last in (*LEAD_BANDS, (1, 48))
    ]


def watch(database: Database, *, compute: Compute, now: datetime) -> int:
    """Look for drift at every site and store what is new; gives how many sure alarms are new."""
    with database.reading() as db:
        sites = db.scalars(select(Site).order_by(Site.id)).all()
        seen = [
            (history, missed_shares(db, history, now=now))
            for history in (queries.history_of(db, site, until=now) for site in sites)
        ]
    rows = [row for one in seen for row in _new_alarms(*one, compute=compute, now=now)]
    new = 0
    with database.transaction() as db:
        for row in rows:
            new += bool(row["is_sure"]) * insert_missing(db, DriftAlarm, row)
    if new:
        log.warning("forecasts.drift", alarms=new)
    return new


def retrain_reasons(db: Session, *, now: datetime) -> tuple[str, ...]:
    """What speaks for training anew; nothing does before there is a model."""
    version = queries.champion(db, KIND)
    if version is None:
        return ()
    sites = db.scalars(select(Site).order_by(Site.id)).all()
    histories = [queries.history_of(db, site, until=now) for site in sites]
    seen = version.metrics.get("per_site", {})
    newer = [one for one in histories if one.site_id not in seen]
    alarms = queries.alarms_since(
        db, [site.id for site in sites], since=version.trained_at.date() + timedelta(days=1)
    )
    wape_now, wape_like = _lately(db, histories, now=now)
    hours = sum(one.hours for one in histories)
    fresh = sum(max(0, one.hours - max(one.index_of(version.trained_at), 0)) for one in histories)
    return why_retrain(
        days_since_training=(now - version.trained_at) / timedelta(days=1),
        has_drift=any(one.is_sure for one in alarms),
        wape_now=wape_now,
        wape_backtest=float(version.metrics.get("wape", 0.0)),
        wape_like_day=wape_like,
        new_data_share=fresh / max(hours - fresh, 1),
        has_new_site=any(one.hours >= NEW_SITE_H for one in newer),
    ).reasons


def stability_of(history: SiteHistory) -> float | None:
    """PSI of the last two weeks against the 90 days before them; None where that is too early."""
    if history.hours < RECENT_H + REFERENCE_H:
        return None
    known = history.energy_kwh[-(RECENT_H + REFERENCE_H) :]
    reference, recent = known[:REFERENCE_H], known[REFERENCE_H:]
    return population_stability(reference[np.isfinite(reference)], recent[np.isfinite(recent)])


def is_alarmed(alarms: Sequence[DriftAlarm], site_id: str, *, now: datetime) -> bool:
    """Whether a site's bands are widened now."""
    since = (now - ALARMED).date()
    return any(one.site_id == site_id and one.day >= since for one in alarms)


@dataclass(frozen=True, slots=True, eq=False)
class MissedShares:
    """How often the band of a day's forecast missed.

    Attributes:
        day: The UTC days of which a forecast was made at midnight, in order.
        share: Share of the day's hours with demand that were outside the band, shape (days,).
    """

    day: tuple[date, ...]
    share: FloatArray


def missed_shares(db: Session, history: SiteHistory, *, now: datetime) -> MissedShares:
    """What became of the forecasts that were made at midnight, as far as they are kept."""
    found: dict[date, float] = {}
    for row in queries.issued_at_midnight(db, history.site_id, since=now - KEPT_AT_MIDNIGHT):
        hours = [one for one in _hours(row, history) if one[0] <= HOURS_A_DAY]
        table = np.array([one for one in hours if one[2] > ACTIVE_KWH]).reshape(-1, 7)
        if len(table) >= FEWEST_ACTIVE_H:
            actual, lower, upper = table[:, 1], table[:, 3], table[:, 4]
            missed = (actual < lower) | (actual > upper)
            found[row.first_hour_at.date()] = float(np.mean(missed))
    return MissedShares(tuple(found), np.array(list(found.values()), dtype=np.float64))


def _new_alarms(
    history: SiteHistory, missed: MissedShares, *, compute: Compute, now: datetime
) -> Iterator[dict[str, object]]:
    days = work_days(history)
    first = history.start.astimezone(ZoneInfo(history.timezone)).date()
    usual = np.full(1, float(np.mean(days.energy_kwh[:REFERENCE_DAYS])) if days.day.size else 0.0)
    found: list[tuple[date, Alarm]] = []
    try:
        if days.energy_kwh.size > REFERENCE_DAYS:
            alarms = compute.run(find_drift, WATCHING_TIMEOUT_S, days.energy_kwh, usual)
            found += [(first + timedelta(days=int(days.day[one.day])), one) for one in alarms]
        if missed.share.size > REFERENCE_DAYS:
            alarms = compute.run(find_misses, WATCHING_TIMEOUT_S, missed.share)
            found += [(missed.day[one.day], one) for one in alarms]
    except (Overdue, WorkerLost) as error:
        log.warning("forecasts.not_watched", site_id=history.site_id, reason=repr(error))
    for day, alarm in found:
        if day >= (now - LATELY).date():  # what is older was noticed then, or is history
            yield _alarm_row(history.site_id, day, alarm, now)


def _alarm_row(site_id: str, day: date, alarm: Alarm, now: datetime) -> dict[str, object]:
    return {
        "site_id": site_id,
        "day": day,
        "signal": alarm.signal,
        "is_sure": alarm.is_sure,
        "noticed_at": now,
    }


def _lately(
    db: Session, histories: Sequence[SiteHistory], *, now: datetime
) -> tuple[float | None, float | None]:
    """WAPE of what was forecast in the last seven work days, and of like-day means on the same."""
    many = [
        _beside_like_days(rows, one)
        for one in histories
        if (rows := queries.issued_since(db, one.site_id, since=now - LATELY))
    ]
    table = np.concatenate(many) if many else np.zeros((0, 3))
    actual, mean, like_day = table[np.isfinite(table).all(axis=1)].T
    if actual.size < FEWEST_HOURS:
        return None, None
    return metrics.wape(actual, mean), metrics.wape(actual, like_day)


def _beside_like_days(issued: Sequence[SiteForecast], history: SiteHistory) -> FloatArray:
    """What happened, the mean forecast and the like-day mean of its origin, shape (rows, 3)."""
    found = [
        (history.index_of(row.first_hour_at), *values)
        for row in issued
        for values in _hours(row, history)
    ]
    if not found:
        return np.zeros((0, 3))
    table = np.array(found)
    origin, lead_h = table[:, 0].astype(np.int64), table[:, 1].astype(np.int64)
    tables = SiteTables.of(
        history, known_hours=history.hours, hours_ahead=int(max(origin + lead_h)) + 1
    )
    like_day = like_day_mean(feature_rows(tables, origin=origin, lead_h=lead_h))
    return np.column_stack([table[:, 2], table[:, 3], like_day])


def _hours(row: SiteForecast, history: SiteHistory) -> Iterator[tuple[float, ...]]:
    first = history.index_of(row.first_hour_at)
    for lead, mean in enumerate(row.mean_kwh):
        hour = first + lead
        if not 0 <= hour < history.hours or not np.isfinite(history.energy_kwh[hour]):
            continue
        yield (
            lead + 1,
            float(history.energy_kwh[hour]),
            mean,
            row.p10_kwh[lead],
            row.p90_kwh[lead],
            _lagged(history, hour, 24 * (lead // 24 + 1)),
            _lagged(history, hour, 168),
        )


def _lagged(history: SiteHistory, hour: int, lag_h: int) -> float:
    return float(history.energy_kwh[hour - lag_h]) if hour >= lag_h else float("nan")


def _figures(every: Compared, chosen: BoolArray, first: int, last: int) -> BandFigures:
    actual, mean = every.actual_kwh[chosen], every.mean_kwh[chosen]
    if actual.size == 0:
        return BandFigures(first, last, 0, None, None, None, None)
    naive = [
        metrics.mae(actual[known], each[chosen][known])
        for each in every.naive_kwh
        if (known := np.isfinite(each[chosen])).all()
    ]
    error = metrics.mae(actual, mean)
    return BandFigures(
        from_lead_h=first,
        to_lead_h=last,
        hours=int(actual.size),
        mae_kwh=error,
        wape=metrics.wape(actual, mean) if actual.sum() > 0 else None,
        skill_vs_seasonal_naive=metrics.skill(error, min(naive)) if naive else None,
        coverage_80=metrics.coverage(actual, every.lower_kwh[chosen], every.upper_kwh[chosen]),
    )
