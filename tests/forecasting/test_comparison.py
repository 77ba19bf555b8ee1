from typing import Any

import numpy as np
import pytest

from backend.forecasting.columns import LEVELS
from backend.forecasting.comparison import compare, pinball, surely_more


def verdict(factor: float, *, days: int = 20, noise: float = 0.1, error: float = 1.0) -> Any:
    """A challenger whose loss is so many times the champion's."""
    rng = np.random.default_rng(4)
    rows = 8 * days
    loss = rng.gamma(5, 0.2, rows)
    return compare(
        champion_loss=loss,
        challenger_loss=loss * factor * rng.normal(1.0, noise, rows),
        challenger_error=np.full(rows, error),
        like_day_error=np.full(rows, 1.0) + rng.uniform(0, 0.1, rows),
        level=np.ones(rows),
        site=np.zeros(rows, dtype=np.int64),
        site_ids=("site_test",),
        day=np.arange(rows) // 8,
    )


def test_a_clearly_better_challenger_is_promoted() -> None:
    found = verdict(0.9)

    assert found.is_better
    assert 0.05 < found.gain_at_least < found.gain < 0.15
    assert "less pinball loss" in found.reason


@pytest.mark.parametrize(
    ("factor", "options"),
    [
        (1.1, {}),  # worse
        (0.995, {"noise": 0.0}),  # surely better, but by half a percent
        (0.98, {"noise": 1.5}),  # perhaps by chance
        (0.5, {"days": 4}),  # too few days to tell
        (0.5, {"error": 2.0}),  # worse than like days at a site
    ],
)
def test_others_stay_challengers(factor: float, options: dict[str, Any]) -> None:
    assert not verdict(factor, **options).is_better


def test_days_err_together_so_hours_of_one_day_prove_little() -> None:
    first, second = np.ones(100), np.full(100, 0.5)

    assert surely_more(first, second, np.arange(100) // 10) == pytest.approx(0.5)
    assert surely_more(first, second, np.zeros(100, dtype=np.int64)) == -np.inf


def test_pinball_agrees_with_a_calculation_by_hand() -> None:
    loss = pinball(np.array([10.0]), np.full((1, 7), 8.0))

    assert loss[0] == pytest.approx(np.mean([2 * level for level in LEVELS]))
