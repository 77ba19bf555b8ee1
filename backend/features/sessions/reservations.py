"""A charger kept for a driver: reserved, used, released, or lost to a no-show."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from http import HTTPStatus

from sqlalchemy import or_, select
from sqlalchemy.orm import Session, defer

from backend.adapters.events.outbox import record
from backend.database import new_id
from backend.features.credentials.audit import note
from backend.features.credentials.holder import Holder
from backend.features.sessions.models import OPEN, ChargingSession, Reservation
from backend.features.sessions.problems import SiteNotAllowed
from backend.features.sessions.proving import may_reserve
from backend.features.sessions.schemas import ReservationNew
from backend.features.sites.models import Charger, Site
from backend.features.sites.service import (
    ChargerNotFound,
    outdate_plan,
    require_charger,
    require_site,
)
from backend.problems import NotFound, Problem

NO_SHOW_AFTER = timedelta(minutes=15)
LONGEST, FURTHEST = timedelta(hours=24), timedelta(days=60)


class ReservationNotFound(NotFound):
    """There is no such reservation for this caller."""


class WhereMissing(Problem):
    """Neither a charger nor a site is named."""

    status = HTTPStatus.CONFLICT
    fix = "Send a charger, or `site_id` to have one of its chargers chosen."


class ReservationWindowImpossible(Problem):
    """The window has begun, ends before it begins, is over a day, or over 60 days ahead."""

    status = HTTPStatus.CONFLICT
    fix = "Send `from` before `to`, both ahead, at most 24 hours apart."


class NoChargerFree(Problem):
    """No charger is free in this window."""

    status = HTTPStatus.CONFLICT
    fix = "See GET /sites/{site_id}/availability for free windows."


class ChargerReserved(Problem):
    """The charger is reserved for somebody else."""

    status = HTTPStatus.CONFLICT
    fix = "Leave before the reservation begins, or pick another charger."


class ReservationEnded(Problem):
    """The reservation was used, released or lost before."""

    status = HTTPStatus.CONFLICT
    fix = "Nothing is left to release."


def reserve(db: Session, new: ReservationNew, *, holder: Holder, now: datetime) -> Reservation:
    """Keep a charger for a window: the named one, or the site's weakest that is free.

    Raises:
        ReservationWindowImpossible: If the window cannot be.
        SiteNotAllowed: If the holder reserves for a driver who is somebody else.
        NoChargerFree: If nothing is free then.
    """
    _check_window(new, now)
    site_id = _site_of(db, new)
    if not holder.steers(site_id=site_id, driver_did=new.driver_did):
        raise SiteNotAllowed("Drivers reserve for themselves, operators at their sites.")
    if not may_reserve(holder, require_site(db, site_id), new.charger_did, now=now):
        raise SiteNotAllowed("None of the credentials lets its holder charge here.")
    outdate_plan(db, site_id)  # locks the site: two reservations of one window come one by one
    charger = _free_charger(db, site_id, new, now=now)
    reservation = Reservation(
        id=new_id("rsv"),
        site_id=site_id,
        charger_did=charger.did,
        driver_did=new.driver_did,
        vehicle_did=new.vehicle_did,
        starts_at=new.starts_at,
        ends_at=new.ends_at,
        distance_km=new.distance_km,
        status="reserved",
        created_at=now,
    )
    db.add(reservation)
    _tell(db, reservation, "reservation.made", actor=holder.did, now=now)
    return reservation


def _site_of(db: Session, new: ReservationNew) -> str:
    """Where to reserve.

    Raises:
        WhereMissing: If neither a site nor a charger is named.
        ChargerNotFound: If the charger is not at the site.
    """
    if new.charger_did is None:
        if new.site_id is None:
            raise WhereMissing
        return require_site(db, new.site_id).id
    site_id = require_charger(db, new.charger_did).site_id
    if new.site_id not in (None, site_id):
        raise ChargerNotFound(f"{new.charger_did} is not at {new.site_id}.")
    return site_id


def _check_window(new: ReservationNew, now: datetime) -> None:
    is_possible = timedelta(0) < new.ends_at - new.starts_at <= LONGEST
    has_begun = new.starts_at <= now - NO_SHOW_AFTER  # it would be lost at once
    if not is_possible or has_begun or new.ends_at <= now or new.starts_at > now + FURTHEST:
        raise ReservationWindowImpossible


def _free_charger(db: Session, site_id: str, new: ReservationNew, *, now: datetime) -> Charger:
    query = select(Charger).where(
        Charger.site_id == site_id, Charger.status.in_(("available", "occupied"))
    )
    if new.charger_did is not None:
        query = query.where(Charger.did == new.charger_did)
    for charger in db.scalars(query.order_by(Charger.max_power_kw, Charger.did)):
        if not busy_windows(db, charger.did, since=new.starts_at, until=new.ends_at, now=now):
            return charger
    raise NoChargerFree


def busy_windows(
    db: Session, charger_did: str, *, since: datetime, until: datetime, now: datetime
) -> list[tuple[datetime, datetime, str]]:
    """When a charger is taken in a span, and by what.

    Who was to have left and is still there may stay for any time: the whole span is taken.
    """
    reserved = select(Reservation).where(
        Reservation.charger_did == charger_did,
        Reservation.status == "reserved",
        Reservation.starts_at < until,
        Reservation.ends_at > since,
    )
    plugged = select(ChargingSession).where(
        ChargingSession.charger_did == charger_did,
        ChargingSession.status.in_(OPEN),
        ChargingSession.started_at < until,
        or_(ChargingSession.departure_at > since, ChargingSession.departure_at <= now),
    )
    windows = [(one.starts_at, one.ends_at, "reservation") for one in db.scalars(reserved)]
    for one in db.scalars(plugged.options(defer(ChargingSession.plan, raiseload=True))):
        leaves_at = one.departure_at if one.departure_at > now else max(until, now)
        windows.append((one.started_at, leaves_at, "session"))
    return sorted(windows)


def check_start(
    db: Session, charger_did: str, driver_did: str, *, departure_at: datetime, now: datetime
) -> None:
    """Refuse a start that would take a charger from whom it is reserved for.

    Raises:
        ChargerReserved: With the time by which the charger has to be free.
    """
    others = select(Reservation).where(
        Reservation.charger_did == charger_did,
        Reservation.status == "reserved",
        Reservation.driver_did != driver_did,
        Reservation.starts_at < departure_at,
        Reservation.ends_at > now,
    )
    blocking = db.scalar(others.order_by(Reservation.starts_at).limit(1))
    if blocking is not None:
        raise ChargerReserved(
            f"{charger_did} is reserved from {blocking.starts_at:%Y-%m-%dT%H:%M:%SZ} "
            f"to {blocking.ends_at:%Y-%m-%dT%H:%M:%SZ}."
        )


def use(db: Session, session: ChargingSession, *, now: datetime) -> None:
    """Mark the driver's reservations of this charger that the stay meets as used."""
    mine = select(Reservation).where(
        Reservation.charger_did == session.charger_did,
        Reservation.driver_did == session.driver_did,
        Reservation.status == "reserved",
        Reservation.starts_at < session.departure_at,
        Reservation.ends_at > now,
    )
    for reservation in db.scalars(mine.order_by(Reservation.id).with_for_update()):
        reservation.status = "used"


def release(db: Session, reservation_id: str, *, holder: Holder, now: datetime) -> Reservation:
    """Give a reserved charger back.

    Raises:
        ReservationNotFound: If the holder has no such reservation.
        ReservationEnded: If it is over.
    """
    reservation = require_reservation(db, reservation_id, holder=holder)
    if not holder.steers(site_id=reservation.site_id, driver_did=reservation.driver_did):
        raise ReservationNotFound
    db.refresh(reservation, with_for_update=True)
    if reservation.status != "reserved":
        raise ReservationEnded(f"{reservation_id} is {reservation.status}.")
    reservation.status = "released"
    _tell(db, reservation, "reservation.released", actor=holder.did, now=now)
    return reservation


def require_reservation(db: Session, reservation_id: str, *, holder: Holder) -> Reservation:
    """The reservation, if the holder may see it.

    Raises:
        ReservationNotFound: Otherwise.
    """
    found = db.get(Reservation, reservation_id)
    if found is None or not holder.sees(site_id=found.site_id, driver_did=found.driver_did):
        raise ReservationNotFound
    return found


def lose_no_shows(db: Session, *, actor: str, now: datetime) -> int:
    """Free chargers whose driver has not come fifteen minutes after the window began."""
    waiting = select(Reservation).where(
        Reservation.status == "reserved", Reservation.starts_at <= now - NO_SHOW_AFTER
    )
    lost = db.scalars(waiting.order_by(Reservation.id).with_for_update()).all()
    for reservation in lost:
        reservation.status = "no_show"
        _tell(db, reservation, "reservation.lost", actor=actor, now=now)
    return len(lost)


def _tell(db: Session, reservation: Reservation, action: str, *, actor: str, now: datetime) -> None:
    facts = {
        "reservation_id": reservation.id,
        "charger_did": reservation.charger_did,
        "from": reservation.starts_at.isoformat(),
        "to": reservation.ends_at.isoformat(),
    }
    note(db, now=now, actor=actor, action=action, object_id=reservation.id, facts=facts)
    record(db, action, facts, now=now, site_id=reservation.site_id)


def chargers_with_windows(
    db: Session, site: Site, *, since: datetime, until: datetime, now: datetime
) -> Sequence[tuple[Charger, list[tuple[datetime, datetime, str]]]]:
    """Every charger of a site and when it is taken in the span."""
    query = select(Charger).where(Charger.site_id == site.id).order_by(Charger.did)
    return [
        (one, busy_windows(db, one.did, since=since, until=until, now=now))
        for one in db.scalars(query).all()
    ]
