"""Demand ahead: by the champion, else by like days, else by sites of the same kind."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import structlog
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from backend.adapters.artifacts.files import ArtifactAltered, ArtifactFiles
from backend.compute import Compute, Overdue, WorkerLost
from backend.database import Database, insert_missing
from backend.features.forecasts import queries
from backend.features.forecasts.models import ModelVersion, SiteForecast
from backend.features.forecasts.queries import HOUR, QUARTER, IssuedForecast
from backend.features.forecasts.service import LONGEST_GAP
from backend.features.sites.models import Charger, Site
from backend.forecasting.baselines import like_day_forecast
from backend.forecasting.calendar import local_calendar
from backend.forecasting.class_profile import class_forecast
from backend.forecasting.conformal import Scores, group_of, level_needed
from backend.forecasting.evaluation import ACTIVE_KWH
from backend.forecasting.forecast import DemandForecast
from backend.forecasting.history import FloatArray, SiteHistory
from backend.forecasting.models import FeaturesDiffer, TooMuchMissing, explain, predict
from backend.forecasting.quarters import QuarterForecast, shares_by_hour, split_hours, widening

log = structlog.get_logger("tasco.forecasts")
KIND = "site_demand"
SCORES_FILE = "conformal.json"
PREDICTION_TIMEOUT_S = 30.0
ISSUED_HOURS = 48
KEPT_FORECASTS = timedelta(days=60)
KEPT_AT_MIDNIGHT = timedelta(days=400)
"""One forecast a day is kept so long: drift of the bands needs 90 days of reference."""
SCORED = timedelta(days=28)
SCORED_LEADS = (0, 2, 5, 11, 17, 23)  # hours from the first to the hour scored
ALARMED = timedelta(days=7)
ALARMED_LEVEL = 0.9
LEAST_HISTORY_H = 24
QUARTER_DAYS = 56


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The content of a model version: texts by target and scores by site."""

    texts: Mapping[str, str]
    scores: Mapping[str, Scores]


@dataclass(frozen=True, slots=True)
class Outlook:
    """A forecast and the history it rests on.

    Attributes:
        history_until: End of the last hour that was observed; None if none was.
        is_stale: The site is no longer observed: the forecast begins where its history ends.
        fallback_reason: Why the champion did not make it; None if it did.
        has_wide_band: The band is wider than usual, because the site has just changed.
        known_in_advance: Name, source and whether it is simulated of what the model was shown of
            the hours ahead.
    """

    forecast: IssuedForecast
    history_until: datetime | None
    is_stale: bool
    fallback_reason: str | None
    has_wide_band: bool
    known_in_advance: tuple[tuple[str, str, bool], ...]


def model_files(artifacts: ArtifactFiles, version: ModelVersion) -> ModelFiles | None:
    """The files of a version; None, and a line in the log, if they are not what was registered."""
    try:
        files = dict(artifacts.read(version.path, sha256=version.sha256))
        scores = json.loads(files.pop(SCORES_FILE, "{}"))
    except (FileNotFoundError, ArtifactAltered, ValueError) as error:
        log.warning("model.unusable", model_id=version.id, reason=repr(error))
        return None
    return ModelFiles(
        texts={name.removesuffix(".lightgbm.txt"): text for name, text in files.items()},
        scores={site_id: Scores.from_lists(lists) for site_id, lists in scores.items()},
    )


def issue_all(
    database: Database, artifacts: ArtifactFiles, *, compute: Compute, now: datetime
) -> None:
    """Store a fresh forecast for every site whose history reaches up to now."""
    with database.reading() as db:
        sites = db.scalars(select(Site).order_by(Site.id)).all()
        made = [
            forecast_site(
                db, site, artifacts=artifacts, compute=compute, now=now, hours_ahead=ISSUED_HOURS
            )
            for site in sites
        ]
    rows = [_row(one.forecast) for one in made if not one.is_stale]
    with database.transaction() as db:
        # A clock that stands still gives a newer forecast the same time.
        db.execute(delete(SiteForecast).where(SiteForecast.issued_at == now))
        for row in rows:
            insert_missing(db, SiteForecast, row)
        queries.forget_issued(
            db, all_before=now - KEPT_AT_MIDNIGHT, but_midnight_before=now - KEPT_FORECASTS
        )


def forecast_site(
    db: Session,
    site: Site,
    *,
    artifacts: ArtifactFiles,
    compute: Compute,
    now: datetime,
    hours_ahead: int,
) -> Outlook:
    """Forecast a site: champion, like-day means, sites of its kind; the answer says which."""
    history = queries.history_of(db, site, until=now)
    is_stale = history.hours > 0 and history.end < now - LONGEST_GAP
    origin = history.end if is_stale else now
    is_alarmed = bool(queries.alarms_since(db, [site.id], since=(now - ALARMED).date()))
    version = queries.champion(db, KIND)
    forecast, reason = None, "no model has been trained"
    if version is not None:
        forecast, reason = _predicted(
            version,
            history,
            _scores_since(db, site, history, version, now=now),
            artifacts=artifacts,
            compute=compute,
            origin=origin,
            hours_ahead=hours_ahead,
            least_level=ALARMED_LEVEL if is_alarmed else 0.0,
        )
    model_id = version.id if version is not None and forecast is not None else None
    if forecast is None and history.hours < LEAST_HISTORY_H:
        forecast = _of_its_kind(db, site, history, now=now, origin=origin, hours_ahead=hours_ahead)
    if forecast is None:
        forecast = like_day_forecast(history, origin=origin, hours_ahead=hours_ahead)
    issued = _issued(site, forecast, model_id, now)
    until = history.end if history.hours else None
    ahead = (issued.first_hour_at, issued.first_hour_at + hours_ahead * HOUR)
    known = queries.regressors_ahead(db, site.id, since=ahead[0], until=ahead[1])
    return Outlook(
        forecast=issued,
        history_until=until,
        is_stale=is_stale,
        fallback_reason=None if model_id else reason,
        has_wide_band=is_alarmed,
        known_in_advance=tuple(known) if model_id else (),
    )


def in_quarters(db: Session, site: Site, issued: IssuedForecast) -> QuarterForecast:
    """The same forecast by quarter-hour, shaped like the quarters of the last eight weeks."""
    start, table = queries.quarters_of(db, site, until=issued.first_hour_at)
    since = max(0, table.shape[1] - 24 * QUARTER_DAYS)
    energy = table[0, since:]
    hours = len(energy) + len(issued.mean_kwh)
    begins = issued.first_hour_at - len(energy) * HOUR if len(energy) else issued.first_hour_at
    begins = start + since * HOUR if len(energy) else begins
    local = local_calendar(begins, hours=hours, timezone=site.timezone, country=site.country).hour
    shares = shares_by_hour(energy, local[: len(energy)])
    ahead = local_calendar(
        issued.first_hour_at,
        hours=len(issued.mean_kwh),
        timezone=site.timezone,
        country=site.country,
    ).hour
    return split_hours(
        mean_kwh=np.array(issued.mean_kwh),
        p10_kwh=np.array(issued.p10_kwh),
        p90_kwh=np.array(issued.p90_kwh),
        occupancy=np.array(issued.occupancy),
        shares=shares[ahead],
        wider=widening(energy, local[: len(energy)], shares),
    )


def quarter_starts(issued: IssuedForecast) -> list[datetime]:
    """Beginning of each quarter-hour of a forecast, UTC."""
    return [issued.first_hour_at + i * QUARTER for i in range(4 * len(issued.mean_kwh))]


def explain_site(
    db: Session,
    site: Site,
    *,
    artifacts: ArtifactFiles,
    compute: Compute,
    now: datetime,
    hours_ahead: int,
) -> tuple[ModelVersion, datetime, list[dict[str, float]]] | None:
    """What moved the champion's means, hour by hour; None where it is not what answers."""
    version = queries.champion(db, KIND)
    files = model_files(artifacts, version) if version is not None else None
    history = queries.history_of(db, site, until=now)
    if version is None or files is None or not history.hours:
        return None
    origin = history.end if history.end < now - LONGEST_GAP else now
    try:
        found = compute.run(
            explain,
            PREDICTION_TIMEOUT_S,
            files.texts,
            history,
            origin=origin,
            hours_ahead=hours_ahead,
        )
    except (FeaturesDiffer, Overdue, WorkerLost) as error:
        log.warning("model.unusable", model_id=version.id, reason=repr(error))
        return None
    return version, origin.replace(minute=0, second=0, microsecond=0), found


def _predicted(
    version: ModelVersion,
    history: SiteHistory,
    issued_scores: Scores,
    *,
    artifacts: ArtifactFiles,
    compute: Compute,
    origin: datetime,
    hours_ahead: int,
    least_level: float,
) -> tuple[DemandForecast | None, str]:
    """The champion's forecast; None and the reason, also in the log, if it does not serve."""
    files = model_files(artifacts, version)
    if files is None:
        return None, "the model's files are not the registered ones"
    known = files.scores.get(history.site_id, Scores.empty())
    try:
        made = compute.run(
            predict,
            PREDICTION_TIMEOUT_S,
            files.texts,
            history,
            origin=origin,
            hours_ahead=hours_ahead,
            scores=known.and_also(issued_scores),
            least_level=least_level,
        )
    except TooMuchMissing as missing:
        return None, str(missing)
    except (FeaturesDiffer, Overdue, WorkerLost) as error:
        log.warning("model.unusable", model_id=version.id, reason=repr(error))
        return None, "the model could not be run"
    return made, ""


def _scores_since(
    db: Session, site: Site, history: SiteHistory, version: ModelVersion, *, now: datetime
) -> Scores:
    """How the champion's issued bands did since it was trained, in the last four weeks."""
    rows = queries.issued_since(db, site.id, since=max(version.trained_at, now - SCORED))
    scores = Scores.empty()
    for row in rows:
        if row.model_id == version.id and row.quantiles_kwh:
            scores = scores.and_also(_scores_of(row, history))
    return scores


def _scores_of(row: SiteForecast, history: SiteHistory) -> Scores:
    first = history.index_of(row.first_hour_at)
    leads = [i for i in SCORED_LEADS if i < len(row.mean_kwh) and 0 <= first + i < history.hours]
    if not leads:
        return Scores.empty()
    local = local_calendar(
        row.first_hour_at,
        hours=len(row.mean_kwh),
        timezone=history.timezone,
        country=history.country,
        closures=history.closures,
    )
    issued_h = int(row.first_hour_at.timestamp()) // 3600
    mean = np.array(row.mean_kwh)[leads]
    every = Scores(
        issued_h=np.full(len(leads), issued_h),
        valid_h=issued_h + np.array(leads),
        group=group_of(is_off_day=local.is_off_day[local.day[leads]], local_hour=local.hour[leads]),
        level=level_needed(
            history.energy_kwh[[first + i for i in leads]],
            mean_kwh=mean,
            quantiles_kwh=np.array(row.quantiles_kwh)[leads],
        ),
    )
    return every.chosen(mean > ACTIVE_KWH)


def _of_its_kind(
    db: Session,
    site: Site,
    history: SiteHistory,
    *,
    now: datetime,
    origin: datetime,
    hours_ahead: int,
) -> DemandForecast | None:
    """The usual day of sites of the same kind, by charger; None if there is none to learn from."""
    counts = select(Charger.site_id, func.count()).group_by(Charger.site_id)
    counted = {row[0]: int(row[1]) for row in db.execute(counts)}
    peers = db.scalars(select(Site).where(Site.kind == site.kind, Site.id != site.id)).all()
    histories = [
        (queries.history_of(db, one, until=now), counted[one.id])
        for one in peers
        if counted.get(one.id)
    ]
    return class_forecast(
        replace(history, site_id=site.id),
        histories,
        chargers=counted.get(site.id, 0),
        origin=origin,
        hours_ahead=hours_ahead,
    )


def _issued(
    site: Site, forecast: DemandForecast, model_id: str | None, now: datetime
) -> IssuedForecast:
    quantiles: FloatArray | None = forecast.quantiles_kwh
    return IssuedForecast(
        site_id=site.id,
        issued_at=now,
        source=forecast.source,
        model_id=model_id,
        first_hour_at=forecast.origin,
        mean_kwh=forecast.mean_kwh.tolist(),
        p10_kwh=forecast.p10_kwh.tolist(),
        p90_kwh=forecast.p90_kwh.tolist(),
        occupancy=forecast.occupancy.tolist(),
        sessions_started=forecast.sessions_started.tolist(),
        quantiles_kwh=None if quantiles is None else quantiles.round(4).tolist(),
    )


def _row(issued: IssuedForecast) -> dict[str, object]:
    return {name: getattr(issued, name) for name in IssuedForecast.__dataclass_fields__}
