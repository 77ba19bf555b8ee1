"""`/federated/fleet`: simulated vehicles that learn together, and what their model would do."""

from fastapi import APIRouter

from backend.components import CurrentParts, ReadDb
from backend.features.credentials.holder import CurrentHolder, NotAllowed, NotAuthenticated, allow
from backend.features.federated import fleet_service
from backend.features.federated.fleet_schemas import (
    Decision,
    DecisionAsked,
    FleetRunNew,
    FleetRunResult,
)
from backend.features.federated.fleet_service import FleetTooLarge, NoFleetModel
from backend.features.federated.storing import WeightsAltered
from backend.features.jobs.answers import JobAnswer, WaitForResult, answer_of, job_answers
from backend.idempotency import ClaimOfRequest, IdempotencyKeyReused, Route
from backend.problems import described

router = APIRouter(tags=["federated"], route_class=Route)
REFUSED = (NotAuthenticated, NotAllowed)


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


@router.post(
    "/federated/fleet/decide",
    summary="Charge, discharge or wait",
    dependencies=[allow("driver", "fleet", "operator", "participant")],
    responses=described(*REFUSED, NoFleetModel, WeightsAltered),
)
def decide(asked: DecisionAsked, db: ReadDb) -> Decision:
    """Ask the newest run's model what a vehicle should do now; advice from a simulation."""
    return fleet_service.decide(db, asked)
