from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pytest

from backend.forecasting.drift import (
    REFERENCE_DAYS,
    find_drift,
    population_stability,
    why_retrain,
    work_days,
)
from backend.forecasting.history import FloatArray, SiteHistory

MakeHistory = Callable[..., SiteHistory]


def days(count: int, *, seed: int = 0) -> FloatArray:
    """Work days of about 100 kWh."""
    return np.random.default_rng(seed).normal(100.0, 20.0, count)


def test_a_loss_of_nearly_half_is_found_within_two_weeks() -> None:
    energy_kwh = days(200)
    energy_kwh[150:] *= 0.54

    alarms = find_drift(energy_kwh, np.array([100.0]))

    assert 150 <= next(one.day for one in alarms if one.is_sure) <= 162
    assert min(one.day for one in alarms if one.day >= 150) <= 156  # the warning comes first


def test_steady_sites_raise_no_alarm() -> None:
    sure = [
        one
        for seed in range(5)
        for one in find_drift(days(300, seed=seed), np.array([100.0]))
        if one.is_sure
    ]

    assert sure == []


def test_nothing_is_said_before_there_is_a_reference() -> None:
    energy_kwh = days(REFERENCE_DAYS)
    energy_kwh[45:] *= 3

    assert find_drift(energy_kwh, np.array([100.0])) == []


def test_bands_that_begin_to_miss_are_drift_too() -> None:
    steady = days(200)
    missed = np.full(200, 0.2)
    missed[150:] = 0.7

    alarms = find_drift(steady, np.array([100.0]), missed)

    assert {one.signal for one in alarms if one.is_sure} == {"misses"}


def test_only_whole_work_days_count() -> None:
    start = datetime(2026, 3, 2, 7, tzinfo=UTC)  # a Monday morning
    energy_kwh = np.ones(24 * 14)
    energy_kwh[24 * 3] = np.nan  # one hour of Thursday
    history = SiteHistory("site_test", "UTC", None, start, energy_kwh, energy_kwh, energy_kwh)

    found = work_days(history)

    assert found.day.tolist() == [1, 2, 3, 4, 7, 8, 9, 10, 11]
    assert found.energy_kwh.tolist() == [24, 24, 23, 24, 24, 24, 24, 24, 24]


def test_population_stability_tells_like_from_unlike() -> None:
    rng = np.random.default_rng(5)
    reference = rng.gamma(2, 5, 2000)

    assert population_stability(reference, rng.gamma(2, 5, 500)) < 0.1
    assert population_stability(reference, 2 * rng.gamma(2, 5, 500)) > 0.25
    assert population_stability(np.zeros(100), np.zeros(50)) == 0.0
    assert population_stability(np.zeros(0), np.zeros(50)) == 0.0


CALM = {
    "days_since_training": 3.0,
    "has_drift": False,
    "wape_now": 0.3,
    "wape_backtest": 0.3,
    "wape_like_day": 0.4,
    "new_data_share": 0.05,
    "has_new_site": False,
}


@pytest.mark.parametrize(
    ("change", "count"),
    [
        ({}, 0),
        ({"days_since_training": 7.0}, 1),
        ({"has_drift": True}, 1),
        ({"wape_now": 0.5}, 1),
        ({"wape_now": 0.5, "wape_like_day": 0.6}, 0),  # everybody errs more
        ({"wape_now": None, "wape_like_day": None}, 0),
        ({"new_data_share": 0.25, "has_new_site": True}, 2),
    ],
)
def test_each_trigger_is_a_reason_to_retrain(change: dict[str, object], count: int) -> None:
    reasons = why_retrain(**CALM | change).reasons  # type: ignore[arg-type]

    assert len(reasons) == count
