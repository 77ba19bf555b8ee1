"""Small sites with made-up hours, and rounds as the engines' tests need them."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backend.adapters.federation.exchange import Exchange
from backend.federation.aggregation import aggregate, candidates_of
from backend.federation.demand import Examples, hourly_examples
from backend.federation.networks import initial_weights
from backend.federation.tasks import ScoreAnswer, ScoreTask, TrainAnswer, TrainSettings, TrainTask
from backend.federation.weights import Weights, content_hash

START = datetime(2025, 1, 6, tzinfo=UTC)
ZONE = "Europe/Berlin"
HOURS = 24 * 80
SETTINGS = TrainSettings(local_epochs=1)
COMMITTEE = 3


def energy_kwh(number: int) -> NDArray[np.float64]:
    """Hours of a made-up site: busy by day, each site in its own way; shape (hours,)."""
    rng = np.random.default_rng(number)
    wave = np.sin((np.arange(HOURS) % 24 - 6 - number % 3) / 24 * 2 * np.pi)
    energy = np.maximum(0, (10 + number) * wave + rng.normal(0, 1, HOURS))
    return np.asarray(energy.round(3), dtype=np.float64)


def examples_of(number: int) -> Examples:
    """Its examples."""
    return hourly_examples(energy_kwh(number), START, timezone=ZONE)


def write_series(path: Path, number: int) -> Path:
    """Its hours as the file that a node reads."""
    hours = [(START + timedelta(hours=hour)).isoformat() for hour in range(HOURS)]
    rows = [f"{hour},{energy}" for hour, energy in zip(hours, energy_kwh(number), strict=True)]
    path.write_text("\n".join(["timestamp,energy_kwh", *rows]) + "\n")
    return path


def train_tasks(
    names: Sequence[str], *, weights: Weights | None = None, round_number: int = 1
) -> list[TrainTask]:
    """The training task of each participant."""
    model = initial_weights("mlp", 7) if weights is None else weights
    parent = content_hash(model)
    return [TrainTask("test", round_number, name, "mlp", model, parent, SETTINGS) for name in names]


def score_tasks(
    names: Sequence[str], task: TrainTask, candidates: Mapping[str, Weights]
) -> list[ScoreTask]:
    """The scoring task of each committee member."""
    return [
        ScoreTask(
            task.experiment_id,
            task.round_number,
            name,
            task.family,
            task.weights,
            task.parent_hash,
            candidates,
        )
        for name in names
    ]


def run_rounds(
    exchange: Exchange, names: Sequence[str], *, num_rounds: int, timeout_s: float
) -> Weights:
    """Train together with validated aggregation; everybody answers, the first three score."""
    weights: Weights = initial_weights("mlp", 7)
    for round_number in range(1, num_rounds + 1):
        tasks = train_tasks(names, weights=weights, round_number=round_number)
        answers = exchange.ask(tasks, timeout_s=timeout_s)
        updates = [one for one in answers if isinstance(one, TrainAnswer)]
        assert len(updates) == len(names), exchange.missing()
        candidates = candidates_of(updates, weights)
        judges = score_tasks(names[:COMMITTEE], tasks[0], candidates)
        opinions = exchange.ask(judges, timeout_s=timeout_s)
        assert len(opinions) == COMMITTEE, exchange.missing()
        scores = [one for one in opinions if isinstance(one, ScoreAnswer)]
        weights = aggregate("validated", weights, updates, scores).weights
    return weights


def conduct(exchange: Exchange, settings: Mapping[str, str]) -> None:
    """What the ServerApp calls: the rounds, then the model's hash into a file."""
    names, timeout_s = settings["names"].split(","), float(settings["timeout-s"])
    until = time.monotonic() + timeout_s
    while not set(names) <= set(exchange.participants()) and time.monotonic() < until:
        time.sleep(1)
    weights = run_rounds(
        exchange, names, num_rounds=int(settings["num-rounds"]), timeout_s=timeout_s
    )
    Path(settings["out"]).write_text(content_hash(weights))
