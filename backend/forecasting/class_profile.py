"""A site without a past is expected to do what sites of its kind do, by charger."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from backend.forecasting.baselines import BAND, floor_hour
from backend.forecasting.calendar import LocalCalendar, local_calendar
from backend.forecasting.forecast import DemandForecast, assemble_forecast
from backend.forecasting.history import FloatArray, IntArray, SiteHistory

LEAST_HOURS = 14 * 24
RECENT_HOURS = 56 * 24
CELLS = 48  # local hours of work days, then of days off


def class_forecast(
    history: SiteHistory,
    peers: Sequence[tuple[SiteHistory, int]],
    *,
    chargers: int,
    origin: datetime,
    hours_ahead: int,
) -> DemandForecast | None:
    """Mean and quantiles of the peers' last eight weeks per charger, by local hour and day off.

    Args:
        history: The site; only its place and calendar matter.
        peers: Sites of its kind and how many chargers each has.
        chargers: How many chargers the site has.
        origin: When the forecast is made.
        hours_ahead: How many hours to forecast.

    Returns:
        None if no peer has two weeks of history or the site has no charger.
    """
    useful = [(one, count) for one, count in peers if one.hours >= LEAST_HOURS and count > 0]
    if not useful or chargers == 0:
        return None
    begin = floor_hour(origin)
    cell = _cells(
        local_calendar(
            begin,
            hours=hours_ahead,
            timezone=history.timezone,
            country=history.country,
            closures=history.closures,
        )
    )
    energy = _by_cell([(one, one.energy_kwh / count) for one, count in useful])
    plugged = _by_cell([(one, one.occupancy / count) for one, count in useful])
    started = _by_cell([(one, one.sessions_started / count) for one, count in useful])
    bands = [np.quantile(each, BAND) if each.size else np.zeros(2) for each in energy]
    low, high = (chargers * np.array(side)[cell] for side in zip(*bands, strict=True))

    def mean(samples: list[FloatArray]) -> FloatArray:
        per_charger = np.array([each.mean() if each.size else 0.0 for each in samples])
        scaled: FloatArray = chargers * per_charger[cell]
        return scaled

    values = {
        "mean": mean(energy),
        "p10": low,
        "p90": high,
        "occupancy": mean(plugged),
        "sessions": mean(started),
    }
    return assemble_forecast(history.site_id, source="site_class", origin=begin, values=values)


def _by_cell(series: Sequence[tuple[SiteHistory, FloatArray]]) -> list[FloatArray]:
    """The recent known values of each cell, all sites together."""
    cells, values = [], []
    for one, value in series:
        recent = one.cut(since_h=one.hours - RECENT_HOURS, until_h=one.hours)
        calendar = local_calendar(
            recent.start,
            hours=recent.hours,
            timezone=recent.timezone,
            country=recent.country,
            closures=recent.closures,
        )
        known = np.isfinite(value[-recent.hours :])
        cells.append(_cells(calendar)[known])
        values.append(value[-recent.hours :][known])
    cell, value = np.concatenate(cells), np.concatenate(values)
    return [value[cell == each] for each in range(CELLS)]


def _cells(calendar: LocalCalendar) -> IntArray:
    cell: IntArray = calendar.hour + 24 * calendar.is_off_day[calendar.day]
    return cell
