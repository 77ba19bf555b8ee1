"""What a participant is asked and what it answers: the same in every engine.

A participant trains on its own examples and sends how its weights differ from the model it was
given; on the committee it also says how much each candidate update helps on its own holdout.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from backend.federation.tree_tasks import ExamAnswer, TreeAnswer, TreeTask
from backend.federation.weights import Weights


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How a participant trains.

    Attributes:
        local_epochs: Passes over its examples.
        batch_size: Examples per step; fewer where there are few.
        learning_rate: Of the optimiser.
        prox_mu: Weight of FedProx's pull towards the shared model; 0 is plain.
        clip_norm: Bound of each example's gradient (DP-SGD); None trains without privacy.
        noise_multiplier: Standard deviation of the noise over `clip_norm`.
        seed: Of the experiment; participant and round make of it a seed of their own.
    """

    local_epochs: int = 2
    batch_size: int = 256
    learning_rate: float = 0.005
    prox_mu: float = 0.0
    clip_norm: float | None = None
    noise_multiplier: float = 0.0
    seed: int = 7


@dataclass(frozen=True, slots=True)
class TrainTask:
    """Train the shared model on your own examples.

    Attributes:
        experiment_id: The run of rounds this belongs to.
        round_number: Counted from 1.
        participant: Whom the task is for.
        family: Of the model: `mlp` or `linear`.
        weights: The shared model.
        parent_hash: Its content hash.
        settings: How to train.
        round_id: What the answer's statement names; empty where nobody signs.
        asked_at: Seconds since 1970 by the clock of who asks; until when a statement holds follows
            from it, for participants' clocks may go wrong.
    """

    experiment_id: str
    round_number: int
    participant: str
    family: str
    weights: Weights
    parent_hash: str
    settings: TrainSettings
    round_id: str = ""
    asked_at: int = 0


@dataclass(frozen=True, slots=True)
class ScoreTask:
    """Say how much each candidate update helps on your own holdout.

    Attributes:
        experiment_id, round_number, participant, family, weights, parent_hash: As in `TrainTask`.
        candidates: What to try, by the name of who sent the update: a part of it, clipped.
        round_id, asked_at: As in `TrainTask`.
    """

    experiment_id: str
    round_number: int
    participant: str
    family: str
    weights: Weights
    parent_hash: str
    candidates: Mapping[str, Weights]
    round_id: str = ""
    asked_at: int = 0


@dataclass(frozen=True, slots=True)
class TrainAnswer:
    """What came of training.

    Attributes:
        participant: Who trained.
        delta: Trained weights minus the shared ones.
        num_examples: Examples it says it trained on; never trusted beyond a cap.
        metrics: Figures on its own data, such as `train_loss`, `holdout_r2`.
        signature: The participant's signed statement about this update; empty where nobody signs.
    """

    participant: str
    delta: Weights
    num_examples: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    signature: str = ""


@dataclass(frozen=True, slots=True)
class ScoreAnswer:
    """A committee member's opinion.

    Attributes:
        participant: Who scored.
        gains: Relative fall of its holdout loss when the candidate is added to the weights, by
            sender; positive is better.
        signature: As in `TrainAnswer`.
    """

    participant: str
    gains: Mapping[str, float]
    signature: str = ""


Stage = Literal["hello", "share", "mask", "reveal"]


@dataclass(frozen=True, slots=True)
class MaskTask:
    """Take one step of a masked sum of updates; see `masking`.

    Attributes:
        train: What the update in the sum is trained by.
        stage: Which step.
        group: Whose sum it is: one name for all, or that of a cell.
        clip_norm: Longest update; the participant clips its own.
        letters: What the coordinator has to say: `roster`, `parcels`, `survivors` as far as known.
    """

    train: TrainTask
    stage: Stage
    group: str
    clip_norm: float
    letters: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def experiment_id(self) -> str:
        """The run of rounds."""
        return self.train.experiment_id

    @property
    def round_number(self) -> int:
        """Counted from 1."""
        return self.train.round_number

    @property
    def participant(self) -> str:
        """Whom the task is for."""
        return self.train.participant

    @property
    def parent_hash(self) -> str:
        """The content hash of the model that the update in the sum starts from."""
        return self.train.parent_hash

    @property
    def round_id(self) -> str:
        """What the answer's statement names."""
        return self.train.round_id

    @property
    def asked_at(self) -> int:
        """When this was asked."""
        return self.train.asked_at

    @property
    def context(self) -> str:
        """What the sum is: keys, masks and letters of any other do not fit."""
        return context_of_sum(self.train, self.group)


@dataclass(frozen=True, slots=True)
class MaskAnswer:
    """What a participant says in one step of a masked sum.

    Attributes:
        participant: Who says it.
        stage: Of which step.
        letter: Its message.
        signature: As in `TrainAnswer`.
    """

    participant: str
    stage: Stage
    letter: bytes
    signature: str = ""


def context_of_sum(task: TrainTask, group: str) -> str:
    """What a masked sum is, in words."""
    return json.dumps([task.experiment_id, task.round_number, task.parent_hash, group])


NetworkTask = TrainTask | ScoreTask | MaskTask
NetworkAnswer = TrainAnswer | ScoreAnswer | MaskAnswer
Task = NetworkTask | TreeTask
Answer = NetworkAnswer | TreeAnswer | ExamAnswer
