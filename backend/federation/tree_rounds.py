"""Rounds of trees among sites that each keep their rows, whatever carries the tasks to them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backend.federation.committee import committee_size, draw
from backend.federation.statements import is_figure
from backend.federation.tasks import Answer, ScoreAnswer
from backend.federation.tree_models import TreeModel, model_text, text_of
from backend.federation.tree_participant import answer
from backend.federation.tree_rows import Sites
from backend.federation.tree_tasks import (
    ExamAnswer,
    ExamTask,
    GradeTask,
    GrowTask,
    TreeAnswer,
    TreeSettings,
    TreeTask,
)
from backend.federation.trees import TreesJudged, bagged, checked

FEWEST = 3
Ask = Callable[[Sequence[TreeTask]], Sequence[Answer]]
"""Brings each task to its participant; gives the answers that came."""


@dataclass(frozen=True, slots=True)
class TreeRun:
    """What the tasks of a run have in common.

    Attributes:
        experiment_id: Its id.
        target: What is foretold.
        settings: How trees are grown.
    """

    experiment_id: str
    target: str
    settings: TreeSettings


@dataclass(frozen=True, slots=True, eq=False)
class TreeRound:
    """How a round ended.

    Attributes:
        model: The shared one after it.
        judged: A verdict on each site's trees.
        received_loss: Mean of what the sites say, of the model before it on their `judge` rows.
        bytes_moved: Texts of trees, to the sites and from them.
        reason: Why the model stayed as it was, where too few answered.
    """

    model: TreeModel
    judged: tuple[TreesJudged, ...]
    received_loss: float | None
    bytes_moved: int
    reason: str = ""


def among(sites: Sites) -> Ask:
    """Who asks the sites of this process, one after the other."""
    return lambda tasks: [answer(task, sites[task.participant]) for task in tasks]


def advance(
    model: TreeModel,
    names: Sequence[str],
    run: TreeRun,
    ask: Ask,
    *,
    number: int,
    asked_at: int = 0,
) -> TreeRound:
    """One round: every site grows trees, a committee judges them, what it accepts is bagged.

    Args:
        model: The shared one.
        names: The participants.
        run: Which run.
        ask: Brings the tasks.
        number: Of the round, from 1.
        asked_at: Seconds since 1970.

    Returns:
        The round; with fewer than three sets of trees, or less than half of the committee, the
        model stays.
    """
    common = _common(model, run, number, asked_at)
    growing = [GrowTask(participant=name, **common) for name in names]
    grown = [one for one in ask(growing) if isinstance(one, TreeAnswer)]
    sound, refused = checked(grown, run.settings)
    moved = sum(map(_size, growing)) + sum(len(one.text) for one in grown)
    losses = mean_of([one.metrics for one in grown], "received_loss")
    if len(grown) < FEWEST:
        reason = f"{len(grown)} of {len(names)} sent trees; {FEWEST} are needed"
        return TreeRound(model, tuple(refused), losses, moved, reason)
    candidates = {name: text_of(trees, run.settings) for name, trees in sound.items()}
    grading = [
        GradeTask(participant=name, candidates=candidates, **common)
        for name in _committee([one.participant for one in grown], run, number)
        if candidates
    ]
    scores = [one for one in ask(grading) if isinstance(one, ScoreAnswer)] if grading else []
    moved += sum(map(_size, grading))
    if 2 * len(scores) < len(grading):
        reason = f"{len(scores)} of {len(grading)} in the committee said anything"
        return TreeRound(model, tuple(refused), losses, moved, reason)
    following, judged = bagged(model, grown, scores, run.settings)
    return TreeRound(following, judged, losses, moved)


def examine(
    model: TreeModel,
    names: Sequence[str],
    run: TreeRun,
    ask: Ask,
    *,
    number: int,
    alone: int = 0,
    asked_at: int = 0,
) -> dict[str, Mapping[str, float]]:
    """What each site says of the finished model, by name; what is no figure is left out.

    `number` is one more than the last round's, and `alone` so many rounds of trees that each grows
    alone, to compare with; the others are as in `advance`.
    """
    common = _common(model, run, number, asked_at)
    said = ask([ExamTask(participant=name, rounds=alone, **common) for name in names])
    return {
        one.participant: {
            name: float(value) for name, value in one.figures.items() if is_figure(name, value)
        }
        for one in said
        if isinstance(one, ExamAnswer)
    }


def mean_of(said: Sequence[Mapping[str, float]], name: str) -> float | None:
    """The mean of a figure over who says it; nothing hangs on it."""
    known = [float(one[name]) for one in said if is_figure(name, one.get(name))]
    return float(np.mean(known)) if known else None


def _common(model: TreeModel, run: TreeRun, number: int, asked_at: int) -> dict[str, Any]:
    return {
        "experiment_id": run.experiment_id,
        "round_number": number,
        "target": run.target,
        "settings": run.settings,
        "model": model_text(model, run.settings),
        "parent_hash": model.content_hash(run.settings),
        "round_id": f"{run.experiment_id}-{number}",
        "asked_at": asked_at,
    }


def _committee(names: Sequence[str], run: TreeRun, number: int) -> tuple[str, ...]:
    size, seed = committee_size(len(names)), run.settings.seed
    return draw(list(names), size, seed=seed, round_number=number, purpose="committee")


def _size(task: GrowTask | GradeTask) -> int:
    candidates = task.candidates.values() if isinstance(task, GradeTask) else ()
    return len(task.model) + sum(map(len, candidates))
