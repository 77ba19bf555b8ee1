"""`/federated/trees`: boosted trees that participants grow together on their own telemetry."""

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import PlainTextResponse

from backend.components import CurrentParts, Parts, ReadDb
from backend.features.credentials.holder import CurrentHolder, NotAllowed, NotAuthenticated, allow
from backend.features.federated import trees_flower, trees_registry, trees_service
from backend.features.federated.problems import EngineAway
from backend.features.federated.storing import WeightsAltered
from backend.features.federated.trees_finishing import NoTreesAccepted, TreesRunLost
from backend.features.federated.trees_grouping import HOME_SITES, TooFewForTrees, grouping_of
from backend.features.federated.trees_registry import TreesRunNotFound
from backend.features.federated.trees_schemas import TreesRunNew, TreesRunResult
from backend.features.jobs.answers import (
    JobAnswer,
    WaitForResult,
    answer_of,
    job_answers,
    known_answer,
)
from backend.features.jobs.service import Work
from backend.idempotency import ClaimOfRequest, IdempotencyKeyReused, Route
from backend.problems import described
from backend.units import PRINTABLE

router = APIRouter(tags=["federated"], route_class=Route)
REFUSED = (NotAuthenticated, NotAllowed)
LOOKING = allow("operator", "auditor", "participant")
RunId = Annotated[
    str, Path(max_length=40, pattern=PRINTABLE, examples=["trr_01KAF0000000000000000000"])
]


@router.post(
    "/federated/trees/runs",
    summary="Grow trees together",
    dependencies=[allow("operator")],
    responses={
        **described(
            *REFUSED,
            EngineAway,
            TooFewForTrees,
            NoTreesAccepted,
            TreesRunLost,
            IdempotencyKeyReused,
        ),
        **job_answers(TreesRunResult),
    },
    response_model=TreesRunResult,
)
def train_trees(
    asked: TreesRunNew,
    holder: CurrentHolder,
    parts: CurrentParts,
    claim: ClaimOfRequest,
    wait: WaitForResult = False,
) -> JobAnswer:
    """Let sites grow trees together that foretell energy to full or plug availability.

    A participant is the vehicles that charge most often at a site, or with `flower` a node that
    holds rows of its own; each grows trees on its own vehicles' telemetry, judges all others' on a
    later part of it, and is tested on the last. The result sets the shared model beside trees grown
    alone and, where the rows are here, on everybody's in one place.
    """
    known = known_answer(parts.database, holder=holder, claim=claim)
    if known is not None:
        return known
    return answer_of(
        parts.database,
        "federated.trees",
        _work_of(asked, parts),
        holder=holder,
        parameters=asked.model_dump(mode="json"),
        claim=claim,
        wait=wait,
        is_patient=asked.engine == "flower",
    )


def _work_of(asked: TreesRunNew, parts: Parts) -> Work:
    """What the job does; what can be refused at once is."""
    if asked.engine == "flower":
        trees_flower.require_nodes(parts)
        return lambda report: trees_flower.follow(parts, asked, report)
    with parts.database.reading() as db:
        grouping = grouping_of(
            db, asked.target, home_sites=parts.shared.get(HOME_SITES), seed=asked.seed
        )
    now = parts.clock.now()
    return lambda report: trees_service.train_trees(
        parts, asked, grouping=grouping, now=now, report=report
    )


@router.get(
    "/federated/trees/runs/{run_id}",
    summary="What came of a run of trees",
    dependencies=[LOOKING],
    responses=described(*REFUSED, TreesRunNotFound, WeightsAltered),
)
def get_trees_run(run_id: RunId, db: ReadDb, parts: CurrentParts) -> TreesRunResult:
    """A run that came to a model: figures of each participant, verdicts of each round, hashes."""
    return trees_registry.require_result(db, run_id, artifacts=parts.artifacts)


@router.get(
    "/federated/trees/runs/{run_id}/model",
    summary="The model of a run of trees",
    dependencies=[LOOKING],
    response_class=PlainTextResponse,
    responses={
        200: {"description": "Text of LightGBM; `Tasco-Content-Hash` is what was registered"},
        **described(*REFUSED, TreesRunNotFound, WeightsAltered),
    },
)
def get_trees_model(run_id: RunId, db: ReadDb, parts: CurrentParts) -> PlainTextResponse:
    """Give all trees as one model, whose answers are log-odds, or points to add to the guess."""
    text, content_hash = trees_registry.require_model(db, run_id, artifacts=parts.artifacts)
    return PlainTextResponse(text, headers={"Tasco-Content-Hash": content_hash})
