"""Will a vehicle be plugged in, a quarter-hour to two days ahead: one classifier for all horizons.

In training the present of some rows is hidden, so that one model serves with and without live
telemetry. Its log-odds are stretched and shifted until they fit what happened (J. Platt,
"Probabilistic Outputs for Support Vector Machines", 1999).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from backend.forecasting.availability_features import (
    FEATURE_NAMES,
    Known,
    Questions,
    features,
    without_live,
)
from backend.forecasting.availability_history import SLOTS_A_DAY, PlugHistory
from backend.forecasting.history import FloatArray, IntArray

if TYPE_CHECKING:
    from lightgbm import Booster

LEADS = (1, 2, 4, 8, 16, 32, 48, 96, 144, 192)
"""Horizons in quarter-hours: 15 minutes to 48 hours."""

HIDDEN_SHARE = 0.3
TEST_SHARE = 0.2
REGULAR_PLUG_INS = 4
"""Vehicles that plugged in so often in the last 28 days are learned from and judged."""

MOST_ROWS, SMALL_FLEET_ROWS, FEWEST_ROWS = 150_000, 60_000, 500
TREES = 100
BINS = 15
ROWS_A_MOMENT = 2
"""No more horizons are asked about a vehicle's half hour on average: they are much alike."""
_PARAMETERS: Mapping[str, object] = {
    "objective": "binary",
    "learning_rate": 0.1,
    "lambda_l2": 1.0,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}
_ALMOST, _LARGEST_ODDS = 1e-6, 30.0  # log-odds of certainty are infinite
_PRIOR = 10.0
"""What holds a calibration to no correction where the answers are separated perfectly."""


class TooLittleTelemetry(ValueError):
    """There is too little telemetry to learn from."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Corrects probabilities: log-odds are multiplied by `slope`, then `shift` is added."""

    slope: float = 1.0
    shift: float = 0.0

    def __call__(self, probability: FloatArray) -> FloatArray:
        """The corrected probabilities."""
        safe = np.clip(probability, _ALMOST, 1 - _ALMOST)
        log_odds = self.slope * np.log(safe / (1 - safe)) + self.shift
        return np.asarray(1 / (1 + np.exp(-np.clip(log_odds, -_LARGEST_ODDS, _LARGEST_ODDS))))


@dataclass(frozen=True, slots=True)
class AvailabilityModel:
    """A trained classifier.

    Attributes:
        text: LightGBM text.
        calibration: What its probabilities are corrected by.
        metrics: Quality on the last fifth of the time, which the measured model had not seen.
    """

    text: str
    calibration: Calibration
    metrics: Mapping[str, float]


def train(history: PlugHistory, *, seed: int = 0) -> AvailabilityModel:
    """Train on the first four fifths of the time, measure on the last, then train on everything.

    The calibration is fitted to the first half of the last fifth, and kept if it makes the second
    half's calibration better; what is reported is measured on that half.

    Raises:
        TooLittleTelemetry: If there are too few questions whose answer is known.
    """
    known = Known.of(history, slots_ahead=max(LEADS))
    split = int(history.slots * (1 - TEST_SHARE))
    middle = (split + history.slots) // 2
    measured = fit(known, draw(known, since=0, until=split, rows=MOST_ROWS, seed=seed), seed=seed)
    asked = draw(known, since=split, until=history.slots, rows=MOST_ROWS // 4, seed=seed + 1)
    rows = features(known, asked)
    raw = predict_rows(measured, Calibration(), rows)
    happened, is_early = answers(known, asked), asked.origin < middle
    fitted = _calibrated(raw[is_early], happened[is_early])
    late, happened_late = raw[~is_early], happened[~is_early]
    calibration = min(
        (Calibration(), fitted), key=lambda one: calibration_error(happened_late, one(late))
    )
    habit = climatology(rows)[~is_early]
    found = {
        **quality(happened_late, calibration(late), asked.lead[~is_early]),
        "climatology_brier": float(np.mean((habit - happened_late) ** 2)),
        "climatology_auc": auc(happened_late, habit),
    }
    everything = draw(known, since=0, until=history.slots, rows=MOST_ROWS, seed=seed)
    text = fit(known, everything, seed=seed)
    return AvailabilityModel(
        text, calibration, {**found, "rows_train": float(len(everything.lead))}
    )


def draw(known: Known, *, since: int, until: int, rows: int, seed: int) -> Questions:
    """Questions at every half hour about regular vehicles whose answer is known and lies before.

    Args:
        known: The fleet.
        since: First slot of a question.
        until: Slot before which the answers lie.
        rows: At most so many, drawn by chance.
        seed: Of that chance.
    """
    origins = np.arange(since, until, 2)
    month_ago = np.maximum(origins - 28 * SLOTS_A_DAY, 0)
    plug_ins = known.plug_ins[:, origins] - known.plug_ins[:, month_ago]
    vehicle, place = np.nonzero(plug_ins >= REGULAR_PLUG_INS)
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, max(len(vehicle), 1), min(rows, ROWS_A_MOMENT * len(vehicle)))
    lead = np.array(LEADS)[rng.integers(0, len(LEADS), len(chosen))]
    asked = Questions(vehicle[chosen], origins[place[chosen]], lead)
    asked = asked.at(asked.origin + asked.lead < until)
    asked = asked.at(answers(known, asked) >= 0)
    pairs = asked.vehicle * known.history.slots + asked.origin
    _, first = np.unique(pairs * (max(LEADS) + 1) + asked.lead, return_index=True)
    return asked.at(np.sort(first))


def answers(known: Known, asked: Questions) -> IntArray:
    """Whether the vehicle was plugged in: 1, 0, -1 if that is unknown, shape (rows,)."""
    states = known.history.state[asked.vehicle, asked.origin + asked.lead]
    return np.asarray(states, dtype=np.int64)


def fit(known: Known, asked: Questions, *, seed: int) -> str:
    """Train a classifier on the questions; gives its LightGBM text.

    Raises:
        TooLittleTelemetry: If there are too few of them, or all have the same answer.
    """
    import lightgbm as lgb  # noqa: PLC0415  # heavy, only workers train

    happened = answers(known, asked)
    if len(happened) < FEWEST_ROWS or np.ptp(happened) == 0:
        raise TooLittleTelemetry(
            "availability needs days of telemetry in which vehicles come and go"
        )
    hidden = np.random.default_rng(seed).random(len(happened)) < HIDDEN_SHARE
    rows = without_live(features(known, asked), hidden)
    trained = lgb.train(
        {**_PARAMETERS, **size_for(len(happened)), "seed": seed},
        lgb.Dataset(rows, label=happened, feature_name=list(FEATURE_NAMES)),
        num_boost_round=TREES,
    )
    return str(trained.model_to_string())


def size_for(rows: int) -> dict[str, int]:
    """How large trees may grow on so many rows: questions of one day are much alike."""
    if rows < SMALL_FLEET_ROWS:
        return {"num_leaves": 7, "min_data_in_leaf": max(20, min(200, rows // 100))}
    return {"num_leaves": 31, "min_data_in_leaf": 100}


def predict(model: AvailabilityModel, known: Known, asked: Questions) -> FloatArray:
    """Probability that the vehicle is plugged in, shape (rows,)."""
    return predict_rows(model.text, model.calibration, features(known, asked))


def predict_rows(text: str, calibration: Calibration, rows: FloatArray) -> FloatArray:
    """Probability by features, shape (rows,)."""
    return calibration(answer_rows(text, rows))


def answer_rows(text: str, rows: FloatArray) -> FloatArray:
    """What a LightGBM model says to features in 32 bits, as it is asked at the edge, (rows,)."""
    exact = rows.astype(np.float32).astype(np.float64)
    return np.asarray(booster(text).predict(exact, num_threads=1))


@lru_cache(maxsize=8)
def booster(text: str) -> "Booster":
    """The model of a LightGBM text."""
    import lightgbm as lgb  # noqa: PLC0415  # heavy, only workers predict

    return lgb.Booster(model_str=text)


def climatology(rows: FloatArray) -> FloatArray:
    """How often the vehicle, else the fleet, was there on like days, shape (rows,)."""
    own, fleet = (
        rows[:, FEATURE_NAMES.index(name)] for name in ("like_day_share_28", "fleet_share")
    )
    return np.asarray(np.nan_to_num(np.where(np.isfinite(own), own, fleet)))


def _calibrated(probability: FloatArray, happened: IntArray) -> Calibration:
    """The calibration under which what happened is likeliest, by Newton's method.

    A weak prior keeps it near no correction, or a perfect separation would have no maximum.
    """
    safe = np.clip(probability, _ALMOST, 1 - _ALMOST)
    odds = np.column_stack([np.log(safe / (1 - safe)), np.ones(len(safe))])
    none = np.array([1.0, 0.0])
    weights = none
    for _ in range(25):
        now = 1 / (1 + np.exp(-np.clip(odds @ weights, -_LARGEST_ODDS, _LARGEST_ODDS)))
        curvature = (odds * (now * (1 - now))[:, None]).T @ odds + _PRIOR * np.eye(2)
        step = np.linalg.solve(curvature, odds.T @ (happened - now) - _PRIOR * (weights - none))
        weights = weights + step
        if np.abs(step).max() < 1e-9:  # noqa: PLR2004  # converged
            break
    return Calibration(float(weights[0]), float(weights[1]))


def quality(happened: IntArray, probability: FloatArray, lead: IntArray) -> dict[str, float]:
    """AUC over all horizons and up to one hour, Brier score and calibration error."""
    near = lead <= 4  # noqa: PLR2004  # one hour
    return {
        "auc": auc(happened, probability),
        "auc_1h": auc(happened[near], probability[near]),
        "brier": float(np.mean((probability - happened) ** 2)) if len(happened) else 0.0,
        "ece": calibration_error(happened, probability),
        "rows_test": float(len(happened)),
    }


def auc(happened: IntArray, score: FloatArray) -> float:
    """Chance that a case scores above a non-case; 0.5 where only one kind happened."""
    from scipy.stats import rankdata  # noqa: PLC0415  # only workers measure

    cases = int(np.count_nonzero(happened))
    others = len(happened) - cases
    if cases == 0 or others == 0:
        return 0.5
    ranks = rankdata(score)
    return float((ranks[happened == 1].sum() - cases * (cases + 1) / 2) / (cases * others))


def calibration_error(happened: IntArray, probability: FloatArray) -> float:
    """Expected calibration error over fifteen bins of equal width."""
    place = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
    surplus = np.bincount(place, weights=probability - happened, minlength=BINS)
    return float(np.abs(surplus).sum() / len(happened)) if len(happened) else 0.0
