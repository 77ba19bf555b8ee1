"""Timed limits of a site's power: the grid operator says 60 kW from 18:00."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from itertools import pairwise

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from backend.adapters.events.outbox import record
from backend.database import new_id
from backend.features.credentials.audit import note
from backend.features.credentials.holder import Holder
from backend.features.sites.equipment import equipment_of
from backend.features.sites.models import SiteLimit
from backend.features.sites.schemas import LimitNew
from backend.features.sites.service import outdate_plan, require_site
from backend.problems import NotFound, Problem

LONGEST = timedelta(days=366)


class LimitNotFound(NotFound):
    """There is no such limit at this site."""


class NodeUnknown(Problem):
    """The site's equipment has no limit of this name."""

    status = HTTPStatus.CONFLICT
    fix = "Name one of the limits in GET /sites/{site_id}/equipment, or none for the whole site."


class LimitWindowImpossible(Problem):
    """The limit ends before it begins, has ended, or lasts over a year."""

    status = HTTPStatus.CONFLICT
    fix = "Send `from` before `to`, with `to` ahead of now."


def add_limit(
    db: Session, site_id: str, new: LimitNew, *, holder: Holder, now: datetime
) -> SiteLimit:
    """Limit power at a site for a time; its plan is outdated at once.

    Raises:
        NodeUnknown: If it names a limit that the site's tree does not have.
        LimitWindowImpossible: If the window cannot be.
    """
    site = require_site(db, site_id, holder=holder)
    if new.node is not None and new.node not in {one.name for one in equipment_of(site).limits}:
        raise NodeUnknown(f"{site_id} has no limit {new.node}.")
    starts_at = new.starts_at or now
    ends = new.ends_at
    if ends is not None and (ends <= max(starts_at, now) or ends - starts_at > LONGEST):
        raise LimitWindowImpossible
    limit = SiteLimit(
        id=new_id("lim"),
        site_id=site_id,
        starts_at=starts_at,
        ends_at=ends,
        limit_kw=new.limit_kw,
        node=new.node,
        reason=new.reason,
        created_by=holder.did,
        created_at=now,
    )
    db.add(limit)
    _tell(db, limit, "site.limited", holder=holder, now=now)
    return limit


def lift_limit(
    db: Session, site_id: str, limit_id: str, *, holder: Holder, now: datetime
) -> SiteLimit:
    """End a limit now.

    Raises:
        LimitNotFound: If the site has no such limit in force or ahead.
    """
    require_site(db, site_id, holder=holder)
    limit = db.get(SiteLimit, limit_id)
    if limit is None or limit.site_id != site_id or not is_ahead(limit, now):
        raise LimitNotFound
    limit.ends_at = max(now, limit.starts_at)
    _tell(db, limit, "site.limit_lifted", holder=holder, now=now)
    return limit


def _tell(db: Session, limit: SiteLimit, action: str, *, holder: Holder, now: datetime) -> None:
    facts = {
        "limit_id": limit.id,
        "limit_kw": limit.limit_kw,
        "node": limit.node,
        "from": limit.starts_at.isoformat(),
        "to": limit.ends_at.isoformat() if limit.ends_at else None,
        "reason": limit.reason,
        "plan_version": outdate_plan(db, limit.site_id),
    }
    note(db, now=now, actor=holder.did, action=action, object_id=limit.site_id, facts=facts)
    record(db, action, facts, now=now, site_id=limit.site_id)


def is_ahead(limit: SiteLimit, now: datetime) -> bool:
    """Whether the limit is in force or will be."""
    return limit.ends_at is None or limit.ends_at > max(now, limit.starts_at)


def limits_ahead(db: Session, site_id: str, *, now: datetime) -> Sequence[SiteLimit]:
    """Limits of a site that are in force or will be, by start."""
    query = select(SiteLimit).where(
        SiteLimit.site_id == site_id, or_(SiteLimit.ends_at.is_(None), SiteLimit.ends_at > now)
    )
    rows = db.scalars(query.order_by(SiteLimit.starts_at, SiteLimit.id)).all()
    return [row for row in rows if is_ahead(row, now)]


def limit_curve(
    limits: Sequence[SiteLimit],
    lasting_kw: float,
    edges: Sequence[datetime],
    *,
    node: str | None = None,
) -> list[float]:
    """The least limit that holds at any moment of each step, kW.

    Args:
        limits: Timed limits of the site.
        lasting_kw: What holds without them.
        edges: Edges of the steps.
        node: The limit of the tree they are for; None is the connection.
    """
    return [
        min(
            [lasting_kw]
            + [
                one.limit_kw
                for one in limits
                if one.node == node
                and one.starts_at < end
                and (one.ends_at is None or one.ends_at > start)
            ]
        )
        for start, end in pairwise(edges)
    ]
