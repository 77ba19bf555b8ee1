"""Rows to train and to measure the demand model on, cut from histories by time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Self

import numpy as np

from backend.forecasting.features import FeatureRows, rows_of, sees_late_values
from backend.forecasting.history import BoolArray, FloatArray, IntArray, SiteHistory

MIN_HOURS = 48
WARM_UP_HOURS = 168
TRAINING_LEADS_H = (1, 2, 3, 4, 6, 8, 10, 12, 15, 18, 21, 24, 30, 36, 42, 48)
TRAINING_STRIDE_H = 3
MAX_TRAINING_ROWS = 98_000
TRAINING_DAYS = 430
TEST_SHARE = 0.2
TEST_DAYS = 42
TEST_STRIDE_H = 6
TEST_LEADS_H = tuple(range(1, 25))
LATE_ORIGINS = 60
"""Origins of a site that saw values come late need tables of their own; no more are taken."""

ACTUALS = ("energy_kwh", "occupancy", "sessions")
Splits = Mapping[str, datetime]


class TooLittleHistory(ValueError):
    """No site has the two days of history that training needs."""


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Feature rows with what really happened.

    Attributes:
        rows: The features.
        site: Index of the site of each row, shape (rows,).
        site_ids: The sites the indices mean.
        hour: Hour forecast, counted from 1970 in UTC, shape (rows,).
        energy_kwh: Actual energy, shape (rows,).
        occupancy: Actual mean number of vehicles plugged in, shape (rows,).
        sessions: Actual number of charging sessions begun, shape (rows,).
    """

    rows: FeatureRows
    site: IntArray
    site_ids: tuple[str, ...]
    hour: IntArray
    energy_kwh: FloatArray
    occupancy: FloatArray
    sessions: FloatArray

    def chosen(self, which: BoolArray) -> Self:
        """The rows of a mask."""
        rows = FeatureRows(*(getattr(self.rows, one.name)[which] for one in fields(FeatureRows)))
        return replace(
            self,
            rows=rows,
            **{name: getattr(self, name)[which] for name in ("site", "hour", *ACTUALS)},
        )

    @property
    def issued_h(self) -> IntArray:
        """First hour of each row's forecast, counted from 1970, shape (rows,)."""
        lead_h: IntArray = self.rows.column("lead_h").astype(np.int64)
        return self.hour - lead_h + 1


def split_time(histories: Sequence[SiteHistory]) -> datetime:
    """The hour before which four fifths of all site hours lie, at most six weeks before the end.

    Raises:
        TooLittleHistory: If no site has two days of history.
    """
    if max((history.hours for history in histories), default=0) < MIN_HOURS:
        raise TooLittleHistory("training needs at least two days of history")
    hours = np.concatenate([_first_hour(each) + np.arange(each.hours) for each in histories])
    split = int(np.quantile(hours, 1 - TEST_SHARE, method="higher"))
    split = max(split, int(hours.max()) + 1 - 24 * TEST_DAYS)
    return datetime.fromtimestamp(split * 3600, tz=UTC)


def training_samples(
    histories: Sequence[SiteHistory],
    *,
    seed: int,
    before: Splits | datetime | None = None,
    most_rows: int = MAX_TRAINING_ROWS,
) -> Samples:
    """Rows whose hour lies before a moment, thinned out where a site has more than its share.

    Args:
        histories: The sites.
        seed: Which rows are left out.
        before: The moment, one for all sites or one for each; None takes everything.
        most_rows: How many rows there may be, shared equally by the sites.
    """
    rng = np.random.default_rng(seed)
    share = most_rows // max(len(histories), 1)
    many = [
        _site_samples(history, _thinned(_training_pairs(history, at), share, rng), site)
        for site, (history, at) in enumerate(_with_splits(histories, before))
    ]
    return _joined(many, tuple(history.site_id for history in histories))


def holdout_samples(
    histories: Sequence[SiteHistory],
    *,
    since: Splits | datetime,
    stride_h: int = TEST_STRIDE_H,
    leads_h: Sequence[int] = TEST_LEADS_H,
) -> Samples:
    """Day-ahead rows of origins at and after `since`: every sixth hour, leads 1 to 24 h."""
    many = [
        _site_samples(history, _test_pairs(history, at, stride_h, leads_h), site)
        for site, (history, at) in enumerate(_with_splits(histories, since))
    ]
    return _joined(many, tuple(history.site_id for history in histories))


def _with_splits(
    histories: Sequence[SiteHistory], at: Splits | datetime | None
) -> list[tuple[SiteHistory, datetime]]:
    return [
        (one, at[one.site_id] if isinstance(at, Mapping) else at or one.end) for one in histories
    ]


def _training_pairs(history: SiteHistory, before: datetime) -> tuple[IntArray, IntArray]:
    """Origins and leads of one site whose targets are known and lie before a moment."""
    end = min(history.index_of(before), history.hours)
    warm_up = min(WARM_UP_HOURS, max(end, 0) // 3)
    first = max(warm_up, end - 24 * TRAINING_DAYS)
    origin = _affordable(history, np.arange(first, end, TRAINING_STRIDE_H))
    return _pairs(origin, np.array(TRAINING_LEADS_H), end_before=end)


def _test_pairs(
    history: SiteHistory, since: datetime, stride_h: int, leads_h: Sequence[int]
) -> tuple[IntArray, IntArray]:
    first = max(history.index_of(since), 0)
    origin = _affordable(history, np.arange(first, history.hours, stride_h))
    return _pairs(origin, np.array(leads_h), end_before=history.hours)


def _affordable(history: SiteHistory, origin: IntArray) -> IntArray:
    """All origins at which nothing was late, and an even choice of the others, in order."""
    is_late = sees_late_values(history, origin)
    late = np.flatnonzero(is_late)
    if late.size <= LATE_ORIGINS:
        return origin
    kept = late[np.linspace(0, late.size - 1, LATE_ORIGINS).astype(np.int64)]
    chosen: IntArray = origin[np.sort(np.concatenate([np.flatnonzero(~is_late), kept]))]
    return chosen


def _thinned(
    pairs: tuple[IntArray, IntArray], most: int, rng: np.random.Generator
) -> tuple[IntArray, IntArray]:
    kept = rng.random(pairs[0].size) < most / max(pairs[0].size, 1)
    return pairs[0][kept], pairs[1][kept]


def _pairs(origin: IntArray, lead_h: IntArray, *, end_before: int) -> tuple[IntArray, IntArray]:
    """Every combination whose target lies before an hour."""
    origins, leads = (array.ravel() for array in np.meshgrid(origin, lead_h, indexing="ij"))
    inside = origins + leads - 1 < end_before
    return origins[inside], leads[inside]


def _site_samples(history: SiteHistory, pairs: tuple[IntArray, IntArray], site: int) -> Samples:
    known = np.isfinite(history.energy_kwh[pairs[0] + pairs[1] - 1])
    rows = rows_of(history, origin=pairs[0][known], lead_h=pairs[1][known])
    return Samples(
        rows=rows,
        site=np.full(rows.target.shape, site, dtype=np.int64),
        site_ids=(history.site_id,),
        hour=_first_hour(history) + rows.target,
        energy_kwh=history.energy_kwh[rows.target],
        occupancy=history.occupancy[rows.target],
        sessions=history.sessions_started[rows.target],
    )


def _joined(many: Iterable[Samples], site_ids: tuple[str, ...]) -> Samples:
    parts = list(many)
    rows = FeatureRows(
        *(
            np.concatenate([getattr(part.rows, each.name) for part in parts])
            for each in fields(FeatureRows)
        )
    )
    return Samples(
        rows=rows,
        site=np.concatenate([part.site for part in parts]),
        site_ids=site_ids,
        hour=np.concatenate([part.hour for part in parts]),
        energy_kwh=np.concatenate([part.energy_kwh for part in parts]),
        occupancy=np.concatenate([part.occupancy for part in parts]),
        sessions=np.concatenate([part.sessions for part in parts]),
    )


def _first_hour(history: SiteHistory) -> int:
    return int(history.start.timestamp()) // 3600
