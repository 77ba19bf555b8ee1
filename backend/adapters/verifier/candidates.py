"""What the gate hands on: the facts of a document and the one signature that has to hold."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from backend.adapters.verifier.interface import Document, DocumentFormat, StatusEntry
from backend.adapters.verifier.suites import Suite


@dataclass(frozen=True, slots=True)
class JwtSignature:
    """A compact JWS: its algorithm, what is signed, and the signature."""

    token: str
    algorithm: str
    signing_input: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class ProofSignature:
    """A proof inside a document."""

    suite: Suite
    document: Mapping[str, Any]
    proof: Mapping[str, Any]


Signature = JwtSignature | ProofSignature


@dataclass(frozen=True, slots=True)
class Candidate:
    """A credential that passed the gate; nothing in it is trusted yet.

    Attributes:
        method_id: The verification method it names; None for a JWT without `kid`.
        model: Version of the data model, `1.1` or `2.0`.
        made_at: When its proof says it was made.
    """

    format: DocumentFormat
    signatures: tuple[Signature, ...]
    method_ids: tuple[str | None, ...]
    hash: str
    model: str
    issuer: str
    subject: str | None
    credential_id: str | None
    credential_type: str
    claims: Mapping[str, Any]
    valid_from: datetime | None
    valid_until: datetime | None
    status: tuple[StatusEntry, ...] = ()
    made_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Presented:
    """A presentation that passed the gate."""

    format: DocumentFormat
    signature: Signature
    method_id: str | None
    model: str
    holder: str
    challenge: str | None
    domain: str | None
    documents: tuple[Document, ...]
    made_at: datetime | None = None
    expires_at: datetime | None = None


def hash_of(content: str | bytes) -> str:
    """SHA-256, hexadecimal."""
    raw = content.encode() if isinstance(content, str) else content
    return hashlib.sha256(raw).hexdigest()
