"""Which vehicles will miss their next trips, by how much, and the cheapest remedy."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.features.credentials.holder import Holder
from backend.features.sessions.models import OPEN, ChargingSession
from backend.features.sessions.queries import charged_kwh
from backend.features.sessions.views import SHORT_KWH
from backend.features.sites.models import Charger
from backend.features.vehicles import fleet as fleet_trips
from backend.features.vehicles.fleet import trips_between
from backend.features.vehicles.models import FleetTrip, Vehicle
from backend.planning.trip import POWER_DERATE, RESERVE_FACTOR
from backend.units import UtcDatetime

CONSUMPTION_SPREAD = 0.12  # standard deviation of real against nominal consumption


class Remedy(BaseModel):
    """The cheapest way out of a shortfall."""

    kind: Literal["session", "charger", "vehicle", "time", "on_the_way"] = Field(
        description="Change the running session, plug in, send another vehicle, leave later, or "
        "charge on the way"
    )
    text: str


class Readiness(BaseModel):
    """One trip of one vehicle."""

    trip_id: str
    external_id: str | None
    vehicle_did: str
    departure_time: UtcDatetime
    distance_km: float
    needed_kwh: float
    expected_kwh: float | None = Field(description="In the battery at departure; null if unknown")
    short_by_kwh: float
    ready_probability: float = Field(description="That the real consumption is covered")
    is_ready: bool
    reason: str
    remedy: Remedy | None


class FleetReadiness(BaseModel):
    """Every trip of a day, those at risk first."""

    date: date
    timezone: str
    trips: list[Readiness]
    at_risk: int


@dataclass(frozen=True, slots=True)
class Expected:
    """Energy in the battery at departure and where the figure comes from."""

    kwh: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Fleet:
    """The trips of a day, whose they are, and from when and where they are looked at."""

    trips: Sequence[FleetTrip]
    holder: Holder
    zone: ZoneInfo
    now: datetime

    def before(self, trip: FleetTrip) -> list[FleetTrip]:
        """Earlier trips of the same vehicle that day that lie ahead: they use the same charge."""
        return [
            one
            for one in self.trips
            if one.vehicle_did == trip.vehicle_did
            and self.now < one.departure_at
            and one.departure_at < trip.departure_at
        ]

    @property
    def busy(self) -> set[str]:
        """Vehicles with a trip that day."""
        return {one.vehicle_did for one in self.trips}


def readiness_on(
    db: Session, day: date, zone: str, *, holder: Holder, now: datetime
) -> FleetReadiness:
    """Judge the trips of a local day."""
    trips = _trips_of(db, day, ZoneInfo(zone), holder=holder)
    fleet = Fleet(trips, holder, ZoneInfo(zone), now)
    judged = [_judge(db, trip, fleet) for trip in trips]
    judged.sort(key=lambda one: (one.ready_probability, -one.short_by_kwh, one.departure_time))
    return FleetReadiness(
        date=day,
        timezone=zone,
        trips=judged,
        at_risk=sum(not one.is_ready for one in judged),
    )


def _trips_of(db: Session, day: date, zone: ZoneInfo, *, holder: Holder) -> Sequence[FleetTrip]:
    """The trips of a local day, of 23 hours or of 25; none at the ends of the calendar."""
    try:
        since = datetime.combine(day, time(), zone).astimezone(UTC)
        until = datetime.combine(day + timedelta(days=1), time(), zone).astimezone(UTC)
    except OverflowError:
        return []
    return trips_between(db, holder=holder, since=since, until=until)


def _judge(db: Session, trip: FleetTrip, fleet: Fleet) -> Readiness:
    vehicle = db.get_one(Vehicle, trip.vehicle_did)
    needs_kwh = [fleet_trips.needed_kwh(one, vehicle) for one in (*fleet.before(trip), trip)]
    needed_kwh = sum(needs_kwh)
    nominal_kwh = needed_kwh / RESERVE_FACTOR
    session = _open_session(db, vehicle.did)
    expected = _expected(db, vehicle, session, trip, fleet)
    missing_kwh = max(0.0, needed_kwh - (expected.kwh or 0.0))
    short_kwh = missing_kwh if missing_kwh > SHORT_KWH else 0.0
    is_ready = expected.kwh is not None and short_kwh == 0
    return Readiness(
        trip_id=trip.id,
        external_id=trip.external_id,
        vehicle_did=trip.vehicle_did,
        departure_time=trip.departure_at,
        distance_km=trip.distance_km,
        needed_kwh=needed_kwh,
        expected_kwh=expected.kwh,
        short_by_kwh=short_kwh,
        ready_probability=_probability(expected.kwh, nominal_kwh),
        is_ready=is_ready,
        reason=expected.reason,
        remedy=None
        if is_ready
        else _remedy(db, vehicle, session, trip, fleet, needed_kwh=needed_kwh),
    )


def _open_session(db: Session, vehicle_did: str) -> ChargingSession | None:
    return db.scalar(
        select(ChargingSession).where(
            ChargingSession.vehicle_did == vehicle_did, ChargingSession.status.in_(OPEN)
        )
    )


def _expected(
    db: Session,
    vehicle: Vehicle,
    session: ChargingSession | None,
    trip: FleetTrip,
    fleet: Fleet,
) -> Expected:
    """What the open session will have charged by departure, else the last state of charge."""
    if session is not None:
        return _expected_of(db, session, trip, fleet.zone)
    if vehicle.last_soc_percent is None:
        return Expected(None, "Its state of charge is unknown and it is not plugged in.")
    kwh = vehicle.battery_capacity_kwh * vehicle.last_soc_percent / 100
    return Expected(kwh, f"It is not plugged in; {vehicle.last_soc_percent:.0f} % were seen last.")


def _expected_of(
    db: Session, session: ChargingSession, trip: FleetTrip, zone: ZoneInfo
) -> Expected:
    """Energy at the start, metered since, and planned until the trip or the session ends."""
    at_start = session.battery_capacity_kwh * (session.soc_percent_at_start or 0.0) / 100
    charged = charged_kwh(db, session, now=trip.departure_at)
    kwh = min(session.battery_capacity_kwh, at_start + charged)
    until = session.departure_at.astimezone(zone)
    reason = f"It charges at {session.charger_did} until {until:%Y-%m-%d %H:%M}."
    if session.soc_percent_at_start is None:
        reason += " What it held before is unknown and not counted."
    return Expected(kwh, reason)


def _probability(expected_kwh: float | None, nominal_kwh: float) -> float:
    """That real consumption, normal around nominal, stays below what is in the battery."""
    if expected_kwh is None:
        return 0.0
    if nominal_kwh == 0:
        return 1.0
    z = (expected_kwh - nominal_kwh) / (CONSUMPTION_SPREAD * nominal_kwh)
    return 0.5 * (1 + math.erf(z / math.sqrt(2)))


def _remedy(
    db: Session,
    vehicle: Vehicle,
    session: ChargingSession | None,
    trip: FleetTrip,
    fleet: Fleet,
    *,
    needed_kwh: float,
) -> Remedy:
    """The cheapest way out: charge in time, another vehicle, or a later departure."""
    if needed_kwh > vehicle.battery_capacity_kwh:
        text = "The trip is longer than its battery: send a larger vehicle or charge on the way."
        return Remedy(kind="on_the_way", text=text)
    missing_kwh = needed_kwh - _held_kwh(db, vehicle, session, fleet.now)
    hours = (trip.departure_at - fleet.now) / timedelta(hours=1)
    if session is not None and session.effective_power_kw * hours >= missing_kwh:
        text = f"Give its session at {session.charger_did} this trip and this departure."
        return Remedy(kind="session", text=text)
    charger = _weakest_sufficient(db, vehicle, missing_kwh, hours)
    if charger is not None:
        text = f"Plug it in at {charger.did} ({charger.max_power_kw:.0f} kW) now."
        return Remedy(kind="charger", text=text)
    other = _other_vehicle(db, fleet, needed_kwh)
    if other is not None:
        return Remedy(kind="vehicle", text=f"Send {other.did} instead: it holds enough.")
    power_kw = vehicle.max_charge_power_kw * POWER_DERATE
    late_min = math.ceil(60 * max(0.0, missing_kwh / power_kw - max(0.0, hours)))
    return Remedy(kind="time", text=f"Leave {late_min} min later and charge at full power.")


def _held_kwh(
    db: Session, vehicle: Vehicle, session: ChargingSession | None, now: datetime
) -> float:
    """What the battery holds now; nothing if that is unknown."""
    if session is None:
        return vehicle.battery_capacity_kwh * (vehicle.last_soc_percent or 0.0) / 100
    at_start = session.battery_capacity_kwh * (session.soc_percent_at_start or 0.0) / 100
    return at_start + charged_kwh(db, session, now=now)


def _weakest_sufficient(
    db: Session, vehicle: Vehicle, missing_kwh: float, hours: float
) -> Charger | None:
    """The weakest free charger, where the vehicle charged last, that is strong enough."""
    free = select(Charger).where(Charger.status == "available")
    newest = select(ChargingSession.site_id).where(ChargingSession.vehicle_did == vehicle.did)
    home = db.scalar(newest.order_by(ChargingSession.id.desc()).limit(1))
    if home is not None:
        free = free.where(Charger.site_id == home)
    for charger in db.scalars(free.order_by(Charger.max_power_kw, Charger.did)):
        power_kw = min(charger.max_power_kw, vehicle.max_charge_power_kw) * POWER_DERATE
        if power_kw * hours >= missing_kwh:
            return charger
    return None


def _other_vehicle(db: Session, fleet: Fleet, needed_kwh: float) -> Vehicle | None:
    """A vehicle without a trip that day that holds enough; only of a fleet the holder may see."""
    held_kwh = Vehicle.battery_capacity_kwh * Vehicle.last_soc_percent / 100
    others = select(Vehicle).where(Vehicle.did.not_in(fleet.busy), held_kwh >= needed_kwh)
    if not fleet.holder.sees_everything:
        others = others.where(Vehicle.did.in_(fleet.holder.vehicles))
    return db.scalar(others.order_by(Vehicle.battery_capacity_kwh, Vehicle.did).limit(1))
