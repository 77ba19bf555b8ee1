"""How good a forecast was, over all hours pooled."""

import numpy as np

from backend.forecasting.history import FloatArray


def r2(actual: FloatArray, predicted: FloatArray) -> float:
    """Share of the variance explained; 0 when the actual values do not vary."""
    from sklearn.metrics import r2_score  # noqa: PLC0415  # costs a second, only workers need it

    if actual.size == 0 or np.ptp(actual) == 0.0:
        return 0.0
    return float(r2_score(actual, predicted))


def mae(actual: FloatArray, predicted: FloatArray) -> float:
    """Mean absolute error in the unit of the values; 0 without values."""
    return float(np.mean(np.abs(actual - predicted))) if actual.size else 0.0


def rmse(actual: FloatArray, predicted: FloatArray) -> float:
    """Root mean squared error in the unit of the values; 0 without values."""
    return float(np.sqrt(np.mean((actual - predicted) ** 2))) if actual.size else 0.0


def wape(actual: FloatArray, predicted: FloatArray) -> float:
    """Sum of absolute errors over the sum of actual values; 0 when nothing was delivered."""
    total = float(np.sum(np.abs(actual)))
    return float(np.sum(np.abs(actual - predicted))) / total if total > 0 else 0.0


def skill(error: float, reference_error: float) -> float:
    """Share of the reference's error that is avoided; 0 against a perfect reference."""
    return 1.0 - error / reference_error if reference_error > 0 else 0.0


def coverage(actual: FloatArray, lower: FloatArray, upper: FloatArray) -> float:
    """Share of the values inside their band, bounds included; 0 without values."""
    return float(np.mean((actual >= lower) & (actual <= upper))) if actual.size else 0.0
