"""Whom a new plan of a site concerns, and what they are told."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.adapters.events.outbox import record
from backend.features.sessions.models import ChargingSession
from backend.features.sessions.planner import Answer, OpenSession
from backend.features.sessions.views import SHORT_KWH
from backend.planning.problem import STEP, Array

NOTICEABLE_KWH = 0.01  # in one step; less is no other plan
STORED_KW = 1e-6  # setpoints are stored in millionths
REASONS = {
    "session.started": "Another vehicle plugged in.",
    "session.changed": "Another vehicle's trip or priority changed.",
    "session.boosted": "Another vehicle was asked to charge now.",
    "session.completed": "Another vehicle left.",
    "session.cancelled": "Another vehicle's session was cancelled.",
    "session.expired": "Another vehicle's session expired.",
    "session.suspended": "Another vehicle gave up its power.",
    "meter.deviated": "A vehicle charges otherwise than planned.",
    "incentive.accepted": "A driver accepted an offer.",
    "site.changed": "The site changed.",
    "site.limited": "The site's power was limited.",
    "site.limit_lifted": "A limit of the site's power ended.",
    "charger.changed": "A charger of the site changed.",
    "price.changed": "The price of energy changed.",
    "clock.changed": "The clock was set.",
}
REGULARLY = "The site was planned again, as it is every few minutes."


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a plan means for one session.

    Attributes:
        power_kw: Setpoint in each step from now on, shape (steps,).
        finish_at: When its last charging step ends; None if nothing is left to charge.
        short_kwh: What will be missing at departure for want of time or power.
    """

    power_kw: Array
    finish_at: datetime | None
    short_kwh: float

    def differs_from(self, other: "Outlook", available_h: Array) -> bool:
        """Whether slots, finish time or feasibility are others."""
        moved_kwh = np.abs(self.power_kw - other.power_kw) * available_h
        return (
            bool((moved_kwh > NOTICEABLE_KWH).any())
            or self.finish_at != other.finish_at
            or (self.short_kwh <= SHORT_KWH) != (other.short_kwh <= SHORT_KWH)
        )


def tell_replanned(
    db: Session,
    answer: Answer,
    version: int,
    *,
    cause: str,
    now: datetime,
    reason: str | None = None,
    but: str | None = None,
) -> None:
    """Tell the site of a new plan, and each session whose part of it is another than before.

    Whoever made the change (`but`) has the new plan in the answer. Everything that plans a site
    and stores it tells of it here.
    """
    site_id = answer.situation.site_id
    facts = {"plan_version": version, "cause": cause, "method": answer.plan.method}
    facts |= {} if reason is None else {"reason": reason}
    record(db, "site.replanned", facts, now=now, site_id=site_id)
    changes = _changes(answer, but=but)
    exceeds_kwh = _exceeds_kwh(db, [session.session_id for session, _, _ in changes])
    facts = {"reason": REASONS.get(cause, REGULARLY), **facts}
    for session, before, after in changes:
        beyond_kwh = exceeds_kwh.get(session.session_id, 0.0)
        short_kwh = after.short_kwh + beyond_kwh
        told = {
            **facts,
            "session_id": session.session_id,
            "planned_finish_time": (after.finish_at or now).isoformat(),
            "previous_planned_finish_time": (before.finish_at or now).isoformat(),
            "is_feasible": short_kwh <= SHORT_KWH,
            "was_feasible": before.short_kwh + beyond_kwh <= SHORT_KWH,
            "short_by_kwh": short_kwh if short_kwh > SHORT_KWH else 0.0,
        }
        ids = {"site_id": site_id, "session_id": session.session_id}
        record(db, "session.replanned", told, now=now, **ids)


def _changes(answer: Answer, *, but: str | None) -> list[tuple[OpenSession, Outlook, Outlook]]:
    """Sessions whose plan changed, with what it was and what it is."""
    changes = []
    for place, session in enumerate(answer.situation.sessions):
        if session.session_id == but:
            continue
        before, after = _before(session, answer.edges), _after(answer, place)
        if after.differs_from(before, answer.problem.available_h[place]):
            changes.append((session, before, after))
    return changes


def _after(answer: Answer, place: int) -> Outlook:
    power_kw = answer.plan.setpoint_kw[place]
    departure_at = answer.situation.sessions[place].departure_at
    finish_at = _finish(power_kw, answer.edges, departure_at)
    return Outlook(power_kw, finish_at, float(answer.plan.shortfall_kwh[place]))


def _before(session: OpenSession, edges: Sequence[datetime]) -> Outlook:
    """What is left of the plan before, in the steps of the new one.

    Steps but the first begin at quarter-hours in both, so one plan is the other shifted.
    """
    power_kw = np.zeros(len(edges) - 1)
    if session.previous_from is not None:
        gone = _quarter_hour(edges[0]) - _quarter_hour(session.previous_from)
        kept = session.previous_kw[max(gone, 0) :][: len(power_kw)]
        power_kw[: len(kept)] = kept
    finish_at = _finish(power_kw, edges, session.departure_at)
    return Outlook(power_kw, finish_at, session.previous_short_kwh)


def _quarter_hour(moment: datetime) -> int:
    """Number of the quarter-hour that a time lies in."""
    return int(moment.timestamp() // STEP.total_seconds())


def _finish(power_kw: Array, edges: Sequence[datetime], departure_at: datetime) -> datetime | None:
    charging = np.flatnonzero(power_kw >= STORED_KW)
    return min(edges[charging[-1] + 1], departure_at) if len(charging) else None


def _exceeds_kwh(db: Session, session_ids: Sequence[str]) -> dict[str, float]:
    """What each session's trip needs beyond its battery."""
    if not session_ids:
        return {}
    beyond = ChargingSession.plan["exceeds_battery_kwh"].as_float()
    query = select(ChargingSession.id, beyond).where(ChargingSession.id.in_(session_ids))
    return {row[0]: row[1] or 0.0 for row in db.execute(query)}
