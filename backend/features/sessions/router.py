"""`/sessions`: start, look, decide, complete; live events of sessions and sites."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from sqlalchemy.orm import Session

from backend.components import CurrentParts, Db, ReadDb, Unanswered
from backend.features.credentials.cards import card_key
from backend.features.credentials.challenges import ChallengeRefused
from backend.features.credentials.holder import (
    PEOPLE,
    CurrentHolder,
    NotAllowed,
    NotAuthenticated,
    allow,
)
from backend.features.credentials.inline import PresenterIsAnother, allow_presenting
from backend.features.credentials.presenting import PresentationRefused
from backend.features.sessions import (
    card_starting,
    completion,
    exports,
    guests_router,
    incentives,
    metering,
    planning_router,
    queries,
    service,
    streams,
    views,
)
from backend.features.sessions.card_starting import CardNotAccepted, CardWithoutVehicle
from backend.features.sessions.desk import CurrentDesk, StartInTurn, purpose_of_start, turn_at
from backend.features.sessions.examples import OFFER_ID, SESSION_ID
from backend.features.sessions.problems import (
    ChargerInUse,
    ChargerUnavailable,
    DepartureInPast,
    DepartureTooFar,
    EnergyImplausible,
    MeterWentBackwards,
    NotRegistered,
    OfferDecidedBefore,
    OfferNotFound,
    ReadingOutsideSession,
    SessionEnded,
    SessionNotFound,
    SiteBusy,
    SiteNotAllowed,
    VehicleInUse,
    VehicleNotAllowed,
    VehicleSpecificationMissing,
)
from backend.features.sessions.queries import SessionFilter
from backend.features.sessions.reservations import ChargerReserved
from backend.features.sessions.schemas import (
    CardStart,
    MeterAccepted,
    MeterReadings,
    OfferDecided,
    Plan,
    SessionComplete,
    SessionCompleted,
    SessionStarted,
    SessionSummary,
    SessionView,
    Status,
)
from backend.features.sessions.streams import LastEventId
from backend.features.sites.schemas import SitePath
from backend.features.sites.service import (
    ChargerNotFound,
    SiteNotFound,
    require_readable_site,
    require_site,
)
from backend.idempotency import IdempotencyKeyReused, Route
from backend.paging import Cursor, CursorInvalid, Limit, Page, decoded, page_of
from backend.problems import described
from backend.units import PRINTABLE, UtcDatetime

router = APIRouter(tags=["sessions"], route_class=Route)
SessionId = Annotated[
    str, Path(max_length=40, pattern=PRINTABLE, examples=[SESSION_ID], description="ses_…")
]
OfferId = Annotated[str, Path(max_length=40, pattern=PRINTABLE, examples=[OFFER_ID])]
REFUSED = (NotAuthenticated, NotAllowed)
CHARGING = allow("driver", "fleet", "operator")
STARTING = allow_presenting("driver", "fleet", "operator", purpose_of=purpose_of_start)
PRESENTING = (ChallengeRefused, PresentationRefused, PresenterIsAnother)
LOOKING = allow(*PEOPLE, "charger")
METERING = allow("operator", "charger")  # bills follow: nobody meters what they pay for


@router.post(
    "/sessions/start",
    summary="Start charging",
    dependencies=[STARTING],
    responses=described(
        *REFUSED,
        *PRESENTING,
        SiteNotAllowed,
        VehicleNotAllowed,
        NotRegistered,
        ChargerNotFound,
        ChargerInUse,
        ChargerUnavailable,
        ChargerReserved,
        VehicleInUse,
        VehicleSpecificationMissing,
        DepartureInPast,
        DepartureTooFar,
        IdempotencyKeyReused,
        SiteBusy,
    ),
)
def start_session(
    start: StartInTurn,
    holder: CurrentHolder,
    parts: CurrentParts,
    desk: CurrentDesk,
    read: ReadDb,
    db: Db,
) -> SessionStarted:
    """Start charging at a charger and receive a plan that respects the whole site."""
    return service.start_session(read, db, start, holder=holder, desk=desk, now=parts.clock.now())


async def _card_in_turn(
    request: Request, start: CardStart, desk: CurrentDesk, _claim: Unanswered
) -> AsyncIterator[CardStart]:
    """Hold the turn of the charger's site until the transaction has committed."""
    async with turn_at(request, desk, start.charger_did):
        yield start


@router.post(
    "/sessions/start-by-card",
    summary="Start by card",
    dependencies=[allow("operator", "charger")],
    responses=described(
        *REFUSED,
        CardNotAccepted,
        CardWithoutVehicle,
        SiteNotAllowed,
        VehicleNotAllowed,
        NotRegistered,
        ChargerNotFound,
        ChargerInUse,
        ChargerUnavailable,
        ChargerReserved,
        VehicleInUse,
        VehicleSpecificationMissing,
        DepartureInPast,
        DepartureTooFar,
        IdempotencyKeyReused,
        SiteBusy,
    ),
)
def start_by_card(
    start: Annotated[CardStart, Depends(_card_in_turn, scope="function")],
    holder: CurrentHolder,
    parts: CurrentParts,
    desk: CurrentDesk,
    read: ReadDb,
    db: Db,
) -> SessionStarted:
    """Start for the driver whom a card or contract stands for; chargers and operators ask."""
    return card_starting.start_by_card(
        read, db, start, card_key(parts), holder=holder, desk=desk, now=parts.clock.now()
    )


def _filter(
    site_id: Annotated[
        str | None, Query(max_length=64, pattern=PRINTABLE, examples=["site_hq"])
    ] = None,
    driver_did: Annotated[str | None, Query(max_length=255, pattern=PRINTABLE)] = None,
    vehicle_did: Annotated[str | None, Query(max_length=255, pattern=PRINTABLE)] = None,
    status: Annotated[Status | None, Query()] = None,
    started_from: Annotated[UtcDatetime | None, Query(alias="from")] = None,
    started_to: Annotated[UtcDatetime | None, Query(alias="to")] = None,
) -> SessionFilter:
    return SessionFilter(site_id, driver_did, vehicle_did, status, started_from, started_to)


# A path belongs to the first route that fits: `start…`, `quote`, then `{session_id}`.
router.include_router(planning_router.router)
router.include_router(guests_router.router)


@router.get(
    "/sessions",
    summary="List sessions",
    dependencies=[LOOKING],
    response_model=Page[SessionSummary],
    responses={
        200: {"content": {"text/csv": {"schema": {"type": "string"}}}},
        **described(*REFUSED, CursorInvalid),
    },
)
def list_sessions(
    request: Request,
    response: Response,
    db: ReadDb,
    holder: CurrentHolder,
    which: Annotated[SessionFilter, Depends(_filter)],
    format: Literal["json", "csv"] = "json",  # noqa: A002 - the name of the query parameter
    cursor: Cursor = None,
    limit: Limit = 25,
) -> Page[SessionSummary] | Response:
    """List sessions, newest first, in pages; `format=csv` gives all of them for a spreadsheet."""
    if format == "csv":
        headers = {"Content-Disposition": 'attachment; filename="sessions.csv"'}
        text = exports.csv_of(db, which, holder=holder)
        return Response(text, media_type="text/csv; charset=utf-8", headers=headers)
    rows = queries.sessions_page(
        db, which, holder=holder, after=decoded(cursor, request), limit=limit
    )
    return page_of(
        rows,
        limit,
        key=lambda row: row[0].id,
        show=lambda row: views.summary(*row),
        request=request,
        response=response,
    )


@router.get(
    "/sessions/{session_id}",
    summary="Read a session",
    dependencies=[LOOKING],
    response_model=SessionView,
    responses={304: {"description": "Not modified"}, **described(*REFUSED, SessionNotFound)},
)
def get_session(
    session_id: SessionId,
    holder: CurrentHolder,
    response: Response,
    db: ReadDb,
    if_none_match: Annotated[str | None, Header(max_length=100)] = None,
) -> SessionView | Response:
    """Read a session with its newest plan and, once it has ended, its bill."""
    session = service.require_session(db, session_id, holder=holder)
    view = views.session_view(db, session)
    etag = views.session_etag(view)
    if etag in (if_none_match or ""):  # a list of tags, each perhaps marked as weak
        return Response(status_code=304, headers={"ETag": etag})
    response.headers["ETag"] = etag
    return view


@router.get(
    "/sessions/{session_id}/plan",
    summary="Read a session's plan",
    dependencies=[LOOKING],
    responses=described(*REFUSED, SessionNotFound),
)
def get_plan(session_id: SessionId, holder: CurrentHolder, db: ReadDb) -> Plan:
    """Read the newest plan: slots, cost, reasons and the formula it can be checked against."""
    session = service.require_session(db, session_id, holder=holder)
    plan = views.current_plan(db, session)
    if plan is None:
        raise SessionNotFound("This session was imported and has no plan.")
    return plan


@router.post(
    "/sessions/{session_id}/complete",
    summary="Complete a session",
    dependencies=[CHARGING],
    responses=described(
        *REFUSED, SessionNotFound, SessionEnded, EnergyImplausible, IdempotencyKeyReused
    ),
)
def complete_session(
    session_id: SessionId,
    said: SessionComplete,
    holder: CurrentHolder,
    parts: CurrentParts,
    desk: CurrentDesk,
    db: Db,
) -> SessionCompleted:
    """Unplug: the session is billed by its meter, or by what is said here if it has none."""
    return completion.complete(
        db, session_id, said, holder=holder, is_demo=desk.is_demo, now=parts.clock.now()
    )


@router.post(
    "/sessions/{session_id}/cancel",
    summary="Cancel a session",
    dependencies=[CHARGING],
    responses=described(*REFUSED, SessionNotFound, SessionEnded, IdempotencyKeyReused),
)
def cancel_session(
    session_id: SessionId, holder: CurrentHolder, parts: CurrentParts, db: Db
) -> SessionCompleted:
    """Stop early; what was metered is billed."""
    return completion.cancel(db, session_id, holder=holder, now=parts.clock.now())


@router.post(
    "/sessions/{session_id}/meter-values",
    summary="Send meter readings",
    dependencies=[METERING],
    responses=described(
        *REFUSED,
        SessionNotFound,
        SessionEnded,
        MeterWentBackwards,
        ReadingOutsideSession,
        EnergyImplausible,
        IdempotencyKeyReused,
    ),
)
def add_meter_values(
    session_id: SessionId,
    readings: MeterReadings,
    holder: CurrentHolder,
    parts: CurrentParts,
    desk: CurrentDesk,
    db: Db,
) -> MeterAccepted:
    """Send readings of the energy since the session began; a repeated reading counts once."""
    return metering.add_readings(
        db, session_id, readings, holder=holder, is_demo=desk.is_demo, now=parts.clock.now()
    )


@router.post(
    "/sessions/{session_id}/incentives/{offer_id}/accept",
    summary="Accept an offer",
    dependencies=[CHARGING],
    responses=described(
        *REFUSED,
        SessionNotFound,
        OfferNotFound,
        OfferDecidedBefore,
        SessionEnded,
        IdempotencyKeyReused,
    ),
)
def accept_offer(
    session_id: SessionId, offer_id: OfferId, holder: CurrentHolder, parts: CurrentParts, db: Db
) -> OfferDecided:
    """Take an offer; the site is planned again with it."""
    return incentives.decide(
        db, session_id, offer_id, decision="accepted", holder=holder, now=parts.clock.now()
    )


@router.post(
    "/sessions/{session_id}/incentives/{offer_id}/decline",
    summary="Decline an offer",
    dependencies=[CHARGING],
    responses=described(
        *REFUSED,
        SessionNotFound,
        OfferNotFound,
        OfferDecidedBefore,
        SessionEnded,
        IdempotencyKeyReused,
    ),
)
def decline_offer(
    session_id: SessionId, offer_id: OfferId, holder: CurrentHolder, parts: CurrentParts, db: Db
) -> OfferDecided:
    """Turn an offer down; nothing changes."""
    return incentives.decide(
        db, session_id, offer_id, decision="declined", holder=holder, now=parts.clock.now()
    )


def _may_follow_session(session_id: SessionId, holder: CurrentHolder, parts: CurrentParts) -> None:
    with parts.database.reading() as db:
        service.require_session(db, session_id, holder=holder)


@router.get(
    "/sessions/{session_id}/events",
    summary="Follow a session",
    dependencies=[LOOKING, Depends(_may_follow_session)],
    response_class=EventSourceResponse,
    responses=described(*REFUSED, SessionNotFound),
)
async def session_events(
    session_id: SessionId,
    request: Request,
    holder: CurrentHolder,
    last_event_id: LastEventId = None,
) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events: a snapshot, then every change until the session ends."""

    def _snapshot(db: Session) -> dict[str, Any]:
        session = service.require_session(db, session_id, holder=holder)
        return views.session_view(db, session).model_dump(mode="json")

    async for event in streams.follow(
        request, last_event_id=last_event_id, snapshot=_snapshot, session_id=session_id
    ):
        yield event


def _may_follow_site(
    site_id: SitePath,
    holder: CurrentHolder,
    parts: CurrentParts,
) -> None:
    with parts.database.reading() as db:
        require_readable_site(db, site_id, holder=holder)


@router.get(
    "/sites/{site_id}/events",
    tags=["sites"],
    summary="Follow a site",
    dependencies=[allow("operator", "auditor"), Depends(_may_follow_site)],
    response_class=EventSourceResponse,
    responses=described(*REFUSED, SiteNotFound),
)
async def site_events(
    site_id: SitePath,
    request: Request,
    last_event_id: LastEventId = None,
) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events: the open sessions, then every change at the site."""

    def _snapshot(db: Session) -> dict[str, Any]:
        return _site_snapshot(db, site_id)

    async for event in streams.follow(
        request, last_event_id=last_event_id, snapshot=_snapshot, site_id=site_id
    ):
        yield event


def _site_snapshot(db: Session, site_id: str) -> dict[str, Any]:
    rows = queries.open_sessions(db, site_id)
    return {
        "site_id": site_id,
        "plan_version": require_site(db, site_id).plan_version,
        "open_sessions": [views.summary(row, None).model_dump(mode="json") for row in rows],
    }
