"""What each credential type says: one closed model per type, strict, in small whole units.

Power in W, energy in Wh, coordinates in microdegrees, times as `2026-11-20T18:00:00Z`. Lists are
sorted and without repetition, so that one meaning has one spelling; nothing is null or empty.
"""

import re
from datetime import datetime
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

MAX_LIST = 64
ZULU = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"
_ZULU = re.compile(ZULU.removesuffix("$") + r"\Z")
DID_PATTERN = r"^did:[a-z0-9]{1,32}:([A-Za-z0-9._:-]|%[0-9A-Fa-f]{2}){1,480}$"


def parse_zulu(text: str) -> datetime:
    """Read a time of the one spelling that is allowed, such as `2026-11-20T18:00:00Z`.

    Raises:
        ValueError: If it is spelled otherwise or does not exist.
    """
    if not _ZULU.match(text):
        raise ValueError("not of the form YYYY-MM-DDThh:mm:ssZ")
    return datetime.fromisoformat(text)


def _exists(text: str) -> str:
    parse_zulu(text)
    return text


def _is_sorted_set(values: list[str]) -> list[str]:
    if any(left >= right for left, right in pairwise(values)):
        raise ValueError("not sorted, or with repetitions")
    return values


Name = Annotated[
    str, StringConstraints(min_length=1, max_length=80, pattern=r"^[^\x00-\x1f\x7f]+$")
]
Slug = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Did = Annotated[str, StringConstraints(max_length=512, pattern=DID_PATTERN)]
Zulu = Annotated[str, StringConstraints(pattern=ZULU), AfterValidator(_exists)]
Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Wmi = Annotated[str, StringConstraints(pattern=r"^[A-HJ-NPR-Z0-9]{3}$")]
Slugs = Annotated[
    list[Slug], Field(min_length=1, max_length=MAX_LIST), AfterValidator(_is_sorted_set)
]
Wmis = Annotated[
    list[Wmi], Field(min_length=1, max_length=MAX_LIST), AfterValidator(_is_sorted_set)
]
Dids = Annotated[
    list[Did], Field(min_length=1, max_length=MAX_LIST), AfterValidator(_is_sorted_set)
]
PowerW = Annotated[int, Field(ge=1, le=5_000_000)]
EnergyWh = Annotated[int, Field(ge=1, le=10_000_000)]
BasisPoints = Annotated[int, Field(ge=0, le=10_000)]
Connector = Literal["ccs1", "ccs2", "chademo", "mcs", "nacs", "schuko", "type1", "type2"]


class Claims(BaseModel):
    """Claims of a `credentialSubject`, without its id; in JSON the names are camelCase."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, alias_generator=to_camel, validate_by_name=False
    )


class Employment(Claims):
    """Who works for whom and in which function; gives the roles of operators, fleets, auditors."""

    employer: Name
    role: Literal["administrator", "auditor", "employee", "fleet_manager", "operator"]
    sites: Slugs | None = Field(None, description="Sites the function covers; all if absent.")
    fleets: Slugs | None = Field(None, description="Fleets the function covers; all if absent.")


class FleetDriver(Claims):
    """A driver of a fleet."""

    fleet: Slug
    employer: Name | None = None
    vehicles: Dids | None = Field(
        None, description="Vehicles the driver may take; any of the fleet if absent."
    )


class SiteAccess(Claims):
    """The right to charge at a site."""

    site: Slug
    chargers: Dids | None = Field(
        None, description="Chargers it covers; all of the site if absent."
    )


class VehicleSpec(Claims):
    """What a vehicle can do, signed by its manufacturer."""

    wmi: Wmi = Field(
        description="World manufacturer identifier, first three characters of the VIN."
    )
    model: Name
    battery_capacity_wh: EnergyWh
    max_ac_power_w: PowerW
    max_dc_power_w: PowerW
    consumption_wh_per_km: Annotated[int, Field(ge=20, le=5_000)]
    connector: Connector


class BatteryBirthCertificate(Claims):
    """A traction battery and its state of life; the state caps the charging rate."""

    battery_capacity_wh: EnergyWh
    lifecycle_status: Literal["MANUFACTURED", "IN USE", "SECOND_LIFE", "END_OF_LIFE"]
    manufactured_at: Zulu
    chemistry: Literal["lfp", "lmo", "lto", "nca", "nmc", "sodium_ion", "solid_state"]
    state_of_health_basis_points: BasisPoints | None = None


class ChargerSpec(Claims):
    """What a charger can do and where it stands, signed by its operator."""

    site: Slug
    max_power_w: PowerW
    connector: Connector
    latitude_microdegrees: Annotated[int, Field(ge=-90_000_000, le=90_000_000)] | None = None
    longitude_microdegrees: Annotated[int, Field(ge=-180_000_000, le=180_000_000)] | None = None


class PrioritySlot(Claims):
    """The right to be served first at a site (or one charger) in a time window, end excluded."""

    site: Slug
    charger: Did | None = None
    slot_from: Zulu
    slot_until: Zulu
    tier: Annotated[int, Field(ge=1, le=3)] = Field(description="1 is served first.")


class ChargingContract(Claims):
    """A contract with a mobility provider; its identifier is hashed, it would identify a person."""

    provider: Name
    contract_hash: Hash = Field(description="SHA-256 of a salt and the contract id (EMAID).")
    sites: Slugs | None = Field(None, description="Sites where it holds; all if absent.")
    max_power_w: PowerW | None = None


class IssuerAccreditation(Claims):
    """The right of the subject to issue these credential types within these limits."""

    credential_types: Annotated[list[Name], Field(min_length=1), AfterValidator(_is_sorted_set)]
    may_accredit: bool = Field(description="Whether it may accredit others for the same.")
    sites: Slugs | None = None
    fleets: Slugs | None = None
    wmis: Wmis | None = None


class FederatedParticipant(Claims):
    """A site's right to take part in federated training."""

    site: Slug
    federation: Slug
