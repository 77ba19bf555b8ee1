"""What became of transactions: receipts, the events in them, and blocks that may go away again."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.adapters.ledger.contracts import tells_of
from backend.adapters.ledger.ledger import Chain, Ledger, TxReceipt
from backend.adapters.ledger.preparing import Failures
from backend.adapters.ledger.transactions import (
    FAILED,
    FINAL,
    INCLUDED,
    LIVE,
    LOST,
    REPLACED,
    SENT,
    ChainTx,
)

log = structlog.get_logger("tasco.ledger")


@dataclass(frozen=True, slots=True)
class Finding:
    """The new state of a transaction."""

    row_id: str
    state: str
    receipt: TxReceipt | None = None
    reason: str | None = None
    is_reorg: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """The chain at one moment.

    Attributes:
        mined_nonce: Asked for before the receipts: what it counts must have one.
        final_height: Blocks up to here stay.
    """

    ledger: Ledger
    mined_nonce: int
    final_height: int


def look(
    ledger: Ledger, rows: Sequence[ChainTx], *, signer: str, confirmations: int | None
) -> list[Finding]:
    """What changed for transactions and those that share their nonces.

    Args:
        ledger: The chain.
        rows: All attempts of every nonce that has one which is not final.
        signer: Whose nonces they are.
        confirmations: Blocks that make a transaction final; None asks the chain itself.
    """
    mined_nonce = ledger.mined_nonce(signer)
    if confirmations is None:
        final_height = ledger.finalized_height()
    else:
        final_height = ledger.height() - confirmations
    view = View(ledger, mined_nonce, final_height)
    hashes = [one.tx_hash for one in rows if one.tx_hash]
    receipts = {one.tx_hash: one for one in ledger.receipts(hashes) if one is not None}
    findings: list[Finding] = []
    for attempts in _by_nonce(rows):
        findings += _of_nonce(attempts, receipts, view)
    return findings


def _by_nonce(rows: Iterable[ChainTx]) -> list[list[ChainTx]]:
    """Attempts that exclude each other; what others sent stands alone."""
    groups: dict[object, list[ChainTx]] = defaultdict(list)
    for one in rows:
        groups[one.id if one.nonce is None else one.nonce].append(one)
    return list(groups.values())


def _of_nonce(attempts: list[ChainTx], receipts: dict[str, TxReceipt], view: View) -> list[Finding]:
    for row in attempts:
        receipt = receipts.get(row.tx_hash or "")
        if receipt is not None:
            others = (one for one in attempts if one is not row and one.state in LIVE)
            outdone = [Finding(one.id, REPLACED) for one in others]
            return [*outdone, *_mined(row, receipt, view)]
    return [finding for row in attempts for finding in _unmined(row, view)]


def _mined(row: ChainTx, receipt: TxReceipt, view: View) -> list[Finding]:
    """A transaction in a block: done only if the contract itself told of the very root."""
    state, reason = INCLUDED, None
    if not receipt.is_success:
        state, reason = FAILED, "The contract refused it."
    elif not any(tells_of(one, row.address, row.expected) for one in receipt.logs):
        state, reason = FAILED, "It succeeded, and the contract told of nothing."
    elif _is_final(receipt, view):
        state = FINAL
    is_known = row.state == state and row.block_hash == receipt.block_hash
    is_moved = row.block_hash not in {None, receipt.block_hash}
    return [] if is_known else [Finding(row.id, state, receipt, reason, is_reorg=is_moved)]


def _is_final(receipt: TxReceipt, view: View) -> bool:
    is_deep = receipt.block_number <= view.final_height
    return is_deep and view.ledger.block_hash(receipt.block_number) == receipt.block_hash


def _unmined(row: ChainTx, view: View) -> list[Finding]:
    if row.state not in LIVE:
        return []
    if row.nonce is None or row.nonce < view.mined_nonce:
        return [Finding(row.id, LOST, reason="Another transaction took its place.")]
    if row.state == INCLUDED:
        return [Finding(row.id, SENT, reason="Its block is gone.", is_reorg=True)]
    return []


def store(db: Session, findings: Sequence[Finding], *, now: datetime) -> list[str]:
    """Write down what was found; gives what it is about. What died comes first: one lives each."""
    ids = [one.row_id for one in findings]
    rows = {one.id: one for one in db.scalars(select(ChainTx).where(ChainTx.id.in_(ids)))}
    for finding in sorted(findings, key=lambda one: one.state in LIVE):
        row = rows[finding.row_id]
        row.state, row.reason, row.changed_at = finding.state, finding.reason, now
        row.reorgs += finding.is_reorg
        _place(row, finding.receipt)
        if finding.state not in LIVE:
            db.flush()
        if finding.is_reorg or finding.state in {FAILED, LOST}:
            log.warning(
                "ledger.transaction", state=row.state, reason=row.reason, tx_hash=row.tx_hash
            )
    return [one.subject for one in rows.values()]


def _place(row: ChainTx, receipt: TxReceipt | None) -> None:
    row.block_hash = receipt.block_hash if receipt else None
    row.block_number = receipt.block_number if receipt else None
    row.gas_used = receipt.gas_used if receipt else None
    row.gas_price_wei = receipt.gas_price_wei if receipt else None


def forgotten(ids: Sequence[str]) -> list[Finding]:
    """That the chain forgot transactions; they go back to `sent`."""
    why = "The chain forgot its block."
    return [Finding(one, SENT, reason=why, is_reorg=True) for one in ids]


def failures(db: Session, chain: Chain, subjects: Sequence[str]) -> dict[str, Failures]:
    """How often each subject failed on a chain; subjects that did not are left out."""
    query = (
        select(ChainTx.subject, func.count(), func.max(ChainTx.changed_at))
        .where(ChainTx.chain_id == chain.chain_id, ChainTx.genesis_hash == chain.genesis_hash)
        .where(ChainTx.subject.in_(subjects), ChainTx.state.in_((FAILED, LOST)))
        .group_by(ChainTx.subject)
    )
    return {subject: Failures(count, last_at) for subject, count, last_at in db.execute(query)}
