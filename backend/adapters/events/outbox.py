"""Outbox and inbox: an event is a row in the transaction of the change it reports."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, Session, mapped_column

from backend.database import Base, insert_missing, new_id


class OutboxEvent(Base):
    """An event to publish; the relay numbers it after the commit."""

    __tablename__ = "outbox"
    __table_args__ = (
        Index("ix_outbox_site_id_sequence", "site_id", "sequence"),
        Index("ix_outbox_session_id_sequence", "session_id", "sequence"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    type: Mapped[str] = mapped_column(String(60))
    site_id: Mapped[str | None] = mapped_column(String(64))
    session_id: Mapped[str | None] = mapped_column(String(40))
    data: Mapped[dict[str, Any]]
    occurred_at: Mapped[datetime]
    sequence: Mapped[int | None] = mapped_column(unique=True)
    delivered_at: Mapped[datetime | None] = mapped_column(index=True)
    attempts: Mapped[int]


class InboxEntry(Base):
    """A listener's mark that an event has had its effect."""

    __tablename__ = "inbox"

    listener: Mapped[str] = mapped_column(String(60), primary_key=True)
    event_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    handled_at: Mapped[datetime]


def record(
    db: Session,
    event_type: str,
    data: dict[str, Any],
    *,
    now: datetime,
    site_id: str | None = None,
    session_id: str | None = None,
) -> None:
    """Write an event into the outbox of the running transaction."""
    db.add(
        OutboxEvent(
            id=new_id("evt"),
            type=event_type,
            site_id=site_id,
            session_id=session_id,
            data=data,
            occurred_at=now,
            attempts=0,
        )
    )


def is_first_delivery(db: Session, *, listener: str, event_id: str, now: datetime) -> bool:
    """Mark the event as handled; False if this listener had handled it before."""
    row = {"listener": listener, "event_id": event_id, "handled_at": now}
    return insert_missing(db, InboxEntry, row) == 1
