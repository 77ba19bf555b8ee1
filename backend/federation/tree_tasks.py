"""What a participant is asked about trees, and what it answers: the same in every engine.

It grows trees on its own rows from where the shared model ends; on the committee it says how much
each candidate helps on its own holdout; when all rounds are over, how the model does on its last
rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Objective = Literal["binary", "regression_l1", "regression"]
LEAST_LEAF = 50
"""Examples in a leaf at least, whatever a participant is asked for."""


@dataclass(frozen=True, slots=True)
class TreeSettings:
    """How sites grow trees.

    Attributes:
        objective: LightGBM's.
        features: How many there are.
        trees: Per site and round.
        leaves: Of a tree at most.
        learning_rate: Of the site's trees.
        min_data_in_leaf: Examples that a leaf has at least.
        scale: What one unit of the target is worth, to bound leaves by; 1 for log-odds.
        seed: Of the experiment.
    """

    objective: Objective
    features: int
    trees: int = 5
    leaves: int = 15
    learning_rate: float = 0.1
    min_data_in_leaf: int = LEAST_LEAF
    scale: float = 1.0
    seed: int = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeTask:
    """What all tasks of trees say.

    Attributes:
        experiment_id: The run of rounds this belongs to.
        round_number: Counted from 1.
        participant: Whom the task is for.
        target: What is foretold, which says which rows are meant.
        settings: How trees are grown.
        model: The shared one as `model_text` writes it.
        parent_hash: Its content hash.
        round_id, asked_at: As in `TrainTask`.
    """

    experiment_id: str
    round_number: int
    participant: str
    target: str
    settings: TreeSettings
    model: str
    parent_hash: str
    round_id: str = ""
    asked_at: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowTask(TreeTask):
    """Grow trees on your own rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GradeTask(TreeTask):
    """Say how much each set of trees helps on your own holdout.

    Attributes:
        candidates: Canonical texts of sound trees by who sent them.
    """

    candidates: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamTask(TreeTask):
    """Say how the model does on your own rows, the last ones included.

    Attributes:
        rounds: So many rounds of trees are grown alone, to compare with; 0 for none.
    """

    rounds: int = 0


@dataclass(frozen=True, slots=True)
class TreeAnswer:
    """What a site sends.

    Attributes:
        participant: Who grew the trees.
        text: LightGBM's text of them.
        num_examples: Examples it says it grew them on.
        metrics: `received_loss`: of the model it was given, on its holdout.
        signature: As in `TrainAnswer`.
    """

    participant: str
    text: str
    num_examples: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    signature: str = ""


@dataclass(frozen=True, slots=True)
class ExamAnswer:
    """What a site says of the finished model.

    Attributes:
        participant: Who says it.
        figures: `judge_loss` on its holdout; on its last rows `together`, and as far as known
            `alone` and `simple_rule`, all in the objective's loss; `rows_train`, `rows_judge` and
            `rows_test`.
        signature: As in `TrainAnswer`.
    """

    participant: str
    figures: Mapping[str, float]
    signature: str = ""
