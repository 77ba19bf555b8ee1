"""Reports on sites."""

import re
from datetime import date, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query
from pydantic import BeforeValidator

from backend.components import CurrentParts, ReadDb
from backend.features.credentials.holder import CurrentHolder, NotAllowed, NotAuthenticated, allow
from backend.features.reports import people_router, service
from backend.features.reports.readiness import FleetReadiness, readiness_on
from backend.features.reports.savings import SiteSavings, savings_of
from backend.features.reports.schedule import SiteSchedule, schedule_of
from backend.features.reports.schemas import SiteAnalytics
from backend.features.sites.schemas import SitePath, TimeZone
from backend.features.sites.service import SiteNotFound, require_readable_site
from backend.idempotency import Route
from backend.problems import described
from backend.units import UtcDatetime

ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
Since = Annotated[UtcDatetime | None, Query(alias="from")]
Until = Annotated[UtcDatetime | None, Query(alias="to")]


def _from_iso(value: object) -> object:
    """Read a date as the document says; numbers, which would be taken as seconds, are none."""
    if not isinstance(value, str) or not ISO_DATE.fullmatch(value):
        raise ValueError("a date looks like 2026-05-04")
    return value


LocalDate = Annotated[date, BeforeValidator(_from_iso)]
router = APIRouter(tags=["reports"], route_class=Route)
router.include_router(people_router.router)


@router.get(
    "/sites/{site_id}/analytics",
    summary="What a site did and saved",
    dependencies=[allow("operator", "auditor")],
    responses=described(NotAuthenticated, NotAllowed, SiteNotFound),
)
def site_analytics(
    site_id: SitePath,
    holder: CurrentHolder,
    db: ReadDb,
    since: Since = None,
    until: Until = None,
) -> SiteAnalytics:
    """Sessions, energy, revenue, peak hour, savings and how offers were received."""
    site = require_readable_site(db, site_id, holder=holder)
    return service.analytics(db, site, since=since, until=until)


@router.get(
    "/sites/{site_id}/schedule",
    summary="What a site is going to do",
    dependencies=[allow("operator", "auditor")],
    responses=described(NotAuthenticated, NotAllowed, SiteNotFound),
)
def site_schedule(
    site_id: SitePath, holder: CurrentHolder, parts: CurrentParts, db: ReadDb
) -> SiteSchedule:
    """The newest plan, step by step: power, limit, base load, sun, and no planning at all."""
    site = require_readable_site(db, site_id, holder=holder)
    return schedule_of(db, site, now=parts.clock.now())


@router.get(
    "/sites/{site_id}/savings",
    summary="What planning saved",
    dependencies=[allow("operator", "auditor")],
    responses=described(NotAuthenticated, NotAllowed, SiteNotFound),
)
def site_savings(
    site_id: SitePath,
    holder: CurrentHolder,
    db: ReadDb,
    parts: CurrentParts,
    since: Since = None,
    until: Until = None,
) -> SiteSavings:
    """Energy and demand charge apart, day by day, against charging at once."""
    site = require_readable_site(db, site_id, holder=holder)
    return savings_of(db, site, since=since, until=until, now=parts.clock.now())


@router.get(
    "/fleet/readiness",
    tags=["fleet"],
    summary="Which vehicles will miss their trips?",
    dependencies=[allow("fleet", "operator", "auditor")],
    responses=described(NotAuthenticated, NotAllowed),
)
def fleet_readiness(
    holder: CurrentHolder,
    db: ReadDb,
    parts: CurrentParts,
    day: Annotated[
        LocalDate | None, Query(alias="date", description="Local; tomorrow by default")
    ] = None,
    timezone: TimeZone = "Europe/Helsinki",
) -> FleetReadiness:
    """The trips of a day, those at risk first, each with what is missing and a remedy."""
    now = parts.clock.now()
    chosen = day or (now.astimezone(ZoneInfo(timezone)) + timedelta(days=1)).date()
    return readiness_on(db, chosen, timezone, holder=holder, now=now)
