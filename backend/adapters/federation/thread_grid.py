"""A Flower Grid whose nodes are threads of this process.

Flower's own simulation needs Ray, processes and seconds. Here the ClientApp object that a
SuperNode would run is called in a thread, with a copy of each message in and out, so no array is
shared between server and node. Two of Flower's inner names are touched, and only here:
`TaskIdentity`, without which no message can be made, and a message's `_message_id`, which the
SuperLink would set.
"""

import itertools
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from copy import deepcopy

from flwr.app import Context, Error, Message, RecordDict, UserConfig
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

RUN_ID = 1
BUSY = "still busy with an earlier message"


class ThreadGrid(Grid):
    """Runs one ClientApp for several nodes.

    Args:
        client_app: What each node runs.
        nodes: The settings of each node, by its number.
        workers: Threads.
    """

    def __init__(
        self, client_app: ClientApp, nodes: Mapping[int, UserConfig], *, workers: int
    ) -> None:
        TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = RUN_ID
        self._app = client_app
        self._run = Run.create_empty(RUN_ID)
        self._contexts = {
            node: Context(RUN_ID, node, dict(config), RecordDict(), {})
            for node, config in nodes.items()
        }
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="participant")
        self._running: dict[int, Future[Message]] = {}  # the last message of each node
        self._replies: dict[str, Future[Message]] = {}
        self._numbers = itertools.count(1)

    def set_run(self, run: Run) -> None:
        """Say which run this is."""
        self._run = run

    @property
    def run(self) -> Run:
        """Which run this is."""
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Make a message."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """The numbers of the nodes."""
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Start each message's node on a copy of it; gives the messages' ids."""
        return [self._push(message) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The replies that are there; each can be had once."""
        ready = [one for one in message_ids if one in self._replies and self._replies[one].done()]
        return [self._replies.pop(one).result() for one in ready]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Push messages and wait for their replies; one that comes later is dropped."""
        ids = list(self.push_messages(messages))
        wait([self._replies[one] for one in ids], timeout=timeout)
        replies = self.pull_messages(ids)
        for one in ids:
            self._replies.pop(one, None)
        return replies

    def close(self) -> None:
        """End the threads; who is at work finishes it first."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _push(self, message: Message) -> str:
        copy = deepcopy(message)
        message_id = f"{RUN_ID}-{next(self._numbers)}"
        copy.metadata.__dict__["_message_id"] = message_id
        node, earlier = copy.metadata.dst_node_id, self._running.get(copy.metadata.dst_node_id)
        if earlier is not None and not earlier.done():
            # A node that hangs would take one thread after another.
            reply: Future[Message] = Future()
            reply.set_result(Message(Error(code=0, reason=BUSY), reply_to=copy))
        else:
            reply = self._running[node] = self._pool.submit(self._reply, copy)
        self._replies[message_id] = reply
        return message_id

    def _reply(self, message: Message) -> Message:
        try:
            reply: Message = self._app(message, self._contexts[message.metadata.dst_node_id])
            return deepcopy(reply)
        except Exception as failure:  # noqa: BLE001 - what a node raises is its answer
            reason = f"{type(failure).__name__}: {failure}"
            return Message(Error(code=0, reason=reason), reply_to=message)
