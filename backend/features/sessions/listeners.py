"""Sessions in the background: plan a site again when something changes, end what overstays."""

from collections.abc import Callable

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.adapters.events.bus import Event
from backend.adapters.events.outbox import is_first_delivery
from backend.clock import Ticker
from backend.components import Parts
from backend.features.sessions.desk import open_desk
from backend.features.sessions.models import SitePlan
from backend.features.sessions.replanning import replan_all, replan_site, sweep_now
from backend.features.sessions.turns import Desk

NAME = "sessions.replanning"
CAUSES = (
    "session.completed",
    "session.cancelled",
    "session.expired",
    "session.suspended",
    "meter.deviated",
    "incentive.accepted",
    "site.changed",
    "site.limited",
    "site.limit_lifted",
    "charger.changed",
    "price.changed",
)


def start(parts: Parts) -> Callable[[], None]:
    """Listen and tick; gives what stops it."""
    desk = open_desk(parts)
    for cause in CAUSES:
        parts.bus.subscribe(cause, lambda event: _replan(parts, desk, event))
    tickers = [
        Ticker("sweep", parts.settings.sweep_interval_s, lambda: sweep_now(parts)),
        Ticker(
            "replan",
            parts.settings.replan_interval_s,
            lambda: replan_all(parts, desk, cause="regular"),
        ),
    ]

    def _stop() -> None:
        for ticker in tickers:
            ticker.stop()

    return _stop


def _replan(parts: Parts, desk: Desk, event: Event) -> None:
    """Plan the site of an event again; a repeated delivery changes nothing."""
    if event.site_id is None or _is_in_plan(parts, event):
        return

    def _first_time(db: Session) -> bool:
        return is_first_delivery(db, listener=NAME, event_id=event.id, now=parts.clock.now())

    replan_site(
        parts.database,
        event.site_id,
        desk=desk,
        cause=event.type,
        clock=parts.clock,
        reason=event.data.get("reason"),
        unless_done=_first_time,
    )


def _is_in_plan(parts: Parts, event: Event) -> bool:
    """Whether a plan made after the event has taken it in already."""
    version = event.data.get("plan_version")
    if version is None:
        return False
    newest = select(func.max(SitePlan.version)).where(SitePlan.site_id == event.site_id)
    with parts.database.reading() as db:
        return (db.scalar(newest) or 0) > int(version)
