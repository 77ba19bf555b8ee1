from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest

from backend.forecasting.history import SiteHistory

GOOD: dict[str, Any] = {
    "site_id": "site_test",
    "timezone": "Europe/Helsinki",
    "country": "FI",
    "start": datetime(2026, 3, 2, tzinfo=UTC),
    "energy_kwh": np.zeros(48),
    "occupancy": np.zeros(48),
    "sessions_started": np.zeros(48),
}


def test_a_history_knows_where_a_moment_lies() -> None:
    history = SiteHistory(**GOOD)

    assert history.hours == 48
    assert history.end == datetime(2026, 3, 4, tzinfo=UTC)
    assert history.index_of(datetime(2026, 3, 3, 1, 59, tzinfo=UTC)) == 25
    assert history.index_of(datetime(2026, 3, 1, 23, 59, tzinfo=UTC)) == -1


def test_an_empty_history_is_a_history() -> None:
    empty = np.zeros(0)

    history = SiteHistory(
        **GOOD | {"energy_kwh": empty, "occupancy": empty, "sessions_started": empty}
    )

    assert history.end == history.start


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("start", datetime(2026, 3, 2), "UTC"),  # noqa: DTZ001  # a naive time is the point
        ("start", datetime(2026, 3, 2, tzinfo=timezone(timedelta(hours=2))), "UTC"),
        ("start", datetime(2026, 3, 2, 0, 30, tzinfo=UTC), "on the hour"),
        ("timezone", "Europe/Nowhere", "time zone"),
        ("timezone", "../../etc/passwd", "time zone"),
        ("country", "XX", "country"),
        ("energy_kwh", np.full(48, np.inf), "finite"),
        ("occupancy", np.full(48, -1.0), "negative"),
        ("sessions_started", np.zeros(47), "shape"),
        ("energy_kwh", np.zeros((48, 1)), "shape"),
        ("temperature_c", np.zeros(47), "every hour"),
    ],
)
def test_a_history_refuses_impossible_values(field: str, value: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        SiteHistory(**GOOD | {field: value})


def test_what_came_late_is_unknown_before_it_came() -> None:
    energy_kwh = np.arange(48.0)
    available_at_h = np.arange(1.0, 49.0)
    available_at_h[10] = 20.0
    history = SiteHistory(**GOOD | {"energy_kwh": energy_kwh}, available_at_h=available_at_h)

    at_15, at_20 = history.known_at(15), history.known_at(20)

    assert np.flatnonzero(np.isnan(at_15.energy_kwh)).tolist() == [10]
    assert at_15.hours == 15
    assert at_20.energy_kwh.tolist() == energy_kwh[:20].tolist()
    assert at_15.missing_share(since_h=5, until_h=15) == pytest.approx(0.1)
