"""A participant's part in a masked sum: its number is never sent, only its number plus masks.

Between every two participants there is a mask that one adds and the other takes away, so that all
of them vanish in the sum; and each adds a mask of its own, so that a coordinator who was told the
others (because it took an update that came late for one that never came) still sees nothing. Seeds
of both lie in shares with everybody: of each participant either the one or the other is given out,
never both. Arithmetic is modulo 2^64, so that masks vanish exactly.

Source: K. Bonawitz et al., "Practical Secure Aggregation for Privacy-Preserving Machine Learning",
CCS 2017. That the keys which the coordinator hands out are the participants' own they check for
themselves (`peers`), and parcels open only for who was told the same roster. A coordinator that
tells them apart who dropped out learns nothing as long as fewer than an eighth of the participants
help it; the paper's further message about survivors, which would make it a third, is not here.

Four messages go out and come back: hello → roster, sealed → parcels, masked → survivors, reveal.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from numpy.typing import NDArray

from backend.federation.masking_messages import (
    LEAST,
    MOST_PARTICIPANTS,
    MaskingRefused,
    Member,
    coded,
    decoded,
    members_of,
    names_in,
    parcels_in,
    threshold_of,
)
from backend.federation.masks import derived, pair_seed, private_key, stream
from backend.federation.shamir import PRIME, SHARE_BYTES, split

_NONCE = bytes(12)  # every key seals one parcel


@dataclass(frozen=True, slots=True)
class MaskingState:
    """What a participant remembers of one masked sum; `secret` never leaves it.

    Attributes:
        name: Its own.
        context: What the sum is: experiment, round and group; masks of others do not fit.
        secret: 32 random bytes that all its keys of this sum are made of.
        given: Rounds in whose other sums it shared its seeds; JSON of experiment and number.
        roster_hash: Of the roster it shared its seeds with; empty before.
        masked_hash: Of the vector that it masked; empty before.
        survivors_hash: Of the survivors whose shares it gave out; empty before.
    """

    name: str
    context: str
    secret: bytes
    given: tuple[str, ...] = ()
    roster_hash: str = ""
    masked_hash: str = ""
    survivors_hash: str = ""

    def to_bytes(self) -> bytes:
        """For the participant's own keeping between two messages."""
        return json.dumps({**asdict(self), "secret": self.secret.hex()}).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "MaskingState":
        """Read it again."""
        said = json.loads(data)
        secret, given = bytes.fromhex(said["secret"]), tuple(said["given"])
        return cls(**{**said, "secret": secret, "given": given})


def hello(state: MaskingState) -> bytes:
    """The first message: public keys of this sum."""
    seal, mask = _private(state, "seal"), _private(state, "mask")
    return coded(
        {
            "seal_key": seal.public_key().public_bytes_raw().hex(),
            "mask_key": mask.public_key().public_bytes_raw().hex(),
            "own_mask": hashlib.sha256(_own_seed(state)).hexdigest(),
        }
    )


def share(state: MaskingState, roster: bytes) -> tuple[MaskingState, bytes]:
    """The second message: shares of both seeds, sealed for each member of the roster.

    Raises:
        MaskingRefused: If the roster is not what it should be, or another than before.
    """
    state, members = _bound(state, roster)
    names, threshold = sorted(members), threshold_of(len(members))
    pieces = {
        purpose: split(
            seed,
            shares=len(names),
            threshold=threshold,
            draw=lambda number, purpose=purpose: _coefficient(state, purpose, number),  # type: ignore[misc]
        )
        for purpose, seed in (("own", _own_seed(state)), ("pair", _secret(state, "mask")))
    }
    sealed = {
        name: _seal(state, members, name, [pieces[one][number] for one in ("own", "pair")])
        for number, name in enumerate(names, 1)
    }
    return state, coded(sealed)


def mask(
    state: MaskingState, roster: bytes, parcels: bytes, numbers: NDArray[np.int64]
) -> tuple[MaskingState, bytes]:
    """The third message: the numbers, hidden.

    Args:
        state: After `share`.
        roster: As before.
        parcels: Sealed shares by their sender: who sent some is in the sum.
        numbers: Whole numbers, shape (values,).

    Raises:
        MaskingRefused: If the messages are not those of this sum, the others are too few, or
            other numbers were masked before: two sums with the same masks show their difference.
    """
    state, members = _bound(state, roster)
    others = sorted(set(parcels_in(parcels)) - {state.name})
    if not set(others) <= set(members) or len(others) + 1 < threshold_of(len(members)):
        raise MaskingRefused("too few or unknown participants have shared their seeds")
    whole = parcels + numbers.tobytes()
    state = replace(state, masked_hash=_once(state.masked_hash, whole, "vector"))
    hidden = numbers.astype(np.int64).view(np.uint64) + stream(_own_seed(state), len(numbers))
    own = _private(state, "mask")
    for name in others:
        try:
            seed = pair_seed(own, members[name].mask_key, state.context)
        except ValueError as bad:
            raise MaskingRefused(f"{name} has a key that hides nothing") from bad
        pair = stream(seed, len(numbers))
        hidden = hidden + pair if state.name < name else hidden - pair
    return state, hidden.astype("<u8").tobytes()


def reveal(
    state: MaskingState, roster: bytes, parcels: bytes, survivors: bytes
) -> tuple[MaskingState, bytes]:
    """The last message: of who survived the share of its own mask, of who dropped that of its key.

    Raises:
        MaskingRefused: If it is asked a second time about others, or too few survived.
    """
    (state, members), sealed = _bound(state, roster), parcels_in(parcels)
    alive = set(names_in(survivors))
    if not alive <= set(sealed) or state.name not in alive:
        raise MaskingRefused("survivors who are not in the sum")
    if len(alive) < threshold_of(len(members)):
        raise MaskingRefused("too few survived for the sum to hide anybody")
    state = replace(
        state, survivors_hash=_once(state.survivors_hash, parcels + survivors, "survivors")
    )
    given: dict[str, dict[str, str]] = {"own": {}, "pair": {}}
    for name in sorted(sealed):
        kind, place = ("own", 0) if name in alive else ("pair", 1)
        given[kind][name] = f"{_open(state, members, name, sealed[name])[place]:x}"
    return state, coded(given)


def _secret(state: MaskingState, purpose: str) -> bytes:
    return derived(state.secret, state.context, purpose)


def _private(state: MaskingState, purpose: str) -> X25519PrivateKey:
    return private_key(_secret(state, purpose))


def _own_seed(state: MaskingState) -> bytes:
    return _secret(state, "own mask")


def _coefficient(state: MaskingState, purpose: str, number: int) -> int:
    """Uniform below the prime: 128 bits more are drawn than it has, and reduced."""
    parts = ("share", purpose, str(number))
    raw = derived(state.secret, state.context, *parts, length=SHARE_BYTES + 16)
    return int.from_bytes(raw, "big") % PRIME


def _once(known: str, content: bytes, what: str) -> str:
    """The hash of what is done once only; the same again is the same message once more."""
    digest = hashlib.sha256(content).hexdigest()
    if known and not hmac.compare_digest(known, digest):
        raise MaskingRefused(f"another {what} than before")
    return digest


def _bound(state: MaskingState, roster: bytes) -> tuple[MaskingState, dict[str, Member]]:
    """The members of the one roster of this sum."""
    members = members_of(roster)
    _refuse_roster(state, members)
    return replace(state, roster_hash=_once(state.roster_hash, roster, "roster")), members


def _refuse_roster(state: MaskingState, members: Mapping[str, Member]) -> None:
    own = decoded(hello(state))
    found = members.get(state.name)
    if found is None or any(getattr(found, name).hex() != own[name] for name in Member.__slots__):
        raise MaskingRefused("the roster has another key for this participant, or none")
    if not LEAST <= len(members) <= MOST_PARTICIPANTS:
        raise MaskingRefused(f"{len(members)} participants; {LEAST} hide one another")


def _sealing_key(state: MaskingState, members: Mapping[str, Member], way: tuple[str, str]) -> bytes:
    """The key of one parcel.

    The roster is in it: the smaller it is, the fewer shares give a seed, and who was told of a
    larger one would give them out.
    """
    other = way[1] if way[0] == state.name else way[0]
    public = X25519PublicKey.from_public_bytes(members[other].seal_key)
    shared = _private(state, "seal").exchange(public)
    return derived(shared, state.context, "parcel", state.roster_hash, *way)


def _seal(
    state: MaskingState, members: Mapping[str, Member], receiver: str, shares: list[int]
) -> str:
    try:
        key = _sealing_key(state, members, (state.name, receiver))
    except ValueError as bad:
        raise MaskingRefused(f"{receiver} has a key that hides nothing") from bad
    plain = b"".join(one.to_bytes(SHARE_BYTES, "big") for one in shares)
    return ChaCha20Poly1305(key).encrypt(_NONCE, plain, None).hex()


def _open(
    state: MaskingState, members: Mapping[str, Member], sender: str, sealed: str
) -> tuple[int, int]:
    try:
        key = _sealing_key(state, members, (sender, state.name))
        plain = ChaCha20Poly1305(key).decrypt(_NONCE, bytes.fromhex(sealed), None)
    except (InvalidTag, ValueError, KeyError) as bad:
        raise MaskingRefused(f"the parcel of {sender} cannot be opened") from bad
    parts = plain[:SHARE_BYTES], plain[SHARE_BYTES:]
    return int.from_bytes(parts[0], "big"), int.from_bytes(parts[1], "big")
