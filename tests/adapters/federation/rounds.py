"""Rounds as the engines' tests need them: ask everybody, let three score, take the mean."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from backend.adapters.federation.exchange import Exchange
from backend.federation.networks import initial_weights
from backend.federation.tasks import ScoreAnswer, ScoreTask, TrainAnswer, TrainSettings, TrainTask
from backend.federation.weights import Weights, content_hash

SETTINGS = TrainSettings(local_epochs=1)
COMMITTEE = 3


def train_tasks(
    names: Sequence[str], weights: Weights, *, round_number: int = 1, family: str = "mlp"
) -> list[TrainTask]:
    """The training task of each participant."""
    parent = content_hash(weights)
    return [
        TrainTask("test", round_number, name, family, weights, parent, SETTINGS) for name in names
    ]


def score_tasks(
    names: Sequence[str], task: TrainTask, deltas: Mapping[str, Weights]
) -> list[ScoreTask]:
    """The scoring task of each committee member."""
    return [
        ScoreTask(
            "test", task.round_number, name, task.family, task.weights, task.parent_hash, deltas
        )
        for name in names
    ]


def run_rounds(exchange: Exchange, *, num_rounds: int, at_least: int, timeout_s: float) -> Weights:
    """Train together; an update counts if the committee gains by it on average."""
    weights: Weights = initial_weights("mlp", 7)
    for round_number in range(1, num_rounds + 1):
        names = exchange.participants()
        assert len(names) >= at_least
        tasks = train_tasks(names, weights, round_number=round_number)
        updates = [
            one for one in exchange.ask(tasks, timeout_s=timeout_s) if isinstance(one, TrainAnswer)
        ]
        deltas = {one.participant: one.delta for one in updates}
        opinions = exchange.ask(
            score_tasks(names[:COMMITTEE], tasks[0], deltas), timeout_s=timeout_s
        )
        assert len(deltas) >= at_least, exchange.missing()
        assert len(opinions) == COMMITTEE, exchange.missing()
        gains = [one.gains for one in opinions if isinstance(one, ScoreAnswer)]
        helpful = [name for name in sorted(deltas) if sum(gain[name] for gain in gains) > 0]
        weights = moved(weights, [deltas[name] for name in helpful])
    return weights


def moved(weights: Weights, deltas: Sequence[Weights]) -> Weights:
    """Weights plus the mean of updates, summed in the order given."""
    if not deltas:
        return weights
    return {
        name: weights[name] + np.mean([delta[name] for delta in deltas], axis=0, dtype=np.float32)
        for name in weights
    }


def conduct(exchange: Exchange, settings: Mapping[str, str]) -> None:
    """What the ServerApp calls: the rounds, then the model's hash into a file."""
    weights = run_rounds(
        exchange,
        num_rounds=int(settings["num-rounds"]),
        at_least=int(settings["at-least"]),
        timeout_s=float(settings["timeout-s"]),
    )
    Path(settings["out"]).write_text(content_hash(weights))
