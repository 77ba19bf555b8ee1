"""How far a vehicle will be from full, in points of state of charge, up to two days ahead.

The model corrects a physical guess: where the present is known, the state of charge now plus what
the present power gives until then, else what like days had. In training the present of some rows is
hidden, so that one model serves with and without live telemetry.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backend.forecasting import availability, availability_features
from backend.forecasting.availability import (
    HIDDEN_SHARE,
    LEADS,
    MOST_ROWS,
    TEST_SHARE,
    TooLittleTelemetry,
    answer_rows,
    size_for,
)
from backend.forecasting.availability_features import (
    Known,
    Questions,
    add,
    days_before,
    like_day,
    ratio,
    situation,
    without_live,
)
from backend.forecasting.availability_history import SLOTS_AN_HOUR
from backend.forecasting.history import FloatArray
from backend.forecasting.metrics import mae
from backend.forecasting.telemetry_features import NOW_NAMES, Fleet, now_features

LOOKBACK_DAYS, HALF_LIFE_DAYS = 28, 14.0
FULL_PERCENT = 100.0
FEWEST_ROWS = 500
TREES = 100
HABIT_NAMES = (
    "like_day_to_full",
    "same_state_to_full",
    "same_state_change",
    "one_week_ago_to_full",
    "usual_to_full",
)
LIVE_HABITS = ("same_state_to_full", "same_state_change")
FEATURE_NAMES = (
    *availability_features.FEATURE_NAMES,
    *NOW_NAMES,
    *HABIT_NAMES,
    "last_to_full",
    "last_heard_h",
    "guess_to_full",
)
SILENCE_H = (4.0, 48.0)
"""Shortest and longest gap that training pretends."""

_PARAMETERS: Mapping[str, object] = {
    "objective": "regression_l1",
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


@dataclass(frozen=True, slots=True)
class EnergyToFullModel:
    """A trained regressor.

    Attributes:
        text: LightGBM text of what is added to the guess.
        metrics: Quality on the last fifth of the time, beside that of the two simple rules.
    """

    text: str
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Questions about energy to full, ready for the model; arrays (rows,) but the first.

    Attributes:
        features: Columns as in `FEATURE_NAMES`, shape (rows, features).
        guess: What the model corrects, points of state of charge.
        last_soc_rule: As far from full as when last seen, however long ago.
        power_rule: The same plus what the power at that moment gives until then.
    """

    features: FloatArray
    guess: FloatArray
    last_soc_rule: FloatArray
    power_rule: FloatArray

    def at(self, chosen: NDArray[np.bool_]) -> "Rows":
        """Some of the rows."""
        return Rows(
            self.features[chosen],
            self.guess[chosen],
            self.last_soc_rule[chosen],
            self.power_rule[chosen],
        )


def rows_of(
    fleet: Fleet, known: Known, asked: Questions, *, silence_h: FloatArray | None = None
) -> Rows:
    """The features of each question and the guesses beside them.

    Args:
        fleet: The vehicles.
        known: Their plug-ins, prepared.
        asked: The questions.
        silence_h: Hours before the origin from which on nothing is taken to be known, 0 for what
            is there, shape (rows,): to learn and to measure what a gap costs.
    """
    silence = np.zeros(len(asked.lead)) if silence_h is None else silence_h
    now, last = _now(fleet, asked, silence)
    habits = _habits(fleet, known, asked)
    plugs = availability_features.features(known, asked)
    is_hidden = silence > 0
    plugs = without_live(plugs, is_hidden)
    for name in LIVE_HABITS:
        habits[is_hidden, HABIT_NAMES.index(name)] = np.nan
    hours = asked.lead / SLOTS_AN_HOUR
    soc, power = (now[:, NOW_NAMES.index(one)] for one in ("soc_percent", "power_percent_per_h"))
    present = FULL_PERCENT - np.minimum(soc + np.nan_to_num(power) * hours, FULL_PERCENT)
    guess = _first_known(present, last[:, 0], habits[:, 0], habits[:, -1])
    old = _first_known(last[:, 0])
    gained = last[:, 2] * (hours + np.nan_to_num(last[:, 1]))
    return Rows(
        features=np.column_stack([plugs, now, habits, last[:, :2], guess]),
        guess=guess,
        last_soc_rule=old,
        power_rule=np.maximum(old - gained, 0.0),
    )


def _first_known(*guesses: FloatArray) -> FloatArray:
    """The first guess that is a number; half full without any."""
    found = np.full(len(guesses[0]), FULL_PERCENT / 2)
    for guess in reversed(guesses):
        found = np.where(np.isfinite(guess), guess, found)
    return found


def _now(fleet: Fleet, asked: Questions, silence_h: FloatArray) -> tuple[FloatArray, FloatArray]:
    """What each row's vehicle says now, columns as in `NOW_NAMES`; and when it was last heard.

    The latter however old that is, shape (rows, 3): points to full, hours since, points per hour.
    """
    at_s = fleet.moment_s[asked.origin]
    now = np.full((len(at_s), len(NOW_NAMES)), np.nan)
    last = np.full((len(at_s), 3), np.nan)
    last[:, 2] = 0.0
    for place, trace in enumerate(fleet.traces):
        mine = np.flatnonzero(asked.vehicle == place)
        if len(mine) == 0 or len(trace.at_s) == 0:
            continue
        now[mine] = now_features(trace, at_s[mine], gap_min=fleet.gap_min)
        heard_s = at_s[mine] - 3600 * silence_h[mine]
        point = np.searchsorted(trace.at_s, heard_s, side="right") - 1
        mine, point, moment_s = (part[point >= 0] for part in (mine, point, at_s[mine]))
        last[mine, 0] = FULL_PERCENT - trace.soc_percent[point]
        last[mine, 1] = (moment_s - trace.at_s[point]) / 3600
        power = np.nan_to_num(trace.power_kw[point]) / trace.battery_capacity_kwh
        last[mine, 2] = FULL_PERCENT * power
    now[silence_h > 0] = np.nan
    return now, last


def _habits(fleet: Fleet, known: Known, asked: Questions) -> FloatArray:
    """How far from full it was on days before, columns as in `HABIT_NAMES`, shape (rows, 5).

    By the same local time on like days; on those on which it was in the same situation, also how
    far it moved; a week ago; and over all of its last four weeks.
    """
    now = situation(known, asked, asked.origin)
    sums = {name: np.zeros((2, len(now))) for name in ("like", "same", "change")}
    for back in range(1, LOOKBACK_DAYS + 1):
        then, before, is_like = like_day(known, asked, back)
        to_full, was_to_full = (_to_full(fleet, asked, slot) for slot in (then, before))
        weight = 0.5 ** (back / HALF_LIFE_DAYS)
        counts = is_like & np.isfinite(to_full)
        is_same = counts & (situation(known, asked, before) == now)
        has_moved = is_same & np.isfinite(was_to_full)
        add(sums["like"], weight * counts, np.nan_to_num(to_full))
        add(sums["same"], weight * is_same, np.nan_to_num(to_full))
        add(sums["change"], weight * has_moved, np.nan_to_num(to_full - was_to_full))
    week_ago = days_before(known.calendar, asked.origin + asked.lead, 7)
    is_known = now >= 0
    return np.column_stack(
        [
            ratio(sums["like"]),
            np.where(is_known, ratio(sums["same"]), np.nan),
            np.where(is_known, ratio(sums["change"]), np.nan),
            _to_full(fleet, asked, np.where(week_ago <= asked.origin, week_ago, -1)),
            _usual(fleet, asked),
        ]
    )


def _to_full(fleet: Fleet, asked: Questions, slot: NDArray[np.int64]) -> FloatArray:
    soc = fleet.soc_percent[asked.vehicle, np.maximum(slot, 0)]
    return np.where(slot >= 0, FULL_PERCENT - soc, np.nan).astype(np.float64)


def _usual(fleet: Fleet, asked: Questions) -> FloatArray:
    """Mean over the four weeks before the origin, NaN if nothing is known, shape (rows,)."""
    is_known = np.isfinite(fleet.soc_percent)
    total = np.cumsum(np.where(is_known, fleet.soc_percent, 0.0), axis=1, dtype=np.float64)
    count = np.cumsum(is_known, axis=1, dtype=np.int64)
    # The state between two points needs the later one, so the origin's own is not asked for.
    until = np.maximum(asked.origin - 1, 0)
    since = np.maximum(until - LOOKBACK_DAYS * 24 * SLOTS_AN_HOUR, 0)
    seen = count[asked.vehicle, until] - count[asked.vehicle, since]
    summed = total[asked.vehicle, until] - total[asked.vehicle, since]
    return np.where(seen > 0, FULL_PERCENT - summed / np.maximum(seen, 1), np.nan)


def train(fleet: Fleet, *, seed: int = 0) -> EnergyToFullModel:
    """Train on the first four fifths of the time, measure on the last, then train on everything.

    Raises:
        TooLittleTelemetry: If there are too few questions whose answer is known.
    """
    known = Known.of(fleet.plugs, slots_ahead=max(LEADS))
    slots = fleet.plugs.slots
    split = int(slots * (1 - TEST_SHARE))
    measured = fit(fleet, known, draw(fleet, known, since=0, until=split, seed=seed), seed=seed)
    asked = draw(fleet, known, since=split, until=slots, seed=seed + 1, rows=MOST_ROWS // 4)
    rows = rows_of(fleet, known, asked)
    found = quality(answers(fleet, asked), rows, corrected(measured, rows))
    text = fit(fleet, known, draw(fleet, known, since=0, until=slots, seed=seed), seed=seed)
    return EnergyToFullModel(text, found)


def draw(
    fleet: Fleet, known: Known, *, since: int, until: int, seed: int, rows: int = MOST_ROWS
) -> Questions:
    """Questions about regular vehicles whose answer is known and lies before `until`."""
    asked = availability.draw(known, since=since, until=until, rows=rows, seed=seed)
    return asked.at(np.isfinite(answers(fleet, asked)))


def answers(fleet: Fleet, asked: Questions) -> FloatArray:
    """How far from full the vehicle was, NaN if that is unknown, shape (rows,)."""
    soc = fleet.soc_percent[asked.vehicle, asked.origin + asked.lead]
    return np.asarray(FULL_PERCENT - soc, dtype=np.float64)


def fit(fleet: Fleet, known: Known, asked: Questions, *, seed: int) -> str:
    """Train a regressor on the questions; gives its LightGBM text.

    Raises:
        TooLittleTelemetry: If there are too few of them.
    """
    import lightgbm as lgb  # noqa: PLC0415  # heavy, only workers train

    if len(asked.lead) < FEWEST_ROWS:
        raise TooLittleTelemetry("energy to full needs days of states of charge")
    rng = np.random.default_rng(seed)
    silence_h = rng.uniform(*SILENCE_H, len(asked.lead))
    silence_h[rng.random(len(asked.lead)) >= HIDDEN_SHARE] = 0.0
    rows = rows_of(fleet, known, asked, silence_h=silence_h)
    missed = answers(fleet, asked) - rows.guess
    trained = lgb.train(
        {**_PARAMETERS, **size_for(len(asked.lead)), "seed": seed},
        lgb.Dataset(
            rows.features,
            label=missed,
            weight=_weights(missed, asked.lead, silence_h > 0),
            feature_name=list(FEATURE_NAMES),
        ),
        num_boost_round=TREES,
    )
    return str(trained.model_to_string())


def _weights(missed: FloatArray, lead: NDArray[np.int64], hidden: NDArray[np.bool_]) -> FloatArray:
    """Rows count less the further their kind misses, lest far horizons spoil the near ones."""
    weights = np.ones(len(missed))
    for kind in np.unique(2 * lead + hidden):
        rows = 2 * lead + hidden == kind
        weights[rows] = 1 / np.sqrt(0.1 + float(np.mean(np.abs(missed[rows]))))
    return weights


def corrected(text: str, rows: Rows) -> FloatArray:
    """The guesses with the model's correction, 0 to 100, shape (rows,)."""
    return corrected_by(answer_rows(text, rows.features), rows)


def corrected_by(correction: FloatArray, rows: Rows) -> FloatArray:
    """The guesses with a correction, 0 to 100, shape (rows,)."""
    return np.asarray(np.clip(rows.guess + correction, 0.0, FULL_PERCENT))


def while_charging(
    to_full: FloatArray, *, now_to_full: float, plug_probability: FloatArray
) -> FloatArray:
    """A path that does not rise as long as a charging vehicle probably stays plugged in.

    Args:
        to_full: Energy to full by ascending horizon, points, shape (horizons,).
        now_to_full: The same at the moment.
        plug_probability: Probability of being plugged in, shape (horizons,).
    """
    stays = int(np.argmin(np.append(plug_probability >= 0.5, False)))  # noqa: PLR2004  # likelier
    path = to_full.copy()
    path[:stays] = np.minimum.accumulate(np.minimum(path[:stays], now_to_full))
    return path


def quality(happened: FloatArray, rows: Rows, predicted: FloatArray) -> dict[str, float]:
    """Mean absolute error in points beside those of the simple rules, and the skill over them."""
    found = {
        "mae_points": mae(happened, predicted),
        "last_soc_mae_points": mae(happened, rows.last_soc_rule),
        "power_mae_points": mae(happened, rows.power_rule),
    }
    better = min(found["last_soc_mae_points"], found["power_mae_points"])
    skill = 100 * (1 - found["mae_points"] / better) if better > 0 else 0.0
    return {**found, "skill_pct": skill, "rows_test": float(len(happened))}
