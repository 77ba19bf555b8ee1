"""Energy still to come into the vehicles that are plugged in, from when they plugged in.

A vehicle that plugged in `k` hours ago draws, on average, `kernel[k]` kWh in this hour. The kernel
is learned from the site's own last weeks by non-negative least squares, so it needs no more than
the counts of plug-ins, and what the vehicles of an origin will draw in the next hours is a sum.

Source of the solver: C. L. Lawson, R. J. Hanson, "Solving Least Squares Problems", 1974.
"""

import numpy as np

from backend.forecasting.history import FloatArray, IntArray

KERNEL_HOURS = 12
LONGEST_LEAD_H = 6
LEARNED_FROM_HOURS = 56 * 24
LEARNED_ANEW_EVERY = 168  # hours; kernels change with prices and seasons
LEAST_HOURS = 14 * 24


def remaining_energy(
    energy_kwh: FloatArray,
    sessions_started: FloatArray,
    *,
    origin: IntArray,
    lead_h: IntArray,
    start_h: int,
) -> FloatArray:
    """Energy that vehicles plugged in before the origin are still expected to draw in an hour.

    Args:
        energy_kwh: Energy of each hour, NaN where unknown, shape (hours,).
        sessions_started: Plug-ins of each hour, likewise.
        origin: Hour at whose beginning the forecast is made, shape (rows,).
        lead_h: Hours from the origin to the end of the hour forecast, from 1, shape (rows,).
        start_h: First hour, counted from 1970: kernels are learned at weeks' ends of one calendar,
            wherever a history begins.

    Returns:
        Energy in kWh; NaN beyond six hours and where the history is too short, shape (rows,).
    """
    result = np.full(origin.shape, np.nan)
    started = np.pad(np.nan_to_num(sessions_started), (KERNEL_HOURS, 0))
    learned_at = origin - (origin + start_h) % LEARNED_ANEW_EVERY
    is_near = (lead_h <= LONGEST_LEAD_H) & (learned_at >= LEAST_HOURS)
    for until in np.unique(learned_at[is_near]):
        kernel = _kernel(energy_kwh, started, until=int(until))
        rows = np.flatnonzero(is_near & (learned_at == until))
        total = np.zeros(rows.size)
        for age in range(KERNEL_HOURS):  # of the plug-in, in the last hour before the origin
            then = age + lead_h[rows]
            draws = np.where(then <= KERNEL_HOURS, kernel[np.minimum(then, KERNEL_HOURS)], 0.0)
            total += draws * started[origin[rows] - 1 - age + KERNEL_HOURS]
        result[rows] = total
    return result


def _kernel(energy_kwh: FloatArray, started: FloatArray, *, until: int) -> FloatArray:
    """Mean draw by hours since plug-in, learned before an hour, shape (KERNEL_HOURS + 1,)."""
    from scipy.optimize import nnls  # noqa: PLC0415  # costs a second, only workers need it

    hours = np.arange(max(0, until - LEARNED_FROM_HOURS), until)
    hours = hours[np.isfinite(energy_kwh[hours])]
    since = np.stack([started[hours - age + KERNEL_HOURS] for age in range(KERNEL_HOURS + 1)])
    if hours.size < LEAST_HOURS or not since.any():
        return np.zeros(KERNEL_HOURS + 1)
    kernel: FloatArray = nnls(since.T, energy_kwh[hours])[0]
    return kernel
