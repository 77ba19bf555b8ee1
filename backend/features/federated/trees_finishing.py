"""The end of a run of trees: what came of it, its files, and its model in the registry."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

import structlog

from backend.adapters.artifacts.files import ArtifactFiles
from backend.database import Database
from backend.features.federated import trees_registry
from backend.features.federated.trees_conducting import Conducted
from backend.features.federated.trees_rows import FEATURES
from backend.features.federated.trees_schemas import (
    GroupedBy,
    TreesCompared,
    TreesLeftOut,
    TreesParticipant,
    TreesRound,
    TreesRunNew,
    TreesRunResult,
    TreesVerdict,
)
from backend.federation.checking import Verdict
from backend.federation.tree_models import as_trees
from backend.federation.tree_rounds import TreeRound, TreeRun, mean_of
from backend.problems import Problem

log = structlog.get_logger("tasco.federated")


class NoTreesAccepted(Problem):
    """The committee refused every participant's trees in every round."""

    status = HTTPStatus.CONFLICT
    fix = "Ask for fewer trees, or send more telemetry; ask again."


class TreesRunLost(Problem):
    """The SuperLink does not answer, or the run ended there without a word."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    fix = "See that the SuperLink of TASCO_FEDERATION_URL runs; ask again."


@dataclass(frozen=True, slots=True)
class Outcome:
    """Who took part in a run, and what it was worth to them.

    Attributes:
        over_all: On all test rows.
        is_better: Whether the shared model does better than what participants have without it.
        better_than: The service's own model that it does better than on the same rows, if any.
        left_over: Vehicles that belong to no participant.
    """

    grouped_by: GroupedBy
    participants: Sequence[TreesParticipant]
    left_out: Sequence[TreesLeftOut]
    over_all: TreesCompared
    is_better: bool
    better_than: str | None
    is_simulated: bool | None
    left_over: int


def require_trees(done: Conducted) -> None:
    """Check that a run came to something.

    Raises:
        NoTreesAccepted: If it did not; its words say what became of the last round.
    """
    if not done.model.bags:
        last = done.rounds[-1]
        said = [f"{one.participant}: {one.reason}" for one in last.judged]
        said += [f"{name}: {why}" for name, why in sorted(done.missing.items())]
        why = "; ".join([last.reason] * bool(last.reason) + said)
        raise NoTreesAccepted(
            f"Nothing was accepted in {len(done.rounds)} rounds. In the last, {why}."
        )


def finish(
    database: Database,
    artifacts: ArtifactFiles,
    asked: TreesRunNew,
    *,
    run: TreeRun,
    done: Conducted,
    outcome: Outcome,
    now: datetime,
    started_s: float,
) -> dict[str, Any]:
    """Store and register the model of a run; gives its result."""
    result = _result(asked, run, done, outcome, now=now)
    result.duration_s = round(time.monotonic() - started_s, 3)
    features = FEATURES[asked.target]
    result.artefact_sha256 = trees_registry.write_files(
        artifacts, done.model, run.settings, result=result, features=features
    )
    with database.transaction() as db:
        trees_registry.register(
            db,
            result,
            features=features,
            terms=asked.model_dump(mode="json"),
            is_better=outcome.is_better,
            better_than=outcome.better_than,
            now=now,
        )
    log.info("trees.trained", run_id=result.run_id, target=asked.target, trees=result.trees)
    return result.model_dump(mode="json")


def _result(
    asked: TreesRunNew, run: TreeRun, done: Conducted, outcome: Outcome, *, now: datetime
) -> TreesRunResult:
    """All but the hash of the files, which hold it."""
    model, settings = done.model, run.settings
    losses = [one.received_loss for one in done.rounds[1:]]
    losses.append(mean_of(list(done.said.values()), "judge_loss"))
    return TreesRunResult(
        run_id=run.experiment_id,
        target=asked.target,
        grouped_by=outcome.grouped_by,
        engine=asked.engine,
        is_simulated=outcome.is_simulated,
        participants=list(outcome.participants),
        left_out=list(outcome.left_out),
        vehicles_without_participant=outcome.left_over,
        rounds=[
            _round(number, one, loss)
            for number, (one, loss) in enumerate(zip(done.rounds, losses, strict=True), 1)
        ],
        over_all=outcome.over_all,
        model_id=run.experiment_id,
        model_sha256=model.content_hash(settings),
        artefact_sha256="",
        model_bytes=len(trees_registry.lightgbm_text(model, settings)),
        trees=len(as_trees(model)),
        bytes_moved=sum(one.bytes_moved for one in done.rounds),
        trained_at=now,
        duration_s=0.0,
    )


def _round(number: int, one: TreeRound, judge_loss: float | None) -> TreesRound:
    return TreesRound(
        round_number=number,
        accepted=sum(each.verdict is Verdict.ACCEPTED for each in one.judged),
        judge_loss=judge_loss,
        reason=one.reason or None,
        verdicts=[TreesVerdict(**asdict(each)) for each in one.judged],
    )
