"""Made-up sites and updates that the tests of learning and aggregation share."""

from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np

from backend.federation.demand import Examples, hourly_examples
from backend.federation.networks import FloatArray, initial_weights, shapes
from backend.federation.participant import score, train
from backend.federation.tasks import (
    ScoreAnswer,
    ScoreTask,
    TrainAnswer,
    TrainSettings,
    TrainTask,
)
from backend.federation.weights import Weights, content_hash

FAMILY = "linear"
PARENT = initial_weights(FAMILY, seed=1)
START = datetime(2026, 1, 5, tzinfo=UTC)


BY_WEEKDAY = np.array([1.6, 1.3, 1.0, 0.7, 0.4, 0.1, 0.1])


def site(number: int, *, days: int = 90, test_share: float = 0.0) -> Examples:
    """Days with a peak that is largest on Mondays, which the mean of like days does not know."""
    rng = np.random.default_rng(number)
    hour = np.arange(24 * days)
    daily = np.clip(np.sin(2 * np.pi * (hour - 7) / 24), 0, None)
    energy = 10 * BY_WEEKDAY[hour // 24 % 7] * daily + 0.3 * rng.standard_normal(len(hour))
    return hourly_examples(np.clip(energy, 0, None), START, timezone="UTC", test_share=test_share)


def train_task(name: str, weights: Weights, *, settings: TrainSettings | None = None) -> TrainTask:
    terms = settings or TrainSettings()
    return TrainTask("exp", 1, name, FAMILY, weights, content_hash(weights), terms)


def trained(sites: Mapping[str, Examples], weights: Weights = PARENT) -> list[TrainAnswer]:
    return [train(train_task(name, weights), one) for name, one in sites.items()]


def scored(
    sites: Mapping[str, Examples], candidates: Mapping[str, Weights], weights: Weights = PARENT
) -> list[ScoreAnswer]:
    tasks = [
        ScoreTask("exp", 1, name, FAMILY, weights, content_hash(weights), candidates)
        for name in sites
    ]
    return [score(task, sites[task.participant]) for task in tasks]


def filled(value: float, *, rng: np.random.Generator | None = None) -> dict[str, FloatArray]:
    """An update of one value everywhere, and a little noise if wanted."""
    return {
        name: np.asarray(
            value + (0.1 * rng.standard_normal(shape) if rng is not None else np.zeros(shape)),
            dtype=np.float32,
        )
        for name, shape in shapes(FAMILY).items()
    }


def update(name: str, value: float, *, count: int = 100, seed: int = 0) -> TrainAnswer:
    return TrainAnswer(name, filled(value, rng=np.random.default_rng(seed)), count)
