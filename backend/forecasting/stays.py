"""How long a vehicle stays: learned from earlier stays, of the same driver first.

Stated departures are wrong by hours, and a site's drivers differ more than their statements do. So
the stay of a visit is taken from a weighted sample of earlier stays: those that arrived at a like
hour and charged for a like time count most, and the driver's own count many times the site's. A
driver without history has the site's distribution, one with a few visits mostly their own.

Source: the weights are a Nadaraya-Watson kernel (E. A. Nadaraya, "On Estimating Regression", Theory
of Probability and Its Applications, 1964), the blend a Dirichlet prior of `SITE_VISITS` visits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

HOUR_WIDTH_H = 2.0
"""Arrivals this far apart are like each other to 60 %."""

CHARGING_WIDTH = 0.5
"""Charging times that differ by this much (natural logarithm) are like each other to 60 %."""

SITE_VISITS = 0.3
"""The site's history counts as much as so many like visits of the driver."""

SPREAD = (0.8, 0.9, 1.0, 1.1, 1.2)
"""Each earlier stay stands for these multiples of itself, because nobody repeats a stay exactly."""

FLOOR = 1e-4
"""Weight of a stay unlike this one; nothing seen at the site is impossible."""

SHORTEST_H = 1 / 60


@dataclass(frozen=True, slots=True, eq=False)
class PastStays:
    """Stays at one site that had ended before the one that is forecast; arrays (stays,).

    Attributes:
        driver: Who it was; empty if unknown.
        arrival_hour: Local hour of arrival, 0 to 24.
        stay_h: Time until departure.
        charging_h: Time the energy takes at full power.
    """

    driver: Sequence[str]
    arrival_hour: Array
    stay_h: Array
    charging_h: Array


@dataclass(frozen=True, slots=True, eq=False)
class StayDistribution:
    """A weighted sample of stays.

    Attributes:
        stay_h: Stays, ascending, shape (stays,).
        below: Probability of a shorter stay than each, and 1, shape (stays + 1,).
    """

    stay_h: Array
    below: Array

    @classmethod
    def of(cls, stay_h: Array, weight: Array) -> Self:
        """The distribution of a sample with weights; some weight has to be positive."""
        order = np.argsort(stay_h, kind="stable")
        below = np.concatenate(([0.0], np.cumsum(weight[order])))
        return cls(stay_h[order], below / below[-1])

    def survival(self, elapsed_h: float, ahead_h: Array) -> Array:
        """Probability of still being there so long from now, given being there now.

        Who has stayed longer than anybody before may leave at any moment.

        Args:
            elapsed_h: Time since arrival.
            ahead_h: Times from now, shape (times,).
        """
        is_there = 1 - self.below[np.searchsorted(self.stay_h, elapsed_h, side="right")]
        if is_there < FLOOR**2:
            return np.asarray(np.where(ahead_h > 0, 0.0, 1.0))
        at_least = 1 - self.below[np.searchsorted(self.stay_h, elapsed_h + ahead_h, side="left")]
        return np.asarray(np.minimum(at_least / is_there, 1.0))

    def residual_quantile_h(
        self, elapsed_h: float, quantile: float, *, cap_h: float = np.inf
    ) -> float:
        """Time from now within which a vehicle leaves with this probability.

        Args:
            elapsed_h: Time since arrival.
            quantile: The probability; small to be careful.
            cap_h: Never more than this, such as the time until the stated departure.
        """
        first = int(np.searchsorted(self.stay_h, elapsed_h, side="right"))
        if first == len(self.stay_h):
            return 0.0
        wanted = self.below[first] + quantile * (1 - self.below[first])
        place = max(first, int(np.searchsorted(self.below, wanted, side="left")) - 1)
        return float(max(0.0, min(self.stay_h[place] - elapsed_h, cap_h)))


def stay_distribution(
    past: PastStays, *, driver: str, arrival_hour: float, charging_h: float
) -> StayDistribution:
    """The stay to expect of one visit.

    Raises:
        ValueError: If there is no past.
    """
    if len(past.stay_h) == 0:
        raise ValueError("no stay to learn from")
    likeness = _likeness(past, arrival_hour=arrival_hour, charging_h=charging_h)
    is_own = np.array([driver != "" and one == driver for one in past.driver])
    weight = SITE_VISITS * likeness / likeness.sum() + likeness * is_own
    spread = np.array(SPREAD)
    return StayDistribution.of(np.outer(spread, past.stay_h).ravel(), np.tile(weight, len(spread)))


def _likeness(past: PastStays, *, arrival_hour: float, charging_h: float) -> Array:
    """How much each earlier stay resembles this one, shape (stays,)."""
    apart_h = np.abs(past.arrival_hour - arrival_hour)
    hours = np.minimum(apart_h, 24 - apart_h) / HOUR_WIDTH_H
    longer = np.log(np.maximum(past.charging_h, SHORTEST_H) / max(charging_h, SHORTEST_H))
    charging = longer / CHARGING_WIDTH
    return np.asarray(np.exp(-0.5 * (hours**2 + charging**2)) + FLOOR)


def probably_there_h(ahead_h: Array, plug_probability: Array, *, at_least: float) -> float:
    """How long a vehicle that is there is foretold to stay plugged in.

    What the availability model says of single moments bounds the stay: who is probably gone at one
    of them has left before it.

    Args:
        ahead_h: Hours from the forecast on, ascending, shape (horizons,).
        plug_probability: Probability of being plugged in then, given being there now.
        at_least: The probability counted on.

    Returns:
        Hours from the forecast on, on a line between horizons; the last horizon if it never falls
        below.
    """
    moments = np.concatenate(([0.0], ahead_h))
    there = np.minimum.accumulate(np.concatenate(([1.0], plug_probability)))
    if there[-1] >= at_least:
        return float(moments[-1])
    # The probability falls over time, so it rises over the horizons turned round.
    return float(np.interp(at_least, there[::-1], moments[::-1]))
