"""What the demand model sees of a site at an origin: only what was known before it."""

from dataclasses import dataclass, fields

import numpy as np

from backend.forecasting.columns import (
    HOURS_A_WEEK,
    LEVEL_HOURS,
    LEVELS,
    calendar_columns,
    energy_columns,
    occupancy_columns,
    share_columns,
)
from backend.forecasting.history import BoolArray, FloatArray, IntArray, SiteHistory
from backend.forecasting.tables import Moments, SiteTables, trailing_mean

LOOKBACK_HOURS = 31 * HOURS_A_WEEK
"""How much history before the origin the features reach back to (60 days off take 30 weeks)."""

# A site that stood still for four weeks has no level; these keep its ratios finite.
MIN_LEVEL_KWH = 0.05
MIN_LEVEL_VEHICLES = 0.01

FEATURE_NAMES = (
    "lead_h",
    "local_hour",
    "weekday",
    "is_off_day",
    "is_off_eve",
    "is_off_morrow",
    "temperature_c",
    "price_eur_per_kwh",
    "like_day_3",
    "like_day_5",
    "like_day_15",
    "like_day_30",
    "like_eve_5",
    "like_day_15_before",
    "like_day_15_after",
    "like_median_5",
    "like_median_15",
    "same_weekday_4",
    "same_weekday_8",
    "weekday_median_6",
    "active_15",
    *(f"usual_{round(100 * level):02d}" for level in LEVELS),
    "around_10",
    "around_50",
    "around_90",
    "lag_day",
    "lag_week",
    "lag_two_weeks",
    "local_week",
    "local_two_weeks",
    "local_three_weeks",
    "last_1h",
    "last_2h",
    "last_3h",
    "mean_24h",
    "mean_168h",
    "change_day",
    "change_week",
    "excess_3h",
    "today",
    "today_share",
    "starts_share",
    "bottom_up",
    "active_share",
    "sessions_3h",
    "sessions_like_15",
    "occupancy_1h",
    "occupancy_share",
    "occupancy_like_day_5",
    "occupancy_like_day_15",
    "occupancy_like_eve_5",
    "occupancy_same_weekday_4",
    "occupancy_lag_day",
    "occupancy_lag_week",
)


@dataclass(frozen=True, slots=True, eq=False)
class FeatureRows:
    """One row per origin and lead time.

    Attributes:
        features: Columns as in `FEATURE_NAMES`, NaN where unknown, shape (rows, features).
        level_kwh: Trailing mean of energy per hour that targets are divided by, shape (rows,).
        level_vehicles: The same for the vehicles plugged in, shape (rows,).
        target: Hour forecast, counted from the start of the history, shape (rows,).
    """

    features: FloatArray
    level_kwh: FloatArray
    level_vehicles: FloatArray
    target: IntArray

    def column(self, name: str) -> FloatArray:
        """One feature, shape (rows,)."""
        return self.features[:, FEATURE_NAMES.index(name)]


def rows_of(history: SiteHistory, *, origin: IntArray, lead_h: IntArray) -> FeatureRows:
    """The features of many origins, each seeing only what was known at its beginning.

    Values that came late make no difference to origins before them: such origins get tables of
    their own, made of what was there.

    Args:
        history: The site.
        origin: Hours at whose beginning forecasts are made, within the history, shape (rows,).
        lead_h: Hours from the origin to the end of the hour forecast, from 1, shape (rows,).
    """
    ahead = int(np.max(origin + lead_h, initial=1)) - history.hours
    tables = SiteTables.of(history, known_hours=history.hours, hours_ahead=max(ahead, 1))
    rows = feature_rows(tables, origin=origin, lead_h=lead_h)
    for moment in np.unique(origin[sees_late_values(history, origin)]):
        chosen = np.flatnonzero(origin == moment)
        known = history.known_at(int(moment))
        hours_ahead = int(lead_h[chosen].max())
        own = SiteTables.of(known, known_hours=int(moment), hours_ahead=hours_ahead)
        found = feature_rows(own, origin=origin[chosen], lead_h=lead_h[chosen])
        for each in fields(FeatureRows):
            getattr(rows, each.name)[chosen] = getattr(found, each.name)
    return rows


def sees_late_values(history: SiteHistory, origin: IntArray) -> BoolArray:
    """Whether some hour before each origin became known only after it, shape (origins,)."""
    if history.available_at_h is None:
        return np.zeros(origin.shape, dtype=np.bool_)
    hour = np.arange(history.hours)
    known_at = np.ceil(
        np.where(np.isfinite(history.energy_kwh), history.available_at_h[: history.hours], 0.0)
    )
    # An hour is withheld from the origins after its end and before it became known.
    change = np.zeros(history.hours + 2, dtype=np.int64)
    is_late = known_at > hour + 1
    np.add.at(change, hour[is_late] + 1, 1)
    np.add.at(change, np.minimum(known_at[is_late], history.hours + 1).astype(np.int64), -1)
    is_withheld: BoolArray = np.cumsum(change)[origin] > 0
    return is_withheld


def feature_rows(tables: SiteTables, *, origin: IntArray, lead_h: IntArray) -> FeatureRows:
    """Look up the features of each origin and lead time.

    Only values of hours before the origin are used; lead 1 is the hour that begins at the origin.

    Args:
        tables: The site.
        origin: Hour at whose beginning the forecast is made, shape (rows,).
        lead_h: Hours from the origin to the end of the hour forecast, from 1, shape (rows,).
    """
    level_kwh = np.maximum(trailing_mean(tables.energy_kwh, origin, LEVEL_HOURS), MIN_LEVEL_KWH)
    level_vehicles = np.maximum(
        trailing_mean(tables.occupancy, origin, LEVEL_HOURS), MIN_LEVEL_VEHICLES
    )
    when = Moments.of(tables.calendar, origin=origin, lead_h=lead_h)
    energy = energy_columns(tables, when)
    occupancy = occupancy_columns(tables, when)
    columns = {
        **calendar_columns(tables, when),
        **share_columns(tables, when, level_kwh=level_kwh, level_vehicles=level_vehicles),
        "sessions_3h": trailing_mean(tables.sessions_started, origin, 3) / level_vehicles,
        **{name: values / level_kwh for name, values in energy.items()},
        **{name: values / level_vehicles for name, values in occupancy.items()},
    }
    return FeatureRows(
        features=np.column_stack([columns[name] for name in FEATURE_NAMES]),
        level_kwh=level_kwh,
        level_vehicles=level_vehicles,
        target=when.target,
    )
