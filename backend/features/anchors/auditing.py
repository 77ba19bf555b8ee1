"""Is the audit trail the one that was signed? By itself, and by checkpoints kept elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from backend.features.anchors.collecting import audit_checkpoints
from backend.features.credentials import audit
from backend.proofs import trail
from backend.proofs.checkpoints import FORMAT, fingerprint, first_broken
from backend.proofs.signing import is_signed

LARGEST = 2**31  # events that their column can count


@dataclass(frozen=True, slots=True)
class Found:
    """What a check of the trail showed."""

    text: str
    is_broken: bool


def check_trail(db: Session, given: dict[str, Any] | None, *, signer: str | None = None) -> Found:
    """Recompute the trail, check that its checkpoints chain, and that it leads through all of them.

    A database that was restored from an older backup is whole in itself: only a checkpoint that was
    kept elsewhere shows that something is missing.

    Args:
        db: The database.
        given: A checkpoint from elsewhere, None if there is none.
        signer: Who must have signed the checkpoints; None takes whoever signed the first.
    """
    broken = audit.first_broken_link(db)
    if broken is not None:
        return Found(f"The trail is broken at event {broken}.", is_broken=True)
    kept = audit_checkpoints(db)
    named = signer or (given or (kept[0] if kept else {})).get("signer", "")
    wrong = first_broken(kept, signer=named)
    if wrong is None and kept and kept[0]["sequence"] != 1:
        wrong = 0
    if wrong is not None:
        return Found(f"Checkpoint {wrong + 1} is forged, missing or reordered.", is_broken=True)
    # The chain holds from its beginning, so it leads on from every hash that is in it.
    whys = [_strays(db, one, named) for one in [*kept, *([given] if given else [])]]
    if given and not any(whys):
        whys += [_is_missing(given, kept), _leads_nowhere(db, given)]
    for why in whys:
        if why:
            return Found(why, is_broken=True)
    count, head = audit.head_of(db)
    proved = f"; it leads on from {given['count']} signed events" if given else ""
    said = f"The trail of {count} events holds, {len(kept)} checkpoints{proved}. Head {head}"
    return Found(said, is_broken=False)


def _strays(db: Session, seal: dict[str, Any], signer: str) -> str:
    """Why the trail does not lead through a checkpoint; empty if it does."""
    is_ours = seal.get("format") == FORMAT and seal.get("kind") == "audit"
    if not is_ours or seal.get("signer") != signer or not is_signed(seal):
        return "The checkpoint is not signed by this service, or is of another kind."
    count, sealed = seal.get("count"), str(seal.get("root")).removeprefix("0x")
    if type(count) is not int or not 0 < count < LARGEST:
        return "The checkpoint does not say how many events it seals."
    found = audit.hash_at(db, count)
    if found is None:
        return f"Events are missing: {count} were signed. Was an older backup restored?"
    return (
        ""
        if found == sealed
        else f"The trail was changed before event {count}: another one was signed."
    )


def _is_missing(given: dict[str, Any], kept: Sequence[dict[str, Any]]) -> str:
    """Why the database does not have a checkpoint that it gave out; empty if it does."""
    is_kept = any(fingerprint(one) == fingerprint(given) for one in kept)
    return "" if is_kept else "The checkpoint is missing here. Was an older backup restored?"


def _leads_nowhere(db: Session, given: dict[str, Any]) -> str:
    """Why a signed head does not lead on to the present one; empty if it does."""
    count, sealed = given["count"], given["root"].removeprefix("0x")
    _, head = audit.head_of(db)
    led = trail.leads_on(sealed, audit.entries(db, after=count), since=count)
    return "" if led == head else f"What follows event {count} does not lead to the head."
