"""Small fleets for tests of vehicles' forecasts."""

from datetime import UTC, datetime

import numpy as np

from backend.forecasting.availability_history import SLOTS_A_DAY, PlugHistory
from backend.forecasting.telemetry_features import Trace, trace_of

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)


def commuting(*, days: int, vehicles: int = 3, seed: int = 0) -> PlugHistory:
    """Plugged in from about 8 to about 16 on nine of ten work days."""
    rng = np.random.default_rng(seed)
    state = np.zeros((vehicles, days * SLOTS_A_DAY), dtype=np.int8)
    for vehicle in range(vehicles):
        for day in range(days):
            if day % 7 >= 5 or rng.random() < 0.1:
                continue
            came, left = 32 + rng.integers(-3, 4), 64 + rng.integers(-4, 5)
            state[vehicle, day * SLOTS_A_DAY + came : day * SLOTS_A_DAY + left] = 1
    return PlugHistory(tuple(f"v{n}" for n in range(vehicles)), "UTC", None, MONDAY, state)


def trace(
    minutes: list[float],
    soc: list[float] | None = None,
    plugged: list[int] | None = None,
    power_kw: list[float] | None = None,
) -> Trace:
    """A trace with points so many minutes after Monday midnight."""
    count = len(minutes)
    return trace_of(
        "v0",
        50.0,
        at_s=np.array([int(MONDAY.timestamp() + 60 * one) for one in minutes]),
        soc_percent=np.array(soc if soc is not None else [50.0] * count, dtype=np.float64),
        is_plugged_in=np.array(plugged if plugged is not None else [0] * count, dtype=np.int8),
        power_kw=np.array(power_kw if power_kw is not None else [0.0] * count, dtype=np.float64),
    )
