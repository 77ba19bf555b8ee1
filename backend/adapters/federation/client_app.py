"""Flower's ClientApp of a participant: a message in, training or scoring, a message out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from flwr.app import ConfigRecord, Context, Message
from flwr.clientapp import ClientApp

from backend.adapters.federation import messages
from backend.federation.demand import Examples
from backend.federation.participant import score, train
from backend.federation.secure_participant import answer
from backend.federation.tasks import Task

MEMORY = "masking"


@dataclass(frozen=True, slots=True)
class Site:
    """A participant, as its own node knows it; nothing of it leaves the node.

    Attributes:
        name: Under which its key is registered.
        examples: What it learns from.
        noise_key: What the noise of private training is made of; None draws a key each time.
    """

    name: str
    examples: Examples
    noise_key: bytes | None = None


class NotMine(ValueError):
    """A task for another participant."""


def make_client_app(site_of: Callable[[Context], Site]) -> ClientApp:
    """The ClientApp that every engine runs, given how to find the site of a node."""
    app = ClientApp()

    @app.train()
    def on_train(message: Message, context: Context) -> Message:
        site, task = site_of(context), messages.train_task_of(message.content)
        refuse_unless_for(site.name, task)
        trained = train(task, site.examples, noise_key=site.noise_key)
        return Message(messages.records_of_answer(trained), reply_to=message)

    @app.evaluate()
    def on_score(message: Message, context: Context) -> Message:
        site, task = site_of(context), messages.score_task_of(message.content)
        refuse_unless_for(site.name, task)
        scored = score(task, site.examples)
        return Message(messages.records_of_answer(scored), reply_to=message)

    @app.query()
    def on_mask(message: Message, context: Context) -> Message:
        site, task = site_of(context), messages.mask_task_of(message.content)
        refuse_unless_for(site.name, task)
        # The node keeps its context between messages; keys of a sum never leave it.
        known = context.state.config_records.get(MEMORY)
        memory = None if known is None else bytes(cast("bytes", known["memory"]))
        said, memory = answer(task, site.examples, memory, key=site.noise_key)
        context.state[MEMORY] = ConfigRecord({"memory": memory})
        return Message(messages.records_of_answer(said), reply_to=message)

    return app


def refuse_unless_for(name: str, task: Task) -> None:
    """Check whom a task is for.

    Raises:
        NotMine: If it is for another.
    """
    if task.participant != name:
        raise NotMine(f"the task is for {task.participant}")
