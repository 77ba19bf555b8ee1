"""The exchange over a Flower Grid: threads of this process or a SuperLink, it is all the same."""

import time
from collections.abc import Callable, Mapping, Sequence

import structlog
from flwr.app import Message, MessageType
from flwr.serverapp import Grid

from backend.adapters.federation import messages, tree_messages
from backend.federation.tasks import Answer, MaskTask, ScoreTask, Task, TrainTask
from backend.federation.tree_tasks import ExamTask, GradeTask, GrowTask, TreeTask

log = structlog.get_logger("tasco.federation")
LATE, ABSENT = "no answer in time", "not connected"
FIRST_PAUSE_S, PAUSE_SHARE, LONGEST_PAUSE_S = 0.001, 0.05, 1.0
MAX_REASON = 200  # characters of what a node says of its failure
_KINDS: dict[type[Task], str] = {
    TrainTask: MessageType.TRAIN,
    ScoreTask: MessageType.EVALUATE,
    MaskTask: MessageType.QUERY,
    GrowTask: tree_messages.GROW,
    GradeTask: tree_messages.GRADE,
    ExamTask: tree_messages.EXAM,
}


class GridExchange:
    """Asks the nodes of a grid.

    Args:
        grid: Whose nodes run our ClientApp.
        nodes: The node of each participant, by name; asked anew for each `ask`.
        on_close: What ends with the exchange.
    """

    def __init__(
        self,
        grid: Grid,
        nodes: Callable[[], Mapping[str, int]],
        *,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        self._grid, self._nodes, self._on_close = grid, nodes, on_close
        self._missing: dict[str, str] = {}

    def participants(self) -> Sequence[str]:
        """The names of the nodes that are connected, in order."""
        return sorted(self._nodes())

    def ask(self, tasks: Sequence[Task], *, timeout_s: float) -> list[Answer]:
        """Send each task to its node; see `Exchange`.

        Raises:
            ValueError: If two tasks are for one participant.
        """
        by_name = {task.participant: task for task in tasks}
        if len(by_name) != len(tasks):
            raise ValueError("A participant gets one task at a time.")
        nodes = self._nodes()
        here = [task for task in tasks if task.participant in nodes]
        sent = self._send(here, nodes, timeout_s)
        waited_for = {task.participant for task in sent.values()}
        self._missing = {name: LATE if name in waited_for else ABSENT for name in by_name}
        answers = self._receive(sent, timeout_s)
        for name, reason in self._missing.items():
            log.info("federation.no_answer", participant=name, reason=reason)
        return [answers[name] for name in by_name if name in answers]

    def missing(self) -> Mapping[str, str]:
        """Why who was asked last and did not answer did not."""
        return dict(self._missing)

    def close(self) -> None:
        """End what the grid runs on."""
        self._on_close()

    def _send(
        self, tasks: Sequence[Task], nodes: Mapping[str, int], timeout_s: float
    ) -> dict[str, Task]:
        """The tasks by the ids of their messages; a node that was let go just now gets none."""
        outgoing = [_message(task, nodes[task.participant], timeout_s) for task in tasks]
        ids = self._grid.push_messages(outgoing) if outgoing else ()
        return {one: task for one, task in zip(ids, tasks, strict=True) if one}

    def _receive(self, sent: dict[str, Task], timeout_s: float) -> dict[str, Answer]:
        """Look for replies until all are there; ever more seldom, as long rounds need no haste."""
        began, answers = time.monotonic(), dict[str, Answer]()
        while sent:
            for reply in self._grid.pull_messages(list(sent)):
                task = sent.pop(reply.metadata.reply_to_message_id, None)
                if task is not None:
                    self._take(reply, task, answers)
            left_s = began + timeout_s - time.monotonic()
            if not sent or left_s <= 0:
                break
            pause_s = FIRST_PAUSE_S + PAUSE_SHARE * (timeout_s - left_s)
            time.sleep(min(pause_s, LONGEST_PAUSE_S, left_s))
        return answers

    def _take(self, reply: Message, task: Task, answers: dict[str, Answer]) -> None:
        try:
            answers[task.participant] = _answer(reply, task)
            del self._missing[task.participant]
        except messages.Unreadable as unreadable:
            self._missing[task.participant] = str(unreadable)


def _message(task: Task, node_id: int, timeout_s: float) -> Message:
    kind = _KINDS[type(task)]
    group = str(task.round_number)
    if isinstance(task, TreeTask):
        records = tree_messages.records_of_task(task)
    else:
        records = messages.records_of_task(task)
    # A node that comes back after the deadline is not given the task any more.
    return Message(records, node_id, kind, ttl=max(timeout_s, 1.0), group_id=group)


def _answer(reply: Message, task: Task) -> Answer:
    if not reply.has_content():
        reason = reply.error.reason if reply.has_error() else None
        raise messages.Unreadable((reason or "an empty reply")[:MAX_REASON])
    if isinstance(task, TreeTask):
        return tree_messages.answer_of(reply.content, task)
    return messages.answer_of(reply.content, task)
