"""The coordinator's part in a masked sum: it carries messages and takes masks off the whole.

Every step is a function of messages, so that a coordinator that was killed goes on from what it
has stored. None of them ever holds a participant's numbers: masked vectors are added up first, and
masks are taken off the sum. Source: see `masking`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from backend.federation.masking_messages import (
    LEAST,
    SIGNED,
    Member,
    coded,
    decoded,
    members_of,
    names_in,
    threshold_of,
)
from backend.federation.masks import KEY_BYTES, pair_seed, private_key, stream
from backend.federation.shamir import PRIME, SharesRefused, join

Messages: TypeAlias = Mapping[str, bytes]
Revealed: TypeAlias = Mapping[str, Mapping[str, int]]


class SecureSumFailed(ValueError):
    """Too few stayed, or what they sent does not fit together: there is no sum, and why."""


def roster_of(hellos: Messages, statements: Mapping[str, str]) -> bytes:
    """The roster of who said hello, each with its statement; what is no hello counts as none.

    Raises:
        SecureSumFailed: If they are too few.
    """
    members = {name: found for name, one in hellos.items() if (found := _member(one))}
    keys = [key for one in members.values() for key in one.values()]
    members = {
        name: one
        for name, one in members.items()
        if all(keys.count(key) == 1 for key in one.values())
    }
    _refuse_few(members, LEAST, "said hello")
    said = {name: {SIGNED: one} for name in members if (one := statements.get(name))}
    return coded({name: {**one, **said.get(name, {})} for name, one in members.items()})


def _member(hello: bytes) -> dict[str, str] | None:
    try:
        said = decoded(hello)
        member = {name: bytes.fromhex(said[name]) for name in Member.__slots__}
    except (ValueError, KeyError, TypeError):
        return None
    found = {name: key.hex() for name, key in member.items()}
    is_whole = all(len(key) == KEY_BYTES for key in member.values())
    # What was signed is its one spelling: with another the others would take it for a stranger's.
    return found if is_whole and coded(found) == hello else None


def parcels_for(roster: bytes, sealed: Messages) -> dict[str, bytes]:
    """What each participant is sent: the parcels for it, by their sender.

    Only who sealed a parcel for everybody is in the sum from here on.

    Raises:
        SecureSumFailed: If they are too few.
    """
    members = members_of(roster)
    whole = {name: said for name in members if (said := _sealed(sealed.get(name), members))}
    _refuse_few(whole, threshold_of(len(members)), "shared their seeds")
    return {to: coded({sender: whole[sender][to] for sender in whole}) for to in whole}


def _sealed(message: bytes | None, members: Mapping[str, Member]) -> dict[str, str] | None:
    try:
        said = decoded(message or b"")
    except ValueError:
        return None
    is_whole = set(said) == set(members) and all(isinstance(one, str) for one in said.values())
    return said if is_whole else None


def survivors_of(
    roster: bytes, parcels: Mapping[str, bytes], masked: Messages, *, values: int
) -> bytes:
    """Whose masked vector came, with as many values as it should have.

    Raises:
        SecureSumFailed: If they are too few.
    """
    alive = [name for name in sorted(parcels) if len(masked.get(name, b"")) == 8 * values]
    _refuse_few(alive, threshold_of(len(members_of(roster))), "sent a masked vector")
    return coded(alive)


def unmasked(
    roster: bytes,
    parcels: Mapping[str, bytes],
    survivors: bytes,
    *,
    masked: Messages,
    reveals: Messages,
    context: str,
    values: int,
) -> NDArray[np.int64]:
    """The sum of the survivors' numbers, shape (values,).

    Args:
        roster: Who said hello.
        parcels: What was sent to whom; its names are the sum's participants.
        survivors: Whose vector is in the sum: one that came too late is not.
        masked: Masked vectors by participant.
        reveals: What survivors gave out.
        context: As the participants know it.
        values: How many numbers each has.

    Raises:
        SecureSumFailed: If too few gave their shares, or shares do not fit.
    """
    members, alive = members_of(roster), names_in(survivors)
    threshold = threshold_of(len(members))
    given = {name: one for name in alive if (one := _revealed(reveals.get(name)))}
    _refuse_few(given, threshold, "gave their shares")
    shares = _Shares(members, given, threshold)
    total = np.zeros(values, dtype=np.uint64)
    for name in alive:
        total = total + np.frombuffer(masked[name], dtype="<u8").astype(np.uint64)
    for name in alive:
        total = total - stream(shares.own_seed(name), values)
    for name in sorted(set(parcels) - set(alive)):
        key = shares.mask_key(name)
        for other in alive:
            pair = stream(pair_seed(key, members[other].mask_key, context), values)
            total = total - pair if other < name else total + pair
    return total.view(np.int64)


@dataclass(frozen=True, slots=True)
class _Shares:
    """The shares that survivors gave out, by who gave them."""

    members: Mapping[str, Member]
    given: Mapping[str, Revealed]
    threshold: int

    def own_seed(self, name: str) -> bytes:
        """The seed of a survivor's own mask."""
        seed = self._joined("own", name)
        if hashlib.sha256(seed).digest() != self.members[name].own_mask:
            raise SecureSumFailed(f"the shares of {name} do not give the seed it named")
        return seed

    def mask_key(self, name: str) -> X25519PrivateKey:
        """The key of one that dropped: the masks between it and the others are in the sum."""
        key = private_key(self._joined("pair", name))
        if key.public_key().public_bytes_raw() != self.members[name].mask_key:
            raise SecureSumFailed(f"the shares of {name} do not give the key it named")
        return key

    def _joined(self, kind: str, name: str) -> bytes:
        number = {one: place for place, one in enumerate(sorted(self.members), 1)}
        found = {number[by]: one[kind].get(name, -1) for by, one in self.given.items()}
        sound = {x: one for x, one in found.items() if 0 <= one < PRIME}
        try:
            return join(sound, threshold=self.threshold)
        except SharesRefused as refused:
            raise SecureSumFailed(f"{name}: {refused}") from refused


def _revealed(message: bytes | None) -> Revealed | None:
    try:
        said = decoded(message or b"")
        return {
            kind: {str(name): int(one, 16) for name, one in said[kind].items()}
            for kind in ("own", "pair")
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _refuse_few(found: Sequence[object] | Mapping[str, object], needed: int, what: str) -> None:
    if len(found) < needed:
        raise SecureSumFailed(f"{len(found)} {what}; {needed} are needed")
