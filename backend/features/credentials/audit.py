"""Audit trail: each decision is a row; a hash chain over them is closed after commit."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.database import new_id
from backend.features.credentials.aliases import without_names
from backend.features.credentials.models import AuditEvent
from backend.proofs import trail
from backend.proofs.trail import GENESIS, Entry


def note(
    db: Session, *, now: datetime, actor: str, action: str, object_id: str, facts: dict[str, Any]
) -> None:
    """Write down who did what, in the transaction of the deed; DIDs appear as their aliases."""
    event = AuditEvent(
        id=new_id("aud"),
        at=now,
        actor=without_names(db, actor),
        action=action,
        object_id=without_names(db, object_id),
        facts=without_names(db, facts),
    )
    db.add(event)


def close_chain(db: Session, *, limit: int = 500) -> int:
    """Append committed events to the chain; gives how many. One caller at a time."""
    sequence, previous = head_of(db)
    open_events = select(AuditEvent).where(AuditEvent.sequence.is_(None)).order_by(AuditEvent.id)
    events = db.scalars(open_events.limit(limit)).all()
    for event in events:
        sequence += 1
        event.sequence, event.previous_hash = sequence, previous
        event.hash = previous = trail.link(sequence, _said(event), previous)
    return len(events)


def head_of(db: Session) -> tuple[int, str]:
    """Sequence number and hash of the newest event in the chain."""
    closed = select(AuditEvent.sequence, AuditEvent.hash).where(AuditEvent.sequence.is_not(None))
    last = db.execute(closed.order_by(AuditEvent.sequence.desc()).limit(1)).first()
    return (last[0] or 0, last[1] or GENESIS) if last else (0, GENESIS)


def hash_at(db: Session, sequence: int) -> str | None:
    """Hash of the event with a number; None if there is none."""
    return db.scalar(select(AuditEvent.hash).where(AuditEvent.sequence == sequence))


def entries(db: Session, *, after: int = 0) -> Iterator[Entry]:
    """The closed events in order, as the chain has them."""
    closed = select(AuditEvent).where(AuditEvent.sequence > after).order_by(AuditEvent.sequence)
    with db.scalars(closed.execution_options(yield_per=1_000)) as rows:
        for one in rows:
            yield Entry(one.sequence or 0, _said(one), one.previous_hash or "", one.hash or "")


def first_broken_link(db: Session) -> int | None:
    """Sequence number of the first event that does not fit the chain, None if all do."""
    return trail.first_broken(entries(db))


def _said(event: AuditEvent) -> list[Any]:
    at = event.at.isoformat()
    return [event.id, at, event.actor, event.action, event.object_id, event.facts]
