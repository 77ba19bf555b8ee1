"""The exchange over a Flower Grid: threads of this process or a SuperLink, it is all the same."""

from collections.abc import Callable, Mapping, Sequence

import structlog
from flwr.app import Message, MessageType
from flwr.serverapp import Grid

from backend.adapters.federation import messages
from backend.federation.tasks import Answer, MaskTask, ScoreTask, Task, TrainTask

log = structlog.get_logger("tasco.federation")
LATE = "no answer in time"
MAX_REASON = 200  # characters of what a node says of its failure
_KINDS: dict[type[Task], str] = {
    TrainTask: MessageType.TRAIN,
    ScoreTask: MessageType.EVALUATE,
    MaskTask: MessageType.QUERY,
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
        self._missing = {name: "not connected" for name in by_name if name not in nodes}
        sent = {nodes[name]: task for name, task in by_name.items() if name in nodes}
        answers = self._replies(sent, timeout_s)
        for name, reason in self._missing.items():
            log.info("federation.no_answer", participant=name, reason=reason)
        return [answers[name] for name in by_name if name in answers]

    def missing(self) -> Mapping[str, str]:
        """Why who was asked last and did not answer did not."""
        return dict(self._missing)

    def close(self) -> None:
        """End what the grid runs on."""
        self._on_close()

    def _replies(self, sent: Mapping[int, Task], timeout_s: float) -> dict[str, Answer]:
        self._missing |= {task.participant: LATE for task in sent.values()}
        outgoing = [_message(task, node, timeout_s) for node, task in sent.items()]
        answers = {}
        replies = self._grid.send_and_receive(outgoing, timeout=timeout_s) if outgoing else ()
        for reply in replies:
            task = sent.get(reply.metadata.src_node_id)
            if task is None or task.participant in answers:
                continue
            try:
                answers[task.participant] = _answer(reply, task)
                del self._missing[task.participant]
            except messages.Unreadable as unreadable:
                self._missing[task.participant] = str(unreadable)
        return answers


def _message(task: Task, node_id: int, timeout_s: float) -> Message:
    kind = _KINDS[type(task)]
    group = str(task.round_number)
    # A node that comes back after the deadline is not given the task any more.
    return Message(
        messages.records_of_task(task), node_id, kind, ttl=max(timeout_s, 1.0), group_id=group
    )


def _answer(reply: Message, task: Task) -> Answer:
    if reply.has_error():
        reason = reply.error.reason or f"error {reply.error.code}"
        raise messages.Unreadable(reason[:MAX_REASON])
    return messages.answer_of(reply.content, task)
