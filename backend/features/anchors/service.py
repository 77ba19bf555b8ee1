"""Read batches, blocks, proofs and receipts; erase what a hash stands for."""

from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backend.features.anchors import collecting, queries
from backend.features.anchors.batching import leaf_of_item, tree_of
from backend.features.anchors.models import BATCH, AnchorBatch, AnchorItem
from backend.features.anchors.schemas import BatchView, CheckView, ItemProof, ReceiptVerdict
from backend.features.anchors.views import batch_view, hexadecimal, standing
from backend.features.credentials.holder import Holder
from backend.features.sessions.models import ChargingSession
from backend.problems import NotFound, Problem
from backend.proofs import receipts
from backend.proofs.canonical import canonical_bytes, has_twins, item_id
from backend.proofs.merkle import DOMAIN, Kind


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


def batches_of(
    db: Session, holder: Holder, *, after: str | None, limit: int, item: str | None
) -> Sequence[queries.Listed]:
    """Up to `limit + 1` batches, newest first; of a stranger's session none is shown."""
    if item is not None:
        named = db.scalars(select(AnchorItem).where(AnchorItem.name == item))  # of every kind
        if not any(_may_see(db, one, holder) for one in named):
            return []
    return queries.batches_page(db, BATCH, after=after, limit=limit, item=item)


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
        domain=hexadecimal(DOMAIN),
        kind=kind.name.lower(),
        kind_number=int(kind),
        name=item.name,
        item_id=hexadecimal(item_id(item.name)),
        item_hash=hexadecimal(item.item_hash),
        proof=[hexadecimal(one) for one in tree.proof(leaf_of_item(item))],
        root=hexadecimal(batch.root),
        count=batch.count,
        checkpoint=batch.checkpoint,
        **standing(chain_tx),
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


def verdict_on(document: dict[str, Any], *, said: bytes, signer: str) -> ReceiptVerdict:
    """Check a receipt by itself; nothing is looked up.

    Args:
        document: The receipt as it was understood.
        said: The request that it came in.
        signer: The did:key that must have signed it.
    """
    checks = receipts.verify(document, signer=signer)
    if has_twins(said):
        checks = [receipts.Check("form", passed=False, detail="A member comes twice.")]
    is_good = all(one.passed for one in checks)
    anchor = document["anchor"] if is_good else None
    return ReceiptVerdict(
        verified=is_good,
        checks=[CheckView(name=one.name, passed=one.passed, detail=one.detail) for one in checks],
        trust=anchor["trust"] if anchor else None,
    )


def erase_sessions(db: Session, session_ids: Sequence[str], *, now: datetime) -> int:
    """Delete salts and records of sessions; gives of how many items.

    The hashes stay in their trees. Without the salts nobody can tell what they stood for.
    """
    for one in session_ids:
        collecting.enter_session(db, one, now=now)  # what is entered later would have a salt again
    own = update(AnchorItem).where(
        AnchorItem.session_id.in_(session_ids), AnchorItem.erased_at.is_(None)
    )
    erased: Any = db.execute(own.values(salt=None, record=None, erased_at=now))
    return int(erased.rowcount)
