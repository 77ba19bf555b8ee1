"""How accepted updates become one: averages, medians, trimmed means and Krum, in whole numbers."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from backend.federation.checking import Rules
from backend.federation.fixed_point import IntVector, shares_of, weighted_mean

IntTable = NDArray[np.int64]
Combine = Callable[[IntTable, list[int], Rules], IntVector]


def average(updates: IntTable, counts: list[int], _rules: Rules) -> IntVector:
    """Mean by numbers of examples.

    Source: B. McMahan et al., "Communication-efficient learning of deep networks from
    decentralized data", AISTATS 2017.

    Args:
        updates: In units of 2^-24, in the order of their senders, shape (updates, values).
        counts: Examples of each.
    """
    return weighted_mean(updates, shares_of(counts))


def median(updates: IntTable, _counts: list[int], _rules: Rules) -> IntVector:
    """The middle of each value; of an even number, the mean of the middle two.

    Source: D. Yin et al., "Byzantine-robust distributed learning", ICML 2018.
    """
    ordered = np.sort(updates, axis=0)
    lower, upper = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return np.asarray((lower + upper) // 2, dtype=np.int64)


def trimmed_mean(updates: IntTable, counts: list[int], rules: Rules) -> IntVector:
    """Mean of each value without the largest and smallest, by numbers of examples.

    Source: D. Yin et al., as above; trimmed at either end are the share of the updates, rounded up,
    but at least one value stays.
    """
    number = len(updates)
    cut = min(math.ceil(rules.trim_share * number), (number - 1) // 2)
    order = np.argsort(updates, axis=0, kind="stable")
    shares = np.broadcast_to(shares_of(counts)[:, None], updates.shape)
    kept = slice(cut, number - cut)
    return weighted_mean(
        np.take_along_axis(updates, order, axis=0)[kept],
        np.take_along_axis(shares, order, axis=0)[kept],
    )


def krum(updates: IntTable, _counts: list[int], rules: Rules) -> IntVector:
    """The one update whose nearest neighbours are nearest.

    Source: P. Blanchard et al., "Machine learning with adversaries", NeurIPS 2017.
    """
    number = len(updates)
    hostile = min(math.ceil(rules.attackers_share * number), max((number - 3) // 2, 0))
    values = updates.astype(np.float64)
    # Row by row: all differences at once are gigabytes for a thousand updates.
    distance = np.stack([((values - one) ** 2).sum(axis=1) for one in values])
    nearest = np.sort(distance, axis=1)[:, 1 : max(number - hostile - 1, 2)]
    return np.asarray(updates[int(np.argmin(nearest.sum(axis=1)))], dtype=np.int64)


STRATEGIES: dict[str, Combine] = {
    "validated": trimmed_mean,
    "fedavg": average,
    "fedprox": average,
    "median": median,
    "trimmed_mean": trimmed_mean,
    "krum": krum,
}
"""`fedprox` differs from `fedavg` in the training (`prox_mu`), `validated` from `trimmed_mean` in
what is checked before."""

VALIDATED = "validated"


class UnknownStrategy(ValueError):
    """No strategy has this name."""


def combine_by(strategy: str) -> Combine:
    """The function of a strategy.

    Raises:
        UnknownStrategy: If none has this name.
    """
    if strategy not in STRATEGIES:
        raise UnknownStrategy(f"{strategy!r}; there are {', '.join(sorted(STRATEGIES))}")
    return STRATEGIES[strategy]
