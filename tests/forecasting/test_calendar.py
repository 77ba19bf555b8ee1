from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.forecasting.calendar import local_calendar

ZONES = ("Europe/Helsinki", "America/Los_Angeles", "Asia/Kolkata", "Australia/Lord_Howe", "UTC")


@given(
    zone=st.sampled_from(ZONES),
    first=st.integers(min_value=0, max_value=24 * 365 * 3),
    hours=st.integers(min_value=1, max_value=400),
)
def test_local_time_is_the_wall_clock_of_the_zone(zone: str, first: int, hours: int) -> None:
    start = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(hours=first)

    calendar = local_calendar(start, hours=hours, timezone=zone, country=None)

    last = (start + timedelta(hours=hours - 1)).astimezone(ZoneInfo(zone))
    assert calendar.hour[-1] == last.hour
    assert calendar.weekday[calendar.day[-1]] == last.weekday()
    assert np.all(np.diff(calendar.day) >= 0)
    assert calendar.is_off_day[calendar.day[-1]] == (last.weekday() >= 5)
    assert calendar.is_off_eve[calendar.day[-1]] == ((last.weekday() - 1) % 7 >= 5)


@pytest.mark.parametrize(("midnight", "hours"), [((2026, 3, 28, 22), 23), ((2026, 10, 24, 21), 25)])
def test_a_day_may_have_23_or_25_hours(midnight: tuple[int, int, int, int], hours: int) -> None:
    start = datetime(*midnight, tzinfo=UTC)

    calendar = local_calendar(start, hours=30, timezone="Europe/Helsinki", country="FI")

    assert np.count_nonzero(calendar.day == 0) == hours


@pytest.mark.parametrize(("country", "is_off"), [("FI", True), ("US", False), (None, False)])
def test_a_public_holiday_is_a_day_off_where_it_is_kept(country: str | None, is_off: bool) -> None:  # noqa: FBT001  # a test parameter
    epiphany = datetime(2027, 1, 6, 12, tzinfo=UTC)  # a Wednesday

    calendar = local_calendar(epiphany, hours=1, timezone="Europe/Helsinki", country=country)

    assert calendar.is_off_day.tolist() == [is_off]


def test_a_public_holiday_counts_as_a_sunday_and_as_the_eve_of_the_next_day() -> None:
    epiphany = datetime(2027, 1, 5, 22, tzinfo=UTC)  # midnight in Helsinki

    calendar = local_calendar(epiphany, hours=48, timezone="Europe/Helsinki", country="FI")

    assert calendar.weekday.tolist() == [6, 3]
    assert calendar.is_off_eve.tolist() == [False, True]
