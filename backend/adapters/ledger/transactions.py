"""Tables of the sender: every transaction as it was signed, who may send, where contracts stand."""

from datetime import datetime

from sqlalchemy import BigInteger, Index, LargeBinary, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.database import Base

# signed → sent → included → final. A transaction that another one replaced may still be mined.
SIGNED, SENT, INCLUDED, FINAL = "signed", "sent", "included", "final"
REPLACED, FAILED, LOST, SUPERSEDED = "replaced", "failed", "lost", "superseded"
LIVE = (SIGNED, SENT, INCLUDED, FINAL)
UNMINED, ON_CHAIN = (SIGNED, SENT), (INCLUDED, FINAL)
_IS_LIVE = text("state IN ('signed', 'sent', 'included', 'final')")


class ChainTx(Base):
    """One signed transaction, stored before it is sent.

    A fee replacement is a row of its own with the same nonce and the next attempt: any of them may
    be mined. A row without nonce stands for somebody else's transaction that did the same, or
    was given up while its nonce was out of reach.
    """

    __tablename__ = "chain_txs"
    __table_args__ = (
        UniqueConstraint("chain_id", "genesis_hash", "signer", "nonce", "attempt"),
        Index(
            "uq_chain_txs_live_subject",
            "subject",
            "genesis_hash",
            unique=True,
            sqlite_where=_IS_LIVE,
            postgresql_where=_IS_LIVE,
        ),
        Index("ix_chain_txs_genesis_hash_state", "genesis_hash", "state"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    subject: Mapped[str] = mapped_column(String(40), index=True)
    contract: Mapped[str] = mapped_column(String(40))
    address: Mapped[str] = mapped_column(String(42))
    expected: Mapped[bytes] = mapped_column(LargeBinary)  # what its event has to name
    chain_id: Mapped[int] = mapped_column(BigInteger)
    genesis_hash: Mapped[str] = mapped_column(String(66))
    code_hash: Mapped[str] = mapped_column(String(66))
    trust: Mapped[str] = mapped_column(String(16))
    signer: Mapped[str] = mapped_column(String(42))
    nonce: Mapped[int | None] = mapped_column(BigInteger)
    attempt: Mapped[int]
    calldata: Mapped[bytes | None] = mapped_column(LargeBinary)
    raw_tx: Mapped[bytes | None] = mapped_column(LargeBinary)
    tx_hash: Mapped[str | None] = mapped_column(String(66), index=True)
    max_fee_wei: Mapped[int] = mapped_column(BigInteger)
    tip_wei: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(12))
    reason: Mapped[str | None] = mapped_column(String(300))
    block_number: Mapped[int | None] = mapped_column(BigInteger)
    block_hash: Mapped[str | None] = mapped_column(String(66))
    gas_used: Mapped[int | None] = mapped_column(BigInteger)
    gas_price_wei: Mapped[int | None] = mapped_column(BigInteger)
    reorgs: Mapped[int]
    signed_at: Mapped[datetime]
    changed_at: Mapped[datetime]


class SenderLease(Base):
    """Who may send for a signer on a chain; the token counts the holders."""

    __tablename__ = "sender_leases"

    chain_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    signer: Mapped[str] = mapped_column(String(42), primary_key=True)
    holder: Mapped[str] = mapped_column(String(40))
    token: Mapped[int]
    expires_at: Mapped[datetime]


class ContractPlace(Base):
    """Where a contract stands on a chain."""

    __tablename__ = "contract_places"

    chain_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    genesis_hash: Mapped[str] = mapped_column(String(66), primary_key=True)
    contract: Mapped[str] = mapped_column(String(40), primary_key=True)
    address: Mapped[str] = mapped_column(String(42))
    recorded_at: Mapped[datetime]
