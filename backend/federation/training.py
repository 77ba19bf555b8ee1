"""How a network is fitted to examples: Adam, and Adam on clipped and noised gradients (DP-SGD)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from backend.federation.demand import Rows
from backend.federation.networks import FloatArray, backward
from backend.federation.noise import SecretStream
from backend.federation.tasks import TrainSettings
from backend.federation.weights import Weights

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
LEAST_STEPS, SMALLEST_BATCH = 20, 8

Gradient = Mapping[str, FloatArray]


@dataclass(slots=True)
class Adam:
    """The optimiser's state over named arrays.

    Source: D. Kingma and J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.
    """

    learning_rate: float
    step: int = 0
    first: dict[str, FloatArray] = field(default_factory=dict)
    second: dict[str, FloatArray] = field(default_factory=dict)

    def move(self, weights: dict[str, FloatArray], gradient: Gradient) -> None:
        """Move weights against their gradient, in place."""
        self.step += 1
        rate = self.learning_rate * np.sqrt(1 - BETA_2**self.step) / (1 - BETA_1**self.step)
        for name, slope in gradient.items():
            if name not in self.first:
                self.first[name] = np.zeros_like(slope)
                self.second[name] = np.zeros_like(slope)
            first, second = self.first[name], self.second[name]
            first += np.float32(1 - BETA_1) * (slope - first)
            second += np.float32(1 - BETA_2) * (slope * slope - second)
            weights[name] -= np.float32(rate) * first / (np.sqrt(second) + np.float32(EPSILON))


def fit(
    family: str,
    weights: Weights,
    rows: Rows,
    *,
    settings: TrainSettings,
    seed: int,
) -> dict[str, FloatArray]:
    """Fit a copy of the weights in `local_epochs` passes of shuffled batches.

    Batches are smaller than asked for where there are few rows, so that a pass has twenty steps:
    a young site's update is then about as long as another's.

    Args:
        family: Of the network.
        weights: Where to begin.
        rows: To fit to.
        settings: Batches, learning rate and FedProx's pull.
        seed: Of the shuffling.

    Returns:
        Fitted weights.
    """
    moved = {name: np.array(array, dtype=np.float32) for name, array in weights.items()}
    optimiser = Adam(settings.learning_rate)
    for batch in _batches(len(rows), settings, np.random.default_rng(seed)):
        gradient = backward(family, moved, rows.x[batch], rows.y[batch]).mean_gradient()
        if settings.prox_mu:
            pull = np.float32(settings.prox_mu)
            gradient = {n: g + pull * (moved[n] - weights[n]) for n, g in gradient.items()}
        optimiser.move(moved, gradient)
    return moved


def fit_privately(
    family: str, weights: Weights, rows: Rows, *, settings: TrainSettings, stream: SecretStream
) -> dict[str, FloatArray]:
    """Fit with DP-SGD: Poisson batches, each example's gradient clipped, Gaussian noise on the sum.

    Source: M. Abadi et al., "Deep learning with differential privacy", CCS 2016. Adam moves by the
    noised gradients, which costs no privacy.

    Args:
        family: Of the network.
        weights: Where to begin.
        rows: To fit to; one example is one row.
        settings: `clip_norm` and `noise_multiplier` say how private.
        stream: The participant's own.

    Raises:
        ValueError: If the settings name no bound to clip to.
    """
    if settings.clip_norm is None:
        raise ValueError("DP-SGD needs a bound to clip to")
    moved = {name: np.array(array, dtype=np.float32) for name, array in weights.items()}
    optimiser, clip = Adam(settings.learning_rate), np.float32(settings.clip_norm)
    expected = np.float32(settings.batch_size)
    draw = _noise(settings.noise_multiplier * settings.clip_norm, stream)
    for batch in _poisson_batches(len(rows), settings, stream):
        told = backward(family, moved, rows.x[batch], rows.y[batch])
        factor = np.minimum(
            np.float32(1), clip / np.maximum(told.example_norms(), np.float32(1e-12))
        )
        gradient = told.mean_gradient(factor)
        count = np.float32(max(len(batch), 1))
        # The divisor is the expected size of a batch: the drawn one would tell who was in it.
        noised = {n: (g * count + draw(g)) / expected for n, g in gradient.items()}
        optimiser.move(moved, noised)
    return moved


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """How many batches go over the rows once."""
    return max(1, -(-rows // batch_size))


def _batches(
    rows: int, settings: TrainSettings, rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    size = min(settings.batch_size, max(SMALLEST_BATCH, rows // LEAST_STEPS))
    for _ in range(settings.local_epochs):
        order = rng.permutation(rows)
        for begin in range(0, rows, size):
            yield order[begin : begin + size]


def _poisson_batches(
    rows: int, settings: TrainSettings, stream: SecretStream
) -> Iterator[NDArray[np.int64]]:
    """Batches in which each row is or is not by a coin of its own, as the accounting supposes."""
    share = min(1.0, settings.batch_size / max(rows, 1))
    for _ in range(settings.local_epochs * steps_per_epoch(rows, settings.batch_size)):
        yield np.flatnonzero(stream.uniform(rows) < share)


def _noise(spread: float, stream: SecretStream) -> Callable[[FloatArray], FloatArray]:
    def draw(like: FloatArray) -> FloatArray:
        return (spread * stream.normal(like.size)).reshape(like.shape).astype(np.float32)

    return draw
