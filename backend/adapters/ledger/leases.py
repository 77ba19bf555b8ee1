"""One sender per signer and chain, among all processes on one database."""

from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import CursorResult, or_, select, update
from sqlalchemy.orm import Session

from backend.adapters.ledger.transactions import SenderLease
from backend.database import insert_missing

TERM = timedelta(seconds=10)


class LeaseLost(Exception):
    """Another process sends for this signer now."""


def take(
    db: Session,
    *,
    chain_id: int,
    signer: str,
    holder: str,
    now: datetime,
    term: timedelta = TERM,
) -> int | None:
    """Take the lease if it is free, ours or over; gives its token, None if another holds it."""
    row = {"chain_id": chain_id, "signer": signer, "holder": "", "token": 0, "expires_at": now}
    insert_missing(db, SenderLease, row)
    mine = (SenderLease.chain_id == chain_id, SenderLease.signer == signer)
    is_takable = or_(SenderLease.holder == holder, SenderLease.expires_at <= now)
    values = {"holder": holder, "token": SenderLease.token + 1, "expires_at": now + term}
    taken = db.execute(update(SenderLease).where(*mine, is_takable).values(values))
    if cast("CursorResult[Any]", taken).rowcount == 0:
        return None
    return db.scalar(select(SenderLease.token).where(*mine))


def is_held(db: Session, *, chain_id: int, signer: str, token: int) -> bool:
    """Tell whether nobody took the lease since; it may be over, and ours again when we hold it."""
    mine = (SenderLease.chain_id == chain_id, SenderLease.signer == signer)
    return db.scalar(select(SenderLease.token).where(*mine)) == token


def hold(
    db: Session,
    *,
    chain_id: int,
    signer: str,
    token: int,
    now: datetime,
    term: timedelta = TERM,
) -> None:
    """Lock the lease for the running transaction and prolong it.

    Raises:
        LeaseLost: If somebody took it meanwhile: the token is another one.
    """
    mine = (SenderLease.chain_id == chain_id, SenderLease.signer == signer)
    held = update(SenderLease).where(*mine, SenderLease.token == token)
    kept = db.execute(held.values(expires_at=now + term))
    if cast("CursorResult[Any]", kept).rowcount == 0:
        raise LeaseLost


def give_back(db: Session, *, chain_id: int, signer: str, token: int, now: datetime) -> None:
    """Let another process go on at once."""
    mine = (SenderLease.chain_id == chain_id, SenderLease.signer == signer)
    db.execute(update(SenderLease).where(*mine, SenderLease.token == token).values(expires_at=now))
