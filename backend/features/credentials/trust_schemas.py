"""Accreditations as callers see and send them."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field

from backend.adapters.verifier.profiles import PROFILES
from backend.documentation import ahead
from backend.paging import Body
from backend.units import PRINTABLE, UtcDatetime

ACCREDITATION_ID = "acc_01KAF0000000000000000000"
EXAMPLE_ISSUER = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"


def _known_type(name: str) -> str:
    if name not in PROFILES:
        raise ValueError("not a credential type of this service")
    return name


Did = Annotated[
    str,
    Field(
        max_length=255,
        pattern=r"^did:[a-z0-9]{1,32}:[A-Za-z0-9._:%-]{1,220}$",
        examples=["did:denso:driver:driver001"],
    ),
]
CredentialType = Annotated[
    str,
    Field(json_schema_extra={"enum": sorted(PROFILES)}, examples=["SiteAccessCredential"]),
    AfterValidator(_known_type),
]
ScopeName = Annotated[str, Field(min_length=1, max_length=64, pattern=PRINTABLE)]
ScopeNames = Annotated[list[ScopeName], Field(max_length=200)]


class RootNew(Body):
    """An issuer trusted on the administrator's word.

    Without any limit it covers everything; as soon as one is named, it covers what is named only.
    """

    kind: Literal["root"]
    issuer_did: Did
    credential_types: Annotated[list[CredentialType], Field(min_length=1, max_length=20)]
    sites: ScopeNames | None = Field(default=None, examples=[["site_hq"]])
    fleets: ScopeNames | None = None
    wmis: ScopeNames | None = Field(default=None, description="World manufacturer identifiers")
    may_accredit: bool = True
    valid_from: UtcDatetime | None = None
    valid_until: UtcDatetime


class AccreditedNew(Body):
    """An issuer whom another accredits: its signed IssuerAccreditationCredential."""

    kind: Literal["accreditation"]
    credential: Annotated[str, Field(min_length=1, max_length=32_768)] | dict[str, Any]


IssuerNew = Annotated[RootNew | AccreditedNew, Field(discriminator="kind")]
ISSUER_EXAMPLES = {
    "root": {
        "summary": "A root of trust for site access, by the administrator",
        "value": {
            "kind": "root",
            "issuer_did": EXAMPLE_ISSUER,
            "credential_types": ["SiteAccessCredential"],
            "sites": ["site_hq"],
            "valid_until": ahead(24),
        },
    },
    "accreditation": {
        "summary": "An issuer below it, by a credential that the root signed",
        "value": {"kind": "accreditation", "credential": "eyJhbGciOiJFZERTQSJ9.e30.c2lnbmF0dXJl"},
    },
}


class IssuerView(BaseModel):
    """An accreditation, and whether it holds with all that it rests on."""

    accreditation_id: str = Field(examples=[ACCREDITATION_ID])
    issuer_did: str
    credential_types: list[str]
    sites: list[str] | None = Field(description="null in all three: not limited")
    fleets: list[str] | None
    wmis: list[str] | None
    may_accredit: bool
    accredited_by: str
    parent_id: str | None = Field(description="null: a root")
    credential_hash: str | None
    valid_from: UtcDatetime
    valid_until: UtcDatetime
    revoked_at: UtcDatetime | None
    holds: bool
    reason: str | None = Field(description="Why it does not hold: a stable reason code")


class Snapshot(BaseModel):
    """The whole registry in one signed document."""

    epoch: int = Field(description="Changes of the registry so far")
    sha256: str = Field(description="Of the canonical JSON (RFC 8785); anchored with each change")
    jws: str = Field(description="The canonical JSON, signed by this service (compact JWS)")
    signer: str = Field(description="DID of the signer")
