"""Forecasts that need no training: like-day means and the seasonal naive."""

from datetime import UTC, datetime

import numpy as np

from backend.forecasting.features import FeatureRows, feature_rows
from backend.forecasting.forecast import DemandForecast, assemble_forecast
from backend.forecasting.history import FloatArray, SiteHistory
from backend.forecasting.tables import SiteTables

LIKE_DAYS_OF_BAND = 15
BAND = (0.1, 0.9)


def like_day_forecast(
    history: SiteHistory, *, origin: datetime, hours_ahead: int
) -> DemandForecast:
    """Forecast each hour as the mean of the last five work or off days at that hour.

    Answers from the first day on: without a like day it falls back to yesterday's value, then to
    the mean of all that is known, then to 0. The band holds the middle 80 % of the last 15.

    Args:
        history: What happened; values at and after the origin are ignored.
        origin: When the forecast is made; the first hour forecast is the one it falls into.
        hours_ahead: How many hours to forecast, at least one.
    """
    tables, rows = rows_at(history, origin=origin, hours_ahead=hours_ahead)
    mean_kwh = like_day_mean(rows)
    p10_kwh, p90_kwh = _band(tables, rows)
    values = {
        "mean": mean_kwh,
        "p10": np.where(np.isnan(p10_kwh), mean_kwh, p10_kwh),
        "p90": np.where(np.isnan(p90_kwh), mean_kwh, p90_kwh),
        "occupancy": _first_known(
            rows.column("occupancy_like_day_5"), rows.column("occupancy_lag_day")
        )
        * rows.level_vehicles,
        "sessions": _first_known(rows.column("sessions_like_15")),
    }
    begin = floor_hour(origin)
    return assemble_forecast(history.site_id, source="like_day", origin=begin, values=values)


def seasonal_naive_forecast(
    history: SiteHistory, *, origin: datetime, hours_ahead: int, period_h: int
) -> DemandForecast:
    """Repeat the last known day (`period_h` 24) or week (168); 0 where there is none."""
    _, rows = rows_at(history, origin=origin, hours_ahead=hours_ahead)
    name = {24: "lag_day", 168: "lag_week"}[period_h]
    mean_kwh = rows.column(name) * rows.level_kwh
    values = {
        "mean": mean_kwh,
        "p10": mean_kwh,
        "p90": mean_kwh,
        "occupancy": rows.column(f"occupancy_{name}") * rows.level_vehicles,
        "sessions": rows.column("sessions_like_15"),
    }
    begin = floor_hour(origin)
    return assemble_forecast(history.site_id, source="seasonal_naive", origin=begin, values=values)


def rows_at(
    history: SiteHistory, *, origin: datetime, hours_ahead: int
) -> tuple[SiteTables, FeatureRows]:
    """The features of the hours ahead of one origin.

    Raises:
        ValueError: If no hour is asked for or the origin lies before the history.
    """
    known_hours = history.index_of(origin)
    if hours_ahead < 1 or known_hours < 0:
        raise ValueError("a forecast needs an hour ahead and an origin not before its history")
    tables = SiteTables.of(history, known_hours=known_hours, hours_ahead=hours_ahead)
    lead_h = np.arange(1, hours_ahead + 1)
    return tables, feature_rows(tables, origin=np.full_like(lead_h, known_hours), lead_h=lead_h)


def like_day_mean(rows: FeatureRows) -> FloatArray:
    """The like-day mean in kWh with its fallbacks, shape (rows,)."""
    usual = _first_known(rows.column("like_day_5"), rows.column("lag_day"), rows.column("mean_24h"))
    return usual * rows.level_kwh


def seasonal_naive(rows: FeatureRows, *, period_h: int) -> FloatArray:
    """The last known day's or week's value in kWh; a missing week falls back to the day."""
    day = rows.column("lag_day")
    known = _first_known(day) if period_h == 24 else _first_known(rows.column("lag_week"), day)  # noqa: PLR2004  # a day
    return known * rows.level_kwh


def floor_hour(moment: datetime) -> datetime:
    """The beginning of the hour a moment falls into, UTC."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _first_known(*candidates: FloatArray) -> FloatArray:
    """Element by element the first candidate that is not NaN, else 0."""
    result = np.zeros(candidates[0].shape)
    for candidate in reversed(candidates):
        result = np.where(np.isnan(candidate), result, candidate)
    return result


def _band(tables: SiteTables, rows: FeatureRows) -> tuple[FloatArray, FloatArray]:
    """The 10 % and 90 % quantile of the last like days, NaN where there are none."""
    calendar = tables.calendar
    origin = tables.energy_kwh.size
    band = np.full((rows.target.size, 2), np.nan)
    for row, target in enumerate(rows.target):
        hour, day = calendar.hour[target], calendar.day[target]
        past = tables.energy_by_day.last_values(
            days=LIKE_DAYS_OF_BAND,
            is_like=calendar.is_off_day == calendar.is_off_day[day],
            last_day=int(calendar.day[origin]) - int(hour >= calendar.hour[origin]),
            hour=int(hour),
        )
        if past.size:
            band[row] = np.quantile(past, BAND)
    return band[:, 0], band[:, 1]
