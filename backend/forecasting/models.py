"""One demand model for all sites: training, its measured quality, and prediction."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np

from backend.forecasting.baselines import floor_hour, like_day_mean, rows_at
from backend.forecasting.columns import LEVEL_HOURS, LEVELS
from backend.forecasting.conformal import (
    COVERAGE,
    Scores,
    band,
    group_of,
    level_needed,
    rolling_levels,
)
from backend.forecasting.evaluation import ACTIVE_KWH, Metrics, measure
from backend.forecasting.features import FEATURE_NAMES, LOOKBACK_HOURS, FeatureRows
from backend.forecasting.forecast import DemandForecast, assemble_forecast, not_negative
from backend.forecasting.history import BoolArray, FloatArray, IntArray, SiteHistory
from backend.forecasting.samples import (
    MAX_TRAINING_ROWS,
    Samples,
    Splits,
    TooLittleHistory,
    holdout_samples,
    split_time,
    training_samples,
)
from backend.forecasting.tables import SiteTables

if TYPE_CHECKING:
    from lightgbm import Booster, Dataset

Progress = Callable[[float, str], None]

QUANTILES = tuple(f"q{round(100 * level):02d}" for level in LEVELS)
TARGETS = ("mean", *QUANTILES, "sessions", "occupancy")
MISSING_LIMIT = 0.5
"""Share of the last four weeks that may be unknown."""

_SHARED: Mapping[str, object] = {
    "lambda_l2": 1.0,
    "max_bin": 127,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "num_threads": 1,  # a second thread on a busy machine costs minutes, and the order of sums
    "deterministic": True,
    "force_row_wise": True,
    "feature_pre_filter": False,  # targets share one binned data set, whatever their leaves need
    "verbosity": -1,
}
FEW_ROWS = 30_000


@dataclass(frozen=True, slots=True)
class _Recipe:
    """How one target is learned.

    Attributes:
        objective: LightGBM parameters of the loss.
        rounds: Number of trees where there are many rows.
        min_rows_in_leaf: Quantiles need more rows in a leaf than means, or their band is narrow.
        level_power: A row weighs the level of its site to this power.
        leaves: Of a tree where there are many rows.
        pace: Learning rate.
    """

    objective: Mapping[str, object]
    rounds: int
    min_rows_in_leaf: int
    level_power: float
    leaves: int = 31
    pace: float = 0.1


def _quantile(level: float) -> _Recipe:
    """Fewer and larger trees for the outer ones; the median is a forecast of its own."""
    objective = {"objective": "quantile", "alpha": level}
    if level == 0.5:  # noqa: PLR2004  # the median
        return _Recipe(objective, 120, 50, 0.5)
    # Dividing by the level makes a kWh of a small site dearer; the weight undoes it.
    return _Recipe(objective, 35, 50, 1.0, leaves=63, pace=0.2)


_RECIPES: Mapping[str, _Recipe] = {
    # Dividing by the level scales this deviance by its power of 1.3 - 2; the weight undoes it.
    "mean": _Recipe({"objective": "tweedie", "tweedie_variance_power": 1.3}, 110, 30, 0.7),
    **{name: _quantile(level) for name, level in zip(QUANTILES, LEVELS, strict=True)},
    "sessions": _Recipe({"objective": "poisson"}, 40, 50, 0.0),
    "occupancy": _Recipe({"objective": "regression"}, 40, 30, 0.0),
}


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A demand model and what is known about it.

    Attributes:
        texts: LightGBM text of the model of each of `TARGETS`.
        feature_names: Columns the models were trained on, in order.
        metrics: Quality on the last fifth of the hours, which the measured model had not seen.
        scores: By site, how that model's bands did on those hours: where bands start from.
        refused: Why sites were left out, by site.
        seed: Seed of the sampling and of the training.
        data_fingerprint: SHA-256 over the histories.
        library_versions: What trained it.
    """

    texts: Mapping[str, str]
    feature_names: tuple[str, ...]
    metrics: Metrics
    scores: Mapping[str, Scores]
    refused: Mapping[str, str]
    seed: int
    data_fingerprint: str
    library_versions: Mapping[str, str]


class FeaturesDiffer(ValueError):
    """The model was trained on other features than this version computes."""


class TooMuchMissing(ValueError):
    """So much of the last weeks is unknown that a forecast would be invented."""


def train(
    histories: Sequence[SiteHistory],
    *,
    seed: int = 0,
    splits: Splits | None = None,
    progress: Progress | None = None,
) -> TrainedModel:
    """Train one model over all sites, measure it on the last fifth, then train it on everything.

    The split is ordered in time: the measured model has seen no hour at or after it. Targets are
    divided by the trailing level of their site, so large and small sites share a model. Sites of
    whose last weeks too much is unknown are left out.

    Args:
        histories: The sites.
        seed: Makes the result repeatable: same input and seed, same model text.
        splits: Where each site's test begins; by default its place is worked out.
        progress: Called with the share done (0 to 1) and what is being done.

    Raises:
        TooLittleHistory: If no site has two days of history.
    """
    report = progress or (lambda _share, _step: None)
    report(0.0, "Preparing features")
    refused = {one.site_id: reason for one in histories if (reason := why_refused(one))}
    usable = [one for one in histories if one.site_id not in refused]
    if refused and not usable:
        raise TooLittleHistory("; ".join(f"{site}: {why}" for site, why in refused.items()))
    split = splits or split_time(usable)
    past = training_samples(usable, before=split, seed=seed, most_rows=MAX_TRAINING_ROWS // 3)
    test = holdout_samples(usable, since=split)
    report(0.15, "Training on what came before the test")
    measured = fit(past, seed=seed)
    report(0.4, "Measuring on the test")
    predicted = predict_rows(measured, test.rows)
    scores = scores_of(test, predicted)
    metrics = measure(
        train=(past, predict_rows(measured, past.rows)),
        test=(test, predicted | calibrated(test, predicted, scores)),
    )
    report(0.5, "Training on everything")
    texts = fit(training_samples(usable, seed=seed), seed=seed)
    report(1.0, "Trained")
    fingerprint, versions = data_fingerprint(usable), _library_versions()
    return TrainedModel(texts, FEATURE_NAMES, metrics, scores, refused, seed, fingerprint, versions)


def why_refused(history: SiteHistory) -> str | None:
    """Why a history cannot be learned or forecast from; None if it can."""
    known_h = min(history.hours, LEVEL_HOURS)
    missing = history.missing_share(since_h=history.hours - known_h, until_h=history.hours)
    if missing <= MISSING_LIMIT:
        return None
    return f"{100 * missing:.0f} % of the last {known_h} hours are unknown"


def predict(
    texts: Mapping[str, str],
    history: SiteHistory,
    *,
    origin: datetime,
    hours_ahead: int,
    scores: Scores | None = None,
    least_level: float = 0.0,
) -> DemandForecast:
    """Forecast the hours from the origin on.

    Args:
        texts: `TrainedModel.texts`.
        history: The site; values at and after the origin are ignored, and hours missing between
            its end and the origin count as unknown.
        origin: When the forecast is made; the first hour forecast is the one it falls into.
        hours_ahead: How many hours to forecast, at least one.
        scores: How earlier bands of this site did; those known at the origin correct the band.
        least_level: The band is at least as wide as this level's, as after a change.

    Raises:
        FeaturesDiffer: If the model belongs to another version of the features.
        TooMuchMissing: If too little of the four weeks before the origin is known.
        ValueError: If no hour is asked for or the origin lies before the history.
    """
    known = history.index_of(origin)
    recent = history.cut(since_h=known - LOOKBACK_HOURS, until_h=known)
    _check_missing(recent, origin)
    tables, rows = rows_at(recent, origin=origin, hours_ahead=hours_ahead)
    values = predict_rows(texts, rows)
    quantiles = quantiles_of(values)
    begin = floor_hour(origin)
    levels = rolling_levels(scores or Scores.empty(), at_h=np.array([_hour(begin)]))[0]
    level = np.where(is_active(rows), levels[_groups(tables, rows.target)], COVERAGE)
    level = np.maximum(level, least_level)
    lower, upper = band(level, mean_kwh=values["mean"], quantiles_kwh=quantiles)
    return assemble_forecast(
        history.site_id,
        source="lightgbm",
        origin=begin,
        values=values | {"p10": lower, "p90": upper},
        quantiles_kwh=quantiles,
    )


def explain(
    texts: Mapping[str, str], history: SiteHistory, *, origin: datetime, hours_ahead: int
) -> list[dict[str, float]]:
    """What moved each hour's mean: factors by feature, the largest first; they multiply.

    Tweedie models add up on a logarithmic scale, so a feature's contribution (Lundberg, Lee, "A
    Unified Approach to Interpreting Model Predictions", 2017) is a factor on the mean; the factor
    `level_kwh` is the site's recent mean, `base` what an average hour has.
    """
    known = history.index_of(origin)
    recent = history.cut(since_h=known - LOOKBACK_HOURS, until_h=known)
    _, rows = rows_at(recent, origin=origin, hours_ahead=hours_ahead)
    added = np.asarray(
        _booster(texts["mean"]).predict(rows.features, pred_contrib=True, num_threads=1)
    )
    names = (*FEATURE_NAMES, "base")
    return [
        {"level_kwh": float(level)}
        | {names[i]: float(np.exp(each[i])) for i in np.argsort(-np.abs(each))}
        for each, level in zip(added, rows.level_kwh, strict=True)
    ]


def data_fingerprint(histories: Sequence[SiteHistory]) -> str:
    """SHA-256 over what the histories say."""
    digest = sha256()
    for one in histories:
        place = (one.site_id, one.timezone, one.country, one.start.isoformat(), one.closures)
        digest.update(repr(place).encode())
        for field in fields(one):
            value = getattr(one, field.name)
            if isinstance(value, np.ndarray):
                digest.update(field.name.encode() + np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def feature_schema_hash(feature_names: Sequence[str]) -> str:
    """SHA-256 over the names of the columns in order."""
    return sha256("\n".join(feature_names).encode()).hexdigest()


def content_hash(model: TrainedModel) -> str:
    """SHA-256 over texts, features, scores, data and library versions: what makes a model."""
    scores = {site: one.to_lists() for site, one in sorted(model.scores.items())}
    parts = [
        *model.feature_names,
        *(text for pair in sorted(model.texts.items()) for text in pair),
        json.dumps(scores, sort_keys=True),
        model.data_fingerprint,
        json.dumps(dict(model.library_versions), sort_keys=True),
    ]
    digest = sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()


def fit(samples: Samples, *, seed: int, targets: Sequence[str] = TARGETS) -> dict[str, str]:
    """Train one booster per target and return their texts."""
    if samples.rows.target.size == 0:
        raise TooLittleHistory("training needs at least two days of history")
    import lightgbm as lgb  # noqa: PLC0415  # heavy, only workers train

    data = lgb.Dataset(
        samples.rows.features, feature_name=list(FEATURE_NAMES), params=dict(_SHARED)
    ).construct()
    return {name: _fit_one(data, samples, name=name, seed=seed) for name in targets}


def _fit_one(data: "Dataset", samples: Samples, *, name: str, seed: int) -> str:
    import lightgbm as lgb  # noqa: PLC0415  # heavy, only workers train

    recipe, level = _RECIPES[name], _level(samples.rows, name)
    actual = {"occupancy": samples.occupancy, "sessions": samples.sessions}
    target = actual.get(name, samples.energy_kwh)
    # Tweedie and Poisson have no likelihood when nothing ever happened.
    objective = recipe.objective if np.any(target > 0) else {"objective": "regression"}
    data.set_label(target / level)
    data.set_weight(level**recipe.level_power)
    has_few = target.size < FEW_ROWS
    booster = lgb.train(
        {
            **_SHARED,
            **objective,
            "learning_rate": recipe.pace,
            "num_leaves": 15 if has_few else recipe.leaves,
            "min_data_in_leaf": 2 * recipe.min_rows_in_leaf if has_few else recipe.min_rows_in_leaf,
            "seed": seed,
        },
        data,
        num_boost_round=recipe.rounds // 2 if has_few else recipe.rounds,
    )
    return str(booster.model_to_string())


def is_active(rows: FeatureRows) -> BoolArray:
    """Whether the hour usually has demand; certain nights would flatter the coverage."""
    return like_day_mean(rows) > ACTIVE_KWH


def quantiles_of(values: Mapping[str, FloatArray]) -> FloatArray:
    """The quantiles among predictions, ascending in each row, shape (rows, 7)."""
    return np.sort(np.column_stack([values[name] for name in QUANTILES]), axis=1)


def scores_of(samples: Samples, predicted: Mapping[str, FloatArray]) -> dict[str, Scores]:
    """How the bands of predictions did in each site's active hours."""
    level = level_needed(
        samples.energy_kwh, mean_kwh=predicted["mean"], quantiles_kwh=quantiles_of(predicted)
    )
    group = group_of(
        is_off_day=samples.rows.column("is_off_day") > 0,
        local_hour=samples.rows.column("local_hour").astype(np.int64),
    )
    active = is_active(samples.rows)
    every = Scores(samples.issued_h, samples.hour, group, level)
    return {
        site_id: every.chosen(active & (samples.site == site))
        for site, site_id in enumerate(samples.site_ids)
    }


def calibrated(
    samples: Samples, predicted: Mapping[str, FloatArray], scores: Mapping[str, Scores]
) -> dict[str, FloatArray]:
    """The bounds that would have been served, each row seeing only scores known at its origin."""
    group = group_of(
        is_off_day=samples.rows.column("is_off_day") > 0,
        local_hour=samples.rows.column("local_hour").astype(np.int64),
    )
    level = np.full(group.shape, COVERAGE)
    active = is_active(samples.rows)
    for site, site_id in enumerate(samples.site_ids):
        rows = np.flatnonzero(active & (samples.site == site))
        times, place = np.unique(samples.issued_h[rows], return_inverse=True)
        if rows.size:
            level[rows] = rolling_levels(scores[site_id], at_h=times)[place, group[rows]]
    lower, upper = band(level, mean_kwh=predicted["mean"], quantiles_kwh=quantiles_of(predicted))
    return {"p10": lower, "p90": upper}


def predict_rows(texts: Mapping[str, str], rows: FeatureRows) -> dict[str, FloatArray]:
    """Model outputs in kWh, vehicles and sessions, not negative, shape (rows,) each."""
    return {
        name: not_negative(
            np.asarray(_booster(texts[name]).predict(rows.features, num_threads=1))
            * _level(rows, name)
        )
        for name in TARGETS
        if name in texts
    }


def _check_missing(recent: SiteHistory, origin: datetime) -> None:
    """Raise if too little of the four weeks before the origin, or of all there is, is known."""
    until_h = recent.index_of(origin)
    since_h = max(0, until_h - LEVEL_HOURS)
    missing = recent.missing_share(since_h=since_h, until_h=until_h)
    if missing > MISSING_LIMIT:
        raise TooMuchMissing(
            f"{100 * missing:.0f} % of the last {until_h - since_h} hours are unknown"
        )


def _groups(tables: SiteTables, target: IntArray) -> IntArray:
    calendar = tables.calendar
    return group_of(
        is_off_day=calendar.is_off_day[calendar.day[target]], local_hour=calendar.hour[target]
    )


def _hour(moment: datetime) -> int:
    return int(moment.timestamp()) // 3600


def _level(rows: FeatureRows, name: str) -> FloatArray:
    """What the target of this name is divided by, shape (rows,)."""
    if name == "sessions":
        return np.ones(rows.level_kwh.shape)
    return rows.level_vehicles if name == "occupancy" else rows.level_kwh


@lru_cache(maxsize=32)
def _booster(text: str) -> "Booster":
    import lightgbm as lgb  # noqa: PLC0415  # heavy, only workers predict

    booster = lgb.Booster(model_str=text)
    if tuple(booster.feature_name()) != FEATURE_NAMES:
        raise FeaturesDiffer("the model was trained on other features")
    return booster


def _library_versions() -> dict[str, str]:
    import lightgbm as lgb  # noqa: PLC0415  # heavy, only workers train

    return {"lightgbm": lgb.__version__, "numpy": np.__version__}
