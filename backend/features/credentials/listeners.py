"""Credentials in the background: the audit chain is closed, what expired is forgotten."""

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import select

from backend.adapters.events.relay import hold_relay_lock
from backend.clock import Ticker
from backend.components import Parts
from backend.database import Database
from backend.features.credentials import challenges, proofs_of_possession
from backend.features.credentials.audit import close_chain
from backend.features.credentials.models import AuditEvent, Challenge, SeenProof

SHORT_LIVED = (Challenge, SeenProof)


def start(parts: Parts) -> Callable[[], None]:
    """Close the chain and forget what expired again and again; gives what stops it."""

    def _sweep() -> None:
        close_chain_now(parts.database)
        forget_expired(parts.database, now=parts.clock.now())

    return Ticker("audit", parts.settings.sweep_interval_s, _sweep).stop


def close_chain_now(database: Database) -> int:
    """Append every committed audit event to the chain; gives how many."""
    closed = 0
    while _has_open_events(database):
        with database.transaction() as db:
            hold_relay_lock(db)  # two processes would give the same numbers twice
            closed += close_chain(db)
    return closed


def forget_expired(database: Database, *, now: datetime) -> None:
    """Delete challenges and proofs that are refused for their age anyway."""
    with database.reading() as db:
        oldest = (select(kind.expires_at).where(kind.expires_at < now) for kind in SHORT_LIVED)
        if all(db.scalar(one.limit(1)) is None for one in oldest):
            return
    with database.transaction() as db:
        challenges.forget_expired(db, now=now)
        proofs_of_possession.forget_stale(db, now=now)


def _has_open_events(database: Database) -> bool:
    """Asked before the one writer is taken for nothing."""
    with database.reading() as db:
        is_open = select(AuditEvent.id).where(AuditEvent.sequence.is_(None))
        return db.scalar(is_open.limit(1)) is not None
