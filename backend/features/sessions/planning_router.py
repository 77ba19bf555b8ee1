"""`/sessions` and `/reservations`: ask before, change during, understand, keep a charger."""

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Query

from backend.components import CurrentParts, Db, ReadDb
from backend.features.credentials.holder import (
    PEOPLE,
    CurrentHolder,
    NotAllowed,
    NotAuthenticated,
    allow,
)
from backend.features.sessions import (
    changing,
    explaining,
    fleet_quoting,
    quoting,
    reservations,
)
from backend.features.sessions.changing import BoostRefused
from backend.features.sessions.desk import CurrentDesk, SessionId, SessionTurn
from backend.features.sessions.examples import RESERVATION_ID
from backend.features.sessions.fleet_schemas import FleetQuote, FleetQuoteRequest
from backend.features.sessions.models import Reservation
from backend.features.sessions.problems import (
    DepartureInPast,
    DepartureTooFar,
    NotRegistered,
    SessionEnded,
    SessionNotFound,
    SiteBusy,
    SiteNotAllowed,
    VehicleInUse,
    VehicleNotAllowed,
    VehicleSpecificationMissing,
)
from backend.features.sessions.quoting import QUOTE_PROBLEMS
from backend.features.sessions.reservations import (
    ChargerReserved,
    NoChargerFree,
    ReservationEnded,
    ReservationNotFound,
    ReservationWindowImpossible,
    WhereMissing,
)
from backend.features.sessions.schemas import (
    Availability,
    ChargerAvailability,
    Explanation,
    Quote,
    QuoteRequest,
    ReservationNew,
    ReservationView,
    SessionChange,
    SessionChanged,
    Window,
)
from backend.features.sites.schemas import SitePath
from backend.features.sites.service import ChargerNotFound, SiteNotFound, require_site
from backend.idempotency import IdempotencyKeyReused, Route
from backend.paging import IfMatch
from backend.problems import PreconditionFailed, described
from backend.units import PRINTABLE, UtcDatetime

router = APIRouter(tags=["sessions"], route_class=Route)
REFUSED = (NotAuthenticated, NotAllowed)
CHARGING = allow("driver", "fleet", "operator")
LOOKING = allow(*PEOPLE)
ReservationId = Annotated[
    str, Path(max_length=40, pattern=PRINTABLE, examples=[RESERVATION_ID], description="rsv_…")
]
LONGEST_SPAN = timedelta(days=7)


@router.post(
    "/sessions/quote",
    summary="Ask before plugging in",
    dependencies=[CHARGING],
    responses=described(
        *REFUSED,
        SiteNotAllowed,
        VehicleNotAllowed,
        NotRegistered,
        ChargerNotFound,
        SiteNotFound,
        ChargerReserved,
        VehicleInUse,
        VehicleSpecificationMissing,
        DepartureInPast,
        DepartureTooFar,
        *QUOTE_PROBLEMS,
    ),
)
def quote(
    asked: QuoteRequest,
    holder: CurrentHolder,
    parts: CurrentParts,
    desk: CurrentDesk,
    read: ReadDb,
) -> Quote:
    """Would it be ready, what would it cost? Nothing is stored; a `site_id` ranks its chargers."""
    return quoting.quote(read, asked, holder=holder, desk=desk, now=parts.clock.now())


@router.post(
    "/fleet/quote",
    tags=["fleet"],
    summary="Ask for several vehicles at once",
    dependencies=[allow("fleet", "operator")],
    responses=described(*REFUSED, SiteNotFound),
)
def quote_fleet(
    asked: FleetQuoteRequest,
    holder: CurrentHolder,
    parts: CurrentParts,
    desk: CurrentDesk,
    read: ReadDb,
) -> FleetQuote:
    """Would all be ready, were they plugged in now? They are planned together, nothing is stored.

    Vehicles that would not be ready are named with the reason.
    """
    return fleet_quoting.quote_fleet(read, asked, holder=holder, desk=desk, now=parts.clock.now())


@router.patch(
    "/sessions/{session_id}",
    summary="Change a session",
    dependencies=[CHARGING],
    responses=described(
        *REFUSED,
        SessionNotFound,
        SessionEnded,
        DepartureInPast,
        DepartureTooFar,
        PreconditionFailed,
        IdempotencyKeyReused,
        SiteBusy,
    ),
)
def change_session(
    session_id: SessionId,
    change: SessionChange,
    holder: CurrentHolder,
    parts: CurrentParts,
    desk: CurrentDesk,
    _turn: SessionTurn,
    read: ReadDb,
    db: Db,
    if_match: IfMatch = None,
) -> SessionChanged:
    """Another trip, an earlier departure, another priority: the site is planned again with it."""
    return changing.change_session(
        read,
        db,
        session_id,
        change,
        if_match=if_match,
        holder=holder,
        desk=desk,
        now=parts.clock.now(),
    )


@router.post(
    "/sessions/{session_id}/boost",
    summary="Charge now",
    dependencies=[CHARGING],
    responses=described(
        *REFUSED,
        SessionNotFound,
        SessionEnded,
        BoostRefused,
        DepartureInPast,
        IdempotencyKeyReused,
        SiteBusy,
    ),
)
def boost_session(
    session_id: SessionId,
    holder: CurrentHolder,
    parts: CurrentParts,
    desk: CurrentDesk,
    _turn: SessionTurn,
    read: ReadDb,
    db: Db,
) -> SessionChanged:
    """Charge before everything else, but never at the cost of another driver's trip."""
    return changing.boost_session(
        read, db, session_id, holder=holder, desk=desk, now=parts.clock.now()
    )


@router.get(
    "/sessions/{session_id}/explanation",
    summary="Why is it planned so?",
    dependencies=[LOOKING],
    responses=described(*REFUSED, SessionNotFound, SessionEnded, SiteBusy),
)
def explain_session(
    session_id: SessionId,
    holder: CurrentHolder,
    parts: CurrentParts,
    desk: CurrentDesk,
    read: ReadDb,
) -> Explanation:
    """Slot by slot: why now, why not now, what binds, what a kWh more or an hour longer means."""
    return explaining.explain(read, session_id, holder=holder, desk=desk, now=parts.clock.now())


@router.post(
    "/reservations",
    tags=["reservations"],
    summary="Reserve a charger",
    status_code=201,
    dependencies=[CHARGING],
    responses=described(
        *REFUSED,
        SiteNotAllowed,
        SiteNotFound,
        ChargerNotFound,
        WhereMissing,
        ReservationWindowImpossible,
        NoChargerFree,
        IdempotencyKeyReused,
    ),
)
def reserve(
    new: ReservationNew, holder: CurrentHolder, parts: CurrentParts, db: Db
) -> ReservationView:
    """Keep a charger for a window; who has not come 15 minutes after its start loses it."""
    return _view(reservations.reserve(db, new, holder=holder, now=parts.clock.now()))


@router.get(
    "/reservations/{reservation_id}",
    tags=["reservations"],
    summary="Read a reservation",
    dependencies=[LOOKING],
    responses=described(*REFUSED, ReservationNotFound),
)
def get_reservation(
    reservation_id: ReservationId, holder: CurrentHolder, db: ReadDb
) -> ReservationView:
    """Read a reservation and what became of it."""
    return _view(reservations.require_reservation(db, reservation_id, holder=holder))


@router.delete(
    "/reservations/{reservation_id}",
    tags=["reservations"],
    summary="Release a reservation",
    dependencies=[CHARGING],
    responses=described(*REFUSED, ReservationNotFound, ReservationEnded, IdempotencyKeyReused),
)
def release(
    reservation_id: ReservationId, holder: CurrentHolder, parts: CurrentParts, db: Db
) -> ReservationView:
    """Give a reserved charger back."""
    return _view(reservations.release(db, reservation_id, holder=holder, now=parts.clock.now()))


@router.get(
    "/sites/{site_id}/availability",
    tags=["sites"],
    summary="When are chargers free?",
    dependencies=[LOOKING],
    responses=described(*REFUSED, SiteNotFound, ReservationWindowImpossible),
)
def availability(
    site_id: SitePath,
    db: ReadDb,
    parts: CurrentParts,
    since: Annotated[UtcDatetime | None, Query(alias="from")] = None,
    until: Annotated[UtcDatetime | None, Query(alias="to")] = None,
) -> Availability:
    """Each charger of the site with the windows in which it is taken; a day from now by default."""
    site, now = require_site(db, site_id), parts.clock.now()
    start = since or now
    end = until or _a_day_after(start)
    if not timedelta(0) < end - start <= LONGEST_SPAN:
        raise ReservationWindowImpossible("Ask for a span of at most seven days.")
    rows = reservations.chargers_with_windows(db, site, since=start, until=end, now=now)
    chargers = [
        ChargerAvailability(
            charger_did=charger.did,
            max_power_kw=charger.max_power_kw,
            status=charger.status,
            is_free=not windows and charger.status in ("available", "occupied"),
            taken=[Window(start=one[0], end=one[1], by=one[2]) for one in windows],
        )
        for charger, windows in rows
    ]
    return Availability(site_id=site_id, since=start, until=end, chargers=chargers)


def _a_day_after(start: datetime) -> datetime:
    try:
        return start + timedelta(days=1)
    except OverflowError:
        return start


def _view(one: Reservation) -> ReservationView:
    return ReservationView(
        reservation_id=one.id,
        site_id=one.site_id,
        charger_did=one.charger_did,
        driver_did=one.driver_did,
        vehicle_did=one.vehicle_did,
        distance_km=one.distance_km,
        starts_at=one.starts_at,
        ends_at=one.ends_at,
        status=one.status,
    )
