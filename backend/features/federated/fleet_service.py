"""Fleet runs: simulate, train round by round, store the model, and decide with it."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

import numpy as np
import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.adapters.events.outbox import record
from backend.compute import Compute
from backend.database import Database, new_id
from backend.features.credentials.holder import Holder
from backend.features.federated import storing
from backend.features.federated.fleet_flows import METERED, flows_of, started_at
from backend.features.federated.fleet_models import FleetRun
from backend.features.federated.fleet_planning import live_by_plan
from backend.features.federated.fleet_schemas import (
    Decision,
    DecisionAsked,
    FleetBaselines,
    FleetCostsView,
    FleetPrivacyView,
    FleetRoundView,
    FleetRunExport,
    FleetRunNew,
    FleetRunResult,
)
from backend.features.federated.fleet_terms import MOST_CELLS, MOST_SEALED_VEHICLES
from backend.features.jobs.service import Report
from backend.federation import fleet, fleet_privacy
from backend.federation.fleet import FleetSettings, FleetState, RoundFigures
from backend.federation.fleet_costs import costs_of
from backend.federation.fleet_privacy import FleetPrivacy
from backend.federation.fleet_world import (
    ACTIONS,
    FleetLife,
    FleetWorld,
    PriceScale,
    live_by_rule,
    make_world,
)
from backend.federation.weights import Weights, content_hash, shapes_of
from backend.problems import NotFound, Problem

log = structlog.get_logger("tasco.federated")
WORLD_TIMEOUT_S, ROUND_TIMEOUT_S = 600.0, 120.0
CONVERGED = 0.98
TEACHERS = {"rule": live_by_rule, "planner": live_by_plan}
SHAPES = shapes_of(fleet.weights_of(fleet.untrained(1)))
ACCOUNTING = (
    "RDP of Gaussians sampled without replacement, one vehicle replaced by another; the noise is "
    "drawn from the run's seed, so that the run can be repeated: whoever knows the seed can remove "
    "it. Accuracies of the simulation are not counted."
)


class FleetTooLarge(Problem):
    """The fleet is larger than one run takes."""

    status = HTTPStatus.CONFLICT
    fix = "Ask for fewer vehicles or steps."


class NoFleetModel(Problem):
    """No fleet has been trained yet."""

    status = HTTPStatus.CONFLICT
    fix = "POST /federated/fleet/runs, wait for its job, and ask again."


class FleetRunNotFound(NotFound):
    """There is no such run."""


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A run under way.

    Attributes:
        started_s: When it began, of a clock that nobody sets.
    """

    id: str
    asked: FleetRunNew
    world: FleetWorld
    life: FleetLife
    settings: FleetSettings
    started_s: float


def refuse_size(asked: FleetRunNew) -> None:
    """Refuse what would take too long, or fill the ledger.

    Raises:
        FleetTooLarge: If it is too much.
    """
    cells = asked.vehicles * asked.steps
    if cells > MOST_CELLS:
        raise FleetTooLarge(f"{cells} vehicle steps; {MOST_CELLS} are simulated at most.")
    if asked.seal_blocks and asked.vehicles > MOST_SEALED_VEHICLES:
        raise FleetTooLarge(f"Flows of {MOST_SEALED_VEHICLES} vehicles are sealed at most.")


def train_fleet(
    database: Database,
    asked: FleetRunNew,
    *,
    compute: Compute,
    holder: Holder,
    now: datetime,
    report: Report,
) -> dict[str, Any]:
    """Simulate a fleet and let it learn; each ten steps are a round and, if asked for, a block."""
    started_s = time.monotonic()
    report(0.0, f"simulating {asked.vehicles} vehicles")
    world, life = compute.run(simulated, WORLD_TIMEOUT_S, asked)
    run = Run(new_id("flt"), asked, world, life, _settings(asked), started_s)
    state, sealed = fleet.untrained(asked.vehicles), 0
    rounds = fleet.rounds_in(asked.steps)
    for number in range(1, rounds + 1):
        report(number / (rounds + 1), f"round {number} of {rounds}")
        state = compute.run(advanced, ROUND_TIMEOUT_S, world, life, state, run.settings)
        if asked.seal_blocks:
            sealed += _meter(database, run, number, now=now)
    epsilons = compute.run(epsilons_of, ROUND_TIMEOUT_S, run.settings, asked.vehicles, rounds)
    result = _result(run, state, epsilons, sealed if asked.seal_blocks else None)
    _store(database, run, state, result, holder=holder, now=now)
    log.info("fleet.trained", run_id=run.id, rounds=rounds, accuracy=round(result.accuracy, 4))
    return result.model_dump(mode="json")


def simulated(asked: FleetRunNew) -> tuple[FleetWorld, FleetLife]:
    """The vehicles of a run and what their teacher had them do."""
    world = make_world(asked.vehicles, asked.steps, seed=asked.seed)
    return world, TEACHERS[asked.labels](world)


def advanced(
    world: FleetWorld, life: FleetLife, state: FleetState, settings: FleetSettings
) -> FleetState:
    """The fleet after one more round; features are made here, for they are large to send."""
    return fleet.advance(fleet.lessons_of(world, life), state, settings)


def _settings(asked: FleetRunNew) -> FleetSettings:
    privacy = None if asked.privacy is None else FleetPrivacy(**asked.privacy.model_dump())
    return FleetSettings(privacy=privacy, seed=asked.seed)


def _meter(database: Database, run: Run, window: int, *, now: datetime) -> int:
    """Tell of the flows of ten steps; gives how many."""
    since = started_at(run.world, now)
    flows = flows_of(run.world, run.life, window, run_id=run.id, since=since)
    if flows:
        with database.transaction() as db:
            facts = {"run_id": run.id, "window": window, "is_simulated": True, "flows": flows}
            record(db, METERED, facts, now=now)
    return len(flows)


def epsilons_of(settings: FleetSettings, vehicles: int, rounds: int) -> list[float | None]:
    """What a vehicle has lost after each round; None without privacy or bound."""
    private = settings.privacy
    if private is None:
        return [None] * rounds
    drawn = len(fleet.draw(vehicles, 1, settings))
    spent = [
        fleet_privacy.epsilon(private, vehicles=vehicles, drawn=drawn, rounds=number)
        for number in range(1, rounds + 1)
    ]
    return [one if np.isfinite(one) else None for one in spent]


def _result(
    run: Run, state: FleetState, epsilons: Sequence[float | None], sealed: int | None
) -> FleetRunResult:
    weights = fleet.weights_of(state)
    last, size = state.curve[-1], sum(one.nbytes for one in weights.values())
    lessons = fleet.lessons_of(run.world, run.life)
    each, alike = fleet.majority_accuracies(lessons)
    cost_eur = float((run.life.energy_kwh * run.world.price_eur_per_kwh).sum())
    return FleetRunResult(
        run_id=run.id,
        is_simulated=True,
        labels=run.asked.labels,
        rounds=len(state.curve),
        accuracy=last.accuracy,
        convergence_round=_converged([one.accuracy for one in state.curve]),
        curve=[
            FleetRoundView(**asdict(one), bytes_moved=_moved(one, size), epsilon=spent)
            for one, spent in zip(state.curve, epsilons, strict=True)
        ],
        baselines=FleetBaselines(
            majority_accuracy=each,
            fleet_majority_accuracy=alike,
            local_accuracy=last.local_accuracy,
        ),
        privacy=_privacy_view(run.settings.privacy, epsilons[-1]),
        model_sha256=content_hash(weights),
        model_bytes=size,
        bytes_moved=sum(_moved(one, size) for one in state.curve),
        energy_cost_eur=round(cost_eur, 2),
        costs=FleetCostsView(**asdict(costs_of(run.world, run.life, weights))),
        flows_sealed=sealed,
        duration_s=round(time.monotonic() - run.started_s, 3),
    )


def _moved(figures: RoundFigures, size: int) -> int:
    """Bytes of a round: the model to who was drawn, and back from who trained."""
    return size * (figures.drawn + figures.trained)


def _converged(accuracies: Sequence[float]) -> int:
    best = max(accuracies)
    return next(at for at, one in enumerate(accuracies, 1) if one >= CONVERGED * best)


def _privacy_view(privacy: FleetPrivacy | None, epsilon: float | None) -> FleetPrivacyView | None:
    if privacy is None:
        return None
    return FleetPrivacyView(
        privacy_unit=fleet_privacy.PRIVACY_UNIT,
        epsilon=epsilon,
        accounting=ACCOUNTING,
        **asdict(privacy),
    )


def _store(
    database: Database,
    run: Run,
    state: FleetState,
    result: FleetRunResult,
    *,
    holder: Holder,
    now: datetime,
) -> None:
    scale = run.world.scale
    with database.transaction() as db:
        digest, _ = storing.put(db, fleet.weights_of(state), now=now)
        db.add(
            FleetRun(
                id=run.id,
                terms=run.asked.model_dump(mode="json"),
                result=result.model_dump(mode="json"),
                model_sha256=digest,
                low_eur_per_kwh=scale.low_eur_per_kwh,
                high_eur_per_kwh=scale.high_eur_per_kwh,
                started_by=holder.did,
                created_at=now,
            )
        )
        facts = {"model_id": run.id, "sha256": digest, "kind": "fleet_actions"}
        record(db, "model.registered", facts, now=now)


def result_of(db: Session, run_id: str | None) -> FleetRunExport | None:
    """What was asked and what came of it, of the newest run if none is named; None if none is."""
    run = _newest(db) if run_id is None else db.get(FleetRun, run_id)
    if run is None:
        return None
    asked = {"terms": run.terms, "created_at": run.created_at}
    return FleetRunExport.model_validate({**run.result, **asked})


def require_result(db: Session, run_id: str | None) -> FleetRunResult:
    """What came of a run, as `result_of`.

    Raises:
        FleetRunNotFound: If there is none.
    """
    found = result_of(db, run_id)
    if found is None:
        raise FleetRunNotFound
    return found


def _newest(db: Session) -> FleetRun | None:
    return db.scalar(select(FleetRun).order_by(FleetRun.id.desc()).limit(1))


def decide(db: Session, asked: DecisionAsked) -> Decision:
    """What the newest run's model says.

    Raises:
        NoFleetModel: If there is none.
        WeightsAltered: If it is not the one that was stored.
    """
    run = _newest(db)
    if run is None:
        raise NoFleetModel
    weights: Weights = storing.get(db, run.model_sha256, SHAPES)
    scale = PriceScale(run.low_eur_per_kwh, run.high_eur_per_kwh)
    chances = fleet.decide(
        weights,
        scale,
        soc=asked.soc_percent / 100,
        price_eur_per_kwh=asked.price_eur_per_kwh,
        hour=asked.hour,
    )
    return Decision.model_validate(
        {
            "action": max(ACTIONS, key=lambda one: chances[one]),
            "probabilities": chances,
            "price_share": float(scale.share(np.array(asked.price_eur_per_kwh))),
            "run_id": run.id,
            "model_sha256": run.model_sha256,
            "trained_at": run.created_at,
            "is_simulated": True,
        }
    )
