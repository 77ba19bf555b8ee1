"""Runs of trees: read each participant's telemetry, grow round by round, compare, register."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

import structlog
from sqlalchemy.orm import Session

from backend.adapters.artifacts.files import ArtifactFiles
from backend.compute import Compute
from backend.database import Database, new_id
from backend.features.federated import trees_registry
from backend.features.federated.trees_comparing import Compared, compare
from backend.features.federated.trees_grouping import FEWEST, WORDS, Grouping, TooFewForTrees
from backend.features.federated.trees_rows import (
    FEATURES,
    TooFewRows,
    rows_by_participant,
    settings_of,
)
from backend.features.federated.trees_schemas import (
    TreesLeftOut,
    TreesParticipant,
    TreesRound,
    TreesRunNew,
    TreesRunResult,
    TreesVerdict,
)
from backend.features.forecasts.vehicles_queries import (
    LEARNED_FROM,
    gathered,
    home_of,
    traces_of,
)
from backend.features.jobs.service import Report
from backend.federation.checking import Verdict
from backend.federation.tree_rounds import SiteRows, TreeRound, advance, as_trees
from backend.federation.trees import TreeModel, TreeSettings
from backend.forecasting.telemetry_features import Fleet, Trace
from backend.problems import Problem

log = structlog.get_logger("tasco.federated")
ROWS_TIMEOUT_S, ROUND_TIMEOUT_S, COMPARING_TIMEOUT_S = 600.0, 600.0, 1_800.0


class NoTreesAccepted(Problem):
    """The committee refused every participant's trees in every round."""

    status = HTTPStatus.CONFLICT
    fix = "Ask for fewer trees, or send more telemetry; ask again."


@dataclass(frozen=True, slots=True, eq=False)
class Gathered:
    """What a run begins with.

    Attributes:
        sites: Rows of who takes part.
        vehicles: How many each has.
        left_out: Who does not take part, and why.
    """

    sites: Mapping[str, SiteRows]
    vehicles: Mapping[str, int]
    left_out: tuple[TreesLeftOut, ...]


def train_trees(
    database: Database,
    artifacts: ArtifactFiles,
    asked: TreesRunNew,
    *,
    grouping: Grouping,
    compute: Compute,
    gap_min: float,
    now: datetime,
    report: Report,
) -> dict[str, Any]:
    """Let participants grow trees together and say what that is worth to each.

    Raises:
        TooFewForTrees: If fewer than three have rows enough.
        NoTreesAccepted: If no round came to anything.
    """
    started_s = time.monotonic()
    report(0.02, "reading telemetry")
    with database.reading() as db:
        fleets = _fleets(db, grouping, gap_min=gap_min, now=now)
    report(0.1, f"preparing rows of {len(fleets)} participants")
    known = _gathered(fleets, asked, compute, by=grouping)
    settings = settings_of(asked.target, trees=asked.trees_per_round, seed=asked.seed)
    rounds: list[TreeRound] = []
    model = TreeModel()
    for number in range(1, asked.rounds + 1):
        report(0.2 + 0.6 * (number - 1) / asked.rounds, f"round {number} of {asked.rounds}")
        rounds.append(
            compute.run(advance, ROUND_TIMEOUT_S, model, known.sites, settings, number=number)
        )
        model = rounds[-1].model
    if not model.bags:
        raise NoTreesAccepted(_refusals(rounds))
    report(0.8, "comparing with trees grown alone and in one place")
    compared = compute.run(
        compare, COMPARING_TIMEOUT_S, model, known.sites, settings, asked.target, asked.rounds
    )
    result = _result(asked, known, rounds, compared, grouping=grouping, settings=settings, now=now)
    result.duration_s = round(time.monotonic() - started_s, 3)
    features = FEATURES[asked.target]
    result.artefact_sha256 = trees_registry.write_files(
        artifacts, model, settings, result=result, features=features
    )
    with database.transaction() as db:
        trees_registry.register(
            db,
            result,
            features=features,
            terms=asked.model_dump(mode="json"),
            is_better=compared.is_better,
            now=now,
        )
    log.info("trees.trained", run_id=result.run_id, target=asked.target, trees=result.trees)
    return result.model_dump(mode="json")


def _fleets(db: Session, grouping: Grouping, *, gap_min: float, now: datetime) -> dict[str, Fleet]:
    """Each participant's vehicles by themselves; none of it knows of another's."""
    owner = {did: name for name, dids in grouping.members.items() for did in dids}
    traces: dict[str, list[Trace]] = {name: [] for name in grouping.members}
    for trace in traces_of(db, since=now - LEARNED_FROM, until=now):
        if trace.vehicle_id in owner and not trace.is_very_short:
            traces[owner[trace.vehicle_id]].append(trace)
    usual = home_of(db)
    places = {name: (one.timezone, one.country) for name, one in grouping.places.items()}
    return {
        name: gathered(own, home=places.get(name, usual), now=now, gap_min=gap_min)
        for name, own in traces.items()
        if own
    }


def _gathered(
    fleets: Mapping[str, Fleet], asked: TreesRunNew, compute: Compute, *, by: Grouping
) -> Gathered:
    """The rows of all who have enough.

    Raises:
        TooFewForTrees: If these are fewer than three.
    """
    rows = compute.run(rows_by_participant, ROWS_TIMEOUT_S, fleets, asked.target, seed=asked.seed)
    reasons = {name: one.reason for name, one in rows.items() if isinstance(one, TooFewRows)}
    silent = "no vehicle has two days of telemetry"
    reasons |= dict.fromkeys(by.members.keys() - fleets.keys(), silent)
    sites = {name: one for name, one in rows.items() if isinstance(one, SiteRows)}
    if len(sites) < FEWEST:
        why = "; ".join(f"{name}: {reason}" for name, reason in sorted(reasons.items()))
        raise TooFewForTrees(
            f"{len(sites)} of {len(by.members)} {WORDS[by.by]} have rows enough, {FEWEST} are "
            f"needed. {why}."
        )
    left_out = (TreesLeftOut(participant=name, reason=reasons[name]) for name in sorted(reasons))
    vehicles = {name: len(fleets[name].traces) for name in sites}
    return Gathered(sites, vehicles, tuple(left_out))


def _refusals(rounds: list[TreeRound]) -> str:
    last = "; ".join(f"{one.participant}: {one.reason}" for one in rounds[-1].judged)
    return f"Nothing was accepted in {len(rounds)} rounds. In the last, {last}."


def _result(
    asked: TreesRunNew,
    known: Gathered,
    rounds: Sequence[TreeRound],
    compared: Compared,
    *,
    grouping: Grouping,
    settings: TreeSettings,
    now: datetime,
) -> TreesRunResult:
    """All but the hash of the files, which hold it."""
    model, run_id = rounds[-1].model, new_id("trr")
    is_demo = [one.is_demo for name, one in grouping.places.items() if name in known.sites]
    return TreesRunResult(
        run_id=run_id,
        target=asked.target,
        grouped_by=grouping.by,
        engine="embedded",
        is_simulated=any(is_demo) if is_demo else None,
        participants=[_participant(name, known, compared) for name in known.sites],
        left_out=list(known.left_out),
        vehicles_without_participant=grouping.left_over,
        rounds=[_round(number, one) for number, one in enumerate(rounds, 1)],
        over_all=compared.over_all,
        model_id=run_id,
        model_sha256=model.content_hash(settings),
        artefact_sha256="",
        model_bytes=len(trees_registry.lightgbm_text(model, settings)),
        trees=len(as_trees(model)),
        bytes_moved=sum(one.bytes_moved for one in rounds),
        trained_at=now,
        duration_s=0.0,
    )


def _participant(name: str, known: Gathered, compared: Compared) -> TreesParticipant:
    rows = known.sites[name]
    return TreesParticipant(
        participant=name,
        vehicles=known.vehicles[name],
        rows_train=len(rows.train.targets),
        rows_judge=len(rows.judge.targets),
        rows_test=len(rows.test.targets),
        **dict(compared.each[name]),
    )


def _round(number: int, one: TreeRound) -> TreesRound:
    return TreesRound(
        round_number=number,
        accepted=sum(each.verdict is Verdict.ACCEPTED for each in one.judged),
        judge_loss=one.judge_loss,
        verdicts=[TreesVerdict(**asdict(each)) for each in one.judged],
    )
