"""Planning a site again: after an event, regularly, and when sessions overstay."""

from collections.abc import Callable
from datetime import UTC, datetime

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.clock import Clock
from backend.components import Parts
from backend.database import Database
from backend.features.sessions import planner, queries
from backend.features.sessions.completion import SYSTEM, sweep
from backend.features.sessions.models import OPEN, ChargingSession
from backend.features.sessions.planner import Answer, PlanOutdated
from backend.features.sessions.problems import (
    SiteBusy,
)
from backend.features.sessions.queries import count_open
from backend.features.sessions.reservations import lose_no_shows
from backend.features.sessions.telling import tell_replanned
from backend.features.sessions.turns import Desk
from backend.features.sites.models import Site
from backend.idempotency import forget_old

log = structlog.get_logger("tasco.replanning")
REPLAN_TRIES = 3  # on SQLite another process may change the site meanwhile


OTHER_SITE = frozenset(
    {"site.changed", "site.limited", "site.limit_lifted", "charger.changed", "price.changed"}
)
"""Changes after which the last plan says nothing of what is good now, so nothing of it is kept."""


def replan_site(
    database: Database,
    site_id: str,
    *,
    desk: Desk,
    cause: str,
    clock: Clock,
    reason: str | None = None,
    unless_done: Callable[[Session], bool] = lambda _: True,
) -> int | None:
    """Plan a site's open sessions anew.

    `unless_done` is asked in the storing transaction; False leaves everything as it is. Cause and
    reason are told to everybody who is planned. Each try reads the clock anew: a plan that takes in
    a change must not be dated before it.

    Returns:
        The plan's version, None if there was nothing to plan.
    """
    with desk.turns.of(site_id):
        for _ in range(REPLAN_TRIES):
            now = clock.now()
            with database.reading() as read:
                site = read.get(Site, site_id)
                situation = queries.situation_of(read, site, now=now) if site else None
            if situation is None or not situation.has_something_to_plan:
                return None
            if cause in OTHER_SITE:
                situation = situation.planned_anew()
            answer = planner.plan_site(
                situation, compute=desk.compute, timeout_s=desk.plan_timeout_s, now=now
            )
            try:
                with database.transaction() as db:
                    if not unless_done(db):
                        return None
                    return _store_replan(db, answer, cause=cause, reason=reason, now=now)
            except PlanOutdated:
                continue
    return None


def _store_replan(
    db: Session, answer: Answer, *, cause: str, reason: str | None, now: datetime
) -> int:
    version = planner.store(db, answer, cause=cause, now=now)
    planner.store_sessions(db, answer, version)
    tell_replanned(db, answer, version, cause=cause, reason=reason, now=now)
    return version


def sweep_now(parts: Parts) -> None:
    """Suspend and expire what overstays, forget old idempotency keys, count what is open."""
    now = parts.clock.now()
    with parts.database.transaction() as db:
        sweep(db, now=now)
        lose_no_shows(db, actor=SYSTEM, now=now)
        forget_old(db, datetime.now(UTC))
    with parts.database.reading() as read:
        parts.metrics.open_sessions.set(count_open(read))


def replan_all(parts: Parts, desk: Desk, *, cause: str) -> list[str]:
    """Plan every site with open sessions or a battery; gives the sites that were planned."""
    busy = select(ChargingSession.site_id).where(ChargingSession.status.in_(OPEN))
    with_battery = select(Site.id).where(Site.battery_soc_at.is_not(None))
    with parts.database.reading() as read:
        site_ids = read.scalars(busy.union(with_battery)).all()
    planned = []
    for site_id in sorted(site_ids):
        try:
            replan_site(parts.database, site_id, desk=desk, cause=cause, clock=parts.clock)
            planned.append(site_id)
        except SiteBusy:
            log.info("replan.skipped", site_id=site_id, reason="the site is being planned")
    return planned
