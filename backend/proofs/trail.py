"""A hash chain over entries in order: what was appended cannot be changed, removed or reordered."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

GENESIS = "0" * 64


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as it is stored.

    Attributes:
        sequence: 1 for the first.
        record: What it says, as JSON values.
        previous_hash: What it says the hash before it is, hexadecimal.
        hash: What it says its own hash is.
    """

    sequence: int
    record: Sequence[Any]
    previous_hash: str
    hash: str


def link(sequence: int, record: Sequence[Any], previous_hash: str) -> str:
    """SHA-256 that binds an entry to all before it, hexadecimal."""
    whole = [sequence, *record, previous_hash]
    canonical = json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def first_broken(entries: Iterable[Entry]) -> int | None:
    """Sequence number at which the chain from its beginning does not hold, None if it does."""
    previous, expected = GENESIS, 1
    for one in entries:
        is_linked = one.previous_hash == previous
        is_next = is_linked and one.sequence == expected
        if not is_next or one.hash != link(expected, one.record, previous):
            return expected
        previous, expected = one.hash, expected + 1
    return None


def leads_on(hash_before: str, entries: Iterable[Entry], *, since: int) -> str | None:
    """The head that entries lead to from an earlier one; None if they do not follow it.

    Two heads are consistent if the entries between them lead from the one to the other: then the
    later trail is the earlier one with something appended.

    Args:
        hash_before: The earlier head.
        entries: All that was appended after it, in order.
        since: Sequence number of the earlier head.
    """
    head = hash_before
    for expected, one in enumerate(entries, since + 1):
        if one.sequence != expected:
            return None
        head = link(expected, one.record, head)
    return head
