"""The steps of a horizon: the first starts now, all others at a quarter hour."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

STEP = timedelta(minutes=15)
_HOUR = timedelta(hours=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def step_edges(now: datetime, until: datetime) -> tuple[datetime, ...]:
    """Edges of the steps from now to the end of the quarter hour that holds `until`.

    The first step starts now, all others at a UTC quarter hour; one more edge than steps. Nothing
    is left to plan when `until` is not after now: one edge, no step.

    Raises:
        ValueError: If a time has no zone.
    """
    if now.tzinfo is None or until.tzinfo is None:
        raise ValueError("now and until need a time zone")
    edges = [now.astimezone(UTC)]
    while edges[-1] < until:
        edges.append(edges[-1] + STEP - (edges[-1] - _EPOCH) % STEP)
    return tuple(edges)


def step_hours(edges: Sequence[datetime]) -> Array:
    """Length of each step, shape (steps,)."""
    lengths_h = [(end - start) / _HOUR for start, end in pairwise(edges)]
    return np.array(lengths_h, dtype=np.float64)


def available_hours(
    edges: Sequence[datetime], *, arrivals: Sequence[datetime], departures: Sequence[datetime]
) -> Array:
    """Hours of each step between arrival and departure, shape (vehicles, steps)."""
    edge_h = _hours_after(edges[0], edges)
    arrival_h = _hours_after(edges[0], arrivals)[:, None]
    departure_h = _hours_after(edges[0], departures)[:, None]
    overlap_h = np.minimum(edge_h[1:], departure_h) - np.maximum(edge_h[:-1], arrival_h)
    return np.asarray(np.maximum(overlap_h, 0.0))


def _hours_after(start: datetime, times: Sequence[datetime]) -> Array:
    return np.array([(time - start) / _HOUR for time in times], dtype=np.float64)
