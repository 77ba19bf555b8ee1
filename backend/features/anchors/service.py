"""Read batches, blocks, proofs and receipts; erase what a hash stands for."""

from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import update
from sqlalchemy.orm import Session

from backend.adapters.ledger.sending import SenderState
from backend.adapters.ledger.transactions import FINAL, INCLUDED, ChainTx
from backend.features.anchors import queries
from backend.features.anchors.batching import header_of, leaf_of_item, tree_of
from backend.features.anchors.models import BATCH, BLOCK, AnchorBatch, AnchorItem
from backend.features.anchors.queries import Spent
from backend.features.anchors.schemas import (
    BatchView,
    BlockView,
    ChainPlace,
    CheckView,
    Costs,
    Fee,
    ItemProof,
    LedgerRecordView,
    LedgerState,
    ReceiptVerdict,
)
from backend.features.credentials.holder import Holder
from backend.features.sessions.models import ChargingSession
from backend.problems import NotFound, Problem
from backend.proofs import receipts
from backend.proofs.canonical import canonical_bytes, item_id
from backend.proofs.merkle import DOMAIN, Kind
from backend.proofs.signing import did_of

ON_CHAIN = (INCLUDED, FINAL)
SIGNED_ONLY = "signed-only"


class AnchorNotFound(NotFound):
    """There is no such anchor or item for this caller."""


class ReceiptNotReady(Problem):
    """The session has no receipt yet."""

    status = HTTPStatus.CONFLICT
    retry_after_s = 2
    fix = "End the session, and ask again a moment later."


class ReceiptErased(Problem):
    """What this receipt showed was erased."""

    status = HTTPStatus.GONE
    fix = "Nothing brings it back; its hash alone is still anchored."


def receipt_of(db: Session, session: ChargingSession, key: Ed25519PrivateKey) -> bytes:
    """The signed receipt of a session, in the one form that its signature covers.

    Raises:
        ReceiptNotReady: If the session has not ended, or its record is being written.
        ReceiptErased: If its salt was deleted.
    """
    item = queries.item_named(db, Kind.SESSION_RECEIPT, session.id)
    if item is None:
        raise ReceiptNotReady
    if item.salt is None or item.record is None:
        raise ReceiptErased
    document = receipts.receipt(
        key,
        kind=Kind.SESSION_RECEIPT,
        name=item.name,
        record=item.record,
        salt=item.salt,
        anchor=_anchor_of(db, item),
    )
    return canonical_bytes(document)


def _anchor_of(db: Session, item: AnchorItem) -> dict[str, Any] | None:
    """Proof and place of an item, None while it waits for its batch."""
    if item.batch_id is None:
        return None
    proof = _proof(db, item, item.batch_id)
    members = ("proof", "root", "count", "checkpoint", "trust", "finality")
    shown = proof.model_dump(mode="json")
    return {**{name: shown[name] for name in members}, "id": item.batch_id, "chain": shown["chain"]}


def proof_of(db: Session, batch_id: str, kind: Kind, name: str, *, holder: Holder) -> ItemProof:
    """The proof of an item of a batch.

    Raises:
        AnchorNotFound: If it is in another batch or none, or about somebody else's session.
    """
    item = queries.item_named(db, kind, name)
    if item is None or item.batch_id != batch_id or not _may_see(db, item, holder):
        raise AnchorNotFound
    return _proof(db, item, batch_id)


def _may_see(db: Session, item: AnchorItem, holder: Holder) -> bool:
    """What hangs on a session is for those who may see it; all else is for everybody."""
    if item.session_id is None or holder.sees_everything:
        return True
    session = db.get(ChargingSession, item.session_id)
    return session is not None and holder.sees(**session.parties)


def _proof(db: Session, item: AnchorItem, batch_id: str) -> ItemProof:
    found = queries.batch_of(db, batch_id)
    if found is None:
        raise AnchorNotFound
    batch, chain_tx = found
    tree, kind = tree_of(queries.items_of(db, batch_id)), Kind(item.kind)
    return ItemProof(
        domain=_hex(DOMAIN),
        kind=kind.name.lower(),
        kind_number=int(kind),
        name=item.name,
        item_id=_hex(item_id(item.name)),
        item_hash=_hex(item.item_hash),
        proof=[_hex(one) for one in tree.proof(leaf_of_item(item))],
        root=_hex(batch.root),
        count=batch.count,
        checkpoint=batch.checkpoint,
        **_standing(chain_tx),
    )


def _standing(chain_tx: ChainTx | None) -> dict[str, Any]:
    """Where a batch stands, and what that is worth: a chain of our own process proves nothing."""
    if chain_tx is None or chain_tx.state not in ON_CHAIN:
        return {"chain": None, "trust": SIGNED_ONLY, "finality": "none"}
    is_own = chain_tx.trust == "embedded-dev"
    return {
        "chain": ChainPlace(
            chain_id=chain_tx.chain_id,
            genesis_hash=chain_tx.genesis_hash,
            contract=chain_tx.address,
            code_hash=chain_tx.code_hash,
            tx_hash=chain_tx.tx_hash,
            block_number=chain_tx.block_number,
            block_hash=chain_tx.block_hash,
        ),
        "trust": chain_tx.trust,
        "finality": "none" if is_own else "final" if chain_tx.state == FINAL else "pending",
    }


def _way(batch: AnchorBatch, chain_tx: ChainTx | None) -> dict[str, Any]:
    """State, place and fee of a batch or block."""
    return {
        "status": chain_tx.state if chain_tx else "batched",
        "reason": chain_tx.reason if chain_tx else None,
        "fee": _fee(batch.count, chain_tx),
        **_standing(chain_tx),
    }


def _fee(count: int, chain_tx: ChainTx | None) -> Fee | None:
    if chain_tx is None or chain_tx.gas_used is None:
        return None
    fee_wei = chain_tx.gas_used * (chain_tx.gas_price_wei or 0)
    return Fee(
        gas_used=chain_tx.gas_used,
        gas_per_item=chain_tx.gas_used / count,
        fee_wei=str(fee_wei),
        fee_per_item_wei=str(fee_wei // count),
    )


def batch_view(batch: AnchorBatch, chain_tx: ChainTx | None) -> BatchView:
    """A batch as callers see it."""
    return BatchView(
        anchor_id=batch.id,
        number=batch.number,
        root=_hex(batch.root),
        count=batch.count,
        sealed_at=batch.sealed_at,
        checkpoint=batch.checkpoint,
        **_way(batch, chain_tx),
    )


def block_view(block: AnchorBatch, chain_tx: ChainTx | None) -> BlockView:
    """A block as callers see it."""
    header = header_of(block)
    return BlockView(
        block_id=block.id,
        number=block.number,
        header_hash=_hex(header.hash()),
        previous_hash=_hex(header.previous_hash),
        root=_hex(block.root),
        from_at=block.from_at,
        to_at=block.to_at,
        count=block.count,
        wh_in=header.wh_in,
        wh_out=header.wh_out,
        sealed_at=block.sealed_at,
        **_way(block, chain_tx),
    )


def record_view(item: AnchorItem) -> LedgerRecordView:
    """A charge or discharge as callers see it."""
    return LedgerRecordView(
        record_id=item.name,
        item_hash=_hex(item.item_hash),
        wh_in=item.wh_in,
        wh_out=item.wh_out,
        record=item.record,
        entered_at=item.created_at,
        status="sealed" if item.batch_id else "pending",
    )


def require_batch(db: Session, batch_id: str) -> BatchView:
    """A batch.

    Raises:
        AnchorNotFound: If there is none.
    """
    found = queries.batch_of(db, batch_id)
    if found is None or found[0].purpose != BATCH:
        raise AnchorNotFound
    return batch_view(*found)


def require_block(db: Session, number: int) -> AnchorBatch:
    """A block by its number.

    Raises:
        AnchorNotFound: If there is none.
    """
    found = queries.block_at(db, number)
    if found is None:
        raise AnchorNotFound
    return found[0]


def ledger_state(
    db: Session, sender: SenderState | None, trust: str, key: Ed25519PrivateKey
) -> LedgerState:
    """What the sender last found, and what was paid so far."""
    found = sender or SenderState()
    items, batches = queries.waiting_counts(db)
    return LedgerState(
        state=found.state if sender else "none",
        reason=found.reason if sender else "No ledger is set: receipts are signed and kept.",
        trust=trust,
        chain_id=found.chain.chain_id if found.chain else None,
        genesis_hash=found.chain.genesis_hash if found.chain else None,
        contracts=dict(found.addresses or {}),
        signer=found.signer,
        signed_by=did_of(key),
        items_waiting=items,
        batches_waiting=batches,
        anchors=_costs(queries.spent(db, BATCH)),
        blocks=_costs(queries.spent(db, BLOCK)),
    )


def _costs(paid: Spent) -> Costs:
    return Costs(
        transactions=paid.transactions,
        items=paid.items,
        gas_used=paid.gas,
        gas_per_item=paid.gas / paid.items if paid.items else None,
        fee_wei=str(paid.fee_wei),
        fee_per_item_wei=str(paid.fee_wei // paid.items) if paid.items else None,
        reorgs=paid.reorgs,
    )


def verdict_on(document: dict[str, Any], *, signer: str) -> ReceiptVerdict:
    """Check a receipt by itself; nothing is looked up."""
    checks = receipts.verify(document, signer=signer)
    anchor = document.get("anchor")
    trust = anchor.get("trust") if isinstance(anchor, dict) else None
    return ReceiptVerdict(
        verified=all(one.passed for one in checks),
        checks=[CheckView(name=one.name, passed=one.passed, detail=one.detail) for one in checks],
        trust=trust if isinstance(trust, str) else None,
    )


def erase_sessions(db: Session, session_ids: Sequence[str], *, now: datetime) -> int:
    """Delete salts and records of sessions; gives of how many items.

    The hashes stay in their trees. Without the salts nobody can tell what they stood for.
    """
    own = update(AnchorItem).where(
        AnchorItem.session_id.in_(session_ids), AnchorItem.erased_at.is_(None)
    )
    erased: Any = db.execute(own.values(salt=None, record=None, erased_at=now))
    return int(erased.rowcount)


def _hex(data: bytes) -> str:
    return "0x" + data.hex()
