"""A site that takes part: it answers what it is asked by itself, in every engine the same way."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from backend.federation import tree_participant
from backend.federation.demand import Examples
from backend.federation.masking_messages import MaskingRefused
from backend.federation.participant import score, train
from backend.federation.peers import Peers
from backend.federation.secure_participant import answer
from backend.federation.signing import A, Signer
from backend.federation.tasks import (
    MaskAnswer,
    MaskTask,
    ScoreAnswer,
    ScoreTask,
    Task,
    TrainAnswer,
    TrainTask,
)
from backend.federation.tree_rows import SiteRows
from backend.federation.tree_tasks import ExamAnswer, TreeAnswer, TreeTask


class NotMine(ValueError):
    """A task for another participant."""


class NothingToLearnFrom(ValueError):
    """The participant has no data for such a task."""


@dataclass(frozen=True, slots=True, repr=False)
class Site:
    """A participant, as it knows itself; nothing but its answers leaves it.

    Attributes:
        name: Under which it is enrolled.
        examples: What it learns demand from, if it has that.
        noise_key: What the noise of private training is made of; None draws a key each time.
        signer: Its key; None signs nothing, and is believed by nobody who asks for signatures.
        peers: With whom it sums masked updates; None takes the coordinator's word.
        rows: What it grows trees on, by what they foretell.
        is_masked_only: Whether it sends its updates in masked sums alone.
    """

    name: str
    examples: Examples | None
    noise_key: bytes | None = None
    signer: Signer | None = None
    peers: Peers | None = None
    rows: Mapping[str, SiteRows] = field(default_factory=dict)
    is_masked_only: bool = False

    def train(self, task: TrainTask) -> TrainAnswer:
        """Train on its own examples.

        Raises:
            NotMine: If the task is for another.
            MaskingRefused: If the update would be seen, and it sends masked ones only.
            WrongModel: If the weights are not those the task names.
        """
        self._require_mine(task)
        if self.is_masked_only and task.settings.local_epochs:
            raise MaskingRefused("this site sends its updates in masked sums only")
        return self._signed(task, train(task, self._demand(), noise_key=self.noise_key))

    def score(self, task: ScoreTask) -> ScoreAnswer:
        """Say what updates are worth on its own holdout.

        Raises:
            NotMine: If the task is for another.
            WrongModel: If the weights are not those the task names.
        """
        self._require_mine(task)
        return self._signed(task, score(task, self._demand()))

    def mask(self, task: MaskTask, memory: bytes | None) -> tuple[MaskAnswer, bytes]:
        """Take a step of a masked sum; gives what to remember until the next, too.

        Raises:
            NotMine: If the task is for another.
            MaskingRefused: If the step would give something away.
        """
        self._require_mine(task)
        said, memory = answer(task, self._demand(), memory, key=self.noise_key, peers=self.peers)
        return self._signed(task, said), memory

    def trees(self, task: TreeTask) -> TreeAnswer | ScoreAnswer | ExamAnswer:
        """Grow trees, grade others' or examine the model, on its own rows.

        Raises:
            NotMine: If the task is for another.
            NothingToLearnFrom: If it has no rows of what is to be foretold.
            WrongModel: If the model is not the one the task names.
        """
        self._require_mine(task)
        if task.target not in self.rows:
            raise NothingToLearnFrom(f"no rows of {task.target}")
        return self._signed(task, tree_participant.answer(task, self.rows[task.target]))

    def _demand(self) -> Examples:
        if self.examples is None:
            raise NothingToLearnFrom("no hours of demand")
        return self.examples

    def _require_mine(self, task: Task) -> None:
        if task.participant != self.name:
            raise NotMine(f"the task is for {task.participant}")

    def _signed(self, task: Task, said: A) -> A:
        """An answer with the site's statement about it."""
        return said if self.signer is None else self.signer.sign(task, said)
