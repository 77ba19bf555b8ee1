"""What is under way: sent again where it may have been dropped, watched, and better paid."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backend.adapters.ledger import fees, preparing, watching
from backend.adapters.ledger.desk import Desk
from backend.adapters.ledger.transactions import (
    FAILED,
    FINAL,
    INCLUDED,
    LOST,
    ON_CHAIN,
    REPLACED,
    SENT,
    SIGNED,
    SUPERSEDED,
    UNMINED,
    ChainTx,
)

log = structlog.get_logger("tasco.ledger")
LATE, SEND_AGAIN = timedelta(seconds=3), timedelta(seconds=15)


def send_again(desk: Desk) -> int:
    """Send what was signed and perhaps not sent, and what the node may have dropped."""
    query = select(ChainTx).where(*desk.mine(*UNMINED), ChainTx.nonce.is_not(None))
    with desk.database.reading() as db:
        rows = db.scalars(query.order_by(ChainTx.nonce)).all()
    now = desk.now()
    stale = [one for one in rows if one.state == SIGNED or one.changed_at < now - SEND_AGAIN]
    if any(one.changed_at < now - LATE for one in rows):
        fills_gap(desk)  # what is before them may be forgotten, and they would wait for ever
    return broadcast(desk, stale)


def broadcast(desk: Desk, rows: Sequence[ChainTx]) -> int:
    """Send transactions that are stored; an objection is noted and decides nothing."""
    if not rows:
        return 0
    objections = desk.ledger.broadcast([one.raw_tx or b"" for one in rows])
    now = desk.now()
    marks = [
        {"id": one.id, "state": SENT, "changed_at": now, "reason": why[:300] or None}
        for one, why in zip(rows, objections, strict=True)
    ]

    def _mark(db: Session) -> int:
        db.execute(update(ChainTx), marks)
        return len(marks)

    return desk.change(_mark)


def watch(desk: Desk) -> int:
    """Ask what became of everything that is not final."""
    rows = _open_rows(desk)
    if not rows:
        return 0
    confirmations = desk.terms.confirmations
    found = watching.look(
        desk.ledger, rows, signer=desk.signer.address, confirmations=confirmations
    )
    if not found:
        return 0
    moved = desk.settle(found)
    gone = {one.row_id for one in found if one.state == SENT}
    broadcast(desk, [one for one in rows if one.id in gone])
    return moved


def _open_rows(desk: Desk) -> list[ChainTx]:
    """Every attempt of each nonce that has one which is not final."""
    query = select(ChainTx).where(*desk.mine(*UNMINED, INCLUDED))
    with desk.database.reading() as db:
        adopted = db.scalars(query.where(ChainTx.nonce.is_(None))).all()
        nonces = db.scalars(query.with_only_columns(ChainTx.nonce)).all()
        attempts = select(ChainTx).where(*desk.mine(), ChainTx.nonce.in_(set(nonces) - {None}))
        return [*adopted, *db.scalars(attempts.order_by(ChainTx.nonce))]


def pay_more(desk: Desk) -> int:
    """Replace the transaction that all others wait for, if it waits too long."""
    query = select(ChainTx).where(*desk.mine(SENT), ChainTx.nonce.is_not(None))
    with desk.database.reading() as db:
        row = db.scalar(query.order_by(ChainTx.nonce).limit(1))
    now = desk.now()
    if row is None or row.signed_at > now - desk.terms.stuck_after:
        return 0
    if _is_stranded(desk, row):
        return _let_go(desk, row)
    former, cap_wei = fees.Fees(row.max_fee_wei, row.tip_wei), desk.terms.wanted.cap_wei
    offered = fees.raised(former, desk.ledger.base_fee_wei(), cap_wei=cap_wei)
    better = preparing.replacement(row, desk.signer, offered, now=now)

    def _replace(db: Session) -> int:
        db.get_one(ChainTx, row.id).state = REPLACED
        db.flush()
        db.add(better)
        return 1

    desk.change(_replace)
    log.warning("ledger.replaced", nonce=row.nonce, max_fee_wei=offered.max_wei)
    return broadcast(desk, [better])


def _is_stranded(desk: Desk, row: ChainTx) -> bool:
    """Tell whether a transaction waits for one that nobody has: no fee would bring it into a block.

    Somebody else's transaction of the same signer was dropped, or the node counted one too many.
    """
    pending = desk.ledger.next_nonce(desk.signer.address)
    if row.nonce is None or pending >= row.nonce:
        return False
    own = select(ChainTx.id).where(*desk.mine(), ChainTx.nonce == pending, ChainTx.state != LOST)
    with desk.database.reading() as db:
        return db.scalar(own.limit(1)) is None


def _let_go(desk: Desk, row: ChainTx) -> int:
    """Give up a stranded transaction and all after it: what they do is signed anew.

    Their nonces are free again. If they are mined after all, the contract refuses the second.
    """
    why = "The transaction before it is lost, and is not ours."
    waiting = desk.mine(SIGNED, SENT, REPLACED)
    stranded = update(ChainTx).where(*waiting, ChainTx.nonce >= row.nonce)
    values = {"state": LOST, "nonce": None, "reason": why, "changed_at": desk.now()}

    def _store(db: Session) -> int:
        given_up: Any = db.execute(stranded.values(values))
        return int(given_up.rowcount)

    log.warning("ledger.stranded", nonce=row.nonce)
    return desk.change(_store)


def fills_gap(desk: Desk) -> bool:
    """Send everything again from the first nonce that the node does not know; tells whether it did.

    A node may forget what was in blocks: without those transactions every later one would wait for
    ever.
    """
    pending = desk.ledger.next_nonce(desk.signer.address)
    if pending >= desk.own_nonce():
        return False
    # What another contract took the place of still holds its nonce.
    query = select(ChainTx).where(*desk.mine(*UNMINED, INCLUDED, FINAL, FAILED, SUPERSEDED))
    with desk.database.reading() as db:
        rows = db.scalars(query.where(ChainTx.nonce >= pending).order_by(ChainTx.nonce)).all()
    forgotten = [one.id for one in rows if one.state in ON_CHAIN]
    if forgotten:
        log.error("ledger.forgot", transactions=len(forgotten), nonce=pending)
        desk.settle(watching.forgotten(forgotten))
    desk.ledger.broadcast([one.raw_tx or b"" for one in rows])
    return True
