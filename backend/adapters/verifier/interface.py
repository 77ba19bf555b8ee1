"""What the rooms know of the verifier: its questions, its verdicts, the registry it asks back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, Protocol

from backend.adapters.verifier.reasons import Reason

__all__ = [
    "Assurance",
    "Check",
    "Document",
    "DocumentFormat",
    "PresentationVerdict",
    "Purpose",
    "Reason",
    "Registry",
    "StatusEntry",
    "Trust",
    "Verdict",
    "VerificationMethod",
    "Verifier",
]

Purpose = Literal["assertionMethod", "authentication"]
Assurance = Literal["simulated", "verified"]
Document = str | bytes | Mapping[str, Any]


class DocumentFormat(StrEnum):
    """How a document is secured."""

    JWT = "jwt"  # VC-JWT or VP-JWT, compact
    LDP = "ldp"  # JSON-LD with a proof inside, Data Integrity too


@dataclass(frozen=True, slots=True)
class VerificationMethod:
    """A public key as a DID document names it.

    Attributes:
        id: DID URL, such as `did:key:z6Mk…#z6Mk…`.
        controller: The DID whose key it is.
        public_jwk: The key (RFC 7517); None where only an account is known.
        blockchain_account: CAIP-10 account for methods that recover the key from the signature.
    """

    id: str
    controller: str
    public_jwk: Mapping[str, str] | None = None
    blockchain_account: str | None = None


Trust = Mapping[str, Sequence[VerificationMethod]]
"""Issuer (or holder) to the methods that may sign for it; `keys.read_trust` reads it from JSON."""


@dataclass(frozen=True, slots=True)
class StatusEntry:
    """Where a credential's bit stands (W3C Bitstring Status List v1.0)."""

    list_url: str
    index: int
    purpose: str  # revocation or suspension


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    passed: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one credential; its facts are taken from the verified bytes.

    Attributes:
        reasons: Why it was refused; empty exactly when `verified`.
        claims: `credentialSubject` without its id; empty unless verified.
        credential_hash: SHA-256, hexadecimal, of the compact JWT or of the RFC 8785 form.
        valid_until: None when it never expires (foreign documents only).
        assurance: `verified`, or None when refused.
        signature_only: True when profile, trust and status were not judged (generic profile).
    """

    verified: bool
    checks: tuple[Check, ...]
    reasons: tuple[Reason, ...]
    format: DocumentFormat | None = None
    issuer: str | None = None
    subject: str | None = None
    credential_id: str | None = None
    credential_type: str | None = None
    claims: Mapping[str, Any] = field(default_factory=dict)
    credential_hash: str | None = None
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    status_entries: tuple[StatusEntry, ...] = ()
    assurance: Assurance | None = None
    signature_only: bool = False


@dataclass(frozen=True, slots=True)
class PresentationVerdict:
    """What became of a presentation: verified only if it and each credential in it is.

    Attributes:
        holder: The DID that proved it holds its key; None unless verified.
        holder_key: The method it proved it with.
        holder_key_thumbprint: RFC 7638 SHA-256 of that key, base64url; None for bare accounts.
        credentials: One verdict each, in the order they were presented.
    """

    verified: bool
    checks: tuple[Check, ...]
    reasons: tuple[Reason, ...]
    format: DocumentFormat | None = None
    holder: str | None = None
    holder_key: VerificationMethod | None = None
    holder_key_thumbprint: str | None = None
    credentials: tuple[Verdict, ...] = ()
    assurance: Assurance | None = None
    signature_only: bool = False


class Registry(Protocol):
    """What only this service knows about DIDs, issuers and status; asked on every verification."""

    @property
    def epoch(self) -> str:
        """Changes whenever a cached signature verdict might no longer hold (a key was revoked)."""
        ...

    def verification_methods(
        self, did: str, *, at: datetime, purpose: Purpose
    ) -> tuple[VerificationMethod, ...]:
        """Keys of a `did:denso` (or own `did:web`) that were good at that time; empty if none.

        Asked with the issuance date for an issuer and with the present for a holder.
        """
        ...

    def accredits(
        self,
        issuer: str,
        credential_type: str,
        claims: Mapping[str, Any],
        *,
        subject: str,
        issued_at: datetime,
        at: datetime,
    ) -> Reason | None:
        """None if the issuer was accredited for this type, subject and claims, and still is."""
        ...

    def status(self, entry: StatusEntry, *, at: datetime) -> Reason | None:
        """None if the bit is not set; REVOKED, SUSPENDED, or STATUS_UNKNOWN for an unknown list."""
        ...

    def binds(self, holder: str, subject: str, credential_type: str, *, at: datetime) -> bool:
        """Whether a holder may present a credential about another subject, such as its vehicle."""
        ...


class Verifier(Protocol):
    """Judges documents. It never raises because of a document: it refuses with reasons."""

    def verify_credential(
        self,
        document: Document,
        *,
        at: datetime,
        registry: Registry,
        expected_type: str | None = None,
    ) -> Verdict:
        """Judge one credential of our own types: gate, trust, signature, dates, status."""
        ...

    def verify_presentation(
        self, document: Document, *, challenge: str, domain: str, at: datetime, registry: Registry
    ) -> PresentationVerdict:
        """Judge a presentation made for this challenge and domain, and every credential in it.

        One without credentials is verified too (it proves possession of a key): callers who need
        a credential look into `credentials`.
        """
        ...

    def verify_generic(
        self,
        document: Document,
        *,
        format: str,  # noqa: A002 - the API's word
        trust: Trust,
        at: datetime,
        challenge: str | None = None,
        domain: str | None = None,
    ) -> Verdict:
        """Judge any foreign credential against an explicit list of issuers; `signature_only`."""
        ...

    def verify_generic_presentation(
        self,
        document: Document,
        *,
        format: str,  # noqa: A002 - the API's word
        trust: Trust,
        at: datetime,
        challenge: str | None = None,
        domain: str | None = None,
    ) -> PresentationVerdict:
        """Judge any foreign presentation; holders of self-describing DIDs need no trust entry."""
        ...

    def close(self) -> None:
        """Stop the worker processes and wait for them."""
        ...
