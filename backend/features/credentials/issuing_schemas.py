"""Issued credentials as callers see and ask for them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from backend.documentation import ahead
from backend.features.credentials.trust_schemas import CredentialType, Did
from backend.paging import Body
from backend.units import UtcDatetime

CREDENTIAL_ID = "urn:uuid:2b0d0e5e-0000-4000-8000-000000000001"
STATUS_LIST_ID = "revocation-1"

CredentialId = Annotated[
    str,
    Field(
        pattern=r"^urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", examples=[CREDENTIAL_ID]
    ),
]
Form = Literal["jwt", "ldp", "data_integrity"]


class CredentialNew(Body):
    """What is to be said about whom; `docs/credentials.md` names the claims of each type."""

    credential_type: CredentialType
    subject_did: Did
    claims: dict[str, Any] = Field(max_length=20)
    valid_from: UtcDatetime | None = Field(default=None, description="Now if left out")
    valid_until: UtcDatetime | None = Field(default=None, description="A year later if left out")
    format: Form = Field(
        default="jwt",
        description="VC-JWT, JSON-LD with Ed25519Signature2020, or the data model 2.0 with "
        "Data Integrity eddsa-jcs-2022",
    )


CREDENTIAL_EXAMPLES = {
    "site_access": {
        "summary": "A driver may charge at a site",
        "value": {
            "credential_type": "SiteAccessCredential",
            "subject_did": "did:denso:driver:driver001",
            "claims": {"site": "site_hq"},
        },
    },
    "priority_slot": {
        "summary": "A driver is served first for two hours, as data model 2.0",
        "value": {
            "credential_type": "PrioritySlotCredential",
            "subject_did": "did:denso:driver:driver001",
            "claims": {
                "site": "site_hq",
                "slotFrom": ahead(1),
                "slotUntil": ahead(3),
                "tier": 1,
            },
            "valid_until": ahead(4),
            "format": "data_integrity",
        },
    },
    "charger_spec": {
        "summary": "What a charger can do, by its operator",
        "value": {
            "credential_type": "ChargerSpecCredential",
            "subject_did": "did:denso:charger:site_hq_chr01",
            "claims": {"site": "site_hq", "maxPowerW": 150000, "connector": "ccs2"},
        },
    },
}


class StatusPlace(BaseModel):
    """Where a credential's bit stands."""

    purpose: str
    list_url: str
    index: int


class IssuedView(BaseModel):
    """A credential that was issued here: who, what kind, when; its claims are not kept."""

    credential_id: str = Field(examples=[CREDENTIAL_ID])
    credential_type: str
    issuer_did: str
    subject_did: str | None = Field(description="null once the person's data was erased")
    site_id: str | None
    issued_at: UtcDatetime
    valid_from: UtcDatetime
    valid_until: UtcDatetime
    credential_hash: str = Field(description="SHA-256 of the document as it was issued")
    status: Literal["valid", "expired", "suspended", "revoked"]
    status_places: list[StatusPlace]


class Issued(IssuedView):
    """A credential, handed out once: this service keeps its hash only."""

    format: Form
    credential: str | dict[str, Any]


class CredentialNamed(Body):
    """A credential that was issued here."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"credential_id": CREDENTIAL_ID}]})

    credential_id: CredentialId


class StatusListDocument(BaseModel):
    """A signed status list (W3C Bitstring Status List v1.0, data model 2.0, eddsa-jcs-2022)."""

    context: list[str] = Field(alias="@context")
    id: str
    type: list[str]
    issuer: str
    validFrom: str  # noqa: N815 - names of the standard
    validUntil: str  # noqa: N815
    credentialSubject: dict[str, Any]  # noqa: N815
    proof: dict[str, Any]
