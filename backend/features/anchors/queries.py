"""What is asked of items, batches and their transactions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, func, select
from sqlalchemy.orm import Session, aliased

from backend.adapters.ledger.transactions import LIVE, ON_CHAIN, ChainTx
from backend.features.anchors.models import BLOCK, AnchorBatch, AnchorItem, ChainNotice
from backend.features.credentials.holder import Holder
from backend.proofs.merkle import Kind

Listed = tuple[AnchorBatch, ChainTx | None]
ToldTx = tuple[ChainNotice, ChainTx | None]


def _newest_live() -> Any:  # noqa: ANN401 - SQLAlchemy's own type
    """The id of each batch's newest transaction that counts."""
    return (
        select(func.max(ChainTx.id))
        .where(ChainTx.subject == AnchorBatch.id, ChainTx.state.in_(LIVE))
        .correlate(AnchorBatch)
        .scalar_subquery()
    )


def _batches() -> Select[AnchorBatch, ChainTx]:
    return select(AnchorBatch, ChainTx).outerjoin(ChainTx, ChainTx.id == _newest_live())


def batches_page(
    db: Session, purpose: str, *, after: str | None, limit: int, item: str | None = None
) -> Sequence[Listed]:
    """Up to `limit + 1` batches with their transactions, newest first."""
    query = _batches().where(AnchorBatch.purpose == purpose)
    if after is not None:
        query = query.where(AnchorBatch.number < int(after))
    if item is not None:
        query = query.where(
            AnchorBatch.id.in_(select(AnchorItem.batch_id).where(AnchorItem.name == item))
        )
    rows = db.execute(query.order_by(AnchorBatch.number.desc()).limit(limit + 1))
    return [(row[0], row[1]) for row in rows]


def batch_of(db: Session, batch_id: str) -> Listed | None:
    """A batch and its transaction."""
    row = db.execute(_batches().where(AnchorBatch.id == batch_id)).first()
    return (row[0], row[1]) if row else None


def block_at(db: Session, number: int) -> Listed | None:
    """A block and its transaction."""
    query = _batches().where(AnchorBatch.purpose == BLOCK, AnchorBatch.number == number)
    row = db.execute(query).first()
    return (row[0], row[1]) if row else None


def item_named(db: Session, kind: Kind, name: str) -> AnchorItem | None:
    """An item by what it is about."""
    query = select(AnchorItem).where(AnchorItem.kind == int(kind), AnchorItem.name == name)
    return db.scalar(query)


def items_of(db: Session, batch_id: str) -> Sequence[AnchorItem]:
    """The items of a batch."""
    query = select(AnchorItem).where(AnchorItem.batch_id == batch_id)
    return db.scalars(query.order_by(AnchorItem.id)).all()


def records_page(
    db: Session, holder: Holder, *, batch_id: str | None, after: str | None, limit: int
) -> Sequence[AnchorItem]:
    """Up to `limit + 1` charge and discharge records of a block, or of none yet, by id."""
    query = select(AnchorItem).where(
        AnchorItem.kind == int(Kind.LEDGER_RECORD),
        AnchorItem.batch_id == batch_id if batch_id else AnchorItem.batch_id.is_(None),
    )
    if not holder.sees_everything:
        query = query.where(AnchorItem.site_id.in_(holder.sites))
    if after is not None:
        query = query.where(AnchorItem.id > after)
    return db.scalars(query.order_by(AnchorItem.id).limit(limit + 1)).all()


@dataclass(frozen=True, slots=True)
class Spent:
    """What was paid on chains.

    Attributes:
        items: Records in what was paid for.
    """

    transactions: int
    items: int
    gas: int
    fee_wei: int
    reorgs: int


def spent(db: Session, purpose: str) -> Spent:
    """Gas and fees of all transactions of batches or of blocks that are in a block now."""
    amounts = select(
        func.count(),
        func.coalesce(func.sum(AnchorBatch.count), 0),
        func.coalesce(func.sum(ChainTx.gas_used), 0),
        func.coalesce(func.sum(ChainTx.gas_used * ChainTx.gas_price_wei), 0),
        func.coalesce(func.sum(ChainTx.reorgs), 0),
    )
    query = amounts.join(AnchorBatch, AnchorBatch.id == ChainTx.subject).where(
        AnchorBatch.purpose == purpose, ChainTx.gas_used.is_not(None), ChainTx.state.in_(LIVE)
    )
    row = db.execute(query).one()
    return Spent(*(int(one) for one in row))


def notice_counts(db: Session, contract: str) -> tuple[int, int, int, int]:
    """Notices to a contract, those in no block yet, and gas and fees (wei) of the others.

    A root that a newer one took the place of waits no more.
    """
    own, newer = ChainNotice.contract == contract, aliased(ChainNotice)
    is_newer = (newer.action == ChainNotice.action, newer.part > ChainNotice.part)
    is_root = ChainNotice.action == "publish"
    is_outdated = is_root & exists().where(newer.name == ChainNotice.name, *is_newer)
    is_mined = exists().where(ChainTx.subject == ChainNotice.id, ChainTx.state.in_(ON_CHAIN))
    waiting = select(func.count()).where(own, ~is_outdated, ~is_mined)
    mined = (ChainTx.subject == ChainNotice.id, ChainTx.state.in_(ON_CHAIN))
    amounts = select(
        func.coalesce(func.sum(ChainTx.gas_used), 0),
        func.coalesce(func.sum(ChainTx.gas_used * ChainTx.gas_price_wei), 0),
    )
    told = db.scalar(select(func.count()).where(own)) or 0
    paid = amounts.select_from(ChainNotice).join(ChainTx, and_(*mined)).where(own)
    row = db.execute(paid).one()
    gas, fee_wei = (int(one or 0) for one in row)
    return told, db.scalar(waiting) or 0, gas, fee_wei


def gas_of(db: Session, names: Sequence[str]) -> int:
    """Gas that telling contracts of these names has used so far, such as rounds of models."""
    mined = (ChainTx.subject == ChainNotice.id, ChainTx.state.in_(ON_CHAIN))
    paid = select(func.coalesce(func.sum(ChainTx.gas_used), 0)).select_from(ChainNotice)
    return int(db.scalar(paid.join(ChainTx, and_(*mined)).where(ChainNotice.name.in_(names))) or 0)


def notices_of(db: Session, *conditions: ColumnElement[bool]) -> Sequence[ToldTx]:
    """Notices with their transactions, in the order of the versions of their list."""
    newest = (
        select(func.max(ChainTx.id))
        .where(ChainTx.subject == ChainNotice.id, ChainTx.state.in_(LIVE))
        .correlate(ChainNotice)
        .scalar_subquery()
    )
    query = select(ChainNotice, ChainTx).outerjoin(ChainTx, ChainTx.id == newest)
    ordered = query.where(*conditions).order_by(ChainNotice.version, ChainNotice.id)
    return [(row[0], row[1]) for row in db.execute(ordered)]


def waiting_counts(db: Session) -> tuple[int, int]:
    """Items in no batch yet, and batches with no transaction in a block."""
    items = select(func.count()).where(AnchorItem.batch_id.is_(None))
    settled = select(ChainTx.subject).where(ChainTx.state.in_(("included", "final")))
    batches = select(func.count()).where(AnchorBatch.id.not_in(settled))
    return db.scalar(items) or 0, db.scalar(batches) or 0
