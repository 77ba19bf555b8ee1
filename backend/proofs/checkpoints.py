"""Signed checkpoints that chain: what was sealed cannot be taken back or put in another order."""

import hashlib
from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backend.proofs.canonical import canonical_bytes
from backend.proofs.signing import is_signed, signed

FORMAT = "tasco.checkpoint.v1"
GENESIS = "0x" + "00" * 32


def checkpoint(
    key: Ed25519PrivateKey,
    *,
    previous: dict[str, Any] | None,
    kind: str,
    root: bytes,
    count: int,
    at: str,
) -> dict[str, Any]:
    """The next signed checkpoint after another, the first after None.

    Args:
        key: The service's signing key.
        previous: The checkpoint before.
        kind: What was sealed, e.g. `batch` or `audit`.
        root: 32 bytes over everything sealed: a Merkle root, or the head of a hash chain.
        count: How many items the root stands for.
        at: When it was sealed, RFC 3339 in UTC.
    """
    return signed(
        {
            "format": FORMAT,
            "kind": kind,
            "sequence": previous["sequence"] + 1 if previous else 1,
            "previous": fingerprint(previous) if previous else GENESIS,
            "root": "0x" + root.hex(),
            "count": count,
            "at": at,
        },
        key,
    )


def fingerprint(document: dict[str, Any]) -> str:
    """SHA-256 of a checkpoint with its signature, hexadecimal with 0x."""
    return "0x" + hashlib.sha256(canonical_bytes(document)).hexdigest()


def first_broken(checkpoints: Sequence[dict[str, Any]], *, signer: str) -> int | None:
    """Index of the first checkpoint that is forged or does not follow its predecessor.

    The sequence may begin anywhere in the chain.

    Args:
        checkpoints: A stretch of the chain, in order.
        signer: The did:key that must have signed every one.

    Returns:
        The index, None when all checkpoints are good.
    """
    for i, one in enumerate(checkpoints):
        follows = i == 0 or _follows(one, checkpoints[i - 1])
        if not follows or one.get("signer") != signer or not is_signed(one):
            return i
    return None


def _follows(one: dict[str, Any], before: dict[str, Any]) -> bool:
    return bool(
        one.get("sequence") == before["sequence"] + 1
        and one.get("previous") == fingerprint(before)
        and one.get("kind") == before["kind"]
    )
