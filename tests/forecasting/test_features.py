from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.forecasting.calendar import local_calendar
from backend.forecasting.features import (
    FEATURE_NAMES,
    MIN_LEVEL_KWH,
    FeatureRows,
    feature_rows,
)
from backend.forecasting.history import FloatArray, SiteHistory
from backend.forecasting.profiles import DayTable
from backend.forecasting.tables import SiteTables

MakeHistory = Callable[..., SiteHistory]
Build = Callable[[SiteHistory, int, int], FloatArray]

# Around the nights in which Helsinki changes its clocks.
STARTS = (datetime(2026, 3, 2, 22, tzinfo=UTC), datetime(2026, 10, 1, 5, tzinfo=UTC))


def row(history: SiteHistory, *, origin: int, lead_h: int) -> FeatureRows:
    tables = SiteTables.of(history, known_hours=history.hours, hours_ahead=200)
    return feature_rows(tables, origin=np.array([origin]), lead_h=np.array([lead_h]))


def looks_ahead(build: Build, history: SiteHistory, *, origin: int, lead_h: int) -> bool:
    """Whether anything changes when everything from the origin on is different."""
    different = np.arange(history.hours) >= origin
    other = replace(
        history,
        energy_kwh=np.where(different, 100.0 + np.arange(history.hours), history.energy_kwh),
        occupancy=np.where(different, 50.0, history.occupancy),
        sessions_started=np.where(different, 9.0, history.sessions_started),
    )
    seen, seen_other = build(history, origin, lead_h), build(other, origin, lead_h)
    return not np.array_equal(seen, seen_other, equal_nan=True)


@settings(max_examples=60, deadline=None)
@given(
    start=st.sampled_from(STARTS),
    origin=st.integers(min_value=0, max_value=40 * 24 - 1),
    lead_h=st.integers(min_value=1, max_value=170),
)
def test_features_use_only_what_was_known_before_the_origin(
    start: datetime, origin: int, lead_h: int
) -> None:
    def build(history: SiteHistory, origin: int, lead_h: int) -> FloatArray:
        rows = row(history, origin=origin, lead_h=lead_h)
        return np.concatenate([rows.features[0], rows.level_kwh, rows.level_vehicles])

    assert not looks_ahead(build, uneven(start), origin=origin, lead_h=lead_h)


@pytest.mark.parametrize("start", STARTS)
def test_a_planted_leak_is_caught(start: datetime) -> None:
    def leaking(history: SiteHistory, origin: int, lead_h: int) -> FloatArray:
        return row(history, origin=origin + 1, lead_h=lead_h).features

    caught = [
        looks_ahead(leaking, uneven(start), origin=origin, lead_h=24) for origin in range(0, 900, 7)
    ]

    assert all(caught)


def uneven(start: datetime) -> SiteHistory:
    """Forty days in which no two hours are alike."""
    rng = np.random.default_rng(1)
    return SiteHistory(
        site_id="site_test",
        timezone="Europe/Helsinki",
        country="FI",
        start=start,
        energy_kwh=rng.uniform(1.0, 9.0, 960),
        occupancy=rng.uniform(1.0, 5.0, 960),
        sessions_started=rng.uniform(1.0, 5.0, 960),
    )


def test_like_day_means_and_lags_agree_with_a_calculation_by_hand() -> None:
    start = datetime(2026, 3, 2, tzinfo=UTC)  # a Monday
    day = np.arange(21 * 24) // 24
    history = SiteHistory(
        "site_test", "UTC", None, start, day.astype(float), day / 10, np.zeros(day.size)
    )

    # Monday 23 March 13:00, forecast at 10:00 on Friday the 20th: lead 76 h.
    rows = row(history, origin=18 * 24 + 10, lead_h=76)

    def kwh(name: str) -> float:
        return float((rows.column(name) * rows.level_kwh)[0])

    work_days_before_friday = [11, 14, 15, 16, 17]  # Friday 13:00 is not known yet
    assert kwh("like_day_5") == pytest.approx(np.mean(work_days_before_friday))
    assert kwh("same_weekday_4") == pytest.approx(np.mean([14, 7, 0]))
    assert kwh("lag_day") == 17.0
    assert kwh("lag_week") == 14.0
    assert kwh("lag_two_weeks") == 7.0
    assert kwh("last_1h") == 18.0
    assert kwh("change_day") == pytest.approx(1.0)
    assert kwh("excess_3h") == pytest.approx(18.0 - np.mean(work_days_before_friday))
    assert rows.column("local_hour")[0] == 13
    assert rows.column("weekday")[0] == 0
    assert rows.column("occupancy_lag_week")[0] * rows.level_vehicles[0] == pytest.approx(1.4)


@given(
    seed=st.integers(min_value=0, max_value=1000),
    days=st.integers(min_value=1, max_value=6),
    last_day=st.integers(min_value=-1, max_value=29),
    hour=st.integers(min_value=0, max_value=23),
    is_off=st.booleans(),
)
def test_a_like_day_mean_is_the_mean_of_the_last_known_like_days(
    *, seed: int, days: int, last_day: int, hour: int, is_off: bool
) -> None:
    start = datetime(2026, 12, 10, 3, tzinfo=UTC)
    calendar = local_calendar(start, hours=24 * 29, timezone="Europe/Helsinki", country="FI")
    values = np.random.default_rng(seed).uniform(0.0, 9.0, calendar.hour.size)

    mean = DayTable.of(values, calendar).like_day_mean(
        days=days,
        kind=calendar.is_off_day,
        day=np.flatnonzero(calendar.is_off_day == is_off)[:1],
        last_day=np.array([last_day]),
        hour=np.array([hour]),
    )

    like = [day for day in range(last_day + 1) if calendar.is_off_day[day] == is_off][-days:]
    known = [
        values[hours[0]]
        for day in like
        if (hours := np.flatnonzero((calendar.day == day) & (calendar.hour == hour))).size
    ]
    expected = np.mean(known) if known else np.nan
    np.testing.assert_allclose(mean, [expected])


def test_an_hour_the_clock_repeats_counts_as_the_mean_of_both() -> None:
    start = datetime(2026, 10, 24, 21, tzinfo=UTC)  # midnight before the clocks go back
    calendar = local_calendar(start, hours=25, timezone="Europe/Helsinki", country=None)

    table = DayTable.of(np.arange(25.0), calendar)

    assert table.value[0, 3] == 3.5


def test_features_do_not_depend_on_the_size_of_a_site(make_history: MakeHistory) -> None:
    small, large = make_history(seed=3), make_history(seed=3, scale=100.0)

    np.testing.assert_allclose(
        row(large, origin=600, lead_h=5).features, row(small, origin=600, lead_h=5).features
    )


def test_a_site_that_stood_still_has_finite_features() -> None:
    still = np.zeros(24 * 20)
    start = datetime(2026, 3, 2, tzinfo=UTC)
    history = SiteHistory("site_test", "Europe/Helsinki", "FI", start, still, still, still)

    rows = row(history, origin=400, lead_h=24)

    assert rows.level_kwh[0] == MIN_LEVEL_KWH
    assert not np.any(np.isinf(rows.features))


def test_the_temperature_of_the_hour_forecast_is_known_in_advance(
    make_history: MakeHistory,
) -> None:
    history = make_history(days=10)
    warm = replace(history, temperature_c=np.arange(240.0 + 12))

    assert row(warm, origin=240, lead_h=12).column("temperature_c")[0] == 251.0
    assert np.isnan(row(warm, origin=240, lead_h=13).column("temperature_c")[0])
    assert np.isnan(row(history, origin=240, lead_h=1).column("temperature_c")[0])


def test_hours_missing_before_the_origin_are_unknown_not_zero(make_history: MakeHistory) -> None:
    history = make_history(days=10)
    late = history.hours + 30

    tables = SiteTables.of(history, known_hours=late, hours_ahead=24)
    rows = feature_rows(tables, origin=np.array([late]), lead_h=np.array([1]))

    assert np.isnan(rows.column("last_1h")[0])
    assert np.isfinite(rows.column("like_day_5")[0])
    assert rows.features.shape == (1, len(FEATURE_NAMES))
    assert history.end + timedelta(hours=30) == history.start + timedelta(hours=late)
