"""Sums that do not depend on their order: weights as 64-bit integers of 2^-24.

Floating-point sums change with the order of arrival, so that twenty orders give twenty hashes;
integers give one. They are also what masks of secure aggregation are exact in.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from backend.federation.weights import Shapes, Weights

IntVector = NDArray[np.int64]

ONE = 2**24
SHARE = 2**20
LARGEST = 2.0**18
"""Beyond it a value is no weight: 2^18 · 2^24 · 2^20 still fits into 64 bits."""
LARGEST_UNITS = int(LARGEST) * ONE


def encode(weights: Weights) -> IntVector:
    """All values in the order of the arrays' names, in units of 2^-24, shape (values,).

    Raises:
        ValueError: If a value is not finite or beyond 2^18.
    """
    flat = np.concatenate([np.ravel(weights[name]) for name in sorted(weights)]).astype(np.float64)
    if not np.isfinite(flat).all() or float(np.abs(flat).max(initial=0.0)) > LARGEST:
        raise ValueError(f"values beyond {LARGEST:.0f} have no place in fixed point")
    return np.rint(flat * ONE).astype(np.int64)


def decode(vector: IntVector, shapes: Shapes) -> dict[str, NDArray[np.float32]]:
    """The arrays that a vector of these shapes holds."""
    values = (vector.astype(np.float64) / ONE).astype(np.float32)
    arrays, begin = {}, 0
    for name in sorted(shapes):
        end = begin + int(np.prod(shapes[name]))
        arrays[name] = values[begin:end].reshape(shapes[name])
        begin = end
    return arrays


def shares_of(counts: Sequence[int]) -> IntVector:
    """Counts as shares of 2^20, at least 1 each, shape (counts,)."""
    total = max(sum(counts), 1)
    return np.array([max(1, count * SHARE // total) for count in counts], dtype=np.int64)


def weighted_mean(vectors: NDArray[np.int64], shares: NDArray[np.int64]) -> IntVector:
    """Mean of vectors (rows) by shares, rounded to the nearest unit.

    Args:
        vectors: Shape (updates, values).
        shares: Shape (updates,), or (updates, values) where they differ by value; 0 leaves out.
    """
    each = shares if shares.ndim == vectors.ndim else shares[:, None]
    total = np.maximum(np.broadcast_to(each, vectors.shape).sum(axis=0), 1)
    return np.asarray(((vectors * each).sum(axis=0) + total // 2) // total, dtype=np.int64)
