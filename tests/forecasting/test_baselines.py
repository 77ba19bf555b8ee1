from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.forecasting.baselines import like_day_forecast, seasonal_naive_forecast
from backend.forecasting.history import SiteHistory

MakeHistory = Callable[..., SiteHistory]
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)


def weekly(*, weeks: int) -> SiteHistory:
    """Every work day is alike and every day off is alike."""
    hour = np.arange(weeks * 168)
    energy_kwh = np.where(hour // 24 % 7 < 5, hour % 24, 1.0).astype(float)
    return SiteHistory("site_test", "UTC", None, MONDAY, energy_kwh, energy_kwh / 10, energy_kwh)


def test_a_regular_site_is_forecast_exactly() -> None:
    history = weekly(weeks=3)

    forecast = like_day_forecast(history, origin=history.end, hours_ahead=168)

    np.testing.assert_allclose(forecast.mean_kwh, history.energy_kwh[:168])
    np.testing.assert_allclose(forecast.occupancy, history.occupancy[:168])
    np.testing.assert_allclose(forecast.p10_kwh, forecast.p90_kwh)
    assert forecast.source == "like_day"
    assert forecast.valid_at[0] == history.end
    assert forecast.valid_at[-1] == history.end + timedelta(hours=167)


@pytest.mark.parametrize("days", [0, 0.5, 1, 3])
def test_an_answer_comes_from_the_first_hour_on(make_history: MakeHistory, days: float) -> None:
    history = make_history(days=days)

    forecast = like_day_forecast(history, origin=history.end, hours_ahead=48)

    assert np.all(np.isfinite(forecast.mean_kwh))
    assert np.any(forecast.mean_kwh > 0) == (days > 0)


@given(
    origin_min=st.integers(min_value=0, max_value=50 * 24 * 60),
    hours_ahead=st.integers(min_value=1, max_value=100),
)
def test_the_band_contains_the_mean_and_nothing_is_negative(
    origin_min: int, hours_ahead: int
) -> None:
    history = irregular()

    forecast = like_day_forecast(
        history, origin=MONDAY + timedelta(minutes=origin_min), hours_ahead=hours_ahead
    )

    assert forecast.mean_kwh.shape == (hours_ahead,)
    assert np.all(forecast.p10_kwh >= 0)
    assert np.all(forecast.p10_kwh <= forecast.mean_kwh)
    assert np.all(forecast.mean_kwh <= forecast.p90_kwh)
    assert np.all(forecast.occupancy >= 0)
    assert np.all(np.isfinite(forecast.p90_kwh))
    assert (
        forecast.valid_at[0]
        <= MONDAY + timedelta(minutes=origin_min)
        < forecast.valid_at[0] + (timedelta(hours=1))
    )


def irregular() -> SiteHistory:
    rng = np.random.default_rng(5)
    energy_kwh = rng.gamma(0.3, 10.0, 40 * 24)
    return SiteHistory(
        "site_test", "Europe/Helsinki", "FI", MONDAY, energy_kwh, energy_kwh / 4, energy_kwh
    )


@pytest.mark.parametrize("period_h", [24, 168])
def test_the_seasonal_naive_repeats_the_last_period(
    make_history: MakeHistory, period_h: int
) -> None:
    history = make_history(days=21)

    forecast = seasonal_naive_forecast(
        history, origin=history.end, hours_ahead=2 * period_h, period_h=period_h
    )

    np.testing.assert_allclose(forecast.mean_kwh, np.tile(history.energy_kwh[-period_h:], 2))


@pytest.mark.parametrize(("origin", "hours_ahead"), [(-1, 24), (24, 0)])
def test_a_forecast_without_hours_or_before_the_history_is_refused(
    make_history: MakeHistory, origin: int, hours_ahead: int
) -> None:
    with pytest.raises(ValueError, match="hour ahead"):
        like_day_forecast(
            make_history(), origin=MONDAY + timedelta(hours=origin), hours_ahead=hours_ahead
        )
