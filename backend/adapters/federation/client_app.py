"""Flower's ClientApp of a participant: a message in, training or scoring, a message out."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, cast

from flwr.app import ConfigRecord, Context, Message
from flwr.clientapp import ClientApp

from backend.adapters.federation import messages, tree_messages
from backend.federation.sites import Site

MEMORY = "masking"


class Memory(Protocol):
    """What a participant remembers of masked sums from one message to the next."""

    def held(self) -> AbstractContextManager[None]:
        """Keep others from a step meanwhile."""
        ...

    def read(self) -> bytes | None:
        """What was written last; None at first."""
        ...

    def write(self, data: bytes) -> None:
        """Keep it."""
        ...


class InContext:
    """Memory in what Flower keeps of a node for as long as a run lasts."""

    def __init__(self, context: Context) -> None:
        self._state = context.state

    def held(self) -> AbstractContextManager[None]:
        """A run gives a node one message after another."""
        return nullcontext()

    def read(self) -> bytes | None:
        """What was written last; None at first."""
        known = self._state.config_records.get(MEMORY)
        return None if known is None else bytes(cast("bytes", known["memory"]))

    def write(self, data: bytes) -> None:
        """Keep it."""
        self._state[MEMORY] = ConfigRecord({"memory": data})


def make_client_app(
    site_of: Callable[[Context], Site], memory_of: Callable[[Context], Memory] = InContext
) -> ClientApp:
    """The ClientApp that every engine runs, given how to find a node's site and its memory."""
    app = ClientApp()

    @app.train()
    def on_train(message: Message, context: Context) -> Message:
        said = site_of(context).train(messages.train_task_of(message.content))
        return Message(messages.records_of_answer(said), reply_to=message)

    @app.evaluate()
    def on_score(message: Message, context: Context) -> Message:
        said = site_of(context).score(messages.score_task_of(message.content))
        return Message(messages.records_of_answer(said), reply_to=message)

    @app.query()
    def on_mask(message: Message, context: Context) -> Message:
        # Keys of a sum never leave the node.
        memory, task = memory_of(context), messages.mask_task_of(message.content)
        with memory.held():
            said, whole = site_of(context).mask(task, memory.read())
            memory.write(whole)
        return Message(messages.records_of_answer(said), reply_to=message)

    @app.train(tree_messages.ACTION)
    @app.evaluate(tree_messages.ACTION)
    @app.query(tree_messages.ACTION)
    def on_trees(message: Message, context: Context) -> Message:
        task = tree_messages.task_of(message.content, message.metadata.message_type)
        said = site_of(context).trees(task)
        return Message(tree_messages.records_of_answer(said), reply_to=message)

    return app
