"""Waiting items become batches and blocks: a Merkle tree, a number, and a signed checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import ColumnElement, exists, func, select, text, update
from sqlalchemy.orm import Session

from backend.adapters.ledger.deeds import Anchoring, Deed, Sealing
from backend.adapters.ledger.ledger import Chain
from backend.adapters.ledger.transactions import LIVE, ChainTx
from backend.database import Database, new_id
from backend.features.anchors import records
from backend.features.anchors.models import BATCH, BLOCK, AnchorBatch, AnchorItem
from backend.proofs.blocks import FIRST_PREVIOUS, BlockHeader
from backend.proofs.canonical import item_id
from backend.proofs.checkpoints import checkpoint
from backend.proofs.merkle import Kind, MerkleTree, build, leaf_of

log = structlog.get_logger("tasco.anchors")
BATCH_LOCK = 0x7A5C02  # one batcher at a time on PostgreSQL; SQLite has one writer anyway


@dataclass(frozen=True, slots=True)
class Closing:
    """When a batch is closed.

    Attributes:
        size: Items it holds at most; so many waiting close it at once.
        age: How long the oldest item waits at most.
    """

    size: int
    age: timedelta


def close_due(
    database: Database, purpose: str, closing: Closing, *, key: Ed25519PrivateKey, now: datetime
) -> int:
    """Close every batch or block that is full or old enough; gives how many."""
    closed = 0
    while _is_due(database, purpose, closing, now):
        with database.transaction() as db:
            alone(db)
            closed += _close(db, purpose, closing.size, key, now)
    return closed


def _waiting(purpose: str) -> ColumnElement[bool]:
    is_record = AnchorItem.kind == int(Kind.LEDGER_RECORD)
    return AnchorItem.batch_id.is_(None) & (is_record if purpose == BLOCK else ~is_record)


def _is_due(database: Database, purpose: str, closing: Closing, now: datetime) -> bool:
    """Asked before the one writer is taken for nothing."""
    query = select(func.count(), func.min(AnchorItem.created_at)).where(_waiting(purpose))
    with database.reading() as db:
        count, oldest = db.execute(query).one()
    if not count:
        return False
    # A demonstration's clock may have been set back since.
    return bool(count >= closing.size or oldest <= now - closing.age or oldest > now)


def alone(db: Session) -> None:
    """Keep other processes from closing or sealing until this transaction ends."""
    if db.get_bind().dialect.name == "postgresql":
        db.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": BATCH_LOCK})


def _close(db: Session, purpose: str, size: int, key: Ed25519PrivateKey, now: datetime) -> int:
    query = select(AnchorItem).where(_waiting(purpose)).order_by(AnchorItem.id).limit(size)
    items = db.scalars(query).all()
    if not items:
        return 0
    former = db.scalar(
        select(AnchorBatch)
        .where(AnchorBatch.purpose == purpose)
        .order_by(AnchorBatch.number.desc())
        .limit(1)
    )
    batch = sealed(items, former, purpose=purpose, key=key, now=now)
    db.add(batch)
    db.flush()
    ids = [one.id for one in items]
    db.execute(update(AnchorItem).where(AnchorItem.id.in_(ids)).values(batch_id=batch.id))
    log.info("anchors.closed", purpose=purpose, number=batch.number, items=batch.count)
    return 1


def sealed(
    items: Sequence[AnchorItem],
    former: AnchorBatch | None,
    *,
    purpose: str,
    key: Ed25519PrivateKey,
    now: datetime,
) -> AnchorBatch:
    """The batch or block over items, after a former one."""
    root, number = tree_of(items).root, former.number + 1 if former else 1
    batch = AnchorBatch(
        id=new_id("anc" if purpose == BATCH else "blk"),
        purpose=purpose,
        number=number,
        root=root,
        count=len(items),
        sealed_at=now,
        checkpoint=checkpoint(
            key,
            previous=former.checkpoint if former else None,
            kind=purpose,
            root=root,
            count=len(items),
            at=records.moment(now),
        ),
    )
    if purpose == BLOCK:
        _add_header(batch, items, former)
    return batch


def _add_header(
    batch: AnchorBatch, items: Sequence[AnchorItem], former: AnchorBatch | None
) -> None:
    batch.previous_hash = former.header_hash if former else FIRST_PREVIOUS
    batch.from_at = _second(min(one.from_at for one in items if one.from_at))
    batch.to_at = _second(max(one.to_at for one in items if one.to_at))
    batch.wh_in = sum(one.wh_in for one in items)
    batch.wh_out = sum(one.wh_out for one in items)
    batch.header_hash = header_of(batch).hash()


def _second(moment: datetime) -> datetime:
    """The chain counts whole seconds."""
    return datetime.fromtimestamp(int(moment.timestamp()), UTC)


def header_of(block: AnchorBatch) -> BlockHeader:
    """The header of a block, as it is hashed."""
    values: dict[str, Any] = {name: getattr(block, name) for name in ("wh_in", "wh_out")}
    return BlockHeader(
        number=block.number,
        previous_hash=block.previous_hash or FIRST_PREVIOUS,
        root=block.root,
        from_at=int(block.from_at.timestamp()) if block.from_at else 0,
        to_at=int(block.to_at.timestamp()) if block.to_at else 0,
        count=block.count,
        **values,
    )


def tree_of(items: Sequence[AnchorItem]) -> MerkleTree:
    """The Merkle tree over items."""
    return build([leaf_of_item(one) for one in items])


def leaf_of_item(item: AnchorItem) -> bytes:
    """The leaf of an item."""
    return leaf_of(Kind(item.kind), item_id(item.name), item.item_hash)


def waiting_batches(db: Session, chain: Chain, limit: int, *, purpose: str = BATCH) -> list[Deed]:
    """Batches, or blocks, that have no live transaction on a chain, in the order they were made."""
    is_under_way = exists().where(
        ChainTx.subject == AnchorBatch.id,
        ChainTx.chain_id == chain.chain_id,
        ChainTx.genesis_hash == chain.genesis_hash,
        ChainTx.state.in_(LIVE),
    )
    query = select(AnchorBatch).where(AnchorBatch.purpose == purpose, ~is_under_way)
    ordered = query.order_by(AnchorBatch.number).limit(limit)
    return [_deed(one) for one in db.scalars(ordered)]


def _deed(batch: AnchorBatch) -> Deed:
    if batch.purpose == BLOCK:
        return Sealing(batch.id, header_of(batch))
    return Anchoring(batch.id, batch.root, batch.count)
