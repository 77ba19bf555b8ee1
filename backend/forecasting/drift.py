"""Whether a site still behaves as it did: fast warnings, sure alarms, and how far inputs moved.

Each day gives two numbers: how far its energy lay from what was expected, in standard deviations of
the reference, and the share of its hours that the band missed. ADWIN says drift when the mean of
such a stream has changed; Page-Hinkley is days earlier and wrong more often, so it only warns.

Sources: A. Bifet, R. Gavalda, "Learning from Time-Changing Data with Adaptive Windowing", SIAM SDM
2007; E. S. Page, "Continuous Inspection Schemes", Biometrika 1954.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from backend.forecasting.calendar import local_calendar
from backend.forecasting.history import FloatArray, IntArray, SiteHistory

REFERENCE_DAYS = 90
DELTA = 0.025
CLIP = 3.0
LEAST_DEVIATION = 0.15  # of the mean: a site that never varies still may
WHOLE_DAY_H = 23  # the shortest local day
PSI_BINS = 10
PSI_MUCH = 0.25
# ADWIN's bound has a term that supposes values in 0..1; values of hundreds leave the one that uses
# the variance, which is what tells days apart.
SCALE = 100.0

Signal = Literal["residual", "misses"]


@dataclass(frozen=True, slots=True)
class Alarm:
    """A change that was noticed.

    Attributes:
        day: Position in the stream.
        signal: Which stream changed.
        is_sure: ADWIN says so; else a warning by Page-Hinkley.
    """

    day: int
    signal: Signal
    is_sure: bool


@dataclass(frozen=True, slots=True, eq=False)
class WorkDays:
    """Energy of the whole work days of a history.

    Attributes:
        day: Local day, counted from the history's first, shape (days,).
        energy_kwh: Energy of the day, shape (days,).
    """

    day: IntArray
    energy_kwh: FloatArray


def work_days(history: SiteHistory) -> WorkDays:
    """The energy of each work day that is known from its first hour to its last."""
    calendar = local_calendar(
        history.start,
        hours=max(history.hours, 1),
        timezone=history.timezone,
        country=history.country,
        closures=history.closures,
    )
    day = calendar.day[: history.hours]
    known = np.isfinite(history.energy_kwh)
    days = calendar.is_off_day.size
    total = np.bincount(day[known], history.energy_kwh[known], days).astype(np.float64)
    hours = np.bincount(day[known], minlength=days)
    chosen = np.flatnonzero((hours >= WHOLE_DAY_H) & ~calendar.is_off_day)
    return WorkDays(chosen, total[chosen])


def find_drift(
    actual_kwh: FloatArray, expected_kwh: FloatArray, missed_share: FloatArray | None = None
) -> list[Alarm]:
    """Go through daily sums as they came; the first `REFERENCE_DAYS` say what is normal.

    Args:
        actual_kwh: Energy of each day, shape (days,).
        expected_kwh: What was expected of it, shape (days,) or (1,).
        missed_share: Share of the day's hours outside their band, shape (days,).

    Returns:
        Alarms and warnings after the reference, in order.
    """
    alarms: list[Alarm] = []
    residual = actual_kwh - expected_kwh
    if residual.size > REFERENCE_DAYS:
        normal = residual[:REFERENCE_DAYS]
        least = LEAST_DEVIATION * max(float(np.mean(actual_kwh[:REFERENCE_DAYS])), 1e-9)
        standard = (residual - normal.mean()) / max(float(normal.std()), least)
        alarms += _watch(np.clip(standard, -CLIP, CLIP), "residual")
    if missed_share is not None:
        alarms += find_misses(missed_share)
    return sorted(alarms, key=lambda one: one.day)


def find_misses(missed_share: FloatArray) -> list[Alarm]:
    """Go through the days' shares of hours outside their band; the first are the reference.

    Args:
        missed_share: Share of each day's hours that the band missed, shape (days,).
    """
    if missed_share.size <= REFERENCE_DAYS:
        return []
    deviation = max(float(missed_share[:REFERENCE_DAYS].std()), LEAST_DEVIATION)
    return _watch(missed_share / deviation, "misses")


def population_stability(reference: FloatArray, recent: FloatArray) -> float:
    """Population stability index of two samples over tenths of the reference; for information.

    Above 0.25 much has changed, but on demand alone it fires in one quiet week of twenty, and once
    a level has moved for ever, so nothing is retrained because of it.
    """
    if reference.size == 0 or recent.size == 0:
        return 0.0
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, PSI_BINS + 1)[1:-1]))

    def shares(values: FloatArray) -> FloatArray:
        counts = np.bincount(np.searchsorted(edges, values), minlength=edges.size + 1)
        share: FloatArray = np.maximum(counts / values.size, 1e-4)
        return share

    expected, found = shares(reference), shares(recent)
    return float(np.sum((found - expected) * np.log(found / expected)))


@dataclass(frozen=True, slots=True)
class RetrainReasons:
    """What speaks for training anew; empty if nothing does."""

    reasons: tuple[str, ...]


def why_retrain(
    *,
    days_since_training: float,
    has_drift: bool,
    wape_now: float | None,
    wape_backtest: float,
    wape_like_day: float | None,
    new_data_share: float,
    has_new_site: bool,
) -> RetrainReasons:
    """The triggers of retraining, each on its own enough.

    Args:
        days_since_training: Age of the model in service.
        has_drift: Whether a sure alarm came after it was trained.
        wape_now: WAPE of the last seven work days, None where there are too few.
        wape_backtest: WAPE measured when it was trained.
        wape_like_day: WAPE of like-day means on the same seven days.
        new_data_share: Hours observed since training, as a share of those it was trained on.
        has_new_site: Whether a site with two weeks of history was not trained on.
    """
    is_worse = (
        wape_now is not None
        and wape_like_day is not None
        and wape_now > 1.5 * wape_backtest  # half as much again
        and wape_now > wape_like_day
    )
    triggers = {
        "a week has passed": days_since_training >= 7,  # noqa: PLR2004  # days
        "drift was found": has_drift,
        "the last seven work days went worse than the backtest and like days": is_worse,
        "there is a fifth more data": new_data_share >= 0.2,  # noqa: PLR2004
        "there is a new site with two weeks of data": has_new_site,
    }
    return RetrainReasons(tuple(name for name, holds in triggers.items() if holds))


def _watch(values: FloatArray, signal: Signal) -> list[Alarm]:
    from river.drift import ADWIN, PageHinkley  # noqa: PLC0415  # heavy, only workers watch

    def fresh() -> tuple[Any, Any]:
        sure: Any = ADWIN
        quick: Any = PageHinkley
        return sure(delta=DELTA, clock=1), quick(min_instances=15, delta=1, threshold=6)

    alarms: list[Alarm] = []
    sure, quick = fresh()
    for day, value in enumerate(values):
        sure.update(SCALE * float(value))
        quick.update(float(value))
        if sure.drift_detected and day >= REFERENCE_DAYS:
            alarms.append(Alarm(day, signal, is_sure=True))
        elif quick.drift_detected and day >= REFERENCE_DAYS:
            alarms.append(Alarm(day, signal, is_sure=False))
        if sure.drift_detected:
            sure, quick = fresh()
        elif quick.drift_detected:
            quick = fresh()[1]
    return alarms
