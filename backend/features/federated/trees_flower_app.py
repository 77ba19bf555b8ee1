"""What a run of trees on a SuperLink does: conducted there, among nodes that keep their rows.

Like `flower_app`, it reads this service's settings in the SuperLink's process, where it stores the
model, or why there is none.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import closing

from backend.adapters.artifacts.files import ArtifactFiles
from backend.adapters.federation.exchange import Exchange
from backend.clock import Clock, SystemClock
from backend.database import Database
from backend.features.credentials.audit import note
from backend.features.federated.flower_app import Enrolled
from backend.features.federated.models import FLOWER
from backend.features.federated.signatures import Checked
from backend.features.federated.trees_conducting import Conducted, conduct
from backend.features.federated.trees_finishing import (
    NoTreesAccepted,
    Outcome,
    finish,
    require_trees,
)
from backend.features.federated.trees_grouping import TooFewForTrees
from backend.features.federated.trees_rows import MOST_ROWS, settings_of
from backend.features.federated.trees_schemas import (
    TreesCompared,
    TreesFigures,
    TreesLeftOut,
    TreesParticipant,
    TreesRunNew,
    TreeTarget,
)
from backend.federation.tree_rounds import FEWEST, TreeRun
from backend.settings import read_settings

RUN, TERMS = "run-id", "terms"
REFUSALS = (TooFewForTrees, NoTreesAccepted)
REFUSED, OPERATOR = "federated.trees_refused", "operator"
SILENT = "took part, and did not say how the model does"
CASES = ("simple_rule", "alone", "together")
Figures = Mapping[str, float]


def conduct_run(exchange: Exchange, settings: Mapping[str, str]) -> None:
    """Conduct the run of trees that the settings tell of; a refusal is noted in the audit trail."""
    own, clock = read_settings(), SystemClock()
    with closing(Database(own.database_url)) as database:
        enrolled = Enrolled(exchange, database, clock)
        checked = Checked(enrolled, database, engine=FLOWER, clock=clock)
        files = ArtifactFiles(own.artifacts_dir)
        asked = TreesRunNew.model_validate_json(settings[TERMS])
        try:
            grow_among(checked, database, files, asked, run_id=settings[RUN], clock=clock)
        except REFUSALS as problem:
            facts = {"code": problem.code(), "detail": str(problem)}
            with database.transaction() as db:
                note(
                    db,
                    now=clock.now(),
                    actor=OPERATOR,
                    action=REFUSED,
                    object_id=settings[RUN],
                    facts=facts,
                )


def grow_among(
    exchange: Exchange,
    database: Database,
    artifacts: ArtifactFiles,
    asked: TreesRunNew,
    *,
    run_id: str,
    clock: Clock,
) -> None:
    """Let the nodes of an exchange grow trees together, and register the model.

    Raises:
        TooFewForTrees: If fewer than three are connected.
        NoTreesAccepted: If no round came to anything.
    """
    started_s, names = time.monotonic(), exchange.participants()
    if len(names) < FEWEST:
        raise TooFewForTrees(f"{len(names)} nodes are connected; {FEWEST} are needed.")
    settings = settings_of(asked.target, trees=asked.trees_per_round, seed=asked.seed)
    run = TreeRun(run_id, asked.target, settings)
    done = conduct(
        exchange, names, run, rounds=asked.rounds, alone=asked.rounds, clock=clock, report=_unseen
    )
    require_trees(done)
    outcome = outcome_of(done, asked.target, names=names)
    now = clock.now()
    finish(
        database,
        artifacts,
        asked,
        run=run,
        done=done,
        outcome=outcome,
        now=now,
        started_s=started_s,
    )


def outcome_of(done: Conducted, target: TreeTarget, *, names: Sequence[str]) -> Outcome:
    """Who took part and what they say of it: their word is all there is, so most have to say so."""
    better = [one for one in done.said.values() if _is_better(one)]
    took_part = [name for name in names if name not in done.missing]
    return Outcome(
        grouped_by="node",
        participants=[_participant(name, done.said[name], target) for name in sorted(done.said)],
        left_out=[
            TreesLeftOut(participant=name, reason=done.missing.get(name, SILENT))
            for name in names
            if name not in done.said
        ],
        over_all=_compared(_mean(list(done.said.values())), target),
        is_better=2 * len(better) > len(took_part),
        better_than=None,  # nobody has tried that at the nodes
        is_simulated=None,
        left_over=0,
    )


def _is_better(said: Figures) -> bool:
    others = [said[case] for case in ("simple_rule", "alone") if case in said]
    return "together" in said and bool(others) and said["together"] < min(others)


def _mean(said: list[Figures]) -> Figures:
    """Means over all test rows of who says everything; nobody has more than a file holds."""
    whole = [one for one in said if {*CASES, "rows_test"} <= one.keys()]
    rows = [min(max(one["rows_test"], 0.0), MOST_ROWS[2]) for one in whole]
    total = sum(rows)
    if not total:
        return {}
    return {
        case: sum(one[case] * count for one, count in zip(whole, rows, strict=True)) / total
        for case in CASES
    }


def _participant(name: str, said: Figures, target: TreeTarget) -> TreesParticipant:
    train, judge, test = (int(said.get(f"rows_{part}", 0)) for part in ("train", "judge", "test"))
    return TreesParticipant(
        participant=name,
        vehicles=None,
        rows_train=train,
        rows_judge=judge,
        rows_test=test,
        **dict(_compared(said, target)),
    )


def _compared(said: Figures, target: TreeTarget) -> TreesCompared:
    each = {case: _figures(said.get(case), target) for case in CASES}
    return TreesCompared(**each, central=_figures(None, target))


def _figures(loss: float | None, target: TreeTarget) -> TreesFigures:
    is_energy = target == "energy_to_full"
    return TreesFigures(
        auc=None, log_loss=None if is_energy else loss, mae_points=loss if is_energy else None
    )


def _unseen(_share: float, _stage: str) -> None:
    """Who follows the run waits for its end."""
