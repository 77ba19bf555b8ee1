"""Erasing a driver: what bills need stays under an alias, everything else goes.

What has to be kept for billing (site, times, energy, cost, who pays) keeps a random alias in the
driver's place. Trips, telemetry, states of charge, cards, reservations, roles, keys and what was
learned of the driver's stays are deleted, salts of receipts too. The audit trail names the driver
by an alias; the row that says whose it is goes. That the DID was erased is remembered as a hash,
so that a restored backup can be erased again and nobody else takes the name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from backend.adapters.events.outbox import record
from backend.database import new_id
from backend.features.anchors.service import erase_sessions
from backend.features.credentials import erasures, issuing
from backend.features.credentials.aliases import alias_of
from backend.features.credentials.audit import note
from backend.features.credentials.epochs import end_what_rests_on
from backend.features.credentials.holder import Holder
from backend.features.credentials.models import (
    Alias,
    Card,
    DidVersion,
    Driver,
    FleetVehicle,
    RoleGrant,
)
from backend.features.reports import names
from backend.features.sessions.models import (
    OPEN,
    ChargeDetailRecord,
    ChargingSession,
    MeterValue,
    Reservation,
    RewardEntry,
)
from backend.features.vehicles.models import FleetTrip, TelemetryPoint, Trip, Vehicle
from backend.problems import NotFound, Problem

ERASED = "did:erased:"


class DriverNotFound(NotFound):
    """There is no such driver for this caller."""


class DriverIsCharging(Problem):
    """The driver has an open session."""

    status = HTTPStatus.CONFLICT
    fix = "Complete the session first; then everything can be erased at once."


@dataclass(frozen=True, slots=True)
class Erased:
    """What became of a driver's data."""

    sessions_kept: int
    vehicles_forgotten: int
    receipts_unlinked: int
    credentials_revoked: int
    cards_deleted: int


def require_driver(db: Session, did: str, *, holder: Holder) -> Driver:
    """The driver, if they ask themselves or an administrator does.

    Raises:
        DriverNotFound: Otherwise; an unknown and a forbidden driver look the same.
    """
    driver = db.get(Driver, did)
    if driver is None or not (holder.did == did or "administrator" in holder.roles):
        raise DriverNotFound
    return driver


def erase(db: Session, did: str, *, holder: Holder, now: datetime) -> Erased:
    """Erase a driver in one transaction.

    Raises:
        DriverNotFound: If the driver is unknown, or none of the caller's business.
        DriverIsCharging: If a session is open.
    """
    driver = require_driver(db, did, holder=holder)
    mine = ChargingSession.driver_did == did
    if db.scalar(select(ChargingSession.id).where(mine, ChargingSession.status.in_(OPEN))):
        raise DriverIsCharging
    sessions = db.scalars(select(ChargingSession.id).where(mine)).all()
    vehicles = _own_vehicles(db, did)
    in_trail = alias_of(db, did)
    by = in_trail if holder.did == did else holder.did
    _forget_trips(db, sessions)
    credentials = sum(issuing.forget_subject(db, one, by=by, now=now) for one in (did, *vehicles))
    cards = len(db.scalars(select(Card.id).where(Card.driver_did == did)).all())
    alias = _rename_driver(db, driver)
    for vehicle in vehicles:
        _rename_vehicle(db, vehicle)
    _forget_identity(db, did, now=now)
    receipts = erase_sessions(db, sessions, now=now) if sessions else 0
    facts = {"sessions": len(sessions), "receipts": receipts}
    note(db, now=now, actor=by, action="driver.erased", object_id=in_trail, facts=facts)
    record(db, "driver.erased", {"session_ids": list(sessions)}, now=now)
    db.flush()
    for name in (did, *vehicles):
        names.replace_everywhere(db, name, alias)
    db.execute(delete(Alias).where(Alias.did.in_((did, *vehicles))))
    db.expire_all()
    return Erased(len(sessions), len(vehicles), receipts, credentials, cards)


def _own_vehicles(db: Session, did: str) -> Sequence[str]:
    """Vehicles that only this driver ever charged and that belong to no fleet."""
    mine = select(ChargingSession.vehicle_did).where(ChargingSession.driver_did == did)
    others = select(ChargingSession.vehicle_did).where(ChargingSession.driver_did != did)
    query = select(Vehicle.did).where(
        Vehicle.did.in_(mine),
        Vehicle.did.not_in(others),
        Vehicle.did.not_in(select(FleetVehicle.vehicle_did)),
        Vehicle.did.not_in(select(FleetTrip.vehicle_did)),
    )
    return db.scalars(query).all()


def _forget_trips(db: Session, sessions: Sequence[str]) -> None:
    """Where the driver went, what the battery held, how long such drivers stay."""
    for session in db.scalars(select(ChargingSession).where(ChargingSession.id.in_(sessions))):
        _forget_stay(db, session)
        trip_id, session.trip_id = session.trip_id, None
        db.flush()
        db.execute(delete(Trip).where(Trip.id == trip_id))
        session.stay_quantiles_h = session.equipment = session.proved = None
        session.soc_percent_at_start = session.soc_percent_at_end = None
        session.cost_center = None
        plain = session.plan.get("plain")
        if plain is not None:
            session.plan = {**session.plan, "plain": {**plain, "legs": []}}
    bills = ChargeDetailRecord.session_id.in_(sessions)
    db.execute(update(ChargeDetailRecord).where(bills).values(cost_center=None))
    readings = MeterValue.session_id.in_(sessions)
    db.execute(update(MeterValue).where(readings).values(soc_percent=None))


def _forget_stay(db: Session, session: ChargingSession) -> None:
    """What the vehicle said of itself while it stood there."""
    end = (session.ended_at or session.departure_at) + timedelta(seconds=1)
    during = (TelemetryPoint.at >= session.started_at, TelemetryPoint.at < end)
    own = TelemetryPoint.vehicle_did == session.vehicle_did
    db.execute(delete(TelemetryPoint).where(own, *during))


def _rename_driver(db: Session, driver: Driver) -> str:
    """Give sessions and rewards an alias for a driver, and delete the driver."""
    alias = new_id(ERASED).replace("_", "", 1)
    db.add(Driver(did=alias, registered_at=driver.registered_at))
    db.flush()
    for table in (ChargingSession, RewardEntry):
        own = update(table).where(table.driver_did == driver.did)
        db.execute(own.values(driver_did=alias))
    db.execute(delete(Reservation).where(Reservation.driver_did == driver.did))
    db.execute(delete(Driver).where(Driver.did == driver.did))
    return alias


def _rename_vehicle(db: Session, did: str) -> None:
    """Keep a vehicle's sessions under an alias; its telemetry and forecasts go with its name."""
    was = db.get_one(Vehicle, did)
    alias = new_id(ERASED).replace("_", "", 1)
    db.add(
        Vehicle(
            did=alias,
            battery_capacity_kwh=was.battery_capacity_kwh,
            consumption_wh_per_km=was.consumption_wh_per_km,
            max_charge_power_kw=was.max_charge_power_kw,
            registered_at=was.registered_at,
        )
    )
    db.flush()
    own = update(ChargingSession).where(ChargingSession.vehicle_did == did)
    db.execute(own.values(vehicle_did=alias))
    db.execute(delete(Vehicle).where(Vehicle.did == did))


def _forget_identity(db: Session, did: str, *, now: datetime) -> None:
    """Keys, roles, cards and tokens; the name is not given again."""
    end_what_rests_on(db, [did])
    db.execute(delete(DidVersion).where(or_(DidVersion.did == did, DidVersion.controller == did)))
    db.execute(delete(RoleGrant).where(RoleGrant.holder_did == did))
    db.execute(delete(Card).where(Card.driver_did == did))
    erasures.remember(db, did, now=now)
