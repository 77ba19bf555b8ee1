"""Tasks and answers as Flower's records, and back; what a participant sent is read with care."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from numpy.typing import NDArray

from backend.federation.arrays import NotPlain, plain_array
from backend.federation.statements import is_plain
from backend.federation.tasks import (
    MaskAnswer,
    MaskTask,
    NetworkAnswer,
    NetworkTask,
    ScoreAnswer,
    ScoreTask,
    Task,
    TrainAnswer,
    TrainSettings,
    TrainTask,
)
from backend.federation.weights import MAX_BYTES, Weights

TASK, SETTINGS, WEIGHTS, CANDIDATE = "task", "settings", "weights", "candidate."
MASK, LETTERS = "mask", "letters"
ANSWER, DELTA, METRICS, GAINS = "answer", "delta", "metrics", "gains"
MAX_METRICS = 64
MAX_SIGNATURE = 4096


class Unreadable(ValueError):
    """Records that are not the task or answer they should be."""


def records_of_task(task: NetworkTask) -> RecordDict:
    """A task as records: its arrays, and words beside them."""
    if isinstance(task, MaskTask):
        records = records_of_task(task.train)
        step: dict[str, Any] = {"stage": task.stage, "group": task.group}
        records[MASK] = ConfigRecord({**step, "clip_norm": task.clip_norm})
        records[LETTERS] = ConfigRecord(dict(task.letters))
        return records
    records = RecordDict({WEIGHTS: _record(task.weights)})
    records[TASK] = ConfigRecord(
        {
            "experiment_id": task.experiment_id,
            "round_number": task.round_number,
            "participant": task.participant,
            "family": task.family,
            "parent_hash": task.parent_hash,
            "round_id": task.round_id,
            "asked_at": task.asked_at,
        }
    )
    if isinstance(task, TrainTask):
        given = {name: one for name, one in asdict(task.settings).items() if one is not None}
        records[SETTINGS] = ConfigRecord(given)
    else:
        for name in sorted(task.candidates):
            records[CANDIDATE + name] = _record(task.candidates[name])
    return records


def train_task_of(records: RecordDict) -> TrainTask:
    """The training task in records."""
    return TrainTask(**_common(records), settings=TrainSettings(**words_of(records, SETTINGS)))


def score_task_of(records: RecordDict) -> ScoreTask:
    """The scoring task in records."""
    candidates = {
        key.removeprefix(CANDIDATE): _weights(record)
        for key, record in records.array_records.items()
        if key.startswith(CANDIDATE)
    }
    return ScoreTask(**_common(records), candidates=candidates)


def mask_task_of(records: RecordDict) -> MaskTask:
    """The step of a masked sum in records."""
    letters = words_of(records, LETTERS)
    return MaskTask(train_task_of(records), **words_of(records, MASK), letters=letters)


def records_of_answer(answer: NetworkAnswer) -> RecordDict:
    """An answer as records."""
    words: dict[str, Any] = {"participant": answer.participant, "signature": answer.signature}
    if isinstance(answer, MaskAnswer):
        words |= {"stage": answer.stage, "letter": answer.letter}
        return RecordDict({ANSWER: ConfigRecord(words)})
    if isinstance(answer, ScoreAnswer):
        return RecordDict({ANSWER: ConfigRecord(words), GAINS: figures_record(answer.gains)})
    words["num_examples"] = answer.num_examples
    return RecordDict(
        {
            ANSWER: ConfigRecord(words),
            DELTA: _record(answer.delta),
            METRICS: figures_record(answer.metrics),
        }
    )


def answer_of(
    records: RecordDict, asked: NetworkTask, *, max_bytes: int = MAX_BYTES
) -> NetworkAnswer:
    """What a participant answered to a task; values are as it sent them.

    Raises:
        Unreadable: If it is no answer to this task, or too large.
    """
    words = words_of(records, ANSWER)
    signature = signature_of(words, asked)
    if isinstance(asked, MaskTask):
        letter = words.get("letter")
        if words.get("stage") != asked.stage or not isinstance(letter, bytes):
            raise Unreadable("no letter of this stage")
        if len(letter) > max_bytes:
            raise Unreadable(f"{len(letter)} bytes; {max_bytes} are allowed")
        return MaskAnswer(asked.participant, asked.stage, letter, signature)
    if isinstance(asked, ScoreTask):
        return ScoreAnswer(asked.participant, gains_of(records, asked.candidates), signature)
    count = count_of(words)
    delta = _weights(part_of(records.array_records, DELTA), max_bytes=max_bytes)
    metrics = figures_of(part_of(records.metric_records, METRICS), at_most=MAX_METRICS)
    return TrainAnswer(asked.participant, delta, count, metrics, signature)


def _common(records: RecordDict) -> dict[str, Any]:
    return {**words_of(records, TASK), "weights": _weights(part_of(records.array_records, WEIGHTS))}


def signature_of(words: Mapping[str, Any], asked: Task) -> str:
    """What an answer is signed with, if it comes from who was asked."""
    signature = words.get("signature")
    if words.get("participant") != asked.participant:
        raise Unreadable("answers as another participant")
    if not isinstance(signature, str) or len(signature) > MAX_SIGNATURE or not is_plain(signature):
        raise Unreadable("the signature is no short text")
    return signature


def count_of(words: Mapping[str, Any]) -> int:
    """How many examples an answer claims."""
    count = words.get("num_examples")
    if type(count) is not int:  # a bool is an int too
        raise Unreadable("num_examples is no whole number")
    return count


def gains_of(records: RecordDict, candidates: Mapping[str, object]) -> dict[str, float]:
    """What an opinion says of the candidates that were shown."""
    gains = figures_of(part_of(records.metric_records, GAINS), at_most=len(candidates))
    if not set(gains) <= set(candidates):
        raise Unreadable("scores updates it was not shown")
    return gains


def words_of(records: RecordDict, key: str) -> dict[str, Any]:
    """The words, numbers and bytes under a key."""
    return dict(part_of(records.config_records, key))


def part_of(records: Mapping[str, Any], key: str) -> Any:  # noqa: ANN401 - Flower's records
    """The record under a key.

    Raises:
        Unreadable: If there is none.
    """
    if key not in records:
        raise Unreadable(f"there is no {key}")
    return records[key]


def figures_record(values: Mapping[str, float]) -> MetricRecord:
    """Figures as a record."""
    return MetricRecord({name: float(values[name]) for name in sorted(values)})


def figures_of(record: Mapping[str, Any], *, at_most: int) -> dict[str, float]:
    """The figures in a record, not too many."""
    if len(record) > at_most:
        raise Unreadable(f"{len(record)} figures; {at_most} are allowed")
    if any(isinstance(value, list) for value in record.values()):
        raise Unreadable("a figure is a list")
    return {str(name): float(value) for name, value in record.items()}


def _record(weights: Weights) -> ArrayRecord:
    return ArrayRecord({name: Array(np.asarray(weights[name])) for name in sorted(weights)})


def _weights(record: Mapping[str, Array], *, max_bytes: int = MAX_BYTES) -> Weights:
    total = sum(len(one.data) for one in record.values())
    if total > max_bytes:
        raise Unreadable(f"{total} bytes; {max_bytes} are allowed")
    return {str(name): _array(one) for name, one in record.items()}


def _array(one: Array) -> NDArray[np.float32]:
    """Read an array of numbers of any type: whether it is of the right one is for others to say."""
    try:
        return plain_array(one.data)
    except NotPlain as bad:
        raise Unreadable(str(bad)) from bad
