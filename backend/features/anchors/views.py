"""Batches, blocks, records and the ledger as callers see them."""

from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.orm import Session

from backend.adapters.ledger.contracts import MODELS, STATUS
from backend.adapters.ledger.sending import SenderState
from backend.adapters.ledger.transactions import FINAL, ON_CHAIN, ChainTx
from backend.features.anchors import queries
from backend.features.anchors.batching import header_of
from backend.features.anchors.models import BATCH, BLOCK, AnchorBatch, AnchorItem
from backend.features.anchors.queries import Spent
from backend.features.anchors.schemas import (
    BatchView,
    BlockView,
    ChainPlace,
    Costs,
    Fee,
    LedgerRecordView,
    LedgerState,
    NoticeCosts,
)
from backend.proofs.signing import did_of

SIGNED_ONLY = "signed-only"


def standing(chain_tx: ChainTx | None) -> dict[str, Any]:
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
        **standing(chain_tx),
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
        root=hexadecimal(batch.root),
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
        header_hash=hexadecimal(header.hash()),
        previous_hash=hexadecimal(header.previous_hash),
        root=hexadecimal(block.root),
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
        item_hash=hexadecimal(item.item_hash),
        wh_in=item.wh_in,
        wh_out=item.wh_out,
        record=item.record,
        entered_at=item.created_at,
        status="sealed" if item.batch_id else "pending",
    )


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
        credential_status=_notice_costs(db, STATUS),
        models=_notice_costs(db, MODELS),
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


def _notice_costs(db: Session, contract: str) -> NoticeCosts:
    told, waiting, gas, fee_wei = queries.notice_counts(db, contract)
    return NoticeCosts(notices=told, waiting=waiting, gas_used=gas, fee_wei=str(fee_wei))


def hexadecimal(data: bytes) -> str:
    """Bytes as callers see them."""
    return "0x" + data.hex()
