"""What the credentials of a start say: who may charge, what charges, who pays, who comes first.

A credential counts for what it is about and nothing else: a data sheet for the vehicle or charger
of this very start, a priority slot at this site and in its window. One that does not fit is not
refused, wallets show what they hold; the answer says that it was not used, and why.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.adapters.verifier.interface import Verdict
from backend.features.credentials.holder import Holder
from backend.features.credentials.models import FleetVehicle
from backend.features.credentials.rights import Right
from backend.features.sessions.problems import SiteNotAllowed, VehicleNotAllowed
from backend.features.sessions.schemas import ProvedBy, SessionStart
from backend.features.sites.models import Charger, Site
from backend.features.sites.service import admission_of
from backend.features.sites.wiring import charger_equipment_of

C_RATE_BY_LIFECYCLE = {"IN USE": 1.5, "SECOND_LIFE": 0.7, "END_OF_LIFE": 0.3}
OTHER_C_RATE = 1.0
GUEST_TIER = 4  # after everybody else
AC_UP_TO_KW = 22.0  # of a charger that nobody described: three phases of 32 A
AC_CONNECTORS = frozenset({"type1", "type2", "schuko"})
W_PER_KW = 1000


@dataclass(frozen=True, slots=True)
class Proved:
    """What was proved about one start; None where nothing was.

    Attributes:
        charger_max_power_kw: By the charger's own specification.
        c_rate_cap: Highest power as a multiple of the capacity (1/h), by the battery's state of
            life.
        tier: Of a priority slot that holds here and now, 1 is served first; 4 of a guest.
        payer: Who pays, by contract, fleet or employer.
        used: The credentials that the start rests upon, and those shown in vain.
    """

    capacity_kwh: float | None = None
    consumption_wh_per_km: float | None = None
    max_charge_power_kw: float | None = None
    charger_max_power_kw: float | None = None
    c_rate_cap: float | None = None
    tier: int | None = None
    payer: str | None = None
    used: list[ProvedBy] = field(default_factory=list)

    @property
    def has_slot(self) -> bool:
        """Whether a priority slot holds here and now."""
        return self.tier is not None and self.tier < GUEST_TIER

    @property
    def has_vehicle(self) -> bool:
        """Whether the manufacturer's word describes the vehicle."""
        return self.consumption_wh_per_km is not None


def proved_of(
    holder: Holder, start: SessionStart, charger: Charger, site: Site, *, now: datetime
) -> Proved:
    """Read what the holder proved, for this start."""
    here = _Place(start.vehicle.did, charger, site, now)
    found: dict[str, Any] = {}
    used = []
    for one in holder.shown:
        why_not, facts = _read(one, here)
        found = {**facts, **found} if why_not is None else found
        used.append(_used(one, why_not, here))
    right = right_here(holder, charger, site, now=now)
    if right is not None and not any(_is_of(one, right) for one in used):
        used.append(ProvedBy(credential_type=right.credential_type, issuer=right.issuer, used=True))
    if "max_ac_kw" in found:
        ac_kw, dc_kw = found.pop("max_ac_kw"), found.pop("max_dc_kw")
        found["max_charge_power_kw"] = ac_kw if _is_ac(charger, found) else dc_kw
    found.pop("connector", None)
    if holder.assurance == "guest":
        found["tier"] = GUEST_TIER
    return Proved(**found, payer=_payer(holder, start, charger, site, now=now), used=used)


def _is_of(one: ProvedBy, right: Right) -> bool:
    return (one.credential_type, one.issuer) == (right.credential_type, right.issuer)


def right_here(holder: Holder, charger: Charger, site: Site, *, now: datetime) -> Right | None:
    """The right by which a holder may charge at a charger, if any; one that says who pays first."""
    fleets = admission_of(site).fleets
    opening = [
        one
        for one in holder.rights
        if one.opens(site_id=site.id, charger_did=charger.did, fleets=fleets, at=now)
    ]
    opening.sort(key=lambda one: (one.payer is None, one.credential_type, one.issuer))
    return opening[0] if opening else None


def require_right(
    read: Session,
    holder: Holder,
    charger: Charger,
    site: Site,
    *,
    vehicle_did: str,
    now: datetime,
) -> None:
    """A driver charges where their credentials let them, in a vehicle that is not another fleet's.

    Raises:
        SiteNotAllowed: If nothing lets them charge here.
        VehicleNotAllowed: If the vehicle belongs to a fleet whose driver they are not.
    """
    if holder.assurance == "simulated" or holder.runs(site.id):
        return
    if right_here(holder, charger, site, now=now) is None:
        raise SiteNotAllowed("None of the credentials lets its holder charge here.")
    in_fleet = select(FleetVehicle.fleet_id).where(FleetVehicle.vehicle_did == vehicle_did)
    fleet = read.scalar(in_fleet)
    takes = any(one.holds(now) and one.takes(vehicle_did, fleet or "") for one in holder.rights)
    if fleet is not None and vehicle_did not in holder.vehicles and not takes:
        raise VehicleNotAllowed


def may_reserve(holder: Holder, site: Site, charger_did: str | None, *, now: datetime) -> bool:
    """Whether a holder could charge there at all."""
    if holder.assurance == "simulated" or holder.runs(site.id):
        return True
    fleets = admission_of(site).fleets
    return any(
        one.opens(site_id=site.id, charger_did=charger_did, fleets=fleets, at=now)
        for one in holder.rights
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """Where and when a credential would have to fit."""

    vehicle_did: str
    charger: Charger
    site: Site
    now: datetime


def _read(one: Verdict, here: _Place) -> tuple[str | None, dict[str, Any]]:
    """Why a credential does not fit (None if it does), and what it says."""
    claims = one.claims
    match one.credential_type:
        case "VehicleSpecCredential":
            return _differs(one.subject, here.vehicle_did, "another_vehicle"), _vehicle(claims)
        case "BatteryBirthCertificateCredential":
            cap = C_RATE_BY_LIFECYCLE.get(claims["lifecycleStatus"], OTHER_C_RATE)
            return _differs(one.subject, here.vehicle_did, "another_vehicle"), {"c_rate_cap": cap}
        case "ChargerSpecCredential":
            why_not = _differs(one.subject, here.charger.did, "another_charger")
            why_not = why_not or _differs(claims["site"], here.site.id, "another_site")
            power_kw = claims["maxPowerW"] / W_PER_KW
            said = {"charger_max_power_kw": power_kw, "connector": claims["connector"]}
            return why_not, said
        case "PrioritySlotCredential":
            return _why_no_slot(claims, here), {"tier": claims["tier"]}
    return None, {}


def _vehicle(claims: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "capacity_kwh": claims["batteryCapacityWh"] / W_PER_KW,
        "consumption_wh_per_km": float(claims["consumptionWhPerKm"]),
        "max_ac_kw": claims["maxAcPowerW"] / W_PER_KW,
        "max_dc_kw": claims["maxDcPowerW"] / W_PER_KW,
    }


def _why_no_slot(claims: Mapping[str, Any], here: _Place) -> str | None:
    """Why a priority slot does not hold here and now; its end is not included."""
    if claims["site"] != here.site.id:
        return "another_site"
    if claims.get("charger", here.charger.did) != here.charger.did:
        return "another_charger"
    is_now = _time(claims["slotFrom"]) <= here.now < _time(claims["slotUntil"])
    return None if is_now else "outside_slot"


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def _differs(said: str | None, wanted: str, why_not: str) -> str | None:
    return None if said == wanted else why_not


def _is_ac(charger: Charger, found: Mapping[str, Any]) -> bool:
    """Whether the vehicle's own charger limits the power: by specification, wiring or power."""
    if "connector" in found:
        return found["connector"] in AC_CONNECTORS
    wired = charger_equipment_of(charger)
    if wired is not None:
        return wired.connection != "dc"
    return charger.max_power_kw <= AC_UP_TO_KW


def _payer(
    holder: Holder, start: SessionStart, charger: Charger, site: Site, *, now: datetime
) -> str | None:
    """Who pays: whom the driver named if a right names them too, else whom the right names."""
    fleets = admission_of(site).fleets
    payers = {
        one.payer
        for one in holder.rights
        if one.payer and one.opens(site_id=site.id, charger_did=charger.did, fleets=fleets, at=now)
    }
    if start.billing_party in payers:
        return start.billing_party
    right = right_here(holder, charger, site, now=now)
    return None if right is None else right.payer


def _used(one: Verdict, why_not: str | None, here: _Place) -> ProvedBy:
    is_subject_open = one.subject in (here.vehicle_did, here.charger.did)
    return ProvedBy(
        credential_type=one.credential_type or "",
        issuer=one.issuer or "",
        subject=one.subject if is_subject_open else None,
        credential_hash=one.credential_hash,
        valid_until=one.valid_until,
        used=why_not is None,
        reason=why_not,
    )
