"""Roles that somebody gives by name: the first administrator, operators, fleets' vehicles."""

from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus

from sqlalchemy import delete, select, text
from sqlalchemy.orm import Session

from backend.database import insert_missing, new_id
from backend.features.credentials.audit import note
from backend.features.credentials.epochs import end_what_rests_on
from backend.features.credentials.holder import Holder, Role
from backend.features.credentials.models import FleetVehicle, RoleGrant
from backend.problems import NotFound, Problem

BOOTSTRAP = "bootstrap"
NEEDS_SITE, NEEDS_FLEET = ("operator", "participant"), ("fleet",)


class AdministratorKnown(Problem):
    """There is an administrator already."""

    status = HTTPStatus.CONFLICT
    fix = "Ask them for a grant: POST /api/v1/role-grants."


class GrantReachMissing(Problem):
    """The role holds at a site or for a fleet, and none is named."""

    status = HTTPStatus.CONFLICT
    fix = "Name site_id for operators and participants, fleet_id for fleet managers, else neither."


class LastAdministrator(Problem):
    """The last administrator cannot be taken away."""

    status = HTTPStatus.CONFLICT
    fix = "Grant the role to somebody else first."


class VehicleOfAnotherFleet(Problem):
    """The vehicle belongs to another fleet."""

    status = HTTPStatus.CONFLICT
    fix = "Have it taken out of that fleet first."


def bootstrap(db: Session, did: str, *, now: datetime) -> RoleGrant:
    """Make the first administrator; works only while there is none.

    Raises:
        AdministratorKnown: If there is one.
    """
    _lock(db)
    if _administrators(db):
        raise AdministratorKnown
    return _add(db, did, "administrator", site_id=None, fleet_id=None, by=BOOTSTRAP, now=now)


def grant(
    db: Session,
    did: str,
    role: Role,
    *,
    site_id: str | None,
    fleet_id: str | None,
    holder: Holder,
    now: datetime,
) -> RoleGrant:
    """Give a role to a DID; it counts from their next token on.

    Raises:
        GrantReachMissing: If its reach does not fit the role.
    """
    fits = (site_id is not None) == (role in NEEDS_SITE)
    if not fits or (fleet_id is not None) != (role in NEEDS_FLEET):
        raise GrantReachMissing
    return _add(db, did, role, site_id=site_id, fleet_id=fleet_id, by=holder.did, now=now)


def revoke(db: Session, grant_id: str, *, holder: Holder, now: datetime) -> RoleGrant:
    """Take a role back; the holder's tokens end at once.

    Raises:
        NotFound: If there is no such grant in force.
        LastAdministrator: If nobody could grant anything afterwards.
    """
    _lock(db)
    given = db.get(RoleGrant, grant_id)
    if given is None or given.revoked_at is not None:
        raise NotFound
    if given.role == "administrator" and len(_administrators(db)) == 1:
        raise LastAdministrator
    given.revoked_at = now
    db.flush()
    end_what_rests_on(db, [given.holder_did])
    facts = {"role": given.role, "site_id": given.site_id, "fleet_id": given.fleet_id}
    note(db, now=now, actor=holder.did, action="role.revoked", object_id=grant_id, facts=facts)
    return given


def grants_page(db: Session, *, after: str | None, limit: int) -> Sequence[RoleGrant]:
    """Grants in the order they were made, one more than `limit`."""
    query = select(RoleGrant).order_by(RoleGrant.id).limit(limit + 1)
    return db.scalars(query if after is None else query.where(RoleGrant.id > after)).all()


def assign_vehicle(
    db: Session, fleet_id: str, vehicle_did: str, *, holder: Holder, now: datetime
) -> None:
    """Put a vehicle into a fleet.

    Raises:
        VehicleOfAnotherFleet: If it is in another one.
    """
    row = {"vehicle_did": vehicle_did, "fleet_id": fleet_id}
    is_new = insert_missing(
        db, FleetVehicle, {**row, "assigned_at": now, "assigned_by": holder.did}
    )
    known = select(FleetVehicle.fleet_id).where(FleetVehicle.vehicle_did == vehicle_did)
    if db.scalar(known) != fleet_id:
        raise VehicleOfAnotherFleet
    if is_new:
        action, facts = "fleet.vehicle_assigned", {"fleet_id": fleet_id}
        note(db, now=now, actor=holder.did, action=action, object_id=vehicle_did, facts=facts)


def release_vehicle(
    db: Session, fleet_id: str, vehicle_did: str, *, holder: Holder, now: datetime
) -> None:
    """Take a vehicle out of its fleet; managers no longer see it from their next request on.

    Raises:
        NotFound: If it is not in it.
    """
    mine = (FleetVehicle.vehicle_did == vehicle_did, FleetVehicle.fleet_id == fleet_id)
    gone = delete(FleetVehicle).where(*mine).returning(FleetVehicle.vehicle_did)
    if db.execute(gone).first() is None:
        raise NotFound
    action, facts = "fleet.vehicle_released", {"fleet_id": fleet_id}
    note(db, now=now, actor=holder.did, action=action, object_id=vehicle_did, facts=facts)


def vehicles_in(db: Session, fleet_id: str) -> Sequence[str]:
    """The vehicles of a fleet."""
    query = select(FleetVehicle.vehicle_did).where(FleetVehicle.fleet_id == fleet_id)
    return db.scalars(query.order_by(FleetVehicle.vehicle_did)).all()


def _add(
    db: Session,
    did: str,
    role: Role,
    *,
    site_id: str | None,
    fleet_id: str | None,
    by: str,
    now: datetime,
) -> RoleGrant:
    given = RoleGrant(
        id=new_id("grt"),
        holder_did=did,
        role=role,
        site_id=site_id,
        fleet_id=fleet_id,
        granted_at=now,
        granted_by=by,
    )
    db.add(given)
    db.flush()
    facts = {"role": role, "site_id": site_id, "fleet_id": fleet_id}
    note(db, now=now, actor=by, action="role.granted", object_id=given.id, facts=facts)
    return given


def _administrators(db: Session) -> Sequence[str]:
    query = select(RoleGrant.id).where(
        RoleGrant.role == "administrator", RoleGrant.revoked_at.is_(None)
    )
    return db.scalars(query).all()


def _lock(db: Session) -> None:
    """Let decisions about administrators come one by one; SQLite has one writer anyway."""
    if db.get_bind().dialect.name == "postgresql":
        db.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('administrators', 0))"))
