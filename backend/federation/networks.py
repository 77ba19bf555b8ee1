"""The networks that sites share: their shapes, first weights, answers and gradients.

Two families over the same 26 inputs: `linear` (26→1) and `mlp` (26→32→1, ReLU; 897 numbers, 3.6
kB). The last layer begins at zero, so an untrained model answers 0 to everything.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backend.federation.weights import Shapes, Weights

FloatArray = NDArray[np.float32]

INPUTS = 26
HIDDEN = 32
BLOCK = 256
FAMILIES: dict[str, Shapes] = {
    "linear": {"b": (1,), "w": (INPUTS, 1)},
    "mlp": {"b1": (HIDDEN,), "b2": (1,), "w1": (INPUTS, HIDDEN), "w2": (HIDDEN, 1)},
}


class UnknownFamily(ValueError):
    """No network has this name."""


@dataclass(frozen=True, slots=True, eq=False)  # arrays have no single truth value to compare by
class Backward:
    """What a batch tells about the weights, example by example.

    Each example's gradient of a layer is the outer product of what went in and what came back, so
    its norm needs no gradient to be written down.

    Attributes:
        layers: Names of matrix and bias, inputs of shape (batch, in) and errors of shape
            (batch, out), from the first layer to the last.
        loss: Squared error of each example, shape (batch,).
    """

    layers: tuple[tuple[str, str, FloatArray, FloatArray], ...]
    loss: FloatArray

    def mean_gradient(self, factor: FloatArray | None = None) -> dict[str, FloatArray]:
        """Mean over the batch, each example multiplied by its factor of shape (batch,)."""
        count = np.float32(max(len(self.loss), 1))
        gradient: dict[str, FloatArray] = {}
        for matrix, bias, inputs, errors in self.layers:
            scaled = errors / count if factor is None else errors * (factor / count)[:, None]
            gradient[matrix] = np.asarray(inputs.T @ scaled, dtype=np.float32)
            gradient[bias] = scaled.sum(axis=0, dtype=np.float32)
        return gradient

    def example_norms(self) -> FloatArray:
        """Euclidean norm of each example's gradient over all weights, shape (batch,).

        Source: I. Goodfellow, "Efficient per-example gradient computations", 2015.
        """
        squared = np.zeros(len(self.loss), dtype=np.float32)
        for _, _, inputs, errors in self.layers:
            squared += (1 + (inputs**2).sum(axis=1)) * (errors**2).sum(axis=1)
        return np.sqrt(squared)


def shapes(family: str) -> Shapes:
    """The shape of every array of a family.

    Raises:
        UnknownFamily: If no network has this name.
    """
    if family not in FAMILIES:
        raise UnknownFamily(f"{family!r}; there are {', '.join(sorted(FAMILIES))}")
    return FAMILIES[family]


def initial_weights(family: str, seed: int) -> dict[str, FloatArray]:
    """The weights everybody begins with: He's for hidden layers, zero for biases and the last.

    Source: K. He et al., "Delving deep into rectifiers", ICCV 2015.

    Raises:
        UnknownFamily: If no network has this name.
    """
    rng = np.random.default_rng(seed)
    weights = {name: np.zeros(shape, np.float32) for name, shape in shapes(family).items()}
    if family == "mlp":
        spread = np.sqrt(2 / INPUTS)
        weights["w1"] = (rng.standard_normal((INPUTS, HIDDEN)) * spread).astype(np.float32)
    return weights


def predict(family: str, weights: Weights, x: FloatArray) -> FloatArray:
    """What the network answers to rows of shape (rows, 26), shape (rows,)."""
    # Products as small are made by one thread: their bits do not depend on how many there are, and
    # no thread waits for another on a busy machine.
    blocks = [_answers(family, weights, x[i : i + BLOCK]) for i in range(0, len(x), BLOCK)]
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def _answers(family: str, weights: Weights, x: FloatArray) -> FloatArray:
    if family == "linear":
        return np.asarray((x @ weights["w"] + weights["b"])[:, 0], dtype=np.float32)
    hidden = np.maximum(x @ weights["w1"] + weights["b1"], np.float32(0))
    return np.asarray((hidden @ weights["w2"] + weights["b2"])[:, 0], dtype=np.float32)


def backward(family: str, weights: Weights, x: FloatArray, y: FloatArray) -> Backward:
    """Squared errors of a batch and how they reach the weights."""
    if family == "linear":
        error = (x @ weights["w"] + weights["b"])[:, 0] - y
        return Backward((("w", "b", x, 2 * error[:, None]),), error**2)
    hidden = np.maximum(x @ weights["w1"] + weights["b1"], np.float32(0))
    error = (hidden @ weights["w2"] + weights["b2"])[:, 0] - y
    last = 2 * error[:, None]
    first = (last @ weights["w2"].T) * (hidden > 0)
    return Backward((("w1", "b1", x, first), ("w2", "b2", hidden, last)), error**2)
