import numpy as np
import pytest

from backend.forecasting import metrics

ACTUAL = np.array([0.0, 2.0, 4.0, 6.0])
PREDICTED = np.array([1.0, 2.0, 3.0, 8.0])


def test_metrics_agree_with_a_calculation_by_hand() -> None:
    assert metrics.mae(ACTUAL, PREDICTED) == pytest.approx(1.0)
    assert metrics.rmse(ACTUAL, PREDICTED) == pytest.approx(np.sqrt(1.5))
    assert metrics.wape(ACTUAL, PREDICTED) == pytest.approx(4 / 12)
    assert metrics.r2(ACTUAL, PREDICTED) == pytest.approx(1 - 6 / 20)
    assert metrics.skill(1.0, 4.0) == pytest.approx(0.75)
    assert metrics.coverage(ACTUAL, PREDICTED - 1, PREDICTED + 1) == pytest.approx(0.75)


def test_metrics_are_plain_numbers_when_there_is_nothing_to_measure() -> None:
    nothing = np.zeros(0)

    assert metrics.mae(nothing, nothing) == 0.0
    assert metrics.rmse(nothing, nothing) == 0.0
    assert metrics.r2(nothing, nothing) == 0.0
    assert metrics.coverage(nothing, nothing, nothing) == 0.0
    assert metrics.wape(np.zeros(3), np.ones(3)) == 0.0
    assert metrics.r2(np.ones(3), np.zeros(3)) == 0.0
    assert metrics.skill(1.0, 0.0) == 0.0
