"""From hours to quarter-hours: the same energy, in the shape the site's hours usually have."""

from dataclasses import dataclass

import numpy as np

from backend.forecasting.history import FloatArray, IntArray

QUARTERS = 4
PRIOR_KWH = 1.0
"""Energy that the even shape counts for: an hour of little demand has no shape of its own."""


@dataclass(frozen=True, slots=True, eq=False)
class QuarterForecast:
    """Demand of quarter-hours; four in a row sum up to their hour.

    Attributes:
        mean_kwh: Expected energy, shape (quarters,).
        p10_kwh: Lower bound of the 80 % band, never above the mean.
        p90_kwh: Upper bound, never below it.
        occupancy: Expected number of vehicles plugged in.
    """

    mean_kwh: FloatArray
    p10_kwh: FloatArray
    p90_kwh: FloatArray
    occupancy: FloatArray


def shares_by_hour(energy_kwh: FloatArray, local_hour: IntArray) -> FloatArray:
    """How each local hour's energy is spread over its quarters, shape (24, 4); rows sum to 1.

    Args:
        energy_kwh: Energy of past quarter-hours, shape (hours, 4), NaN where unknown.
        local_hour: Local hour of day of each row, shape (hours,).
    """
    known = np.all(np.isfinite(energy_kwh), axis=1)
    total = np.full((24, QUARTERS), PRIOR_KWH / QUARTERS)
    np.add.at(total, local_hour[known], energy_kwh[known])
    shares: FloatArray = total / total.sum(axis=1, keepdims=True)
    return shares


def widening(energy_kwh: FloatArray, local_hour: IntArray, shares: FloatArray) -> float:
    """How much wider than its share of the hour's band a quarter's band has to be.

    The deviation of quarters from their share of the hour's mean, against the deviation of hours
    from theirs, over past hours with demand: 1 if quarters move together, up to 2 if each moves on
    its own.
    """
    known = np.all(np.isfinite(energy_kwh), axis=1) & (np.nansum(energy_kwh, axis=1) > 0)
    if np.count_nonzero(known) < 2 * 24:
        return 2.0
    energy, hours = energy_kwh[known], local_hour[known]
    count = np.maximum(np.bincount(hours, minlength=24), 1)
    usual = np.bincount(hours, energy.sum(axis=1), 24) / count
    off_hour = energy.sum(axis=1) - usual[hours]
    off_quarter = energy - usual[hours, np.newaxis] * shares[hours]
    share = shares[hours]
    expected = np.sqrt(np.mean((off_hour[:, np.newaxis] * share) ** 2))
    return float(np.clip(np.sqrt(np.mean(off_quarter**2)) / max(expected, 1e-9), 1.0, 2.0))


def split_hours(
    *,
    mean_kwh: FloatArray,
    p10_kwh: FloatArray,
    p90_kwh: FloatArray,
    occupancy: FloatArray,
    shares: FloatArray,
    wider: float,
) -> QuarterForecast:
    """Quarter-hours of hourly forecasts.

    Args:
        mean_kwh: Expected energy of each hour, shape (hours,).
        p10_kwh: Lower bound of each hour.
        p90_kwh: Upper bound of each hour.
        occupancy: Vehicles plugged in.
        shares: Share of each quarter in its hour, shape (hours, 4), rows sum to 1.
        wider: As `widening` says.
    """
    mean = (mean_kwh[:, np.newaxis] * shares).ravel()
    down = ((mean_kwh - p10_kwh)[:, np.newaxis] * shares).ravel() * wider
    up = ((p90_kwh - mean_kwh)[:, np.newaxis] * shares).ravel() * wider
    return QuarterForecast(
        mean_kwh=mean,
        p10_kwh=np.maximum(mean - down, 0.0),
        p90_kwh=mean + up,
        occupancy=np.repeat(occupancy, QUARTERS),
    )
