"""Tasks of trees as Flower's records, and what a participant sent back, read with care.

Trees travel as text. What a text holds is for `tree_text` to read and for the gate to judge; here
it is only bounded.
"""

from dataclasses import asdict
from typing import Any

from flwr.app import ConfigRecord, MessageType, RecordDict

from backend.adapters.federation.messages import (
    ANSWER,
    GAINS,
    MAX_METRICS,
    METRICS,
    SETTINGS,
    TASK,
    Unreadable,
    count_of,
    figures_of,
    figures_record,
    gains_of,
    part_of,
    signature_of,
    words_of,
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
from backend.federation.tree_text import MAX_BYTES

ACTION = "trees"
GROW, GRADE, EXAM = (
    f"{kind}.{ACTION}" for kind in (MessageType.TRAIN, MessageType.EVALUATE, MessageType.QUERY)
)
CANDIDATES = "candidates"
_TASKS: dict[str, type[TreeTask]] = {GROW: GrowTask, GRADE: GradeTask, EXAM: ExamTask}


def records_of_task(task: TreeTask) -> RecordDict:
    """A task as records: its words, how to grow, and what to grade."""
    words = {
        name: value for name, value in asdict(task).items() if name not in (SETTINGS, CANDIDATES)
    }
    records = RecordDict({TASK: ConfigRecord(words), SETTINGS: ConfigRecord(asdict(task.settings))})
    if isinstance(task, GradeTask):
        records[CANDIDATES] = ConfigRecord(dict(task.candidates))
    return records


def task_of(records: RecordDict, message_type: str) -> TreeTask:
    """The task in the records of a message."""
    words = words_of(records, TASK)
    words[SETTINGS] = TreeSettings(**words_of(records, SETTINGS))
    if message_type == GRADE:
        words[CANDIDATES] = words_of(records, CANDIDATES)
    return _TASKS[message_type](**words)


def records_of_answer(answer: TreeAnswer | ScoreAnswer | ExamAnswer) -> RecordDict:
    """An answer as records."""
    words: dict[str, Any] = {"participant": answer.participant, "signature": answer.signature}
    if isinstance(answer, ScoreAnswer):
        figures = {GAINS: answer.gains}
    elif isinstance(answer, ExamAnswer):
        figures = {METRICS: answer.figures}
    else:
        words |= {"text": answer.text, "num_examples": answer.num_examples}
        figures = {METRICS: answer.metrics}
    [(key, values)] = figures.items()
    return RecordDict({ANSWER: ConfigRecord(words), key: figures_record(values)})


def answer_of(records: RecordDict, asked: TreeTask) -> TreeAnswer | ScoreAnswer | ExamAnswer:
    """What a participant answered to a task; texts and values are as it sent them.

    Raises:
        Unreadable: If it is no answer to this task, or too large.
    """
    words = words_of(records, ANSWER)
    signature = signature_of(words, asked)
    if isinstance(asked, GradeTask):
        return ScoreAnswer(asked.participant, gains_of(records, asked.candidates), signature)
    said = figures_of(part_of(records.metric_records, METRICS), at_most=MAX_METRICS)
    if isinstance(asked, ExamTask):
        return ExamAnswer(asked.participant, said, signature)
    text = words.get("text")
    if not isinstance(text, str) or not text.isascii():
        raise Unreadable("the trees are no text of ASCII")
    if len(text) > MAX_BYTES:
        raise Unreadable(f"{len(text)} bytes; {MAX_BYTES} are allowed")
    return TreeAnswer(asked.participant, text, count_of(words), said, signature)
