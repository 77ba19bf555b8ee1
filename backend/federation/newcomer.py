"""What a new site gains: its first weeks alone, and with the model that others have learned."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backend.federation.demand import Examples, Rows
from backend.federation.networks import FAMILIES, FloatArray, initial_weights, predict
from backend.federation.participant import loss
from backend.federation.personal import personalise
from backend.federation.tasks import TrainSettings
from backend.federation.training import fit
from backend.federation.weights import Weights

MOST_PASSES = 16
SETTINGS = TrainSettings(local_epochs=1)


@dataclass(frozen=True, slots=True)
class Newcomer:
    """R² of a new site's forecasts on its test rows, four ways.

    Attributes:
        usual_r2: The mean of like days; no network.
        alone_r2: The better of both networks by its holdout, trained on its own rows only.
        shared_r2: The shared model as it is.
        federated_r2: The shared model with the site's own corrections.
        examples: How many rows the site had to train on.
    """

    usual_r2: float
    alone_r2: float
    shared_r2: float
    federated_r2: float
    examples: int


def compare(family: str, weights: Weights, examples: Examples, *, seed: int) -> Newcomer:
    """Forecast a site's test rows alone and with the federation.

    Args:
        family: Of the shared model.
        weights: A shared model that never saw the site.
        examples: The site's, with test rows.
        seed: Of its own training.
    """
    test = examples.test
    personal = personalise(family, weights, examples, seed=seed)
    own_family, own = _alone(examples, seed=seed)
    return Newcomer(
        usual_r2=r2_of(test, np.zeros(len(test))),
        alone_r2=r2_of(test, predict(own_family, own, test.x)),
        shared_r2=r2_of(test, predict(family, weights, test.x)),
        federated_r2=r2_of(test, personal.predict(test) - test.usual),
        examples=len(examples.train),
    )


def _alone(examples: Examples, *, seed: int) -> tuple[str, dict[str, FloatArray]]:
    found = [(family, train_alone(family, examples, seed=seed)) for family in sorted(FAMILIES)]
    return min(found, key=lambda one: loss(one[0], one[1], examples.holdout))


def train_alone(
    family: str, examples: Examples, *, seed: int, passes: int = MOST_PASSES
) -> dict[str, FloatArray]:
    """Train on own rows only, and stop at the pass that does best on the holdout."""
    candidates = _passes(family, examples.train, seed=seed, passes=passes)
    return min(candidates, key=lambda weights: loss(family, weights, examples.holdout))


def _passes(family: str, rows: Rows, *, seed: int, passes: int) -> Iterable[dict[str, FloatArray]]:
    weights = initial_weights(family, seed)
    for number in range(passes):
        weights = fit(family, weights, rows, settings=SETTINGS, seed=seed + number)
        yield weights


def r2_of(rows: Rows, answers: NDArray[np.floating]) -> float:
    """Share of the energy's variance that usual days and these answers explain; 0 if none."""
    energy = (rows.y + rows.usual).astype(np.float64)
    error = rows.y.astype(np.float64) - answers
    variance = float(np.var(energy)) if len(rows) else 0.0
    return 1 - float(np.mean(error**2)) / variance if variance > 0 else 0.0
