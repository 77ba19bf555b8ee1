"""People of the demonstration with their keys, for the real door; nothing here is secret."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from backend.adapters.verifier.issuing import sign_presentation_jwt
from backend.features.credentials.challenges import NewChallenge
from backend.features.credentials.proofs_of_possession import make_proof
from backend.features.demo.credentials import credentials_of
from backend.features.demo.issuers import PEOPLE_AND_THINGS, STAFF, key_of
from backend.paging import Body
from backend.problems import NotFound

SHOWN = (
    *(f"did:denso:driver:driver{number:03d}" for number in (1, 2, 3, 4, 16)),
    "did:denso:vehicle:vehicle001",
    "did:denso:charger:site_hq_chr01",
    *STAFF,
)
SIGNS_IN = "did:denso:driver:driver001"
STEPS = (
    "POST /api/v1/auth/token with the body in sign_in.request (once, within 120 seconds).",
    "POST /api/v1/demo/proofs with token, method and path: it signs as this person's wallet would.",
    "Call that path with the headers it gives, such as GET /api/v1/auth/me.",
    "With a wallet of your own: python -m backend wallet create me, wallet request, wallet login.",
)


class SampleIdentity(BaseModel):
    """A person or thing of the demonstration, its key and its signed credentials."""

    did: str
    method: str = Field(description="Verification method of its key")
    private_jwk: dict[str, str] = Field(
        description="Known to everybody: for this demonstration only, never anywhere else"
    )
    is_demo_only: bool = True
    credentials: dict[str, list[str]] = Field(description="Credential type → VC-JWTs")


class SampleSignIn(BaseModel):
    """A presentation made for a challenge of just now, and what to do with it."""

    did: str
    challenge: str
    domain: str
    expires_at: datetime
    presentation: str = Field(description="VP-JWT")
    request: dict[str, Any] = Field(description="Body for POST /auth/token")
    steps: list[str]


class ProofRequest(Body):
    """The request that a person of the demonstration wants to make."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "did": SIGNS_IN,
                    "access_token": "eyJhbGciOiJFZERTQSJ9.e30.c2lnbmF0dXJl",
                    "method": "GET",
                    "path": "/api/v1/auth/me",
                }
            ]
        }
    )

    did: str = Field(max_length=255)
    access_token: str = Field(max_length=8_192, pattern=r"^[A-Za-z0-9_.-]+$")
    method: str = Field(default="GET", pattern=r"^(GET|POST|PUT|PATCH|DELETE)$")
    path: str = Field(max_length=500, pattern=r"^/[!-~]*$", description="Without the query")


class ProofHeaders(BaseModel):
    """The headers of one request; a proof is good once, for a minute."""

    authorization: str = Field(description="Header Authorization")
    dpop: str = Field(description="Header DPoP")


class PersonNotFound(NotFound):
    """The demonstration has no such person or thing."""


def sample_identities(db: Session) -> list[SampleIdentity]:
    """Some people and things and what they hold; none before demonstration data is made."""
    held = credentials_of(db, SHOWN)
    return [
        SampleIdentity(
            did=did,
            method=f"{did}#key-1",
            private_jwk=key_of(did).private_jwk(),
            credentials=_by_type([(one.row.credential_type, one.document) for one in held[did]]),
        )
        for did in SHOWN
        if did in held
    ]


def _by_type(documents: list[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for credential_type, document in documents:
        found.setdefault(credential_type, []).append(document)
    return found


def sample_sign_in(one: SampleIdentity, given: NewChallenge, *, domain: str) -> SampleSignIn:
    """The person's answer to a challenge."""
    presentation = sign_presentation_jwt(
        [document for documents in one.credentials.values() for document in documents],
        key_of(one.did),
        holder=one.did,
        challenge=given.nonce,
        domain=domain,
        at=given.issued_at,
        method=one.method,
    )
    return SampleSignIn(
        did=one.did,
        challenge=given.nonce,
        domain=domain,
        expires_at=given.expires_at,
        presentation=presentation,
        request={"presentation": presentation, "challenge": given.nonce},
        steps=list(STEPS),
    )


def sample_proof(asked: ProofRequest, *, domain: str, now: datetime) -> ProofHeaders:
    """A fresh proof by a person's key.

    Raises:
        PersonNotFound: If the demonstration knows nobody of that DID.
    """
    if asked.did not in PEOPLE_AND_THINGS:
        raise PersonNotFound
    proof = make_proof(
        key_of(asked.did),
        method=asked.method,
        url=f"{domain}{asked.path}",
        token=asked.access_token,
        now=now,
    )
    return ProofHeaders(authorization=f"DPoP {asked.access_token}", dpop=proof)
