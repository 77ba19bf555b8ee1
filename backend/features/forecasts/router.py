"""`/forecasts`: train, look ahead, list models."""

from datetime import datetime, timedelta
from math import prod
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.components import CurrentParts, Db, ReadDb
from backend.features.credentials.holder import (
    EVERYONE,
    CurrentHolder,
    NotAllowed,
    NotAuthenticated,
    allow,
)
from backend.features.forecasts import inputs, outlooks, registry, vehicles_router, watching
from backend.features.forecasts.models import DriftAlarm, ModelVersion, SiteClosure
from backend.features.forecasts.outlooks import Outlook
from backend.features.forecasts.queries import (
    HOUR,
    IssuedForecast,
    alarms_since,
    champion,
    history_of,
)
from backend.features.forecasts.registry import NotEnoughHistory
from backend.features.forecasts.schemas import (
    AccuracyView,
    AlarmView,
    ClosuresNew,
    ClosuresView,
    ClosureView,
    DriftView,
    ExplainedSlot,
    ExplanationView,
    ForecastSlot,
    KnownInAdvance,
    LeadBandAccuracy,
    ModelView,
    RegressorsNew,
    RegressorsStored,
    SiteDrift,
    SiteForecastView,
    TrainingResult,
)
from backend.features.jobs.answers import JobAnswer, WaitForResult, answer_of, job_answers
from backend.features.sites.models import Site
from backend.features.sites.schemas import SitePath
from backend.features.sites.service import SiteNotFound, require_site
from backend.forecasting.drift import work_days
from backend.forecasting.quarters import QuarterForecast
from backend.idempotency import ClaimOfRequest, IdempotencyKeyReused, Route
from backend.paging import Cursor, CursorInvalid, Limit, Page, decoded, page_of
from backend.problems import described

router = APIRouter(tags=["forecasts"], route_class=Route)
router.include_router(vehicles_router.router)
REFUSED = (NotAuthenticated, NotAllowed)
NAMED_FACTORS = 8
ALARMS_SHOWN = timedelta(days=90)
HoursAhead = Annotated[int, Query(ge=1, le=48, examples=[24])]


@router.post(
    "/forecasts/train",
    summary="Train the demand model",
    dependencies=[allow("operator")],
    responses={
        **described(*REFUSED, NotEnoughHistory, IdempotencyKeyReused),
        **job_answers(TrainingResult),
    },
    response_model=TrainingResult,
)
def train(
    holder: CurrentHolder, parts: CurrentParts, claim: ClaimOfRequest, wait: WaitForResult = True
) -> JobAnswer:
    """Train on every site's history; waits for the metrics.

    The first model that beats like-day means goes into service, a later one is a challenger until
    it has beaten the champion on days that neither has seen.
    """
    now = parts.clock.now()
    return answer_of(
        parts.database,
        "forecasts.train",
        lambda report: registry.train_model(
            parts.database, parts.artifacts, compute=parts.compute, now=now, report=report
        ),
        holder=holder,
        parameters={},
        claim=claim,
        wait=wait,
    )


@router.get(
    "/forecasts/site/{site_id}",
    summary="Demand ahead",
    dependencies=[allow(*EVERYONE)],
    responses=described(*REFUSED, SiteNotFound),
)
def site_forecast(
    site_id: SitePath,
    db: ReadDb,
    parts: CurrentParts,
    hours_ahead: HoursAhead = 24,
    resolution: Literal["1h", "15min"] = "1h",
) -> SiteForecastView:
    """Forecast demand with its 80 % band; like-day means answer until a model is trained.

    Four quarter-hours sum up to their hour.
    """
    site = require_site(db, site_id)
    outlook = outlooks.forecast_site(
        db,
        site,
        artifacts=parts.artifacts,
        compute=parts.compute,
        now=parts.clock.now(),
        hours_ahead=hours_ahead,
    )
    if resolution == "1h":
        return _forecast_view(outlook, _hour_slots(outlook.forecast), resolution)
    quarters = outlooks.in_quarters(db, site, outlook.forecast)
    return _forecast_view(outlook, _quarter_slots(outlook.forecast, quarters), resolution)


def _hour_slots(issued: IssuedForecast) -> list[ForecastSlot]:
    nothing = [None] * len(issued.mean_kwh)
    median = [each[len(each) // 2] for each in issued.quantiles_kwh or []]
    columns = (
        issued.hour_starts,
        issued.mean_kwh,
        issued.occupancy,
        issued.p10_kwh,
        issued.p90_kwh,
        median or nothing,
        issued.sessions_started or nothing,
    )
    return [
        ForecastSlot(
            time_slot=start,
            predicted_total_kwh=mean,
            predicted_active_sessions=occupancy,
            confidence_lower=low,
            confidence_upper=high,
            predicted_median_kwh=half,
            predicted_sessions_started=started,
        )
        for start, mean, occupancy, low, high, half, started in zip(*columns, strict=True)
    ]


def _quarter_slots(issued: IssuedForecast, quarters: QuarterForecast) -> list[ForecastSlot]:
    columns = (quarters.mean_kwh, quarters.occupancy, quarters.p10_kwh, quarters.p90_kwh)
    return [
        ForecastSlot(
            time_slot=start,
            predicted_total_kwh=mean,
            predicted_active_sessions=occupancy,
            confidence_lower=low,
            confidence_upper=high,
        )
        for start, mean, occupancy, low, high in zip(
            outlooks.quarter_starts(issued), *(each.tolist() for each in columns), strict=True
        )
    ]


def _forecast_view(
    outlook: Outlook, slots: list[ForecastSlot], resolution: Literal["1h", "15min"]
) -> SiteForecastView:
    issued = outlook.forecast
    return SiteForecastView(
        site_id=issued.site_id,
        issued_at=issued.issued_at,
        source=issued.source,
        model_id=issued.model_id,
        fallback_reason=outlook.fallback_reason,
        resolution=resolution,
        history_until=outlook.history_until,
        is_stale=outlook.is_stale,
        has_wide_band=outlook.has_wide_band,
        known_in_advance=[
            KnownInAdvance(name=name, source=source, is_simulated=is_simulated)
            for name, source, is_simulated in outlook.known_in_advance
        ],
        forecasts=slots,
    )


@router.get(
    "/forecasts/site/{site_id}/explanation",
    summary="What a forecast is made of",
    dependencies=[allow("operator", "auditor")],
    responses=described(*REFUSED, SiteNotFound),
)
def explain_forecast(
    site_id: SitePath, db: ReadDb, parts: CurrentParts, hours_ahead: HoursAhead = 24
) -> ExplanationView:
    """Name the features that moved each hour's mean, as factors on the site's recent level."""
    site = require_site(db, site_id)
    found = outlooks.explain_site(
        db,
        site,
        artifacts=parts.artifacts,
        compute=parts.compute,
        now=parts.clock.now(),
        hours_ahead=hours_ahead,
    )
    if found is None:
        reason = "no model answers for this site; like-day means need no explanation"
        return ExplanationView(site_id=site_id, model_id=None, reason=reason, slots=[])
    version, first, factors = found
    slots = [_explained(first + i * HOUR, each) for i, each in enumerate(factors)]
    return ExplanationView(site_id=site_id, model_id=version.id, reason=None, slots=slots)


def _explained(start: datetime, factors: dict[str, float]) -> ExplainedSlot:
    names = [name for name in factors if name not in {"level_kwh", "base"}]
    return ExplainedSlot(
        time_slot=start,
        level_kwh=factors["level_kwh"],
        base_factor=factors["base"],
        factors={name: factors[name] for name in names[:NAMED_FACTORS]},
        other_factors=prod(factors[name] for name in names[NAMED_FACTORS:]),
    )


@router.get(
    "/forecasts/site/{site_id}/accuracy",
    summary="How forecasts did",
    dependencies=[allow("operator", "auditor")],
    responses=described(*REFUSED, SiteNotFound),
)
def site_accuracy(site_id: SitePath, db: ReadDb, parts: CurrentParts) -> AccuracyView:
    """Compare the forecasts issued in the last 30 days with what happened, by lead time."""
    site, now = require_site(db, site_id), parts.clock.now()
    history = history_of(db, site, until=now)
    version = champion(db, outlooks.KIND)
    measured = version.metrics.get("per_site", {}).get(site_id) if version else None
    return AccuracyView(
        site_id=site_id,
        since=now - watching.JUDGED,
        by_lead=[
            LeadBandAccuracy.model_validate(one) for one in watching.accuracy(db, history, now=now)
        ],
        backtest=measured,
    )


@router.get(
    "/forecasts/drift",
    summary="Whether sites have changed",
    dependencies=[allow("operator", "auditor")],
    responses=described(*REFUSED),
)
def drift(db: ReadDb, parts: CurrentParts) -> DriftView:
    """Alarms of the last 90 days by site, how far inputs moved, and what speaks for retraining."""
    now = parts.clock.now()
    sites = db.scalars(select(Site).order_by(Site.id)).all()
    since = (now - ALARMS_SHOWN).date()
    alarms = alarms_since(db, [site.id for site in sites], since=since)
    return DriftView(
        retrain_reasons=list(watching.retrain_reasons(db, now=now)),
        sites=[_site_drift(db, site, alarms, now=now) for site in sites],
    )


def _site_drift(db: Session, site: Site, alarms: list[DriftAlarm], *, now: datetime) -> SiteDrift:
    history = history_of(db, site, until=now)
    return SiteDrift(
        site_id=site.id,
        work_days=int(work_days(history).day.size),
        population_stability=watching.stability_of(history),
        has_wide_band=watching.is_alarmed(alarms, site.id, now=now),
        alarms=[AlarmView.model_validate(one) for one in alarms if one.site_id == site.id],
    )


@router.get(
    "/forecasts/site/{site_id}/closures",
    summary="Days on which a site is closed",
    dependencies=[allow(*EVERYONE)],
    responses=described(*REFUSED, SiteNotFound),
)
def list_closures(site_id: SitePath, db: ReadDb) -> ClosuresView:
    """List the days on which a site is closed though they are no holidays."""
    require_site(db, site_id)
    return _closures_view(db, site_id)


@router.post(
    "/forecasts/site/{site_id}/closures",
    summary="Say when a site is closed",
    dependencies=[allow("operator")],
    responses=described(*REFUSED, SiteNotFound, IdempotencyKeyReused),
)
def set_closures(
    site_id: SitePath, new: ClosuresNew, holder: CurrentHolder, parts: CurrentParts, db: Db
) -> ClosuresView:
    """Replace the days on which a site is closed; forecasts take them for days off."""
    require_site(db, site_id)
    inputs.set_closures(db, site_id, new, holder=holder, now=parts.clock.now())
    return _closures_view(db, site_id)


def _closures_view(db: Session, site_id: str) -> ClosuresView:
    query = select(SiteClosure).where(SiteClosure.site_id == site_id).order_by(SiteClosure.day)
    closures = [ClosureView.model_validate(one) for one in db.scalars(query)]
    return ClosuresView(site_id=site_id, closures=closures)


@router.post(
    "/forecasts/site/{site_id}/regressors",
    summary="Say what is known ahead",
    dependencies=[allow("operator")],
    responses=described(*REFUSED, SiteNotFound, IdempotencyKeyReused),
)
def add_regressors(
    site_id: SitePath, new: RegressorsNew, parts: CurrentParts, db: Db
) -> RegressorsStored:
    """Store a weather forecast or day-ahead prices by hour; the next training uses them."""
    require_site(db, site_id)
    stored = inputs.add_regressors(db, site_id, new, now=parts.clock.now())
    return RegressorsStored(site_id=site_id, name=new.name, stored=stored)


@router.get(
    "/forecasts/models",
    summary="List model versions",
    dependencies=[allow("operator", "auditor")],
    responses=described(*REFUSED, CursorInvalid),
)
def list_models(
    request: Request, response: Response, db: ReadDb, cursor: Cursor = None, limit: Limit = 25
) -> Page[ModelView]:
    """List trained models, newest first, with their metrics and hashes."""
    query = select(ModelVersion).order_by(ModelVersion.id.desc()).limit(limit + 1)
    after = decoded(cursor, request)
    if after is not None:
        query = query.where(ModelVersion.id < after)
    return page_of(
        db.scalars(query).all(),
        limit,
        key=lambda row: row.id,
        show=ModelView.model_validate,
        request=request,
        response=response,
    )
