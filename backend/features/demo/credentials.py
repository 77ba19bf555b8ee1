"""Signed credentials of the demonstration: made with its data, made again when shown.

Nothing but hashes is stored, here as elsewhere: the documents are signed anew from the stored ids,
dates and status bits when somebody asks for them, and come out the same to the byte.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from backend.adapters.verifier.dids import did_key
from backend.adapters.verifier.issuing import draft_credential, sign_credential_jwt, zulu
from backend.database import insert_missing
from backend.features.credentials import status_lists, trust
from backend.features.credentials.epochs import TRUST, end_what_rests_on
from backend.features.credentials.issuer import Signer
from backend.features.credentials.issuing import issued_row, site_of
from backend.features.credentials.issuing_models import (
    Accreditation,
    IssuedCredential,
    StatusList,
)
from backend.features.credentials.models import DidVersion
from backend.features.credentials.signing import Statement, credential_hash, secured
from backend.features.credentials.trust_book import ACCREDITATION
from backend.features.credentials.trust_snapshot import announce
from backend.features.demo.fixtures import CHARGERS, DRIVERS, FLEET_DRIVERS, VEHICLES
from backend.features.demo.issuers import (
    FLEET,
    FROM,
    ISSUERS,
    PEOPLE_AND_THINGS,
    SEED,
    STAFF,
    UNTIL,
    WMI,
    DemoIssuer,
    key_of,
    signer_of,
)

BY = "did:denso:demo:authority"
NAMESPACE = UUID("6f0d4b5e-3a86-4e43-9d5c-0d7d3f1c6a42")
OLDER = timedelta(days=30)
VALID = timedelta(days=395)
MADE = datetime.fromisoformat("2023-05-01T00:00:00+00:00")
SERVICE_TYPES = [one for one in ISSUERS["authority"].types if one != "VehicleSpecCredential"]
Said = tuple[str, str, str, dict[str, Any]]  # issuer, credential type, subject, claims


def renew(db: Session, *, service: Signer, public_url: str, now: datetime) -> int:
    """Take back what an earlier demonstration issued and issue it anew; gives how many."""
    _clear(db, now=now)
    _bind_keys(db)
    _accredit(db, service, now=now)
    return _issue(db, public_url=public_url, now=now)


def _clear(db: Session, *, now: datetime) -> None:
    ours = select(IssuedCredential.id).where(IssuedCredential.is_demo)
    if db.scalar(ours.limit(1)) is None:
        return
    status_lists.revoke_all(db, ours, now=now)
    db.execute(delete(IssuedCredential).where(IssuedCredential.is_demo))
    end_what_rests_on(db, {TRUST})


def _bind_keys(db: Session) -> None:
    """Give every person and thing its key, unless it was given another one meanwhile."""
    rows = [
        {
            "id": f"idn_demo_{hashlib.sha256(did.encode()).hexdigest()[:24]}",
            "did": did,
            "version": 1,
            "controller": did_key(key_of(did)),
            "valid_from": FROM,
            "registered_by": BY,
        }
        for did in PEOPLE_AND_THINGS
    ]
    insert_missing(db, DidVersion, rows)


def _accredit(db: Session, service: Signer, *, now: datetime) -> None:
    """Put the demonstration's accreditations back in force, the service's own among them."""
    rows = [_accreditation(one) for one in ISSUERS.values()]
    own = {**_row("service", service.did), "credential_types": SERVICE_TYPES, "may_accredit": True}
    of_sites = {"sites": list(ISSUERS["operator"].limits["sites"])}
    chargers = {**_row("service_chargers", service.did), **of_sites}
    rows += [own, {**chargers, "credential_types": ["ChargerSpecCredential"]}]
    trust.begin_change(db)
    for row in rows:
        kept = db.get(Accreditation, row["id"])
        if kept is None:
            db.add(Accreditation(**row))
            db.flush()  # parents first
        else:
            kept.issuer_did, kept.revoked_at = row["issuer_did"], None
    announce(db, now=now)


def _row(name: str, issuer_did: str) -> dict[str, Any]:
    return {
        "id": f"acc_demo_{name}",
        "issuer_did": issuer_did,
        "sites": None,
        "fleets": None,
        "wmis": None,
        "may_accredit": False,
        "parent_id": None,
        "accredited_by": BY,
        "credential": None,
        "credential_hash": None,
        "valid_from": FROM,
        "valid_until": UNTIL,
        "created_at": FROM,
        "revoked_at": None,
    }


def _accreditation(one: DemoIssuer) -> dict[str, Any]:
    row = {
        **_row(one.name, signer_of(one.name).did),
        **one.limits,
        "credential_types": list(one.types),
        "may_accredit": one.may_accredit,
    }
    if one.above is None:
        return row
    above = signer_of(one.above)
    draft = draft_credential(
        ACCREDITATION,
        issuer=above.did,
        subject=row["issuer_did"],
        claims={
            "credentialTypes": list(one.types),
            "mayAccredit": one.may_accredit,
            **one.limits,
        },
        valid_from=FROM,
        valid_until=UNTIL,
        credential_id=f"urn:uuid:{uuid5(NAMESPACE, f'{SEED} {one.name}')}",
    )
    signed = sign_credential_jwt(draft, above.key)
    return row | {
        "parent_id": f"acc_demo_{one.above}",
        "accredited_by": above.did,
        "credential": signed,
        "credential_hash": credential_hash(signed),
    }


def _issue(db: Session, *, public_url: str, now: datetime) -> int:
    """Issue all at once: ids follow from the seed and from how often this was done."""
    generation = db.scalar(select(func.sum(StatusList.assigned))) or 0
    said = list(_all_statements(now, generation))
    places = [
        status_lists.assign_many(
            db, [one.id for _, one in said], purpose=purpose, public_url=public_url, now=now
        )
        for purpose in status_lists.PURPOSES
    ]
    for name, one in said:
        signer = signer_of(name)
        document = secured(one, [by_id[one.id] for by_id in places], signer)
        db.add(issued_row(one, document, signer=signer, by=BY, now=now, is_demo=True))
    db.flush()
    return len(said)


def _all_statements(now: datetime, generation: int) -> Iterator[tuple[str, Statement]]:
    """Each statement with the name of its issuer."""
    begin = (now - OLDER).replace(hour=0, minute=0, second=0, microsecond=0)
    for name, credential_type, subject, claims in _said(now):
        key = f"{SEED} {generation} {credential_type} {subject} {claims.get('site', '')}"
        yield (
            name,
            Statement(
                id=f"urn:uuid:{uuid5(NAMESPACE, key)}",
                credential_type=credential_type,
                subject_did=subject,
                claims=claims,
                valid_from=begin,
                valid_until=begin + VALID,
            ),
        )


def _said(now: datetime) -> Iterator[Said]:
    """Everything that is said about drivers, staff, vehicles and chargers."""
    yield from _about_drivers(now)
    for did, (issuer, claims) in STAFF.items():
        yield issuer, "EmploymentCredential", did, claims
    yield from _about_vehicles()
    for one in CHARGERS:
        claims = {
            "site": one.site_id,
            "maxPowerW": round(one.max_power_kw * 1_000),
            "connector": "ccs2" if one.is_dc else "type2",
            "latitudeMicrodegrees": round(one.latitude * 1_000_000),
            "longitudeMicrodegrees": round(one.longitude * 1_000_000),
        }
        yield "operator", "ChargerSpecCredential", one.did, claims


def _about_drivers(now: datetime) -> Iterator[Said]:
    hour = now.replace(minute=0, second=0, microsecond=0)
    for number, one in enumerate(DRIVERS):
        employer = one.credentials[0].partition(":")[2]
        sites = ISSUERS[employer].limits["sites"]
        job = {"employer": employer, "role": "employee", "sites": list(sites)}
        yield employer, "EmploymentCredential", one.did, job
        if number in FLEET_DRIVERS:
            driving = {"fleet": FLEET, "employer": employer}
            yield employer, "FleetDriverCredential", one.did, driving
        for site in one.allowed_sites:
            yield "operator", "SiteAccessCredential", one.did, {"site": site}
        salted = hashlib.sha256(f"{SEED} contract {one.did}".encode()).hexdigest()
        contract = {"provider": "Demo mobility", "contractHash": salted}
        sites_of_contract = sorted(ISSUERS["provider"].limits["sites"])
        yield (
            "provider",
            "ChargingContractCredential",
            one.did,
            {**contract, "sites": sites_of_contract},
        )
    slot = {"slotFrom": zulu(hour), "slotUntil": zulu(hour + timedelta(hours=24)), "tier": 1}
    yield "operator", "PrioritySlotCredential", DRIVERS[1].did, {"site": "site_hq", **slot}


def _about_vehicles() -> Iterator[Said]:
    for one in VEHICLES:
        capacity_wh = round(one.battery_capacity_kwh * 1_000)
        spec = {
            "wmi": WMI,
            "model": one.model,
            "batteryCapacityWh": capacity_wh,
            "maxAcPowerW": round(one.max_ac_power_kw * 1_000),
            "maxDcPowerW": round(one.max_charge_power_kw * 1_000),
            "consumptionWhPerKm": round(one.nominal_consumption_wh_per_km),
            "connector": "ccs2",
        }
        battery = {
            "batteryCapacityWh": capacity_wh,
            "lifecycleStatus": "IN USE",
            "manufacturedAt": zulu(MADE),
            "chemistry": "nmc",
        }
        yield "manufacturer", "VehicleSpecCredential", one.did, spec
        yield "manufacturer", "BatteryBirthCertificateCredential", one.did, battery


@dataclass(frozen=True, slots=True)
class Shown:
    """A credential of the demonstration, signed anew."""

    row: IssuedCredential
    document: str


def credentials_of(db: Session, subjects: Collection[str]) -> Mapping[str, list[Shown]]:
    """The demonstration's credentials of some subjects that were not taken back, by subject."""
    query = select(IssuedCredential).where(
        IssuedCredential.is_demo,
        IssuedCredential.subject_did.in_(subjects),
        IssuedCredential.revoked_at.is_(None),
    )
    rows = {row.id: row for row in db.scalars(query.order_by(IssuedCredential.id))}
    if not rows:
        return {}
    places = status_lists.places_of(db, list(rows))
    issuers = {
        (credential_type, subject, site_of(credential_type, claims)): (issuer, claims)
        for issuer, credential_type, subject, claims in _said(next(iter(rows.values())).issued_at)
    }
    shown: dict[str, list[Shown]] = {}
    for row in rows.values():
        subject = row.subject_did or ""
        issuer, claims = issuers[row.credential_type, subject, row.site_id]
        said = Statement(
            row.id, row.credential_type, subject, claims, row.valid_from, row.valid_until
        )
        document = secured(said, places[row.id], signer_of(issuer))
        shown.setdefault(subject, []).append(Shown(row, str(document)))
    return shown
