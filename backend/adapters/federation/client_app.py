"""Flower's ClientApp of a participant: a message in, training or scoring, a message out."""

from collections.abc import Callable
from dataclasses import dataclass

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from backend.adapters.federation import messages
from backend.federation.demand import Examples
from backend.federation.participant import score, train
from backend.federation.tasks import Task


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
        answer = train(task, site.examples, noise_key=site.noise_key)
        return Message(messages.records_of_answer(answer), reply_to=message)

    @app.evaluate()
    def on_score(message: Message, context: Context) -> Message:
        site, task = site_of(context), messages.score_task_of(message.content)
        refuse_unless_for(site.name, task)
        answer = score(task, site.examples)
        return Message(messages.records_of_answer(answer), reply_to=message)

    return app


def refuse_unless_for(name: str, task: Task) -> None:
    """Check whom a task is for.

    Raises:
        NotMine: If it is for another.
    """
    if task.participant != name:
        raise NotMine(f"the task is for {task.participant}")
