from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pytest

from backend.forecasting.history import SiteHistory

MakeHistory = Callable[..., SiteHistory]


@pytest.fixture(scope="session")
def make_history() -> MakeHistory:
    return _history


def _history(
    *,
    days: float = 30,
    seed: int = 0,
    site_id: str = "site_test",
    timezone: str = "UTC",
    country: str | None = "FI",
    start: datetime = datetime(2026, 3, 2, tzinfo=UTC),
    scale: float = 1.0,
) -> SiteHistory:
    """A workplace: busy on work days from 7 to 15 h UTC, empty on weekends."""
    rng = np.random.default_rng(seed)
    hour = np.arange(round(24 * days))
    weekday = (start.weekday() + (start.hour + hour) // 24) % 7
    is_busy = (weekday < 5) & ((start.hour + hour) % 24 >= 7) & ((start.hour + hour) % 24 < 15)
    occupancy = np.where(is_busy, rng.binomial(6, 0.85, hour.size), 0)
    return SiteHistory(
        site_id=site_id,
        timezone=timezone,
        country=country,
        start=start,
        energy_kwh=scale * occupancy * rng.uniform(3.0, 5.0, hour.size),
        occupancy=occupancy,
        sessions_started=np.minimum(occupancy, rng.poisson(1.0, hour.size)),
    )
