"""What participants and coordinator of a masked sum say to each other, read with care."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from backend.federation.masks import KEY_BYTES

LEAST = 3
"""Of two, each could subtract its own number from the sum and know the other's."""

MOST_PARTICIPANTS = 1_000
SIGNED = "signed"


class MaskingRefused(ValueError):
    """What the coordinator asks for would give something away, or is no message of this round."""


@dataclass(frozen=True, slots=True)
class Member:
    """A participant as the others see it.

    Attributes:
        seal_key: X25519 public key for parcels.
        mask_key: X25519 public key for masks.
        own_mask: SHA-256 of the seed of its own mask, so that false shares are found.
    """

    seal_key: bytes
    mask_key: bytes
    own_mask: bytes


def threshold_of(participants: int) -> int:
    """How many have to stay to the end: more than two thirds."""
    return max(LEAST, 2 * participants // 3 + 1)


def members_of(roster: bytes) -> dict[str, Member]:
    """The participants of a roster.

    Raises:
        MaskingRefused: If it is none.
    """
    try:
        said = decoded(roster)
        members = {
            str(name): Member(*(bytes.fromhex(one[field]) for field in Member.__slots__))
            for name, one in said.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as bad:
        raise MaskingRefused("no roster") from bad
    keys = [key for one in members.values() for key in (one.seal_key, one.mask_key, one.own_mask)]
    if any(len(key) != KEY_BYTES for key in keys) or len(set(keys)) != len(keys):
        raise MaskingRefused("keys that are none, or belong to two participants")
    return members


def hellos_in(roster: bytes) -> dict[str, tuple[bytes, str]]:
    """What each of a roster said, as it said it, and its statement about it; empty if it has none.

    Raises:
        MaskingRefused: If it is no roster.
    """
    said = decoded(roster) if members_of(roster) else {}
    return {
        str(name): (
            coded({field: one[field] for field in Member.__slots__}),
            str(one.get(SIGNED, "")),
        )
        for name, one in said.items()
    }


def names_in(survivors: bytes) -> list[str]:
    """The names in a list of survivors.

    Raises:
        MaskingRefused: If it is none.
    """
    try:
        names = _read(survivors)
    except ValueError as bad:
        raise MaskingRefused("no survivors") from bad
    if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
        raise MaskingRefused("no survivors")
    return names


def coded(message: Mapping[str, Any] | Iterable[str]) -> bytes:
    """A message as bytes: the same for the same content."""
    plain = dict(message) if isinstance(message, Mapping) else sorted(message)
    return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()


def decoded(message: bytes) -> dict[str, Any]:
    """A message that is an object.

    Raises:
        ValueError: If it is none, or names more than can take part.
    """
    said = _read(message)
    if not isinstance(said, dict) or len(said) > MOST_PARTICIPANTS:
        raise ValueError("no message")
    return said


def _read(message: bytes) -> object:
    try:
        return json.loads(message)
    except RecursionError as bad:  # thousands of brackets within brackets
        raise ValueError("no message") from bad


def parcels_in(parcels: bytes) -> dict[str, str]:
    """Sealed shares by their sender.

    Raises:
        MaskingRefused: If they are none.
    """
    try:
        return {str(name): str(sealed) for name, sealed in decoded(parcels).items()}
    except ValueError as bad:
        raise MaskingRefused("no parcels") from bad
