"""Flower's ClientApp of a participant: a message in, training or scoring, a message out."""

from collections.abc import Callable

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from backend.adapters.federation import messages
from backend.federation.participant import Examples, score, train
from backend.federation.tasks import Task
from backend.federation.weights import content_hash


class NotMine(ValueError):
    """A task for another participant, or about another model than it says."""


def make_client_app(
    *, name_of: Callable[[Context], str], examples_of: Callable[[Context], Examples]
) -> ClientApp:
    """The ClientApp that every engine runs.

    Args:
        name_of: The participant's name, from the node's own settings.
        examples_of: Its examples; they never leave the node.
    """
    app = ClientApp()

    @app.train()
    def on_train(message: Message, context: Context) -> Message:
        task = messages.train_task_of(message.content)
        refuse_unless_mine(task, name_of(context))
        answer = train(task, examples_of(context))
        return Message(messages.records_of_answer(answer), reply_to=message)

    @app.evaluate()
    def on_score(message: Message, context: Context) -> Message:
        task = messages.score_task_of(message.content)
        refuse_unless_mine(task, name_of(context))
        answer = score(task, examples_of(context))
        return Message(messages.records_of_answer(answer), reply_to=message)

    return app


def refuse_unless_mine(task: Task, name: str) -> None:
    """Check whom a task is for, and the hash of the model it brings.

    Raises:
        NotMine: If either is another.
    """
    if task.participant != name:
        raise NotMine(f"the task is for {task.participant}")
    if content_hash(task.weights) != task.parent_hash:
        raise NotMine("the model is not the one the task names")
