"""What a participant signs with its own key, and how the others read it: Ed25519, did:key.

The service reads statements of other keys and DIDs too; between participants there is one kind, so
that they can check each other without asking anybody.
"""

import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import base58
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from backend.federation.statements import (
    MAX_CHARACTERS,
    TYPE,
    Statement,
    StatementUnreadable,
    statement_about,
    statement_of,
)
from backend.federation.tasks import Answer, Task

ED25519 = b"\xed\x01"  # multicodec prefix
DID_KEY = "did:key:"
_ALGORITHM = "EdDSA"
A = TypeVar("A", bound=Answer)


@dataclass(frozen=True, slots=True, repr=False)
class Signer:
    """The key of a participant.

    Attributes:
        key: Its own; it never leaves the participant.
        other_did: Another DID whose key this is; the key's did:key if there is none.
    """

    key: Ed25519PrivateKey
    other_did: str | None = None

    @property
    def did(self) -> str:
        """Who signs."""
        return self.other_did or did_of(self.key)

    def sign(self, task: Task, answer: A) -> A:
        """The answer with its participant's statement about it."""
        said = statement_about(task, answer, did=self.did, nonce=secrets.token_hex(16))
        return replace(answer, signature=signed(said, self.key))


def did_of(key: Ed25519PrivateKey) -> str:
    """The did:key of a key (W3C-CCG did:key v0.7)."""
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return f"{DID_KEY}z{base58.b58encode(ED25519 + public).decode()}"


def signed(statement: Statement, key: Ed25519PrivateKey) -> str:
    """A statement as compact JWS (RFC 7515)."""
    method = f"{statement.did}#{statement.did.removeprefix(DID_KEY)}"
    header = {"alg": _ALGORITHM, "typ": TYPE, "kid": method}
    text = ".".join(_base64url(json.dumps(one).encode()) for one in (header, statement.claims()))
    return f"{text}.{_base64url(key.sign(text.encode()))}"


def read_signed(token: str, did: str) -> Statement:
    """The statement that the key of a did:key signed.

    Raises:
        StatementUnreadable: If it is none, or signed by another.
    """
    if len(token) > MAX_CHARACTERS:
        raise StatementUnreadable("too long")
    try:
        header, claims, signature = (_decoded(part) for part in token.split("."))
        said, public = json.loads(header), _public_key(did)
        public.verify(signature, token.rpartition(".")[0].encode())
        if (said["alg"], said["typ"]) != (_ALGORITHM, TYPE) or "crit" in said:
            raise StatementUnreadable("another kind of statement")
        statement = statement_of(_object(json.loads(claims)))
    except (ValueError, TypeError, KeyError, RecursionError, InvalidSignature) as bad:
        raise StatementUnreadable("no statement, or signed by another") from bad
    if statement.did != did:
        raise StatementUnreadable("names another than who signed it")
    return statement


def noise_key_of(key: Ed25519PrivateKey) -> bytes:
    """The secret that private training draws its noise from; the same after a crash (RFC 5869)."""
    secret = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    return HKDF(hashes.SHA256(), 32, salt=None, info=b"tasco noise").derive(secret)


def _public_key(did: str) -> Ed25519PublicKey:
    prefix = f"{DID_KEY}z"
    if not did.startswith(prefix):
        raise StatementUnreadable("no did:key")
    content = base58.b58decode(did.removeprefix(prefix))
    if not content.startswith(ED25519):
        raise StatementUnreadable("no Ed25519 key")
    return Ed25519PublicKey.from_public_bytes(content.removeprefix(ED25519))


def _object(said: object) -> Mapping[str, Any]:
    if not isinstance(said, dict):
        raise StatementUnreadable("no claims")
    return said


def _base64url(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
