"""Participants of masked sums in one process, who remember what they should and may fall silent."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from backend.federation.demand import Examples, Rows
from backend.federation.masking_messages import MaskingRefused
from backend.federation.networks import INPUTS, initial_weights
from backend.federation.participant import train
from backend.federation.signing import Signer
from backend.federation.sites import Site
from backend.federation.tasks import (
    MaskAnswer,
    MaskTask,
    Stage,
    TrainAnswer,
    TrainSettings,
    TrainTask,
)
from backend.federation.weights import content_hash

FAMILY = "linear"
SETTINGS = TrainSettings(local_epochs=3, learning_rate=0.02, seed=5)


def rows(rng: np.random.Generator, count: int, *, sign: float = 1.0) -> Rows:
    """Examples of one truth that all participants share, or of its opposite."""
    x = rng.normal(0, 1, (count, INPUTS)).astype(np.float32)
    slope = np.linspace(-0.3, 0.3, INPUTS, dtype=np.float32)
    noise = rng.normal(0, 0.05, count).astype(np.float32)
    y = np.float32(sign) * (x @ slope) + noise
    return Rows(x, y.astype(np.float32), np.zeros(count, np.float32))


def site(seed: int, *, sign: float = 1.0) -> Examples:
    """A participant's examples; each has a number of its own."""
    rng = np.random.default_rng(seed)
    train_rows = rows(rng, 100 + 17 * seed, sign=sign)
    return Examples(train_rows, rows(rng, 60), rows(rng, 10), 1.0)


def sites(count: int) -> dict[str, Examples]:
    """Participants by name."""
    return {f"site{number:02}": site(number) for number in range(1, count + 1)}


def train_tasks(names: Sequence[str], *, round_number: int = 1) -> list[TrainTask]:
    """The training task of each."""
    weights = initial_weights(FAMILY, seed=1)
    return [
        TrainTask("exp", round_number, name, FAMILY, weights, content_hash(weights), SETTINGS)
        for name in names
    ]


def plain_update(name: str, examples: Examples) -> TrainAnswer:
    """What a participant would send if nothing were masked."""
    return train(train_tasks([name])[0], examples)


@dataclass
class Crowd:
    """Participants with their memories.

    Attributes:
        examples: Of each, by name.
        silent: Stages from which on a participant says nothing.
        keys: Long-lived secrets; none by default.
        signers: What each signs with; they know each other's DIDs then. Nobody signs by default.
        spoil: Changes what a participant says.
        refused: Why a participant did not answer.
    """

    examples: dict[str, Examples]
    silent: dict[str, Stage] = field(default_factory=dict)
    keys: dict[str, bytes] = field(default_factory=dict)
    signers: dict[str, Signer] = field(default_factory=dict)
    spoil: Callable[[MaskAnswer], MaskAnswer] = lambda one: one
    memories: dict[str, bytes] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    _gone: set[str] = field(default_factory=set)

    def ask(self, tasks: Sequence[MaskTask]) -> list[MaskAnswer]:
        """Let those who still speak do their step."""
        said = []
        for task in tasks:
            name = task.participant
            if self.silent.get(name) == task.stage:
                self._gone.add(name)
            if name in self._gone:
                continue
            try:
                one, self.memories[name] = self._site(name).mask(task, self.memories.get(name))
            except MaskingRefused as refused:
                self.refused[name] = str(refused)
            else:
                said.append(self.spoil(one))
        return said

    def _site(self, name: str) -> Site:
        peers = {one: signer.did for one, signer in self.signers.items()} or None
        signer = self.signers.get(name)
        return Site(name, self.examples[name], self.keys.get(name), signer, peers)
