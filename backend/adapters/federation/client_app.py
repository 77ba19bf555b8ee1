"""Flower's ClientApp of a participant: a message in, training or scoring, a message out."""

from collections.abc import Callable
from typing import cast

from flwr.app import ConfigRecord, Context, Message
from flwr.clientapp import ClientApp

from backend.adapters.federation import messages, tree_messages
from backend.federation.sites import Site

MEMORY = "masking"


def make_client_app(site_of: Callable[[Context], Site]) -> ClientApp:
    """The ClientApp that every engine runs, given how to find the site of a node."""
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
        # The node keeps its context between messages; keys of a sum never leave it.
        known = context.state.config_records.get(MEMORY)
        memory = None if known is None else bytes(cast("bytes", known["memory"]))
        task = messages.mask_task_of(message.content)
        said, memory = site_of(context).mask(task, memory)
        context.state[MEMORY] = ConfigRecord({"memory": memory})
        return Message(messages.records_of_answer(said), reply_to=message)

    @app.train(tree_messages.ACTION)
    @app.evaluate(tree_messages.ACTION)
    @app.query(tree_messages.ACTION)
    def on_trees(message: Message, context: Context) -> Message:
        task = tree_messages.task_of(message.content, message.metadata.message_type)
        said = site_of(context).trees(task)
        return Message(tree_messages.records_of_answer(said), reply_to=message)

    return app
