"""What callers send and see: challenges, tokens, DIDs, grants, verdicts."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from backend.adapters.verifier.claims import DID_PATTERN
from backend.adapters.verifier.formats import JwtName, LdpName
from backend.features.credentials.holder import Assurance, Role
from backend.units import PRINTABLE, UtcDatetime

HOLDER = "did:key:z6MkmM42vxfqZQsv4ehtTjFFxQ4sQKS2w6WR7emozFAn5cxu"
DRIVER = "did:denso:driver:driver001"
NONCE = "p1Tu8Eh4bY0qk3rG3wG9m0ePPRlLk8a9yR5i0m2Xx8E"
VP_JWT = "eyJhbGciOiJFZERTQSJ9.eyJ2cCI6e319.AAAA"
MAX_DOCUMENT = 131_072

Did = Annotated[str, Field(max_length=255, pattern=DID_PATTERN)]
DensoDid = Annotated[str, Field(max_length=200, pattern=r"^did:denso(:[A-Za-z0-9._-]{1,80}){1,4}$")]
Nonce = Annotated[str, Field(min_length=16, max_length=128, pattern=PRINTABLE, examples=[NONCE])]
Document = Annotated[
    Annotated[str, Field(max_length=MAX_DOCUMENT)] | dict[str, Any],
    Field(description="A compact JWT, JSON text, or a JSON object", examples=[VP_JWT]),
]
ReachId = Annotated[str, Field(min_length=1, max_length=64, pattern=PRINTABLE)]


class ChallengeRequest(BaseModel):
    """What a challenge is wanted for."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"purpose": "login"}]}
    )

    purpose: Annotated[
        str,
        Field(
            max_length=300,
            pattern=r"^[a-z]{1,20}(-[a-z]{1,20}){0,3}(:[!-~]{1,255})?$",
            description="`login`, `session-start:{charger}`, `did-register:{did}`, "
            "`did-rotate:{did}`; it answers for nothing else",
            examples=["login"],
        ),
    ] = "login"
    body_sha256: Annotated[
        str | None,
        Field(
            pattern=r"^[0-9a-f]{64}$",
            description="SHA-256 of the one request body it may come with, hexadecimal",
        ),
    ] = None


class ChallengeView(BaseModel):
    """A challenge to sign into a presentation, as `nonce` or `challenge`."""

    challenge: str = Field(examples=[NONCE])
    domain: str = Field(
        description="Whom the presentation has to be made for: `aud` or `domain`",
        examples=["https://tasco.example"],
    )
    purpose: str = Field(examples=["login"])
    issued_at: datetime = Field(description="The service's own time")
    expires_at: datetime


class TokenRequest(BaseModel):
    """A presentation that answers a challenge."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"presentation": VP_JWT, "challenge": NONCE}]},
    )

    presentation: Document
    challenge: Nonce


class CredentialUsed(BaseModel):
    """A credential that was verified."""

    credential_type: str | None = Field(examples=["EmploymentCredential"])
    issuer: str | None = Field(examples=[HOLDER])
    valid_until: datetime | None


class TokenView(BaseModel):
    """An access token; every use needs a DPoP proof by the key that presented (RFC 9449)."""

    access_token: str
    token_type: Literal["DPoP"] = "DPoP"  # noqa: S105 - the scheme's name
    expires_in: int = Field(description="Seconds", examples=[600])
    expires_at: datetime
    did: str = Field(examples=[DRIVER])
    roles: list[Role] = Field(examples=[["driver"]])
    sites: list[str]
    fleets: list[str]
    key_thumbprint: str = Field(description="RFC 7638 thumbprint of the key it is bound to")
    credentials: list[CredentialUsed]
    assurance: Assurance = "verified"


class CallerView(BaseModel):
    """Who calls, as far as it was proved."""

    did: str = Field(examples=[DRIVER])
    roles: list[Role] = Field(examples=[["driver"]])
    sites: list[str]
    fleets: list[str]
    assurance: Assurance


class DidNew(BaseModel):
    """A DID and a presentation by its first key, made for `did-register:{did}`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"did": DRIVER, "presentation": VP_JWT, "challenge": NONCE}]
        },
    )

    did: DensoDid
    presentation: Document
    challenge: Nonce


class DidRotation(BaseModel):
    """Presentations for one challenge `did-rotate:{did}`: the new key and who lets it in."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"challenge": NONCE, "presentation": VP_JWT, "approvals": [VP_JWT]},
            ]
        },
    )

    challenge: Nonce
    presentation: Document
    approvals: Annotated[
        list[Document],
        Field(
            min_length=1,
            max_length=2,
            description="One by the old key, or two by operators or administrators",
        ),
    ]
    stolen_at: Annotated[
        UtcDatetime | None,
        Field(description="From when on what the old key made does not count"),
    ] = None


class DidDeactivation(BaseModel):
    """Why a DID ends."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{}]})

    stolen_at: Annotated[
        UtcDatetime | None,
        Field(description="From when on nothing its key made counts, if it was stolen"),
    ] = None


class DidDocument(BaseModel):
    """A DID document (W3C DID Core 1.0)."""

    context: list[str] = Field(alias="@context")
    id: str = Field(examples=[DRIVER])
    alsoKnownAs: list[str]  # noqa: N815 - the standard's name
    verificationMethod: list[dict[str, Any]]  # noqa: N815 - the standard's name
    authentication: list[str]
    assertionMethod: list[str]  # noqa: N815 - the standard's name


class DidMetadata(BaseModel):
    """About a DID document."""

    created: datetime
    updated: datetime
    versionId: str = Field(examples=["1"])  # noqa: N815 - the standard's name
    deactivated: bool


class DidResolution(BaseModel):
    """A DID resolution result (W3C DID Resolution)."""

    didDocument: DidDocument  # noqa: N815 - the standard's name
    didDocumentMetadata: DidMetadata  # noqa: N815 - the standard's name
    didResolutionMetadata: dict[str, str]  # noqa: N815 - the standard's name


class GrantNew(BaseModel):
    """A role for a DID."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"did": HOLDER, "role": "operator", "site_id": "site_hq"}]},
    )

    did: Did
    role: Role
    site_id: Annotated[ReachId | None, Field(description="Of operators and participants")] = None
    fleet_id: Annotated[ReachId | None, Field(description="Of fleet managers")] = None


class GrantView(BaseModel):
    """A role that was granted."""

    grant_id: str = Field(examples=["grt_01KAF0000000000000000000"])
    did: str = Field(examples=[HOLDER])
    role: Role
    site_id: str | None
    fleet_id: str | None
    granted_at: datetime
    granted_by: str | None
    revoked_at: datetime | None


class FleetVehicles(BaseModel):
    """The vehicles of a fleet."""

    fleet_id: str = Field(examples=["fleet_north"])
    vehicle_dids: list[str]


TrustList = Annotated[
    dict[str, list[str | dict[str, Any]]],
    Field(
        max_length=64,
        description="Issuer to the verification methods that may sign for it: DID URLs that "
        "describe themselves, or objects of a DID document",
    ),
]


class VerifyRequest(BaseModel):
    """A credential or presentation, and whom to trust."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "document": VP_JWT,
                    "format": "jwt",
                    "profile": "generic",
                    "trust": {HOLDER: [f"{HOLDER}#{HOLDER.removeprefix('did:key:')}"]},
                }
            ]
        },
    )

    document: Annotated[  # of any length: what is too long is refused with its reason
        str | dict[str, Any],
        Field(description="A compact JWT, JSON text, or a JSON object", examples=[VP_JWT]),
    ]
    format: Annotated[
        Literal["auto"] | JwtName | LdpName | None,
        Field(description="What the document has to be; whatever it is by default"),
    ] = "auto"
    profile: Annotated[
        Literal["tasco", "generic"],
        Field(description="`tasco`: our types, trust and status; `generic`: signature and dates"),
    ] = "tasco"
    trust: Annotated[TrustList | None, Field(description="Of the generic profile only")] = None
    challenge: Annotated[str | None, Field(max_length=256, pattern=PRINTABLE)] = None
    domain: Annotated[str | None, Field(max_length=256, pattern=PRINTABLE)] = None
    at: Annotated[UtcDatetime | None, Field(description="Judge as of then; now by default")] = None


class CheckView(BaseModel):
    """One thing that was looked at."""

    name: str = Field(examples=["signature"])
    passed: bool
    detail: str = ""


class VerdictView(BaseModel):
    """What became of a document."""

    verified: bool
    checks: list[CheckView]
    reasons: list[str] = Field(description="Stable codes; empty when verified")
    signature_only: bool = Field(description="Profile, trust registry and status were not judged")
    format: str | None = Field(default=None, examples=["jwt"])
    issuer: str | None = None
    subject: str | None = None
    holder: str | None = None
    credential_type: str | None = None
    credential_hash: str | None = None
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    credentials: list["VerdictView"] = Field(default=[], description="Of a presentation")
