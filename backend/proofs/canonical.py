"""One sequence of bytes for one JSON value, and salted hashes of it."""

import hashlib
import json
from typing import Any

import rfc8785

SALT_BYTES = 32


class NotCanonical(ValueError):
    """The value or text has no canonical form, or is not written in it."""


def canonical_bytes(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """The canonical form of a JSON value.

    Source: RFC 8785, JSON Canonicalization Scheme.

    Raises:
        NotCanonical: If the value is not JSON (NaN, an integer of 2^53 or more, a foreign type).
    """
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeError, RecursionError) as error:
        raise NotCanonical(str(error)) from error


def item_hash(record: dict[str, Any], salt: bytes) -> bytes:
    """SHA-256 of a salted record, 32 bytes.

    A receipt can be guessed field by field; without its salt the hash tells nothing, so deleting
    the salt erases the record from what was anchored.

    Raises:
        NotCanonical: If the record is not JSON, or holds a float: amounts are decimal texts or
            integers of a small unit, which everybody writes the same way.
        ValueError: If the salt does not have 32 bytes.
    """
    if has_float(record):
        raise NotCanonical("A record holds no floats.")
    if len(salt) != SALT_BYTES:
        raise ValueError(f"A salt has {SALT_BYTES} bytes, not {len(salt)}.")
    return hashlib.sha256(salt + canonical_bytes(record)).digest()


def item_id(name: str) -> bytes:
    """SHA-256 of an item's identifier, the 32 bytes that stand for it in a leaf."""
    return hashlib.sha256(name.encode()).digest()


def has_float(value: object) -> bool:
    """Tell whether there is a float anywhere in a JSON value."""
    if isinstance(value, dict):
        return any(has_float(one) for one in value.values())
    if isinstance(value, list | tuple):
        return any(has_float(one) for one in value)
    return isinstance(value, float)


def has_twins(text: bytes) -> bool:
    """Tell whether an object of a JSON text names a member twice: readers disagree on which counts.

    Raises:
        ValueError: If it is no JSON.
    """
    found: list[bool] = []

    def _look(members: list[tuple[str, Any]]) -> dict[str, Any]:
        found.append(len(dict(members)) != len(members))
        return dict(members)

    json.loads(text, object_pairs_hook=_look)
    return any(found)
