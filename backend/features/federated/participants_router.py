"""`/federated/participants` and what gateways ask and send in a round."""

from http import HTTPStatus
from typing import Annotated, Literal

from anyio import to_thread
from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response

from backend.components import CurrentParts, Db, Parts, ReadDb
from backend.features.credentials.holder import CurrentHolder, NotAllowed, NotAuthenticated, allow
from backend.features.federated import enrolling, queries, tasking, updating
from backend.features.federated.enrolling import (
    KeyUnknown,
    NotItsSite,
    ParticipantNotFound,
    SiteTaken,
)
from backend.features.federated.problems import RoundNotFound
from backend.features.federated.receiving import CountImpossible, UpdateNotFinite
from backend.features.federated.refusals import REFUSALS, UpdateTooLarge
from backend.features.federated.schemas import (
    NAME,
    Engine,
    JudgementNew,
    ParticipantNew,
    ParticipantsView,
    ParticipantView,
    Received,
    ScoresNew,
    TaskView,
)
from backend.features.federated.updating import Envelope
from backend.federation.statements import MAX_CHARACTERS
from backend.federation.tasks import Stage
from backend.idempotency import IdempotencyKeyReused, Route
from backend.problems import described
from backend.units import PRINTABLE

router = APIRouter(route_class=Route)
REFUSED = (NotAuthenticated, NotAllowed)
TRAINING = allow("participant")
RoundId = Annotated[
    str, Path(max_length=40, pattern=PRINTABLE, examples=["frd_01KAF0000000000000000000"])
]
SiteName = Annotated[str, Path(max_length=64, pattern=NAME, examples=["site_hq"])]
SignedStatement = Annotated[
    str,
    Header(
        alias="Tasco-Statement",
        max_length=MAX_CHARACTERS,
        pattern=r"^[\x21-\x7e]+$",
        description="Compact JWS by the participant's key: round, parent, content hash, examples",
    ),
]
BYTES_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.post(
    "/federated/participants",
    summary="Enrol a site",
    dependencies=[TRAINING],
    responses=described(*REFUSED, NotItsSite, SiteTaken, KeyUnknown, IdempotencyKeyReused),
)
def enrol(
    new: ParticipantNew, holder: CurrentHolder, parts: CurrentParts, db: Db
) -> ParticipantView:
    """Take part for a site, on a credential that was presented for it; again changes nothing."""
    enrolled = enrolling.enrol(db, new, holder=holder, now=parts.clock.now())
    return ParticipantView.model_validate(enrolled)


@router.get(
    "/federated/participants",
    summary="List participants",
    dependencies=[allow("operator", "auditor", "participant")],
    responses=described(*REFUSED),
)
def list_participants(db: ReadDb) -> ParticipantsView:
    """List the sites that take part, in each engine."""
    found = [ParticipantView.model_validate(one) for one in queries.participants(db)]
    return ParticipantsView(participants=found)


@router.delete(
    "/federated/participants/{site_id}",
    summary="Withdraw a site",
    dependencies=[allow("operator", "participant")],
    responses=described(*REFUSED, ParticipantNotFound, IdempotencyKeyReused),
)
def withdraw(
    site_id: SiteName,
    holder: CurrentHolder,
    parts: CurrentParts,
    db: Db,
    engine: Literal["edge", "flower"] = "edge",
) -> ParticipantView:
    """Take a site's gateway or node out, as itself or as who runs it; another may enrol then."""
    row = enrolling.withdraw(db, site_id, engine, holder=holder, now=parts.clock.now())
    return ParticipantView.model_validate(row)


@router.post(
    "/federated/participants/{site_id}/reinstate",
    summary="Ask a suspended site again",
    dependencies=[allow("operator")],
    responses=described(*REFUSED, ParticipantNotFound, IdempotencyKeyReused),
)
def reinstate(
    site_id: SiteName,
    holder: CurrentHolder,
    parts: CurrentParts,
    db: Db,
    engine: Engine = "edge",
) -> ParticipantView:
    """Let a participant be drawn again after who runs its site has looked.

    Its failures are forgotten.
    """
    row = enrolling.reinstate(db, site_id, engine, holder=holder, now=parts.clock.now())
    return ParticipantView.model_validate(row)


@router.get(
    "/federated/rounds/{round_id}/task",
    summary="Ask for a task",
    dependencies=[TRAINING],
    response_model=TaskView,
    responses={
        204: {"description": "There is nothing to do now"},
        **described(*REFUSED, RoundNotFound),
    },
)
def get_task(
    round_id: RoundId,
    db: ReadDb,
    holder: CurrentHolder,
    parts: CurrentParts,
    site_id: Annotated[str | None, Query(max_length=64, pattern=NAME)] = None,
) -> TaskView | Response:
    """Say what a site is asked to do: train, score, or nothing; `current` finds the round."""
    if round_id != tasking.CURRENT:
        updating.require_round(db, round_id)
    now = parts.clock.now()
    mine = enrolling.asked_for(db, holder)
    if holder.assurance == "simulated" and site_id is not None:
        mine = [site_id]
    for name in mine:
        is_asked = site_id in (None, name)
        task = tasking.task_for(db, round_id, name, now=now) if is_asked else None
        if task is not None:
            return task
    return Response(status_code=HTTPStatus.NO_CONTENT, headers={"Retry-After": "1"})


async def _npz(round_id: RoundId, request: Request, parts: CurrentParts) -> bytes:
    """The body, as far as an update of this round can be long."""
    most = await to_thread.run_sync(updating.most_bytes, parts.database, round_id)
    return await _body(request, parts, round_id, most)


async def _letter(round_id: RoundId, request: Request, parts: CurrentParts) -> bytes:
    """The body, as far as a letter of this round can be long."""
    most = await to_thread.run_sync(updating.most_letter_bytes, parts.database, round_id)
    return await _body(request, parts, round_id, most)


async def _body(request: Request, parts: Parts, round_id: str, most: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise await to_thread.run_sync(updating.refuse_large, parts, round_id, most)
    return bytes(body)


@router.post(
    "/federated/rounds/{round_id}/updates",
    summary="Send an update",
    dependencies=[TRAINING],
    responses=described(
        *REFUSED, RoundNotFound, UpdateTooLarge, UpdateNotFinite, CountImpossible, *REFUSALS
    ),
    openapi_extra=BYTES_BODY,
)
def send_update(
    round_id: RoundId,
    statement: SignedStatement,
    body: Annotated[bytes, Depends(_npz)],
    holder: CurrentHolder,
    parts: CurrentParts,
) -> Received:
    """Take the change of the weights as npz, signed; it is stored before this answers."""
    return updating.receive_update(parts, round_id, body, Envelope(statement, holder))


@router.post(
    "/federated/rounds/{round_id}/letters",
    summary="Send a letter of a masked sum",
    dependencies=[TRAINING],
    responses=described(*REFUSED, RoundNotFound, UpdateTooLarge, *REFUSALS),
    openapi_extra=BYTES_BODY,
)
def send_letter(
    round_id: RoundId,
    stage: Annotated[Stage, Query(description="Which letter it is, as the task named it")],
    statement: SignedStatement,
    body: Annotated[bytes, Depends(_letter)],
    holder: CurrentHolder,
    parts: CurrentParts,
) -> Received:
    """Take what a gateway says in a stage of a masked sum, signed, and store it."""
    return updating.receive_letter(parts, round_id, stage, body, Envelope(statement, holder))


@router.post(
    "/federated/rounds/{round_id}/scores",
    summary="Send scores",
    dependencies=[TRAINING],
    responses=described(*REFUSED, RoundNotFound, *REFUSALS),
)
def send_scores(
    round_id: RoundId,
    scores: ScoresNew,
    statement: SignedStatement,
    holder: CurrentHolder,
    parts: CurrentParts,
) -> Received:
    """Take what a member of the committee says of the candidates, signed."""
    return updating.receive_scores(parts, round_id, scores, Envelope(statement, holder))


@router.post(
    "/federated/rounds/{round_id}/judgement",
    summary="Judge the model",
    dependencies=[TRAINING],
    responses=described(*REFUSED, RoundNotFound, *REFUSALS),
)
def send_judgement(
    round_id: RoundId,
    judgement: JudgementNew,
    statement: SignedStatement,
    holder: CurrentHolder,
    parts: CurrentParts,
) -> Received:
    """Take how the model that an experiment ends with does on a site's own holdout, signed."""
    return updating.receive_judgement(parts, round_id, judgement, Envelope(statement, holder))
