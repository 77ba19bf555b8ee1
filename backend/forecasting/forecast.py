"""A demand forecast of one site."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np

from backend.forecasting.history import HOUR, FloatArray

Source = Literal["lightgbm", "like_day", "seasonal_naive", "site_class"]


@dataclass(frozen=True, slots=True, eq=False)
class DemandForecast:
    """Hourly demand ahead of an origin; every value is finite and not negative.

    Attributes:
        site_id: The site.
        source: What made the forecast.
        origin: Beginning of the first hour forecast, UTC; only earlier values were used.
        valid_at: Beginning of each hour, UTC, length hours.
        mean_kwh: Expected energy, shape (hours,).
        p10_kwh: Lower bound of the 80 % band, never above the mean, shape (hours,).
        p90_kwh: Upper bound of the 80 % band, never below the mean, shape (hours,).
        occupancy: Expected number of vehicles plugged in, shape (hours,).
        sessions_started: Expected number of charging sessions that begin, shape (hours,).
        quantiles_kwh: The quantiles of `LEVELS` before any correction, ascending, shape (hours, 7);
            None where the source has none.
    """

    site_id: str
    source: Source
    origin: datetime
    valid_at: tuple[datetime, ...]
    mean_kwh: FloatArray
    p10_kwh: FloatArray
    p90_kwh: FloatArray
    occupancy: FloatArray
    sessions_started: FloatArray
    quantiles_kwh: FloatArray | None = None

    @property
    def median_kwh(self) -> FloatArray:
        """What every second hour stays below, shape (hours,); the mean where it is not known."""
        if self.quantiles_kwh is None:
            return self.mean_kwh
        median: FloatArray = self.quantiles_kwh[:, self.quantiles_kwh.shape[1] // 2]
        return median


def assemble_forecast(
    site_id: str,
    *,
    source: Source,
    origin: datetime,
    values: Mapping[str, FloatArray],
    quantiles_kwh: FloatArray | None = None,
) -> DemandForecast:
    """Build a forecast whose band contains its mean, from raw model outputs.

    Args:
        site_id: The site.
        source: What made the values.
        origin: Beginning of the first hour forecast, UTC.
        values: Arrays `mean`, `p10`, `p90` (kWh), `occupancy` and `sessions`, shape (hours,) each;
            negative values become 0, values that are not finite too.
        quantiles_kwh: Quantiles before any correction, shape (hours, 7).
    """
    clean = {name: not_negative(array) for name, array in values.items()}
    return DemandForecast(
        site_id=site_id,
        source=source,
        origin=origin,
        valid_at=tuple(origin + hour * HOUR for hour in range(clean["mean"].size)),
        mean_kwh=clean["mean"],
        p10_kwh=np.minimum(clean["p10"], clean["mean"]),
        p90_kwh=np.maximum(clean["p90"], clean["mean"]),
        occupancy=clean["occupancy"],
        sessions_started=clean["sessions"],
        quantiles_kwh=quantiles_kwh,
    )


def not_negative(values: FloatArray) -> FloatArray:
    """The values with everything negative or not finite replaced by 0."""
    return np.maximum(np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0), 0.0)
