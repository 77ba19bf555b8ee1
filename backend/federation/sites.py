"""A site that takes part: it answers what it is asked by itself, in every engine the same way."""

from dataclasses import dataclass

from backend.federation.demand import Examples
from backend.federation.participant import score, train
from backend.federation.peers import Peers
from backend.federation.secure_participant import answer
from backend.federation.signing import Signer
from backend.federation.tasks import Answer, MaskTask, ScoreTask, Task, TrainTask


class NotMine(ValueError):
    """A task for another participant."""


@dataclass(frozen=True, slots=True, repr=False)
class Site:
    """A participant, as it knows itself; nothing but its answers leaves it.

    Attributes:
        name: Under which it is enrolled.
        examples: What it learns from.
        noise_key: What the noise of private training is made of; None draws a key each time.
        signer: Its key; None signs nothing, and is believed by nobody who asks for signatures.
        peers: With whom it sums masked updates; None takes the coordinator's word.
    """

    name: str
    examples: Examples
    noise_key: bytes | None = None
    signer: Signer | None = None
    peers: Peers | None = None

    def train(self, task: TrainTask) -> Answer:
        """Train on its own examples.

        Raises:
            NotMine: If the task is for another.
            WrongModel: If the weights are not those the task names.
        """
        self._require_mine(task)
        return self._signed(task, train(task, self.examples, noise_key=self.noise_key))

    def score(self, task: ScoreTask) -> Answer:
        """Say what updates are worth on its own holdout.

        Raises:
            NotMine: If the task is for another.
            WrongModel: If the weights are not those the task names.
        """
        self._require_mine(task)
        return self._signed(task, score(task, self.examples))

    def mask(self, task: MaskTask, memory: bytes | None) -> tuple[Answer, bytes]:
        """Take a step of a masked sum; gives what to remember until the next, too.

        Raises:
            NotMine: If the task is for another.
            MaskingRefused: If the step would give something away.
        """
        self._require_mine(task)
        said, memory = answer(task, self.examples, memory, key=self.noise_key, peers=self.peers)
        return self._signed(task, said), memory

    def _require_mine(self, task: Task) -> None:
        if task.participant != self.name:
            raise NotMine(f"the task is for {task.participant}")

    def _signed(self, task: Task, said: Answer) -> Answer:
        """An answer with the site's statement about it."""
        return said if self.signer is None else self.signer.sign(task, said)
