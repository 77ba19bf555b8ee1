"""Statements become signed documents: VC-JWT, JSON-LD with a proof inside, Data Integrity."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from backend.adapters.verifier.canonical import json_canonical
from backend.adapters.verifier.interface import StatusEntry
from backend.adapters.verifier.issuing import (
    draft_credential,
    sign_credential_jwt,
    sign_credential_ldp,
)
from backend.features.credentials.issuer import Signer

SUITES = {"ldp": "Ed25519Signature2020", "data_integrity": "eddsa-jcs-2022"}
Secured = str | dict[str, Any]


@dataclass(frozen=True, slots=True)
class Statement:
    """What is to be said about whom.

    Attributes:
        id: `urn:uuid:…`.
        claims: Of the type's profile, in its spelling.
        form: `jwt`, `ldp` or `data_integrity` (which is the data model 2.0).
    """

    id: str
    credential_type: str
    subject_did: str
    claims: Mapping[str, Any]
    valid_from: datetime
    valid_until: datetime
    form: str = "jwt"


def secured(said: Statement, places: Sequence[StatusEntry], signer: Signer) -> Secured:
    """The statement as a credential that the signer signed when it became valid."""
    draft = draft_credential(
        said.credential_type,
        issuer=signer.did,
        subject=said.subject_did,
        claims=said.claims,
        valid_from=said.valid_from,
        valid_until=said.valid_until,
        status=places,
        credential_id=said.id,
        model="2.0" if said.form == "data_integrity" else "1.1",
    )
    if said.form == "jwt":
        return sign_credential_jwt(draft, signer.key)
    suite = SUITES[said.form]
    return sign_credential_ldp(draft, signer.key, suite=suite, at=said.valid_from)


def credential_hash(document: Secured) -> str:
    """SHA-256, hexadecimal, of the compact JWT or of the RFC 8785 form."""
    content = document.encode() if isinstance(document, str) else json_canonical(document)
    return hashlib.sha256(content).hexdigest()
