"""The credential types of this service: pinned contexts, pinned type lists, closed claims.

A document of one of these types has exactly one of three context lists:

- `JWT_V1`: VC-JWT of the data model 1.1; the terms are named by URL, which keeps tokens short.
- `LDP_V1`: JSON-LD of the data model 1.1 with the terms inline, for verifiers that fetch nothing
  (`LDP_V1_2020` names the context of Ed25519Signature2020 too).
- `V2`: data model 2.0, as JWT or with Data Integrity.

Every context defines every type and every term, so adding one of our types to a signed document
changes what was signed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from backend.adapters.verifier import claims as forms
from backend.adapters.verifier.claims import Claims

CREDENTIALS_V1 = "https://www.w3.org/2018/credentials/v1"
CREDENTIALS_V2 = "https://www.w3.org/ns/credentials/v2"
TERMS_V1 = "https://tasco.example/credentials/v1"
TERMS_V2 = "https://tasco.example/credentials/v2"
VOCABULARY = "https://tasco.example/vocabulary#"
_XSD = "http://www.w3.org/2001/XMLSchema#"
_STATUS = "https://www.w3.org/ns/credentials/status#"
_STATUS_TERMS = {
    "BitstringStatusListEntry": f"{_STATUS}BitstringStatusListEntry",
    "statusPurpose": f"{_STATUS}statusPurpose",
    "statusListIndex": f"{_STATUS}statusListIndex",
    "statusListCredential": {"@id": f"{_STATUS}statusListCredential", "@type": "@id"},
}
_IDENTIFIERS = frozenset({"charger", "chargers", "vehicles"})
_TIMES = frozenset({"manufacturedAt", "slotFrom", "slotUntil"})


@dataclass(frozen=True)
class Profile:
    """One credential type.

    Attributes:
        name: The type beside `VerifiableCredential`.
        claims: The closed model of its claims.
    """

    name: str
    claims: type[Claims]

    @property
    def title(self) -> str:
        """What it says, in one line."""
        return (self.claims.__doc__ or "").strip().splitlines()[0]

    @cached_property
    def types(self) -> list[str]:
        """The exact `type` of such a credential."""
        return ["VerifiableCredential", self.name]

    def claims_schema(self) -> dict[str, Any]:
        """JSON Schema of the claims (2020-12)."""
        return self.claims.model_json_schema()


PROFILES: Mapping[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile("EmploymentCredential", forms.Employment),
        Profile("FleetDriverCredential", forms.FleetDriver),
        Profile("SiteAccessCredential", forms.SiteAccess),
        Profile("VehicleSpecCredential", forms.VehicleSpec),
        Profile("BatteryBirthCertificateCredential", forms.BatteryBirthCertificate),
        Profile("ChargerSpecCredential", forms.ChargerSpec),
        Profile("PrioritySlotCredential", forms.PrioritySlot),
        Profile("ChargingContractCredential", forms.ChargingContract),
        Profile("IssuerAccreditationCredential", forms.IssuerAccreditation),
        Profile("FederatedParticipantCredential", forms.FederatedParticipant),
    )
}


def _term(name: str) -> str | dict[str, str]:
    iri = f"{VOCABULARY}{name}"
    if name in _IDENTIFIERS:
        return {"@id": iri, "@type": "@id"}
    return {"@id": iri, "@type": f"{_XSD}dateTime"} if name in _TIMES else iri


def _all_terms() -> dict[str, Any]:
    forms_of_all = (profile.claims for profile in PROFILES.values())
    names = {
        field.alias or name for form in forms_of_all for name, field in form.model_fields.items()
    }
    types = {name: f"{VOCABULARY}{name}" for name in sorted(PROFILES)}
    return {"@protected": True, **types, **{n: _term(n) for n in sorted(names)}}


TERMS: Mapping[str, Any] = _all_terms()
TERMS_WITH_STATUS: Mapping[str, Any] = {**TERMS, **_STATUS_TERMS}
JWT_V1: list[Any] = [CREDENTIALS_V1, TERMS_V1]
LDP_V1: list[Any] = [CREDENTIALS_V1, dict(TERMS_WITH_STATUS)]
V2: list[Any] = [CREDENTIALS_V2, TERMS_V2]
SERVED_CONTEXTS: Mapping[str, Mapping[str, Any]] = {
    TERMS_V1: {"@context": TERMS_WITH_STATUS},
    TERMS_V2: {"@context": TERMS},
}
LDP_V1_2020: list[Any] = [*LDP_V1, "https://w3id.org/security/suites/ed25519-2020/v1"]
PRESENTATION_V1: list[Any] = [CREDENTIALS_V1]
PRESENTATION_V1_2020: list[Any] = [CREDENTIALS_V1, LDP_V1_2020[2]]
PRESENTATION_V2: list[Any] = [CREDENTIALS_V2]
