"""`/demo`: data, sample requests and the clock; present in the demo profile only."""

import threading
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, cast

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from sqlalchemy import select

from backend.components import CurrentParts, Parts, ReadDb, Unanswered, WritableDatabase
from backend.database import Database
from backend.documentation import filled_in
from backend.features.credentials import challenges
from backend.features.credentials.challenges import TooManyChallenges
from backend.features.credentials.counter import CurrentCounter
from backend.features.credentials.holder import (
    EVERYONE,
    CurrentHolder,
    NotAllowed,
    NotAuthenticated,
    allow,
)
from backend.features.credentials.models import Driver
from backend.features.demo.data import make_data
from backend.features.demo.fixtures import DRIVERS, VEHICLES
from backend.features.demo.sample_identities import (
    SIGNS_IN,
    PersonNotFound,
    ProofHeaders,
    ProofRequest,
    SampleIdentity,
    SampleSignIn,
    sample_identities,
    sample_proof,
    sample_sign_in,
)
from backend.features.demo.schemas import ClockChange, ClockView, DemoData, SampleDids
from backend.features.forecasts.outlooks import issue_all
from backend.features.jobs.answers import JobAnswer, WaitForResult, answer_of, job_answers
from backend.features.jobs.service import Report
from backend.features.sessions.desk import CurrentDesk
from backend.features.sessions.examples import SCENARIOS
from backend.features.sessions.replanning import replan_all, sweep_now
from backend.features.sessions.turns import Desk
from backend.features.sites.models import Charger, Site
from backend.features.vehicles.models import Vehicle
from backend.idempotency import (
    ClaimOfRequest,
    IdempotencyKeyReused,
    Route,
    replay_if_stored,
)
from backend.problems import Problem, described

if TYPE_CHECKING:
    from backend.clock import DemoClock

router = APIRouter(tags=["demo"], route_class=Route)
REFUSED = (NotAuthenticated, NotAllowed)
ANYONE = [allow(*EVERYONE)]
REACH = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
JOB_ANSWERS: dict[int | str, dict[str, Any]] = {
    **described(*REFUSED, IdempotencyKeyReused),
    **job_answers(DemoData),
}
Days = Annotated[int, Query(ge=1, le=366, description="Days of history, up to now")]


class ClockOutOfReach(Problem):
    """The clock runs from the year 2000 to 2099."""

    status = HTTPStatus.CONFLICT
    fix = "Choose a time in this century."


@router.post(
    "/demo/generate-data",
    summary="Make demonstration data",
    dependencies=ANYONE,
    responses=JOB_ANSWERS,
    response_model=DemoData,
)
def generate_data(
    holder: CurrentHolder,
    parts: CurrentParts,
    claim: ClaimOfRequest,
    days: Days = 30,
    wait: WaitForResult = True,
) -> JobAnswer:
    """Replace the demonstration's sites and sessions by a simulated world that ends now."""
    return answer_of(
        parts.database,
        "demo.generate",
        lambda report: make_data(parts, days=days, report=report),
        holder=holder,
        parameters={"days": days},
        claim=claim,
        wait=wait,
    )


@router.post(
    "/demo/reset",
    summary="Start the demonstration over",
    dependencies=ANYONE,
    responses=JOB_ANSWERS,
    response_model=DemoData,
)
def reset(
    holder: CurrentHolder, parts: CurrentParts, claim: ClaimOfRequest, wait: WaitForResult = True
) -> JobAnswer:
    """Set the clock back to now and make thirty days of data anew."""

    def _work(report: Report) -> dict[str, Any]:
        cast("DemoClock", parts.clock).reset()
        return make_data(parts, days=30, report=report)

    return answer_of(
        parts.database,
        "demo.reset",
        _work,
        holder=holder,
        parameters={},
        claim=claim,
        wait=wait,
    )


@router.get(
    "/demo/sample-dids",
    summary="Who and what there is to try",
    dependencies=ANYONE,
    responses=described(*REFUSED, TooManyChallenges),
)
def sample_dids(
    db: ReadDb, parts: CurrentParts, counter: CurrentCounter, database: WritableDatabase
) -> SampleDids:
    """List the demonstration's DIDs, requests that work when pasted, and keys to sign in with."""
    demo_chargers = select(Charger.did).join(Site, Site.id == Charger.site_id).where(Site.is_demo)
    drivers = select(Driver.did).where(Driver.did.in_([one.did for one in DRIVERS]))
    vehicles = select(Vehicle.did).where(Vehicle.did.in_([one.did for one in VEHICLES]))
    identities = sample_identities(db)
    return SampleDids(
        driver_dids=list(db.scalars(drivers.order_by(Driver.did))),
        vehicle_dids=list(db.scalars(vehicles.order_by(Vehicle.did))),
        charger_dids=list(db.scalars(demo_chargers.order_by(Charger.did))),
        payloads=payloads(parts.clock.now()),
        identities=identities,
        sign_in=_sign_in(identities, database, domain=counter.domain, now=parts.clock.now()),
    )


def _sign_in(
    identities: list[SampleIdentity], database: Database, *, domain: str, now: datetime
) -> SampleSignIn | None:
    person = next((one for one in identities if one.did == SIGNS_IN), None)
    if person is None:
        return None
    with database.transaction() as db:
        given = challenges.give(db, purpose="login", body_hash=None, now=now)
    return sample_sign_in(person, given, domain=domain)


@router.post(
    "/demo/proofs",
    summary="Sign a DPoP proof as a person of the demonstration",
    dependencies=ANYONE,
    responses=described(*REFUSED, PersonNotFound),
)
def sign_proof(asked: ProofRequest, counter: CurrentCounter, parts: CurrentParts) -> ProofHeaders:
    """Get the headers for one request with a token; real people's wallets do this themselves."""
    return sample_proof(asked, domain=counter.domain, now=parts.clock.now())


def payloads(now: datetime) -> dict[str, Any]:
    """The scenarios with their dates filled in."""
    return {name: _filled(body, now) for name, (_, body) in SCENARIOS.items()}


def _filled(value: Any, now: datetime) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, str):
        return filled_in(value, now)
    if isinstance(value, dict):
        return {key: _filled(one, now) for key, one in value.items()}
    return [_filled(one, now) for one in value] if isinstance(value, list) else value


@router.get(
    "/demo/clock",
    summary="What time the demonstration has",
    dependencies=ANYONE,
    responses=described(*REFUSED),
)
def get_clock(parts: CurrentParts) -> ClockView:
    """Read the demonstration's clock."""
    return _clock_view(parts, [])


@router.post(
    "/demo/clock",
    summary="Set the demonstration's clock",
    dependencies=ANYONE,
    responses=described(*REFUSED, ClockOutOfReach, IdempotencyKeyReused),
    response_model=ClockView,
)
def set_clock(
    change: ClockChange, parts: CurrentParts, desk: CurrentDesk, claim: Unanswered
) -> JSONResponse:
    """Set or move the clock; forecasts are issued and open sessions planned for the new time."""
    with parts.shared.setdefault("clock_lock", threading.Lock()):
        if claim is not None:  # its twin may have been answered while this one waited
            replay_if_stored(parts.database, claim)
        view = _changed_clock(change, parts, desk)
        answer = JSONResponse(view.model_dump(mode="json"))
        if claim is not None:
            with parts.database.transaction() as db:
                claim.stake(db.connection())
                claim.store(db, answer)
    return answer


def _changed_clock(change: ClockChange, parts: Parts, desk: Desk) -> ClockView:
    clock = cast("DemoClock", parts.clock)
    _check_reach(clock, change)
    clock.change(set_to=change.set_to, advance_s=change.advance_s, speed=change.speed)
    sweep_now(parts)
    issue_all(parts.database, parts.artifacts, compute=parts.compute, now=clock.now())
    return _clock_view(parts, replan_all(parts, desk, cause="clock.changed"))


def _check_reach(clock: "DemoClock", change: ClockChange) -> None:
    base = change.set_to or clock.now()
    earliest, latest = (reach - timedelta(seconds=change.advance_s) for reach in REACH)
    if not earliest <= base <= latest:
        raise ClockOutOfReach


def _clock_view(parts: Parts, replanned: list[str]) -> ClockView:
    clock = cast("DemoClock", parts.clock)
    return ClockView(now=clock.now(), speed=clock.speed, replanned_sites=replanned)
