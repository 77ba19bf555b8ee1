"""`/federated/fleet`: simulated vehicles that learn together, and what their model would do."""

from typing import Annotated

from fastapi import APIRouter, Path

from backend.components import CurrentParts, ReadDb
from backend.features.credentials.holder import CurrentHolder, NotAllowed, NotAuthenticated, allow
from backend.features.federated import fleet_service
from backend.features.federated.fleet_schemas import (
    Decision,
    DecisionAsked,
    FleetRunNew,
    FleetRunResult,
)
from backend.features.federated.fleet_service import FleetRunNotFound, FleetTooLarge, NoFleetModel
from backend.features.federated.storing import WeightsAltered
from backend.features.jobs.answers import JobAnswer, WaitForResult, answer_of, job_answers
from backend.idempotency import ClaimOfRequest, IdempotencyKeyReused, Route
from backend.problems import described
from backend.units import PRINTABLE

router = APIRouter(tags=["federated"], route_class=Route)
REFUSED = (NotAuthenticated, NotAllowed)
NEWEST = "newest"
RunId = Annotated[
    str, Path(max_length=40, pattern=PRINTABLE, examples=["flt_01KAF0000000000000000000"])
]


@router.post(
    "/federated/fleet/runs",
    summary="Train a simulated fleet",
    dependencies=[allow("operator", "fleet")],
    responses={
        **described(*REFUSED, FleetTooLarge, IdempotencyKeyReused),
        **job_answers(FleetRunResult),
    },
    response_model=FleetRunResult,
)
def train_fleet(
    asked: FleetRunNew,
    holder: CurrentHolder,
    parts: CurrentParts,
    claim: ClaimOfRequest,
    wait: WaitForResult = False,
) -> JobAnswer:
    """Let simulated vehicles learn together when to charge, discharge or wait.

    Every ten steps half of them, drawn at random, train on what they have seen and their models
    are averaged. The curve is the mean accuracy on hours that no vehicle was trained on; it means
    something beside its baselines only.
    """
    fleet_service.refuse_size(asked)
    now = parts.clock.now()
    return answer_of(
        parts.database,
        "federated.fleet",
        lambda report: fleet_service.train_fleet(
            parts.database, asked, compute=parts.compute, holder=holder, now=now, report=report
        ),
        holder=holder,
        parameters=asked.model_dump(mode="json"),
        claim=claim,
        wait=wait,
    )


@router.get(
    "/federated/fleet/runs/{run_id}",
    summary="What came of a fleet run",
    dependencies=[allow("operator", "fleet", "auditor")],
    responses=described(*REFUSED, FleetRunNotFound),
)
def get_fleet_run(run_id: RunId, db: ReadDb) -> FleetRunResult:
    """A run that ended, by its id or as `newest`: curve, baselines, privacy, model."""
    return fleet_service.require_result(db, None if run_id == NEWEST else run_id)


@router.post(
    "/federated/fleet/decide",
    summary="Charge, discharge or wait",
    dependencies=[allow("driver", "fleet", "operator", "participant")],
    responses=described(*REFUSED, NoFleetModel, WeightsAltered),
)
def decide(asked: DecisionAsked, db: ReadDb) -> Decision:
    """Ask the newest run's model what a vehicle should do now; advice from a simulation."""
    return fleet_service.decide(db, asked)
