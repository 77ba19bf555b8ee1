"""`/guests`: charging without an account, where the site allows it."""

from collections.abc import AsyncIterator
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends, Header, Request

from backend.components import CurrentParts, Db, ReadDb
from backend.features.credentials.challenges import AddressLimit, TooManyChallenges
from backend.features.credentials.counter import CurrentCounter
from backend.features.sessions import guests
from backend.features.sessions.desk import CurrentDesk, turn_at
from backend.features.sessions.guest_schemas import (
    SECRET,
    GuestOpen,
    GuestPassView,
    GuestQuoted,
    GuestQuoteRequest,
    GuestSessionView,
    GuestStart,
    GuestStarted,
    Secret,
)
from backend.features.sessions.guests import (
    GuestSessionNotFound,
    GuestsNotAdmitted,
    QuoteNotGood,
)
from backend.features.sessions.problems import (
    ChargerInUse,
    ChargerUnavailable,
    DepartureInPast,
    DepartureTooFar,
    SessionEnded,
    SiteBusy,
)
from backend.features.sessions.reservations import ChargerReserved
from backend.features.sites.service import ChargerNotFound
from backend.problems import described

# Secrets are in these answers: none of them is kept to be repeated.
router = APIRouter(tags=["guests"])
PER_MINUTE, PER_MINUTE_OF_ALL = 20, 240
EVERYBODY = "*"
Pass = Annotated[
    Secret, Header(alias="Guest-Pass", description="Of POST /guests/open", examples=[SECRET])
]


class TooManyGuests(TooManyChallenges):
    """More was asked for without an account than this service answers."""

    fix = "Wait, then ask again."


async def _limit(request: Request, parts: CurrentParts) -> None:
    shared = parts.shared
    one: AddressLimit = shared.setdefault("guest_limit", AddressLimit(PER_MINUTE))
    everybody: AddressLimit = shared.setdefault("guests_limit", AddressLimit(PER_MINUTE_OF_ALL))
    try:
        one.take(request.client.host if request.client else "")
        everybody.take(EVERYBODY)
    except TooManyChallenges:
        raise TooManyGuests from None


LIMITED = Depends(_limit)
STARTING = (ChargerInUse, ChargerUnavailable, ChargerReserved, DepartureInPast, DepartureTooFar)


async def _in_turn(
    request: Request, start: GuestStart, desk: CurrentDesk, parts: CurrentParts
) -> AsyncIterator[GuestStart]:
    """Hold the turn of the quoted charger's site until the transaction has committed."""
    charger_did = await to_thread.run_sync(
        guests.charger_of, parts.database, start.quote, parts.clock.now()
    )
    async with turn_at(request, desk, charger_did):
        yield start


GuestInTurn = Annotated[GuestStart, Depends(_in_turn, scope="function")]


@router.post(
    "/guests/quote",
    summary="Ask the price as a guest",
    dependencies=[LIMITED],
    responses=described(ChargerNotFound, GuestsNotAdmitted, *STARTING, TooManyGuests),
)
def guest_quote(
    asked: GuestQuoteRequest, parts: CurrentParts, desk: CurrentDesk, read: ReadDb, db: Db
) -> GuestQuoted:
    """See the tariff and what it would cost; the answer starts it within five minutes."""
    return guests.quote(read, db, asked, desk=desk, now=parts.clock.now())


@router.post(
    "/guests/sessions",
    summary="Start as a guest",
    status_code=201,
    dependencies=[LIMITED],
    responses=described(QuoteNotGood, GuestsNotAdmitted, *STARTING, SiteBusy, TooManyGuests),
)
def guest_start(
    start: GuestInTurn,
    counter: CurrentCounter,
    parts: CurrentParts,
    desk: CurrentDesk,
    read: ReadDb,
    db: Db,
) -> GuestStarted:
    """Start what was quoted; guests are served after everybody else."""
    return guests.start(
        read, db, start.quote, address=counter.domain, desk=desk, now=parts.clock.now()
    )


@router.post(
    "/guests/open",
    summary="Open a guest's link",
    dependencies=[LIMITED],
    responses=described(GuestSessionNotFound, TooManyGuests),
)
def guest_open(link: GuestOpen, parts: CurrentParts, db: Db) -> GuestPassView:
    """Exchange what stands behind # in the link, once, for a pass to the session."""
    return guests.open_link(db, link.secret, now=parts.clock.now())


@router.get(
    "/guests/session",
    summary="See a guest's session",
    dependencies=[LIMITED],
    responses=described(GuestSessionNotFound, TooManyGuests),
)
def guest_session(guest_pass: Pass, parts: CurrentParts, db: ReadDb) -> GuestSessionView:
    """See state, energy and what is to be paid."""
    return guests.see(db, guest_pass, now=parts.clock.now())


@router.post(
    "/guests/session/stop",
    summary="Stop a guest's session",
    dependencies=[LIMITED],
    responses=described(GuestSessionNotFound, SessionEnded, TooManyGuests),
)
def guest_stop(guest_pass: Pass, parts: CurrentParts, db: Db) -> GuestSessionView:
    """Stop charging; what was metered is billed."""
    return guests.stop(db, guest_pass, now=parts.clock.now())
