import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from backend.forecasting.conformal import (
    GROUPS,
    Scores,
    band,
    group_of,
    level_needed,
    rolling_levels,
)
from backend.forecasting.history import FloatArray

AMOUNTS = st.floats(min_value=0, max_value=100).map(lambda value: round(value, 3))


@settings(deadline=None)
@given(
    quantiles=arrays(np.float64, (5, 7), elements=AMOUNTS),
    mean=arrays(np.float64, 5, elements=AMOUNTS),
    actual=arrays(np.float64, 5, elements=AMOUNTS),
)
def test_the_band_at_the_level_needed_holds_what_happened(
    quantiles: FloatArray, mean: FloatArray, actual: FloatArray
) -> None:
    quantiles = np.sort(quantiles, axis=1)

    level = level_needed(actual, mean_kwh=mean, quantiles_kwh=quantiles)
    lower, upper = band(level, mean_kwh=mean, quantiles_kwh=quantiles)

    assert np.all(lower - 1e-9 <= actual)
    assert np.all(actual <= upper + 1e-9)
    assert np.all((lower <= mean) & (mean <= upper) & (lower >= 0))


@settings(deadline=None)
@given(quantiles=arrays(np.float64, (1, 7), elements=AMOUNTS), mean=AMOUNTS)
def test_a_higher_level_never_narrows_the_band(quantiles: FloatArray, mean: float) -> None:
    levels = np.linspace(0, 1.2, 25)
    rows = np.repeat(np.sort(quantiles, axis=1), levels.size, axis=0)

    lower, upper = band(levels, mean_kwh=np.full(levels.size, mean), quantiles_kwh=rows)

    assert np.all(np.diff(lower) <= 1e-9)
    assert np.all(np.diff(upper) >= -1e-9)


def test_the_nominal_level_gives_the_nominal_quantiles() -> None:
    quantiles = np.array([[1.0, 2, 3, 4, 5, 6, 9]])

    lower, upper = band(np.array([0.8]), mean_kwh=np.array([4.5]), quantiles_kwh=quantiles)

    assert (lower[0], upper[0]) == (2.0, 6.0)


def test_an_hour_that_is_nearly_always_quiet_needs_no_level_when_it_is() -> None:
    quantiles = np.array([[0.0, 0, 0, 0, 0, 2, 5]])

    level = level_needed(np.zeros(1), mean_kwh=np.array([0.4]), quantiles_kwh=quantiles)

    assert level[0] == 0.0


def scores(level: FloatArray, *, group: int = 0) -> Scores:
    """Day-ahead forecasts of one hour a day."""
    issued_h = 24 * np.arange(level.size)
    return Scores(issued_h, issued_h + 5, np.full(level.size, group), level)


def test_levels_follow_recent_scores_and_cover_what_they_shall() -> None:
    needed = np.random.default_rng(1).uniform(0, 1, 4000) ** 0.5  # wider than the model thinks
    past = Scores(
        issued_h=np.arange(4000), valid_h=np.arange(4000), group=np.zeros(4000, int), level=needed
    )

    served = rolling_levels(past, at_h=np.arange(4000))[:, 0]

    assert np.mean(needed[500:] <= served[500:]) == pytest.approx(0.8, abs=0.02)


def test_coverage_comes_back_after_a_change() -> None:
    rng = np.random.default_rng(2)
    needed = np.concatenate([rng.uniform(0, 0.8, 1500), rng.uniform(0.4, 1.4, 1500)])
    hour = 3 * np.arange(3000)
    past = Scores(hour, hour, np.zeros(3000, int), needed)

    served = rolling_levels(past, at_h=hour)[:, 0]

    assert np.mean(needed[1700:] <= served[1700:]) == pytest.approx(0.8, abs=0.03)


@settings(deadline=None, max_examples=30)
@given(at=st.integers(min_value=0, max_value=99))
def test_scores_of_hours_not_over_yet_change_nothing(at: int) -> None:
    level = np.random.default_rng(3).uniform(0, 1, 100)
    origin = 24 * at
    unknown = scores(level).valid_h >= origin
    other = scores(np.where(unknown, 9.0, level))

    here = rolling_levels(scores(level), at_h=np.array([origin]))
    there = rolling_levels(other, at_h=np.array([origin]))

    np.testing.assert_array_equal(here, there)


def test_without_scores_the_nominal_level_is_served() -> None:
    levels = rolling_levels(Scores.empty(), at_h=np.array([7]))

    assert levels.shape == (1, GROUPS)
    assert np.all(levels == 0.8)


def test_scores_survive_json() -> None:
    before = scores(np.array([0.25, 0.5]), group=3)

    after = Scores.from_lists(json.loads(json.dumps(before.to_lists())))

    np.testing.assert_array_equal(after.level, before.level)
    np.testing.assert_array_equal(after.valid_h, before.valid_h)
    assert after.group.tolist() == [3, 3]


def test_days_off_and_parts_of_the_day_are_apart() -> None:
    groups = group_of(
        is_off_day=np.array([False, False, True, True]), local_hour=np.array([0, 23, 0, 23])
    )

    assert groups.tolist() == [0, 3, 4, 7]
