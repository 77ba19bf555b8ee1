"""Bands that mean what they say: quantiles corrected by how they did in the last four weeks.

A model's quantiles form nested bands, one for every level in 0..1. The score of a past hour is the
smallest level whose band held what happened, so the band that holds 80 % is the one at the 80 %
quantile of recent scores. Scores are kept apart by day off and part of day, only those known at the
origin count, and the share aimed at is moved a little after every hit and miss, so that coverage
comes back after a change of level that the last weeks do not show.

Sources: V. Chernozhukov, K. Wuethrich, Y. Zhu, "Distributional conformal prediction", PNAS 2021
(levels as scores); I. Gibbs, E. Candes, "Adaptive Conformal Inference Under Distribution Shift",
NeurIPS 2021 (the moving share).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from backend.forecasting.columns import LEVELS
from backend.forecasting.history import BoolArray, FloatArray, IntArray

COVERAGE = 0.8
GROUPS = 8
WINDOW_H = 28 * 24
FEWEST_SCORES = 30
STEP = 0.04
SHARE_LIMITS = (0.5, 0.99)
MEDIAN = LEVELS.index(0.5)
BAND_LEVELS = tuple(round(2 * level - 1, 10) for level in LEVELS[MEDIAN:])
"""Levels of the bands that pairs of quantiles form: 0, 0.5, 0.8 and 0.9."""

STRETCH = 10.0
LEAST_SPREAD_KWH = 0.02  # so that a band of no width can still be stretched


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Past forecasts of one site and the levels that would have held what happened.

    Attributes:
        issued_h: First hour of the forecast, counted from 1970, shape (scores,).
        valid_h: The hour forecast, likewise.
        group: Day off and part of day as `group_of` says.
        level: Smallest level whose band held what happened.
    """

    issued_h: IntArray
    valid_h: IntArray
    group: IntArray
    level: FloatArray

    @classmethod
    def empty(cls) -> Self:
        """No scores."""
        none = np.zeros(0, dtype=np.int64)
        return cls(none, none, none, np.zeros(0))

    @classmethod
    def from_lists(cls, lists: Mapping[str, Sequence[float]]) -> Self:
        """Back from `to_lists`."""
        return cls(
            issued_h=np.array(lists["issued_h"], dtype=np.int64),
            valid_h=np.array(lists["valid_h"], dtype=np.int64),
            group=np.array(lists["group"], dtype=np.int64),
            level=np.array(lists["level"], dtype=np.float64),
        )

    def to_lists(self) -> dict[str, list[float]]:
        """Plain lists for JSON; levels to five decimals."""
        return {
            "issued_h": self.issued_h.tolist(),
            "valid_h": self.valid_h.tolist(),
            "group": self.group.tolist(),
            "level": np.round(self.level, 5).tolist(),
        }

    def chosen(self, which: BoolArray) -> Self:
        """The scores of a mask."""
        return type(self)(
            self.issued_h[which], self.valid_h[which], self.group[which], self.level[which]
        )

    def and_also(self, other: Self) -> Self:
        """Both."""
        return type(self)(
            np.concatenate([self.issued_h, other.issued_h]),
            np.concatenate([self.valid_h, other.valid_h]),
            np.concatenate([self.group, other.group]),
            np.concatenate([self.level, other.level]),
        )


def group_of(*, is_off_day: BoolArray, local_hour: IntArray) -> IntArray:
    """Group of an hour: six-hour part of day, those of days off apart, shape (rows,)."""
    group: IntArray = is_off_day.astype(np.int64) * 4 + local_hour // 6
    return group


def level_needed(
    actual_kwh: FloatArray, *, mean_kwh: FloatArray, quantiles_kwh: FloatArray
) -> FloatArray:
    """The smallest level whose band, which always contains the mean, holds what happened.

    Args:
        actual_kwh: What happened, shape (rows,).
        mean_kwh: The mean that was forecast, shape (rows,).
        quantiles_kwh: The quantiles, ascending, shape (rows, 7).
    """
    median = quantiles_kwh[:, MEDIAN]
    above = _level_outward(actual_kwh - median, quantiles_kwh[:, MEDIAN:] - median[:, np.newaxis])
    inward = quantiles_kwh[:, MEDIAN::-1]
    below = _level_outward(median - actual_kwh, median[:, np.newaxis] - inward)
    is_inside = (actual_kwh >= np.minimum(mean_kwh, median)) & (
        actual_kwh <= np.maximum(mean_kwh, median)
    )
    return np.where(is_inside, 0.0, np.maximum(above, below))


def band(
    level: FloatArray, *, mean_kwh: FloatArray, quantiles_kwh: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Bounds of the band at a level, not negative and with the mean inside, shape (rows,) each."""
    median = quantiles_kwh[:, MEDIAN]
    up = _offset_outward(level, quantiles_kwh[:, MEDIAN:] - median[:, np.newaxis])
    down = _offset_outward(level, median[:, np.newaxis] - quantiles_kwh[:, MEDIAN::-1])
    lower = np.minimum(np.maximum(median - down, 0.0), mean_kwh)
    return lower, np.maximum(median + up, mean_kwh)


def rolling_levels(
    scores: Scores, *, at_h: IntArray, fallback: float = COVERAGE, coverage: float = COVERAGE
) -> FloatArray:
    """The level to serve at each origin, from the scores known then.

    Args:
        scores: Past forecasts of the site.
        at_h: First hours of the forecasts to be made, counted from 1970, ascending, shape (times,).
        fallback: Level where there are too few scores.
        coverage: Share of the hours that the band shall hold.

    Returns:
        Levels, shape (times, GROUPS).
    """
    times = np.union1d(scores.issued_h, at_h)
    levels = np.stack(
        [_group_levels(scores, group, times, fallback, coverage) for group in range(GROUPS)], axis=1
    )
    chosen: FloatArray = levels[np.searchsorted(times, at_h)]
    return chosen


def _group_levels(
    scores: Scores, group: int, times: IntArray, fallback: float, coverage: float
) -> FloatArray:
    """The level served at each time in one group, shape (times,)."""
    mine = scores.chosen(scores.group == group)
    order = np.argsort(mine.valid_h, kind="stable")
    valid_h, level = mine.valid_h[order], mine.level[order]
    issued = np.searchsorted(times, mine.issued_h[order])
    known = np.searchsorted(valid_h, times)  # an hour is known when the next one begins
    since = np.searchsorted(valid_h, times - WINDOW_H)
    served, share, seen = np.full(times.size, fallback), coverage, 0
    for now in range(times.size):
        hits = level[seen : known[now]] <= served[issued[seen : known[now]]]
        share = float(np.clip(share + STEP * np.sum(coverage - hits), *SHARE_LIMITS))
        seen = known[now]
        if known[now] - since[now] >= FEWEST_SCORES:
            recent = level[since[now] : known[now]]
            rank = min(int(np.ceil(share * (recent.size + 1))), recent.size) - 1
            served[now] = np.partition(recent, rank)[rank]
    return served


def _level_outward(distance: FloatArray, offsets: FloatArray) -> FloatArray:
    """Level of the first of the growing offsets, shape (rows, 4), that reaches a distance."""
    level = BAND_LEVELS[-1] + (distance - offsets[:, -1]) / _spread(offsets)
    for outer in range(offsets.shape[1] - 1, 0, -1):
        low, high = offsets[:, outer - 1], offsets[:, outer]
        share = np.divide(distance - low, high - low, out=np.zeros_like(low), where=high > low)
        inner_level, outer_level = BAND_LEVELS[outer - 1], BAND_LEVELS[outer]
        within = inner_level + np.clip(share, 0.0, 1.0) * (outer_level - inner_level)
        level = np.where(distance <= high, within, level)
    return np.where(distance <= 0, 0.0, level)


def _offset_outward(level: FloatArray, offsets: FloatArray) -> FloatArray:
    """Distance from the median at a level, the inverse of `_level_outward`, shape (rows,)."""
    result = offsets[:, -1] + (level - BAND_LEVELS[-1]) * _spread(offsets)
    for outer in range(offsets.shape[1] - 1, 0, -1):
        low, high = offsets[:, outer - 1], offsets[:, outer]
        inner_level, outer_level = BAND_LEVELS[outer - 1], BAND_LEVELS[outer]
        share = (level - inner_level) / (outer_level - inner_level)
        result = np.where(level <= outer_level, low + np.maximum(share, 0.0) * (high - low), result)
    return result


def _spread(offsets: FloatArray) -> FloatArray:
    """How many kWh a level beyond the outermost band is worth, positive, shape (rows,)."""
    spread: FloatArray = STRETCH * np.maximum(offsets[:, -1], LEAST_SPREAD_KWH)
    return spread
