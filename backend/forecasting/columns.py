"""The columns of the demand model, each computed for many origins and lead times at once."""

import numpy as np

from backend.forecasting.bottom_up import remaining_energy
from backend.forecasting.history import BoolArray, FloatArray, IntArray
from backend.forecasting.profiles import HOURS_A_DAY, DayTable
from backend.forecasting.tables import Moments, SiteTables, trailing_mean, value_at

HOURS_A_WEEK = 7 * HOURS_A_DAY
LEVEL_HOURS = 28 * HOURS_A_DAY
USUAL_DAYS, AROUND_DAYS = 60, 25
LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
"""The quantiles that are learned, and those of the site's past that they are learned from."""


def calendar_columns(tables: SiteTables, when: Moments) -> dict[str, FloatArray | IntArray]:
    """Where the target lies in the day and the week, and what is known of it in advance."""
    calendar = tables.calendar
    return {
        "lead_h": when.lead_h,
        "local_hour": when.hour,
        "weekday": calendar.weekday[when.day],
        "is_off_day": calendar.is_off_day[when.day].astype(np.float64),
        "is_off_eve": calendar.is_off_eve[when.day].astype(np.float64),
        "is_off_morrow": calendar.is_off_day[when.day + 1].astype(np.float64),
        "temperature_c": tables.temperature_c[when.target],
        "price_eur_per_kwh": tables.price_eur_per_kwh[when.target],
    }


def energy_columns(tables: SiteTables, when: Moments) -> dict[str, FloatArray]:
    """What the site drew and usually draws, in kWh."""
    return {
        **_profile_columns(tables, when),
        **_quantile_columns(tables, when),
        **_lag_columns(tables, when),
        **_state_columns(tables, when),
    }


def _profile_columns(tables: SiteTables, when: Moments) -> dict[str, FloatArray]:
    """What the site usually draws at the target's hour, in kWh."""
    table, calendar = tables.energy_by_day, tables.calendar
    is_off, weekday = calendar.is_off_day, calendar.weekday
    return {
        **{f"like_day_{n}": when.like_day_mean(table, is_off, days=n) for n in (3, 5, 15, 30)},
        "like_eve_5": when.like_day_mean(table, calendar.is_off_eve, days=5),
        "like_day_15_before": when.like_day_mean(table, is_off, days=15, shift_h=-1),
        "like_day_15_after": when.like_day_mean(table, is_off, days=15, shift_h=1),
        "same_weekday_4": when.like_day_mean(table, weekday, days=4),
        "same_weekday_8": when.like_day_mean(table, weekday, days=8),
    }


def _quantile_columns(tables: SiteTables, when: Moments) -> dict[str, FloatArray]:
    """Medians and quantiles of the past at the target's hour, in kWh."""
    table, is_off = tables.energy_by_day, tables.calendar.is_off_day
    usual = when.quantiles(table, is_off, levels=LEVELS, days=USUAL_DAYS)
    around = when.quantiles(table, is_off, levels=(0.1, 0.5, 0.9), days=AROUND_DAYS, is_around=True)

    def median(kind: IntArray | BoolArray, days: int) -> FloatArray:
        return when.quantiles(table, kind, levels=(0.5,), days=days)[:, 0]

    return {
        "like_median_5": median(is_off, 5),
        "like_median_15": median(is_off, 15),
        "weekday_median_6": median(tables.calendar.weekday, 6),
        **{f"usual_{round(100 * q):02d}": usual[:, i] for i, q in enumerate(LEVELS)},
        **{f"around_{name}": around[:, i] for i, name in enumerate((10, 50, 90))},
    }


def _lag_columns(tables: SiteTables, when: Moments) -> dict[str, FloatArray]:
    energy, table = tables.energy_kwh, tables.energy_by_day
    return {
        "lag_day": when.lag(energy, period_h=HOURS_A_DAY),
        "lag_week": when.lag(energy, period_h=HOURS_A_WEEK),
        "lag_two_weeks": when.lag(energy, period_h=HOURS_A_WEEK, periods=2),
        "local_week": when.days_before(table, 7),
        "local_two_weeks": when.days_before(table, 14),
        "local_three_weeks": when.days_before(table, 21),
    }


def _state_columns(tables: SiteTables, when: Moments) -> dict[str, FloatArray]:
    """The site as it is at the origin, in kWh."""
    energy, origin = tables.energy_kwh, when.origin
    last = {hours: value_at(energy, origin - hours) for hours in (1, 2, 3)}
    return {
        **{f"last_{hours}h": values for hours, values in last.items()},
        "mean_24h": trailing_mean(energy, origin, HOURS_A_DAY),
        "mean_168h": trailing_mean(energy, origin, HOURS_A_WEEK),
        "change_day": last[1] - value_at(energy, origin - 1 - HOURS_A_DAY),
        "change_week": last[1] - value_at(energy, origin - 1 - HOURS_A_WEEK),
        "excess_3h": _excess(tables, origin, hours=3),
        "bottom_up": remaining_energy(
            energy,
            tables.sessions_started,
            origin=origin,
            lead_h=when.lead_h,
            start_h=tables.start_h,
        ),
        "today": _today(tables.energy_by_day, tables, when)[0],
    }


def share_columns(
    tables: SiteTables, when: Moments, *, level_kwh: FloatArray, level_vehicles: FloatArray
) -> dict[str, FloatArray]:
    """The day so far against what is usual, as ratios."""
    today_kwh, usual_kwh = _today(tables.energy_by_day, tables, when)
    starts, usual_starts = _today(tables.sessions_by_day, tables, when)
    before = np.maximum(when.origin - 1, 0)
    usual_vehicles = tables.occupancy_by_day.like_day_mean(
        days=15,
        kind=tables.calendar.is_off_day,
        day=when.origin_day,
        last_day=when.origin_day - 1,
        hour=tables.calendar.hour[before],
    )
    small = 0.2 * level_vehicles  # keeps ratios of next to nothing near 1
    return {
        "today_share": (today_kwh + 0.5 * level_kwh) / (usual_kwh + 0.5 * level_kwh),
        "starts_share": (starts + 0.5) / (usual_starts + 0.5),
        "occupancy_share": (value_at(tables.occupancy, when.origin - 1) + small)
        / (np.nan_to_num(usual_vehicles) + small),
        "active_share": trailing_mean(
            np.where(np.isnan(tables.energy_kwh), np.nan, tables.energy_kwh > 0),
            when.origin,
            LEVEL_HOURS,
        ),
        "active_15": when.like_day_mean(
            tables.is_active_by_day, tables.calendar.is_off_day, days=15
        ),
        "sessions_like_15": when.like_day_mean(
            tables.sessions_by_day, tables.calendar.is_off_day, days=15
        ),
    }


def occupancy_columns(tables: SiteTables, when: Moments) -> dict[str, FloatArray]:
    """Vehicles plugged in, now and usually."""
    occupancy, table, calendar = tables.occupancy, tables.occupancy_by_day, tables.calendar
    return {
        "occupancy_1h": value_at(occupancy, when.origin - 1),
        "occupancy_like_day_5": when.like_day_mean(table, calendar.is_off_day, days=5),
        "occupancy_like_day_15": when.like_day_mean(table, calendar.is_off_day, days=15),
        "occupancy_like_eve_5": when.like_day_mean(table, calendar.is_off_eve, days=5),
        "occupancy_same_weekday_4": when.like_day_mean(table, calendar.weekday, days=4),
        "occupancy_lag_day": when.lag(occupancy, period_h=HOURS_A_DAY),
        "occupancy_lag_week": when.lag(occupancy, period_h=HOURS_A_WEEK),
    }


def _today(table: DayTable, tables: SiteTables, when: Moments) -> tuple[FloatArray, FloatArray]:
    """Sum from local midnight to the origin, and what fifteen like days had by then."""
    so_far, usual = np.zeros(when.origin.shape), np.zeros(when.origin.shape)
    for hour in range(HOURS_A_DAY):
        rows = np.flatnonzero(when.origin_hour > hour)
        at_hour = np.full(rows.size, hour)
        day = when.origin_day[rows]
        so_far[rows] += np.nan_to_num(table.at(day=day, last_day=day, hour=at_hour))
        mean = table.like_day_mean(
            days=15, kind=tables.calendar.is_off_day, day=day, last_day=day - 1, hour=at_hour
        )
        usual[rows] += np.nan_to_num(mean)
    return so_far, usual


def _excess(tables: SiteTables, origin: IntArray, *, hours: int) -> FloatArray:
    """How far the last hours lay above the like days before them, mean per hour in kWh."""
    calendar, total = tables.calendar, np.zeros(origin.shape)
    for back in range(1, hours + 1):
        past = origin - back
        seen = np.maximum(past, 0)
        day = calendar.day[seen]
        usual = tables.energy_by_day.like_day_mean(
            days=5, kind=calendar.is_off_day, day=day, last_day=day - 1, hour=calendar.hour[seen]
        )
        total += value_at(tables.energy_kwh, past) - usual
    return total / hours
