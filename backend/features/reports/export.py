"""Everything that is held on a driver, as one JSON object, written row by row."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sqlalchemy import Select, inspect, or_, select
from sqlalchemy.orm import Session

from backend.components import Parts
from backend.database import Base
from backend.features.credentials.issuing_models import IssuedCredential
from backend.features.credentials.models import (
    Alias,
    AuditEvent,
    Card,
    DidVersion,
    Driver,
    RoleGrant,
)
from backend.features.sessions.models import (
    ChargeDetailRecord,
    ChargingSession,
    IncentiveOffer,
    MeterValue,
    Reservation,
    RewardEntry,
)
from backend.features.vehicles.models import TelemetryPoint, Trip, Vehicle

AT_ONCE = 500  # rows in memory
KEPT_BACK = frozenset({"card_hash", "salt"})  # of use to nobody but this service
Query = Select[Any]


def written(parts: Parts, did: str) -> Iterator[bytes]:
    """The export of a driver, in pieces; one consistent reading of the database."""
    with parts.database.reading() as db:
        about = {"driver": did, "exported_at": parts.clock.now().isoformat()}
        yield json.dumps(about)[:-1].encode()
        for name, query in queries_of(did).items():
            yield f', "{name}": ['.encode()
            yield from _rows(db, query)
            yield b"]"
        yield b"}\n"


def queries_of(did: str) -> Mapping[str, Query]:
    """What is held on a driver, by name."""
    mine = select(ChargingSession.id).where(ChargingSession.driver_did == did)
    own_vehicles = select(ChargingSession.vehicle_did).where(ChargingSession.driver_did == did)
    shared = select(ChargingSession.vehicle_did).where(ChargingSession.driver_did != did)
    alias = select(Alias.alias).where(Alias.did == did)
    trips = select(ChargingSession.trip_id).where(ChargingSession.driver_did == did)
    alone = (
        TelemetryPoint.vehicle_did.in_(own_vehicles),
        TelemetryPoint.vehicle_did.not_in(shared),
    )
    of_session: Callable[[Any], Query] = lambda kind: select(kind).where(  # noqa: E731 - five alike
        kind.session_id.in_(mine)
    )
    return {
        "registration": select(Driver).where(Driver.did == did),
        "keys": select(DidVersion).where(or_(DidVersion.did == did, DidVersion.controller == did)),
        "roles": select(RoleGrant).where(RoleGrant.holder_did == did),
        "cards": select(Card).where(Card.driver_did == did),
        "credentials": select(IssuedCredential).where(IssuedCredential.subject_did == did),
        "sessions": select(ChargingSession).where(ChargingSession.driver_did == did),
        "trips": select(Trip).where(Trip.id.in_(trips)),
        "bills": of_session(ChargeDetailRecord),
        "meter_values": of_session(MeterValue),
        "offers": of_session(IncentiveOffer),
        "rewards": select(RewardEntry).where(RewardEntry.driver_did == did),
        "reservations": select(Reservation).where(Reservation.driver_did == did),
        "vehicles": select(Vehicle).where(Vehicle.did.in_(own_vehicles)),
        "telemetry": select(TelemetryPoint).where(*alone),
        "audit": select(AuditEvent).where(
            or_(AuditEvent.actor.in_(alias), AuditEvent.object_id.in_(alias))
        ),
    }


def _rows(db: Session, query: Query) -> Iterator[bytes]:
    ordered = query.order_by(*inspect(query.column_descriptions[0]["entity"]).primary_key)
    between = b"\n"
    with db.scalars(ordered.execution_options(yield_per=AT_ONCE)) as rows:
        for row in rows:
            yield between + json.dumps(_shown(row), default=_plain).encode()
            between = b",\n"


def _shown(row: Base) -> dict[str, Any]:
    columns = inspect(type(row)).columns
    return {one.key: getattr(row, one.key) for one in columns if one.key not in KEPT_BACK}


def _plain(value: Any) -> str:  # noqa: ANN401 - what JSON does not know
    """Times in ISO 8601; exact amounts as decimal texts."""
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
