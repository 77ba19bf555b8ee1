"""`/federated`: rounds, their updates, participants, models."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Header, Path, Query, Request, Response
from fastapi.responses import PlainTextResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.components import CurrentParts, Db, ReadDb
from backend.database import new_id
from backend.features.credentials.holder import (
    CurrentHolder,
    NotAllowed,
    NotAuthenticated,
    allow,
)
from backend.features.federated import (
    exports,
    fleet_router,
    models_router,
    participants_router,
    service,
    stopping,
    streams,
    trees_router,
    views,
)
from backend.features.federated.models import FederatedRound
from backend.features.federated.problems import (
    EngineAway,
    ExperimentFailed,
    ExperimentKnown,
    ExperimentNotFound,
    ExperimentUnderWay,
    ModeNotSupported,
    RoundNotFound,
    TooFewParticipants,
)
from backend.features.federated.schemas import (
    NAME,
    ExperimentView,
    RoundDetail,
    RoundsNew,
    RoundView,
)
from backend.features.federated.updating import require_round
from backend.features.jobs.answers import JobAnswer, answer_of, job_answers
from backend.features.jobs.schemas import JobView
from backend.idempotency import ClaimOfRequest, IdempotencyKeyReused, Route
from backend.paging import Cursor, CursorInvalid, Limit, Page, decoded, page_of
from backend.problems import described
from backend.units import PRINTABLE

router = APIRouter(tags=["federated"], route_class=Route)
router.include_router(participants_router.router)
router.include_router(models_router.router)
router.include_router(fleet_router.router)
router.include_router(trees_router.router)
REFUSED = (NotAuthenticated, NotAllowed)
LOOKING = allow("operator", "auditor", "participant")
RoundId = Annotated[
    str, Path(max_length=40, pattern=PRINTABLE, examples=["frd_01KAF0000000000000000000"])
]
ExperimentId = Annotated[
    str, Path(max_length=40, pattern=PRINTABLE, examples=["fex_01KAF0000000000000000000"])
]
LastEventId = Annotated[
    int | None,
    Header(ge=0, le=2**53, description="Number of the last event seen; those after it follow"),
]


@router.post(
    "/federated/rounds",
    summary="Train together",
    status_code=202,
    dependencies=[allow("operator")],
    response_model=JobView,
    responses={
        **described(
            *REFUSED,
            TooFewParticipants,
            ExperimentUnderWay,
            ExperimentKnown,
            EngineAway,
            ModeNotSupported,
            ExperimentFailed,
            IdempotencyKeyReused,
        ),
        **job_answers(ExperimentView),
    },
)
def start_rounds(
    new: Annotated[RoundsNew, Body(default_factory=RoundsNew)],
    holder: CurrentHolder,
    parts: CurrentParts,
    claim: ClaimOfRequest,
    *,
    wait: Annotated[bool, Query(description="Wait for the result instead")] = False,
) -> JobAnswer:
    """Start an experiment; its job goes on in the background, `Link` names where it shows.

    Sites keep their data: they are sent the model and answer with what they would change. The
    request is refused with 409 where too few of them are there.
    """
    experiment_id = new.experiment_id or new_id("fex")
    named = new.model_copy(update={"experiment_id": experiment_id})
    answer = answer_of(
        parts.database,
        service.KIND,
        lambda report: service.work_on(parts, experiment_id, report),
        holder=holder,
        parameters={"experiment_id": experiment_id},
        claim=claim,
        wait=wait,
        is_patient=True,
        beginning=lambda db: service.start(db, parts, named, holder=holder),
    )
    known = None if claim is None else service.known_experiment(parts, holder, claim.key)
    about = f"/api/v1/federated/experiments/{known or experiment_id}"
    answer.headers["Link"] = f'<{about}>; rel="related"'
    return answer


@router.get(
    "/federated/rounds",
    summary="List rounds",
    dependencies=[LOOKING],
    responses=described(*REFUSED, CursorInvalid),
)
def list_rounds(
    request: Request,
    response: Response,
    db: ReadDb,
    cursor: Cursor = None,
    limit: Limit = 25,
    experiment_id: Annotated[str | None, Query(max_length=40, pattern=NAME)] = None,
) -> Page[RoundView]:
    """List rounds, newest first."""
    query = select(FederatedRound).order_by(FederatedRound.id.desc()).limit(limit + 1)
    after = decoded(cursor, request)
    if after is not None:
        query = query.where(FederatedRound.id < after)
    if experiment_id is not None:
        query = query.where(FederatedRound.experiment_id == experiment_id)
    return page_of(
        db.scalars(query).all(),
        limit,
        key=lambda row: row.id,
        show=RoundView.model_validate,
        request=request,
        response=response,
    )


@router.get(
    "/federated/rounds/{round_id}",
    summary="A round",
    dependencies=[LOOKING],
    responses=described(*REFUSED, RoundNotFound),
)
def get_round(round_id: RoundId, db: ReadDb) -> RoundDetail:
    """See every update's hash, norm, score and verdict, and what was refused."""
    return views.round_detail(db, require_round(db, round_id))


def _may_follow_round(round_id: RoundId, parts: CurrentParts) -> None:
    with parts.database.reading() as db:
        require_round(db, round_id)


@router.get(
    "/federated/rounds/{round_id}/events",
    summary="Follow a round",
    dependencies=[LOOKING, Depends(_may_follow_round)],
    response_class=EventSourceResponse,
    responses=described(*REFUSED, RoundNotFound),
)
async def round_events(
    round_id: RoundId, request: Request, last_event_id: LastEventId = None
) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events: the round as it stands, then every arrow to its end."""

    def _snapshot(db: Session) -> dict[str, Any]:
        return views.round_detail(db, require_round(db, round_id)).model_dump(mode="json")

    async for event in streams.follow(
        request,
        last_event_id=last_event_id,
        snapshot=_snapshot,
        member="round_id",
        value=round_id,
    ):
        yield event


@router.get(
    "/federated/experiments/{experiment_id}",
    summary="An experiment",
    dependencies=[LOOKING],
    responses=described(*REFUSED, ExperimentNotFound),
)
def get_experiment(experiment_id: ExperimentId, db: ReadDb) -> ExperimentView:
    """See the terms, the curve of its rounds and the summary of its figures."""
    return views.experiment_view(db, service.require_experiment(db, experiment_id))


@router.delete(
    "/federated/experiments/{experiment_id}",
    summary="Stop an experiment",
    dependencies=[allow("operator")],
    responses=described(*REFUSED, ExperimentNotFound, IdempotencyKeyReused),
)
def stop_experiment(
    experiment_id: ExperimentId, holder: CurrentHolder, parts: CurrentParts, db: Db
) -> ExperimentView:
    """End it where it stands, so that its engine is free; again changes nothing."""
    stopped = stopping.stop(db, experiment_id, holder=holder, now=parts.clock.now())
    db.flush()
    return views.experiment_view(db, stopped)


@router.get(
    "/federated/experiments/{experiment_id}/curve.csv",
    summary="An experiment's curve as a table",
    dependencies=[LOOKING],
    response_class=PlainTextResponse,
    responses={
        200: {"content": {"text/csv": {"schema": {"type": "string"}}}},
        **described(*REFUSED, ExperimentNotFound),
    },
)
def get_curve(experiment_id: ExperimentId, db: ReadDb) -> Response:
    """Export one line per round."""
    service.require_experiment(db, experiment_id)
    return Response(exports.curve_csv(db, experiment_id), media_type="text/csv; charset=utf-8")


def _may_follow_experiment(experiment_id: ExperimentId, parts: CurrentParts) -> None:
    with parts.database.reading() as db:
        service.require_experiment(db, experiment_id)


@router.get(
    "/federated/experiments/{experiment_id}/events",
    summary="Follow an experiment",
    dependencies=[LOOKING, Depends(_may_follow_experiment)],
    response_class=EventSourceResponse,
    responses=described(*REFUSED, ExperimentNotFound),
)
async def experiment_events(
    experiment_id: ExperimentId, request: Request, last_event_id: LastEventId = None
) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events: the experiment as it stands, then every arrow of its rounds."""

    def _snapshot(db: Session) -> dict[str, Any]:
        row = service.require_experiment(db, experiment_id)
        return views.experiment_view(db, row).model_dump(mode="json")

    async for event in streams.follow(
        request,
        last_event_id=last_event_id,
        snapshot=_snapshot,
        member="experiment_id",
        value=experiment_id,
    ):
        yield event
