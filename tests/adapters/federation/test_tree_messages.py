"""Tasks of trees and their answers on their way through Flower's records, honest and hostile."""

from collections.abc import Callable
from typing import Any

import pytest
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from backend.adapters.federation.messages import Unreadable
from backend.adapters.federation.tree_messages import (
    EXAM,
    GRADE,
    GROW,
    answer_of,
    records_of_answer,
    records_of_task,
    task_of,
)
from backend.federation.tasks import ScoreAnswer
from backend.federation.tree_tasks import (
    ExamAnswer,
    ExamTask,
    GradeTask,
    GrowTask,
    TreeAnswer,
    TreeSettings,
    TreeTask,
)

COMMON: dict[str, Any] = {
    "experiment_id": "run",
    "round_number": 3,
    "participant": "depot",
    "target": "energy_to_full",
    "settings": TreeSettings("regression_l1", 25, learning_rate=0.3, scale=12.5, seed=2**31 - 1),
    "model": "[[]]",
    "parent_hash": "f" * 64,
    "round_id": "run-3",
    "asked_at": 1_800_000_000,
}
GROWING = GrowTask(**COMMON)
GRADING = GradeTask(candidates={"north": "trees of north", "works": "trees of works"}, **COMMON)
EXAMINING = ExamTask(rounds=6, **COMMON)
TREES = TreeAnswer("depot", "tree\n…".replace("…", "version=v4"), 400, {"received_loss": 1.5}, "s")
OPINION = ScoreAnswer("depot", {"north": 0.25, "works": -1.0}, "signed")
FIGURES = ExamAnswer("depot", {"together": 4.5, "rows_test": 200.0}, "signed")


@pytest.mark.parametrize(("task", "kind"), [(GROWING, GROW), (GRADING, GRADE), (EXAMINING, EXAM)])
def test_a_task_arrives_as_it_was_sent(task: TreeTask, kind: str) -> None:
    assert task_of(records_of_task(task), kind) == task


@pytest.mark.parametrize(
    ("said", "task"), [(TREES, GROWING), (OPINION, GRADING), (FIGURES, EXAMINING)]
)
def test_an_answer_arrives_as_it_was_sent(
    said: TreeAnswer | ScoreAnswer | ExamAnswer, task: TreeTask
) -> None:
    assert answer_of(records_of_answer(said), task) == said


def record(**parts: ArrayRecord | ConfigRecord | MetricRecord) -> RecordDict:
    """Honest trees with some parts replaced."""
    records = records_of_answer(TREES)
    for name, part in parts.items():
        records[name] = part
    return records


def words(**said: str | float | bytes) -> ConfigRecord:
    """The words of honest trees with some replaced."""
    honest: dict[str, str | float | bytes] = {
        "participant": "depot",
        "signature": "",
        "num_examples": 9,
        "text": "tree",
    }
    return ConfigRecord({**honest, **said})


HOSTILE: dict[str, tuple[Callable[[], RecordDict], str]] = {
    "nothing": (RecordDict, "no answer"),
    "another's name": (lambda: record(answer=words(participant="north")), "another participant"),
    "a long signature": (lambda: record(answer=words(signature="x" * 5000)), "short text"),
    "a count that is a truth": (lambda: record(answer=words(num_examples=True)), "whole number"),
    "more text than fits": (lambda: record(answer=words(text="1" * 300_000)), "bytes"),
    "letters of no computer": (lambda: record(answer=words(text="Bäume")), "ASCII"),
    "bytes": (lambda: record(answer=words(text=b"tree")), "ASCII"),
    "arrays where words belong": (lambda: record(answer=ArrayRecord()), "no answer"),
    "a hundred figures": (
        lambda: record(metrics=MetricRecord({str(n): 0.0 for n in range(100)})),
        "figures",
    ),
    "a list of figures": (lambda: record(metrics=MetricRecord({"loss": [1.0]})), "list"),
}


@pytest.mark.parametrize(("make", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_answer_is_refused_with_the_reason(
    make: Callable[[], RecordDict], reason: str
) -> None:
    with pytest.raises(Unreadable, match=reason):
        answer_of(make(), GROWING)


def test_opinions_about_trees_that_were_not_shown_are_refused() -> None:
    other = ScoreAnswer("depot", {"stranger": 1.0})

    with pytest.raises(Unreadable, match="not shown"):
        answer_of(records_of_answer(other), GRADING)


def test_an_opinion_is_no_answer_to_growing_nor_the_other_way() -> None:
    with pytest.raises(Unreadable, match="no metrics"):
        answer_of(records_of_answer(OPINION), GROWING)
    with pytest.raises(Unreadable, match="no gains"):
        answer_of(records_of_answer(TREES), GRADING)
