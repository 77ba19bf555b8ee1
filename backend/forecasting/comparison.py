"""Champion against challenger: on the same hours, in blocks of days, with a paired test."""

from dataclasses import dataclass

import numpy as np

from backend.forecasting.columns import LEVELS
from backend.forecasting.history import FloatArray, IntArray

LEAST_GAIN = 0.01
CONFIDENCE = 0.95
DRAWS = 1000
FEWEST_DAYS = 5


@dataclass(frozen=True, slots=True)
class Comparison:
    """Whether a challenger is to replace the champion.

    Attributes:
        gain: Share of the champion's pinball loss that the challenger avoids.
        gain_at_least: Lower bound of the gain at 95 % confidence.
        days: Days compared.
        worse_sites: Sites where the challenger is surely worse than like-day means.
        is_better: More than 1 % better, surely better at all, and no site surely worse.
        reason: The verdict in a sentence.
    """

    gain: float
    gain_at_least: float
    days: int
    worse_sites: tuple[str, ...]
    is_better: bool
    reason: str


def pinball(actual: FloatArray, quantiles: FloatArray) -> FloatArray:
    """Mean pinball loss over the levels of each row, shape (rows,)."""
    levels = np.array(LEVELS)
    off = actual[:, np.newaxis] - quantiles
    loss: FloatArray = np.maximum(levels * off, (levels - 1) * off).mean(axis=1)
    return loss


def surely_more(first: FloatArray, second: FloatArray, day: IntArray, *, seed: int = 0) -> float:
    """Lower bound at 95 % of the share by which the first losses exceed the second.

    Days are drawn with replacement, whole and for both alike (H. R. Kuensch, "The jackknife and
    the bootstrap for general stationary observations", Annals of Statistics 1989), because the
    hours of a day err together.
    """
    _, place = np.unique(day, return_inverse=True)
    days = int(place.max(initial=-1)) + 1
    if days < FEWEST_DAYS:
        return -np.inf
    sums = np.stack([np.bincount(place, each, days) for each in (first, second)])
    drawn = np.random.default_rng(seed).integers(0, days, (DRAWS, days))
    totals = sums[:, drawn].sum(axis=2)
    shares = 1.0 - totals[1] / np.maximum(totals[0], 1e-12)
    return float(np.quantile(shares, 1 - CONFIDENCE))


def compare(
    *,
    champion_loss: FloatArray,
    challenger_loss: FloatArray,
    challenger_error: FloatArray,
    like_day_error: FloatArray,
    level: FloatArray,
    site: IntArray,
    site_ids: tuple[str, ...],
    day: IntArray,
) -> Comparison:
    """Judge a challenger on hours that neither model has seen.

    Args:
        champion_loss: Pinball loss of each row in kWh, shape (rows,).
        challenger_loss: The same of the challenger.
        challenger_error: Its absolute error by median, against like-day means.
        like_day_error: The absolute error of the like-day mean.
        level: The site's recent mean, by which losses are divided so that every site counts.
        site: Index of each row's site.
        site_ids: The sites.
        day: Day of each row.
    """
    first, second = champion_loss / level, challenger_loss / level
    gain = 1.0 - float(second.sum()) / max(float(first.sum()), 1e-12)
    at_least = surely_more(first, second, day)
    worse = tuple(
        name
        for index, name in enumerate(site_ids)
        if (rows := site == index).any()
        and surely_more(challenger_error[rows], like_day_error[rows], day[rows]) > 0
    )
    is_better = gain > LEAST_GAIN and at_least > 0 and not worse
    return Comparison(
        gain=gain,
        gain_at_least=at_least,
        days=int(np.unique(day).size),
        worse_sites=worse,
        is_better=is_better,
        reason=_reason(gain, at_least, worse, is_better=is_better),
    )


def _reason(gain: float, at_least: float, worse: tuple[str, ...], *, is_better: bool) -> str:
    if worse:
        return f"surely worse than like-day means at {', '.join(worse)}"
    if is_better:
        return f"{100 * gain:.1f} % less pinball loss than the champion"
    if gain <= LEAST_GAIN:
        return f"only {100 * gain:.1f} % less pinball loss than the champion"
    return (
        f"{100 * gain:.1f} % less pinball loss, but by chance perhaps none ({100 * at_least:.1f} %)"
    )
