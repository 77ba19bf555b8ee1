"""What a participant signs about what it sends: which round, from which model, what, until when.

The statement travels as a compact JWS (RFC 7515) beside the bytes it is about. It binds them to
one round and one parent model, so that nothing can be sent again elsewhere or by another.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from backend.federation.weights import Weights, content_hash

TYPE = "tasco-federated+jwt"
LIFETIME_S = 600
MAX_CHARACTERS = 4_096
Kind = Literal["update", "scores"]


class StatementUnreadable(ValueError):
    """Claims that are no statement."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What is said of an update or of a committee member's scores.

    Attributes:
        did: Who says it.
        kind: `update` or `scores`.
        round_id: The round it is for.
        parent_hash: The model it starts from.
        content_hash: Of the update's arrays, or of the scores.
        num_examples: Examples trained on; 0 for scores.
        nonce: Another one each time.
        expires_at: Seconds since 1970.
    """

    did: str
    kind: Kind
    round_id: str
    parent_hash: str
    content_hash: str
    num_examples: int
    nonce: str
    expires_at: int

    def claims(self) -> dict[str, Any]:
        """As the claims of a JWT."""
        return {
            "iss": self.did,
            "kind": self.kind,
            "round": self.round_id,
            "parent": self.parent_hash,
            "content": self.content_hash,
            "num_examples": self.num_examples,
            "jti": self.nonce,
            "exp": self.expires_at,
        }


def statement_of(claims: Mapping[str, Any]) -> Statement:
    """Read claims.

    Raises:
        StatementUnreadable: If one is missing or of another type.
    """
    texts = [claims.get(name) for name in ("iss", "round", "parent", "content", "jti")]
    numbers = [claims.get(name) for name in ("num_examples", "exp")]
    kind = claims.get("kind")
    if kind not in ("update", "scores") or not all(isinstance(one, str) for one in texts):
        raise StatementUnreadable("a claim is missing or no text")
    if not all(type(one) is int for one in numbers):
        raise StatementUnreadable("num_examples and exp have to be whole numbers")
    did, round_id, parent, content, nonce = (str(one) for one in texts)
    examples, expires = (int(one or 0) for one in numbers)
    return Statement(did, kind, round_id, parent, content, examples, nonce, expires)


def hash_of_update(delta: Weights) -> str:
    """What a statement says of an update."""
    return content_hash(delta)


def hash_of_scores(gains: Mapping[str, float]) -> str:
    """What a statement says of scores: SHA-256 of their JSON with sorted keys, no spaces."""
    text = json.dumps(dict(gains), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
