"""Items that wait to be anchored, their batches and blocks, and what else contracts are told."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from backend.adapters.ledger import transactions  # noqa: F401 - its tables
from backend.database import Base

BATCH, BLOCK = "batch", "block"


class AnchorBatch(Base):
    """A Merkle tree over items: a batch for the registry, or a block of the charge ledger.

    Batches and blocks are each numbered and chained by signed checkpoints.
    """

    __tablename__ = "anchor_batches"
    __table_args__ = (UniqueConstraint("purpose", "number"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    purpose: Mapped[str] = mapped_column(String(8))
    number: Mapped[int]
    root: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    count: Mapped[int]
    checkpoint: Mapped[dict[str, Any]]
    sealed_at: Mapped[datetime]
    # Of blocks only: what the header says beside number, root and count.
    previous_hash: Mapped[bytes | None] = mapped_column(LargeBinary)
    header_hash: Mapped[bytes | None] = mapped_column(LargeBinary)
    from_at: Mapped[datetime | None]
    to_at: Mapped[datetime | None]
    wh_in: Mapped[int | None] = mapped_column(BigInteger)
    wh_out: Mapped[int | None] = mapped_column(BigInteger)


class AnchorItem(Base):
    """One record, its salt and the hash that is anchored.

    Without salt nobody can tell what the hash stands for: deleting salt and record is the erasure.
    The hash stays, so that the proofs of all other items of the batch go on to hold.
    """

    __tablename__ = "anchor_items"
    __table_args__ = (
        UniqueConstraint("kind", "name"),
        Index("ix_anchor_items_batch_id_id", "batch_id", "id"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    kind: Mapped[int]
    name: Mapped[str] = mapped_column(String(120))
    record: Mapped[dict[str, Any] | None]
    salt: Mapped[bytes | None] = mapped_column(LargeBinary)
    item_hash: Mapped[bytes] = mapped_column(LargeBinary)
    session_id: Mapped[str | None] = mapped_column(String(40), index=True)
    site_id: Mapped[str | None] = mapped_column(String(64))
    # Of charge and discharge records only; times as the header counts them.
    wh_in: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    wh_out: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    from_at: Mapped[datetime | None]
    to_at: Mapped[datetime | None]
    batch_id: Mapped[str | None] = mapped_column(ForeignKey("anchor_batches.id"))
    created_at: Mapped[datetime]
    erased_at: Mapped[datetime | None]


class ChainNotice(Base):
    """One thing that a contract is told beside roots, written down before it is sent.

    A new chain is told everything again, in the order of the ids.

    Attributes:
        action: `revoke`, `suspend`, `reinstate` or `publish` of a status list; `open` or `verdict`
            of a round of models.
        name: The list's id, or the name of the item that the round is about.
        part: Counts what is told by one action about one name; the same is never told twice.
        version: Of a list: the state of the database that the notice brings the chain to.
    """

    __tablename__ = "chain_notices"
    __table_args__ = (UniqueConstraint("action", "name", "part"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    contract: Mapped[str] = mapped_column(String(40))
    action: Mapped[str] = mapped_column(String(12))
    name: Mapped[str] = mapped_column(String(120), index=True)
    part: Mapped[int]
    version: Mapped[int]
    facts: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
