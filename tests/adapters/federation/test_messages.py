"""Tasks and answers on their way through Flower's records, honest and hostile ones."""

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from numpy.lib import format as npy
from numpy.typing import NDArray

from backend.adapters.federation.messages import (
    Unreadable,
    answer_of,
    records_of_answer,
    records_of_task,
    score_task_of,
    train_task_of,
)
from backend.federation.networks import initial_weights
from backend.federation.tasks import ScoreAnswer, TrainAnswer, TrainSettings
from backend.federation.weights import content_hash
from tests.adapters.federation.scene import score_tasks, train_tasks

[TASK] = train_tasks(["depot"])
DELTA = initial_weights("mlp", 8)
UPDATE = TrainAnswer("depot", DELTA, 100, {"train_loss": 0.5}, "signed")
[SCORING] = score_tasks(["depot"], TASK, {"north": DELTA, "works": initial_weights("mlp", 9)})
OPINION = ScoreAnswer("depot", {"north": 0.25, "works": -1.0}, "signed")


def claiming(shape: tuple[int, ...], data: bytes) -> Array:
    """An array whose header says more than is there."""
    file = io.BytesIO()
    npy.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return Array(dtype="float32", shape=shape, stype="numpy.ndarray", data=file.getvalue() + data)


def pickled() -> Array:
    """An array that unpickling would bring to life."""
    file = io.BytesIO()
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return Array(dtype="object", shape=(1,), stype="numpy.ndarray", data=file.getvalue())


@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_a_training_task_arrives_as_it_was_sent(clip_norm: float | None) -> None:
    sent = replace(TASK, settings=TrainSettings(clip_norm=clip_norm, seed=2**62))

    task = train_task_of(records_of_task(sent))

    assert replace(task, weights={}) == replace(sent, weights={})
    assert content_hash(task.weights) == sent.parent_hash


def test_a_scoring_task_arrives_as_it_was_sent() -> None:
    task = score_task_of(records_of_task(SCORING))

    assert replace(task, weights={}, candidates={}) == replace(SCORING, weights={}, candidates={})
    for name, candidate in SCORING.candidates.items():
        assert content_hash(task.candidates[name]) == content_hash(candidate)


def test_answers_arrive_as_they_were_sent() -> None:
    update = answer_of(records_of_answer(UPDATE), TASK)
    opinion = answer_of(records_of_answer(OPINION), SCORING)

    assert isinstance(update, TrainAnswer)
    assert content_hash(update.delta) == content_hash(DELTA)
    assert replace(update, delta={}) == replace(UPDATE, delta={})
    assert opinion == OPINION


@pytest.mark.parametrize(
    "array",
    [
        np.full((3, 2), np.nan, np.float32),
        np.zeros((1,), np.float64),
        np.zeros((0, 5), np.int8),
        np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    ],
    ids=["not a number", "other type and shape", "empty", "other order"],
)
def test_what_a_checker_has_to_judge_arrives_unaltered(array: NDArray[np.float32]) -> None:
    update = answer_of(records_of_answer(replace(UPDATE, delta={"x": array})), TASK)

    assert isinstance(update, TrainAnswer)
    np.testing.assert_array_equal(update.delta["x"], array)
    assert update.delta["x"].dtype == array.dtype


def record(**parts: RecordDict | ArrayRecord | ConfigRecord | MetricRecord) -> RecordDict:
    """An honest update with some parts replaced."""
    records = records_of_answer(UPDATE)
    for name, part in parts.items():
        records[name] = part  # type: ignore[assignment]  # the tests put every kind in
    return records


def answer(**words: str | float) -> ConfigRecord:
    """The words of an honest update with some replaced."""
    return ConfigRecord({"participant": "depot", "signature": "", "num_examples": 9, **words})


HOSTILE: dict[str, tuple[Callable[[], RecordDict], str]] = {
    "nothing": (RecordDict, "no answer"),
    "another's name": (lambda: record(answer=answer(participant="north")), "another participant"),
    "a count that is a truth": (lambda: record(answer=answer(num_examples=True)), "whole number"),
    "a count that is a fraction": (lambda: record(answer=answer(num_examples=1.5)), "whole number"),
    "a long signature": (lambda: record(answer=answer(signature="x" * 5000)), "short text"),
    "more than fits": (
        lambda: record(delta=ArrayRecord({"w": Array(np.zeros(2**21, np.float32))})),
        "bytes",
    ),
    "a header that claims 4 TB": (
        lambda: record(delta=ArrayRecord({"w": claiming((10**12,), b"1234")})),
        "not as large",
    ),
    "a pickle": (lambda: record(delta=ArrayRecord({"w": pickled()})), "array of numbers"),
    "no array at all": (
        lambda: record(delta=ArrayRecord({"w": Array("f4", (1,), "numpy.ndarray", b"\x80\x04.")})),
        "array of numbers",
    ),
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
        answer_of(make(), TASK)


def test_opinions_about_updates_that_were_not_shown_are_refused() -> None:
    other = replace(OPINION, gains={"stranger": 1.0})

    with pytest.raises(Unreadable, match="not shown"):
        answer_of(records_of_answer(other), SCORING)
