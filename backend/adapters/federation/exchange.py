"""What a conductor of rounds asks of an engine: tasks go out, answers come back."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from backend.federation.tasks import Answer, Task


class Exchange(Protocol):
    """Carries tasks to participants and their answers back.

    An answer is what its participant sent and may be wrong or hostile: arrays of any type, shape
    and value, any count of examples. What could not be read as an answer at all, was too large,
    came from or for another, or came too late counts as none. For equal tasks and equal data every
    engine brings equal answers.
    """

    def participants(self) -> Sequence[str]:
        """Who can be asked now, in order of their names."""
        ...

    def ask(self, tasks: Sequence[Task], *, timeout_s: float) -> list[Answer]:
        """Bring each task to its participant and wait for the answers.

        Never raises for what a participant does or fails to do.

        Args:
            tasks: One per participant at most.
            timeout_s: An answer that has not come by then is missing, now and for good.

        Returns:
            The answers that came, in the order of their tasks.
        """
        ...

    def missing(self) -> Mapping[str, str]:
        """Why each participant of the last `ask` that did not answer did not, by name."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...
