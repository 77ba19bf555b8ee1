"""The demonstration's issuers and people with keys: all keys follow from the seed, none is secret.

A root accredits employers, an operator and a mobility provider; the manufacturer stands below an
association, so that its chain has three links. No company or mark that exists is meant.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from backend.adapters.verifier.dids import did_key
from backend.adapters.verifier.keys import SigningKey, key_from_seed
from backend.features.credentials.issuer import Signer
from backend.features.demo.fixtures import CHARGERS, DRIVERS, SITES, VEHICLES

SEED = 42
WMI = "ZZ9"
FLEET = "city-logistics"
FROM, UNTIL = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
ALL_SITES = tuple(sorted(site.site_id for site in SITES))
SPECS = ("BatteryBirthCertificateCredential", "VehicleSpecCredential")


@dataclass(frozen=True, slots=True)
class DemoIssuer:
    """An issuer of the demonstration.

    Attributes:
        types: What it may issue, sorted.
        limits: `sites`, `fleets` or `wmis`, sorted, as an accreditation names them.
        above: Who accredits it; None for the root.
    """

    name: str
    title: str
    types: tuple[str, ...]
    limits: Mapping[str, list[str]]
    above: str | None = "authority"
    may_accredit: bool = False


ISSUERS: Mapping[str, DemoIssuer] = {
    one.name: one
    for one in (
        DemoIssuer(
            "authority",
            "Demo charging authority",
            (
                "BatteryBirthCertificateCredential",
                "ChargerSpecCredential",
                "ChargingContractCredential",
                "EmploymentCredential",
                "FederatedParticipantCredential",
                "FleetDriverCredential",
                "IssuerAccreditationCredential",
                "PrioritySlotCredential",
                "SiteAccessCredential",
                "VehicleSpecCredential",
            ),
            {},
            above=None,
            may_accredit=True,
        ),
        DemoIssuer("TechCorp", "Employer", ("EmploymentCredential",), {"sites": ["site_hq"]}),
        DemoIssuer(
            "NordicOffice", "Employer", ("EmploymentCredential",), {"sites": ["site_office"]}
        ),
        DemoIssuer(
            "CityLogistics",
            "Fleet",
            ("EmploymentCredential", "FleetDriverCredential"),
            {"fleets": [FLEET], "sites": ["site_depot"]},
        ),
        DemoIssuer(
            "operator",
            "Site operator",
            (
                "ChargerSpecCredential",
                "EmploymentCredential",
                "FederatedParticipantCredential",
                "PrioritySlotCredential",
                "SiteAccessCredential",
            ),
            {"sites": list(ALL_SITES)},
        ),
        DemoIssuer(
            "provider",
            "Mobility provider",
            ("ChargingContractCredential",),
            {"sites": list(ALL_SITES)},
        ),
        DemoIssuer(
            "association", "Vehicle makers' association", SPECS, {"wmis": [WMI]}, may_accredit=True
        ),
        DemoIssuer("manufacturer", "Vehicle maker", SPECS, {"wmis": [WMI]}, above="association"),
    )
}
STAFF: Mapping[str, tuple[str, dict[str, Any]]] = {
    "did:denso:operator:operator001": (
        "operator",
        {"employer": "Demo operator", "role": "operator", "sites": list(ALL_SITES)},
    ),
    "did:denso:fleet:manager001": (
        "CityLogistics",
        {"employer": "CityLogistics", "role": "fleet_manager", "fleets": [FLEET]},
    ),
    "did:denso:auditor:auditor001": (
        "authority",
        {"employer": "Demo charging authority", "role": "auditor"},
    ),
}
"""Issuer and claims of the employment of those who do not drive."""
PEOPLE_AND_THINGS = (
    *(one.did for one in DRIVERS),
    *(one.did for one in VEHICLES),
    *(one.did for one in CHARGERS),
    *STAFF,
)


@cache
def signer_of(name: str) -> Signer:
    """The key of an issuer."""
    key = key_from_seed(f"{SEED} issuer {name}".encode())
    return Signer(did_key(key), key)


@cache
def key_of(did: str) -> SigningKey:
    """The key of a person or thing."""
    return key_from_seed(f"{SEED} holder {did}".encode())
