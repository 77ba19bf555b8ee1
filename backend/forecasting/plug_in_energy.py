"""How much a driver will charge, foretold at plug-in from what they charged before.

One model serves all drivers. Its absolute error is what is minimised, because single charges are
far off in both directions.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np

from backend.forecasting.availability import TooLittleTelemetry, answer_rows
from backend.forecasting.history import FloatArray, IntArray
from backend.forecasting.metrics import mae, r2
from backend.forecasting.telemetry_features import Fleet, Trace, is_after_gap

FEATURE_NAMES = (
    "local_hour",
    "weekday",
    "charges",
    "last_kwh",
    "second_last_kwh",
    "third_last_kwh",
    "median_5_kwh",
    "median_20_kwh",
    "mean_20_kwh",
    "low_20_kwh",
    "high_20_kwh",
    "weekday_median_kwh",
    "same_gap_median_kwh",
    "same_hour_median_kwh",
    "away_h",
    "kwh_per_away_h",
    "last_stay_h",
    "was_unfinished",
    "charges_7d",
    "charges_28d",
    "kwh_7d",
    "fading_mean_kwh",
    "median_all_kwh",
    "spread_20_kwh",
    "fourth_last_kwh",
    "fifth_last_kwh",
    "usual_power_kw",
    "usual_stay_h",
    "last_on_weekday_kwh",
    "nearest_hour_h",
    "fleet_median_kwh",
)
RECENT = 20
FLEET_CHARGES = 500
FADING = 0.8
"""A charge counts so much of the next one in the fading mean."""

FEWEST_ROWS = 200
TREES = 300
LEAST_LEAF = 15
TEST_SHARE = 0.2
LEAST_KWH = 0.1
HOUR_S, DAY_S = 3600, 86_400
SAME_GAP = 0.35
"""Absences whose natural logarithms differ by less are alike."""

_PARAMETERS: Mapping[str, object] = {
    "objective": "regression_l1",
    "num_leaves": 63,
    "learning_rate": 0.04,
    "lambda_l2": 1.0,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}


@dataclass(frozen=True, slots=True, eq=False)
class PastCharges:
    """Charges in order of plug-in; arrays (charges,).

    Attributes:
        driver: Who it was, as a number.
        plug_in_s: Seconds since 1970 in UTC.
        plug_out_s: When the vehicle left.
        local_hour: Local hour of the plug-in, 0 to 24.
        weekday: Local weekday of it, Monday 0.
        energy_kwh: What was charged.
        charge_end_s: When charging stopped, the departure if it never did.
    """

    driver: IntArray
    plug_in_s: IntArray
    plug_out_s: IntArray
    local_hour: FloatArray
    weekday: IntArray
    energy_kwh: FloatArray
    charge_end_s: IntArray

    def __post_init__(self) -> None:
        if np.any(np.diff(self.plug_in_s) < 0):
            raise ValueError("charges have to be in order of plug-in")


@dataclass(frozen=True, slots=True)
class Expected:
    """What a vehicle is expected to charge if it plugs in now.

    Attributes:
        energy_kwh: Energy into the battery, NaN if nothing is known.
        source: The model, the usual charge of the vehicle or of all, or nobody.
    """

    energy_kwh: float
    source: Literal["model", "usual", "none"]


@dataclass(frozen=True, slots=True)
class PlugInEnergyModel:
    """A trained regressor.

    Attributes:
        text: LightGBM text.
        metrics: Quality on the last fifth of the charges beside that of simple rules.
    """

    text: str
    metrics: Mapping[str, float]


def charges_of(fleet: Fleet) -> PastCharges:
    """The charges that telemetry shows from beginning to end, as energy into the battery."""
    zone = ZoneInfo(fleet.plugs.timezone)
    found = [
        (begin_s, driver, *rest)
        for driver, trace in enumerate(fleet.traces)
        for begin_s, *rest in _stays_of(trace, fleet.gap_min)
    ]
    table = np.array(sorted(found), dtype=np.float64).reshape(len(found), 5)
    local = [datetime.fromtimestamp(one, tz=zone) for one in table[:, 0]]
    return PastCharges(
        driver=table[:, 1].astype(np.int64),
        plug_in_s=table[:, 0].astype(np.int64),
        plug_out_s=table[:, 2].astype(np.int64),
        local_hour=np.array([one.hour + one.minute / 60 for one in local], dtype=np.float64),
        weekday=np.array([one.weekday() for one in local], dtype=np.int64),
        energy_kwh=table[:, 4],
        charge_end_s=table[:, 3].astype(np.int64),
    )


def _stays_of(trace: Trace, gap_min: float) -> Iterator[tuple[float, float, float, float]]:
    """Plug-in, plug-out, end of charging and energy of each stay seen without a gap."""
    state, breaks = trace.is_plugged_in, is_after_gap(trace, gap_min=gap_min)
    changes = np.flatnonzero(np.diff(state, prepend=-1) != 0)
    for first, after in pairwise(changes):
        is_seen = state[first] == 1 and not breaks[first : after + 1].any()
        soc = trace.soc_percent[first:after]
        if not is_seen or not np.isfinite(soc).any():
            continue
        energy_kwh = (np.nanmax(soc) - soc[np.isfinite(soc)][0]) * trace.battery_capacity_kwh / 100
        if energy_kwh < LEAST_KWH:
            continue
        full = trace.at_s[first + int(np.nanargmax(soc))]
        yield float(trace.at_s[first]), float(trace.at_s[after]), float(full), float(energy_kwh)


def features(past: PastCharges) -> FloatArray:
    """What was known at each plug-in, columns as in `FEATURE_NAMES`, shape (charges, 32).

    All NaN but the time for a driver's first charge. A charge counts once its vehicle has left.
    """
    rows = np.full((len(past.driver), len(FEATURE_NAMES)), np.nan)
    rows[:, 0], rows[:, 1] = past.local_hour, past.weekday
    fleet = _fleet_median(past)
    mine: dict[int, list[int]] = {}
    for place, driver in enumerate(past.driver.tolist()):
        before = mine.setdefault(driver, [])
        known = np.array([one for one in before if past.plug_out_s[one] <= past.plug_in_s[place]])
        rows[place, 2] = len(known)
        if len(known):
            rows[place, 3:-1] = _own(past, place, known.astype(np.int64))
        rows[place, -1] = fleet[place]
        before.append(place)
    return rows


def _own(past: PastCharges, place: int, known: IntArray) -> list[float]:
    """What a driver's own charges say, from `last_kwh` on."""
    recent = known[-RECENT:]
    energy = past.energy_kwh[recent]
    lags = [float(energy[-lag]) if len(energy) >= lag else np.nan for lag in (1, 2, 3)]
    now_s, last = past.plug_in_s[place], known[-1]
    away_h = (now_s - past.plug_out_s[last]) / HOUR_S
    before_h = np.append(np.nan, past.plug_in_s[recent][1:] - past.plug_out_s[recent][:-1]) / HOUR_S
    per_h = np.nanmedian(energy[1:] / np.maximum(before_h[1:], 1.0)) if len(energy) > 1 else np.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        is_like = np.abs(np.log(np.maximum(before_h, 0.1) / max(away_h, 0.1))) < SAME_GAP
    hours = np.abs(past.local_hour[recent] - past.local_hour[place])
    ago_s = now_s - past.plug_in_s[known]
    return [
        *lags,
        float(np.median(energy[-5:])),
        float(np.median(energy)),
        float(np.mean(energy)),
        float(np.quantile(energy, 0.1)),
        float(np.quantile(energy, 0.9)),
        _median(energy[past.weekday[recent] == past.weekday[place]]),
        _median(energy[is_like]),
        _median(energy[hours <= 1]),
        away_h,
        float(per_h),
        (past.plug_out_s[last] - past.plug_in_s[last]) / HOUR_S,
        float(past.charge_end_s[last] >= past.plug_out_s[last]),
        float(np.count_nonzero(ago_s < 7 * DAY_S)),
        float(np.count_nonzero(ago_s < 28 * DAY_S)),
        float(past.energy_kwh[known][ago_s < 7 * DAY_S].sum()),
        *_long_run(past, place, known),
    ]


def _long_run(past: PastCharges, place: int, known: IntArray) -> list[float]:
    """What all of a driver's charges say, from `fading_mean_kwh` on."""
    energy = past.energy_kwh[known]
    recent = known[-RECENT:]
    weight = FADING ** np.arange(len(energy))[::-1]
    charging_h = (past.charge_end_s - past.plug_in_s)[known[-10:]] / HOUR_S
    stay_h = (past.plug_out_s - past.plug_in_s)[recent] / HOUR_S
    on_weekday = energy[past.weekday[known] == past.weekday[place]]
    hours = np.abs(past.local_hour[recent] - past.local_hour[place])
    return [
        float(energy @ weight / weight.sum()),
        float(np.median(energy)),
        float(np.std(past.energy_kwh[recent])),
        float(energy[-4]) if len(energy) >= 4 else np.nan,  # noqa: PLR2004  # as it says
        float(energy[-5]) if len(energy) >= 5 else np.nan,  # noqa: PLR2004
        float(np.median(energy[-10:] / np.maximum(charging_h, 0.1))),
        float(np.median(stay_h)),
        float(on_weekday[-1]) if len(on_weekday) else np.nan,
        float(hours.min()),
    ]


def _median(values: FloatArray) -> float:
    return float(np.median(values)) if len(values) else np.nan


def _fleet_median(past: PastCharges) -> FloatArray:
    """Median of the last 500 charges of everybody that had ended, shape (charges,)."""
    ended = np.argsort(past.plug_out_s, kind="stable")
    count = np.searchsorted(past.plug_out_s[ended], past.plug_in_s, side="right")
    energy = past.energy_kwh[ended]
    return np.array([_median(energy[max(0, last - FLEET_CHARGES) : last]) for last in count])


def usual_kwh(rows: FloatArray) -> FloatArray:
    """The median of a driver's last charges, of everybody's for who is new, shape (rows,)."""
    own, fleet = (rows[:, FEATURE_NAMES.index(n)] for n in ("median_20_kwh", "fleet_median_kwh"))
    return np.asarray(np.nan_to_num(np.where(np.isfinite(own), own, fleet)))


def train(past: PastCharges, *, seed: int = 0) -> PlugInEnergyModel:
    """Train on the first four fifths of the charges, measure on the last, then train on all.

    Raises:
        TooLittleTelemetry: If there are too few charges.
    """
    rows = features(past)
    split = int(len(rows) * (1 - TEST_SHARE))
    measured = fit(rows[:split], past.energy_kwh[:split], seed=seed)
    found = quality(past.energy_kwh[split:], rows[split:], predict(measured, rows[split:]))
    return PlugInEnergyModel(fit(rows, past.energy_kwh, seed=seed), found)


def fit(rows: FloatArray, energy_kwh: FloatArray, *, seed: int) -> str:
    """Train on charges whose energy is known; gives the LightGBM text.

    Raises:
        TooLittleTelemetry: If there are too few charges.
    """
    import lightgbm as lgb  # noqa: PLC0415  # heavy, only workers train

    if len(rows) < FEWEST_ROWS:
        raise TooLittleTelemetry(f"energy at plug-in needs {FEWEST_ROWS} charges")
    trained = lgb.train(
        {**_PARAMETERS, "min_data_in_leaf": LEAST_LEAF, "seed": seed},
        lgb.Dataset(rows, label=energy_kwh, feature_name=list(FEATURE_NAMES)),
        num_boost_round=TREES,
    )
    return str(trained.model_to_string())


def predict(text: str, rows: FloatArray) -> FloatArray:
    """Energy to expect, kWh, shape (rows,)."""
    return np.asarray(np.maximum(answer_rows(text, rows), 0.0))


def foretell(
    fleet: Fleet, *, vehicle: int, at_s: int, text: str | None, fleet_median_kwh: float
) -> Expected:
    """What a vehicle would charge if it plugged in at a moment.

    Args:
        fleet: Its traces; of the others nothing is looked at.
        vehicle: Position of the vehicle.
        at_s: The moment, seconds since 1970.
        text: LightGBM text; None for the simple rule.
        fleet_median_kwh: The usual charge of everybody, NaN if it is not known.
    """
    own = charges_of(replace(fleet, traces=(fleet.traces[vehicle],)))
    row = row_at(own, at_s=at_s, timezone=fleet.plugs.timezone)
    row[:, -1] = fleet_median_kwh
    if text is not None:
        return Expected(float(predict(text, row)[0]), "model")
    usual = row[0, [FEATURE_NAMES.index("median_20_kwh"), -1]]
    known = usual[np.isfinite(usual)]
    return Expected(float(known[0]), "usual") if known.size else Expected(float("nan"), "none")


def row_at(own: PastCharges, *, at_s: int, timezone: str) -> FloatArray:
    """The features of a plug-in that has not happened, shape (1, features)."""
    local = datetime.fromtimestamp(at_s, tz=ZoneInfo(timezone))
    before = own.plug_in_s < at_s

    def and_now(values: FloatArray | IntArray, now: float) -> FloatArray:
        return np.append(values[before], now)

    asked = PastCharges(
        driver=and_now(own.driver, 0).astype(np.int64),
        plug_in_s=and_now(own.plug_in_s, at_s).astype(np.int64),
        plug_out_s=and_now(own.plug_out_s, at_s).astype(np.int64),
        local_hour=and_now(own.local_hour, local.hour + local.minute / 60),
        weekday=and_now(own.weekday, local.weekday()).astype(np.int64),
        energy_kwh=and_now(own.energy_kwh, 0.0),
        charge_end_s=and_now(own.charge_end_s, at_s).astype(np.int64),
    )
    return features(asked)[-1:]


def quality(happened: FloatArray, rows: FloatArray, predicted: FloatArray) -> dict[str, float]:
    """Mean absolute error in kWh and R², beside the last charge and the median of twenty."""
    last = rows[:, FEATURE_NAMES.index("last_kwh")]
    usual = usual_kwh(rows)
    return {
        "mae_kwh": mae(happened, predicted),
        "r2": r2(happened, predicted),
        "median_mae_kwh": mae(happened, usual),
        "last_mae_kwh": mae(happened, np.where(np.isfinite(last), last, usual)),
        "rows_test": float(len(happened)),
    }
