"""Receipts: one signed document that shows what happened, checkable without asking anybody."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backend.proofs.canonical import NotCanonical, canonical_bytes, has_float, item_hash, item_id
from backend.proofs.checkpoints import FORMAT as SEAL_FORMAT
from backend.proofs.merkle import Kind, is_included, leaf_of
from backend.proofs.signing import is_signed, signed

FORMAT = "tasco.receipt.v1"
MEMBERS = {"format", "kind", "id", "record", "salt", "item_hash", "anchor", "signer", "signature"}
ANCHOR = {"proof", "root", "count", "checkpoint", "chain", "trust", "finality"}
TRUST = {"signed-only", "embedded-dev", "dev-node", "node"}
FINALITY = {"none", "pending", "final"}
SEALED_AS = {"batch", "block"}
DEEPEST = 64  # levels of a receipt: what is nested without end would exhaust its reader


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: `form`, `hash`, `inclusion`, `checkpoint` or `signature`.
        detail: Why it failed; empty when it passed.
    """

    name: str
    passed: bool
    detail: str = ""


def receipt(
    key: Ed25519PrivateKey,
    *,
    kind: Kind,
    name: str,
    record: dict[str, Any],
    salt: bytes,
    anchor: dict[str, Any] | None,
) -> dict[str, Any]:
    """The signed receipt of an item.

    Args:
        key: The service's signing key.
        kind: What the item is.
        name: The item's identifier, e.g. a charging session's.
        record: What happened, as JSON without floats.
        salt: 32 random bytes, kept with the record.
        anchor: Proof and place of the item (`proof`, `root`, `count`, `checkpoint`, `chain`,
            `trust`, `finality`); None while it waits for its batch.
    """
    document = {
        "format": FORMAT,
        "kind": kind.name.lower(),
        "id": name,
        "record": record,
        "salt": "0x" + salt.hex(),
        "item_hash": "0x" + item_hash(record, salt).hex(),
        "anchor": anchor,
    }
    return signed(document, key)


def verify(document: dict[str, Any], *, signer: str | None = None) -> list[Check]:
    """Look at every part of a receipt; it is good when all checks passed.

    Args:
        document: The receipt, parsed.
        signer: The did:key that must have signed; None takes the one the receipt names.
    """
    checks = [_checked("form", lambda: _form(document))]
    if checks[0].passed:
        looks = {"hash": _hash, "inclusion": _inclusion, "checkpoint": _checkpoint}
        checks += [_checked(name, _bound(look, document)) for name, look in looks.items()]
        checks.append(_checked("signature", lambda: _signature(document, signer)))
    return checks


def _bound(look: Callable[[dict[str, Any]], str], document: dict[str, Any]) -> Callable[[], str]:
    return lambda: look(document)


def _checked(name: str, look: Callable[[], str]) -> Check:
    """Run a look; what it cannot read failed too."""
    try:
        failure = look()
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        shown = str(error).encode("ascii", "backslashreplace").decode()
        failure = f"It cannot be read: {shown}"
    return Check(name, not failure, failure)


def _form(document: dict[str, Any]) -> str:
    if not isinstance(document, dict) or set(document) != MEMBERS:
        return "It does not have the members of a receipt."
    if document["format"] != FORMAT:
        return f"Its format is not {FORMAT}."
    if document["kind"] not in {kind.name.lower() for kind in Kind}:
        return "Unknown kind."
    if not isinstance(document["id"], str):
        return "Its id is no text."
    return _values(document) or _anchor_form(document["anchor"])


def _values(document: dict[str, Any]) -> str:
    """Every value is one that all readers of JSON take for the same."""
    if _depth(document) > DEEPEST:
        return "It is nested too deep."
    if has_float(document):
        return "A receipt holds no floats."
    canonical_bytes(document)
    return ""


def _anchor_form(anchor: dict[str, Any] | None) -> str:
    if anchor is None:
        return ""
    if not isinstance(anchor, dict) or not set(anchor) >= ANCHOR:
        return "Its anchor does not have the members of one."
    if anchor["trust"] not in TRUST or anchor["finality"] not in FINALITY:
        return "Unknown trust or finality."
    is_listed = isinstance(anchor["proof"], list) and type(anchor["count"]) is int
    return "" if is_listed else "The proof is no list or the count no number."


def _depth(value: object, level: int = 1) -> int:
    """How many levels a value has, as far as one more than a receipt may have."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if level > DEEPEST:
        return level
    return max((_depth(one, level + 1) for one in inner), default=level)


def _hash(document: dict[str, Any]) -> str:
    try:
        found = item_hash(document["record"], _bytes(document["salt"]))
    except NotCanonical as error:
        return f"The record has no canonical form: {error}"
    is_same = "0x" + found.hex() == document["item_hash"]
    return "" if is_same else "Record and salt do not lead to the item's hash."


def _inclusion(document: dict[str, Any]) -> str:
    anchor = document["anchor"]
    if anchor is None:
        return ""
    kind = Kind[document["kind"].upper()]
    leaf = leaf_of(kind, item_id(document["id"]), _bytes(document["item_hash"]))
    proof = [_bytes(one) for one in anchor["proof"]]
    is_in = is_included(leaf, proof, root=_bytes(anchor["root"]), count=anchor["count"])
    return "" if is_in else "The proof does not lead from the item to the root."


def _checkpoint(document: dict[str, Any]) -> str:
    anchor = document["anchor"]
    if anchor is None:
        return ""
    seal = anchor["checkpoint"]
    if seal["format"] != SEAL_FORMAT or seal["kind"] not in SEALED_AS:
        return "The checkpoint is none of a batch or block."
    if seal["root"] != anchor["root"] or seal["count"] != anchor["count"]:
        return "The checkpoint seals another root."
    is_good = seal["signer"] == document["signer"] and is_signed(seal)
    return "" if is_good else "The checkpoint is not signed by the receipt's signer."


def _signature(document: dict[str, Any], signer: str | None) -> str:
    if signer is not None and document["signer"] != signer:
        return "It is signed by another."
    return "" if is_signed(document) else "The signature does not fit the receipt."


def _bytes(text: str) -> bytes:
    """Bytes written as 0x and lower-case hexadecimal digits.

    Raises:
        ValueError: If they are written in any other way.
    """
    raw = bytes.fromhex(text.removeprefix("0x"))
    if text != "0x" + raw.hex():
        raise ValueError("Hexadecimal text is not written canonically.")
    return raw
