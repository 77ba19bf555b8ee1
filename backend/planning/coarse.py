"""Large sites on coarser steps: later steps alike are planned as one.

Where price and limits do not change, dividing a step changes nothing but who is there for part of
it: such a vehicle is planned as if it stayed to the end of the long step, which is safe.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from backend.planning.problem import Array, ChargingProblem

Indices = npt.NDArray[np.intp]

FINE_STEPS = 8
"""The first steps stay as they are."""

FEW_CELLS, CELLS_PER_STEP, LONGEST = 20_000, 15_000, 4
"""Sites of more vehicle-steps than the first are planned in steps longer by one for each so many,
up to the longest."""


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """Which long step each step belongs to, shape (steps,), and its share of it, (steps,)."""

    of_step: Indices
    share: Array

    def refined(self, values: Array) -> Array:
        """Powers of long steps, last axis, as powers of the steps they are made of."""
        return np.asarray(values[..., self.of_step])


def coarsened(problem: ChargingProblem) -> tuple[ChargingProblem, Blocks | None]:
    """The problem on longer steps if it is large and has only chargers and a demand charge."""
    cells = np.count_nonzero(problem.available_h)
    if cells <= FEW_CELLS or not _can_be_coarse(problem):
        return problem, None
    of_step = _blocks(problem, length=min(LONGEST, 1 + int(cells) // CELLS_PER_STEP))
    first = np.flatnonzero(np.diff(of_step, prepend=-1))
    hours = np.add.reduceat(problem.step_h, first)
    coarse = replace(
        problem,
        step_h=hours,
        available_h=np.add.reduceat(problem.available_h, first, axis=1),
        limit_kw=np.maximum.reduceat(problem.limit_kw, first, axis=1),
        site_limit_kw=problem.site_limit_kw[first],
        price_eur_per_kwh=problem.price_eur_per_kwh[first],
        preference_eur_per_kwh=problem.preference_eur_per_kwh[:, first],
        previous_kw=_means(problem, problem.previous_kw, first),
        groups=tuple(replace(one, limit_kw=one.limit_kw[first]) for one in problem.groups),
    )
    return coarse, Blocks(of_step, problem.step_h / hours[of_step])


def _can_be_coarse(problem: ChargingProblem) -> bool:
    grid, v2g = problem.grid, problem.v2g
    has_flows = grid is not None and (grid.pv_kw is not None or grid.base_load_kw is not None)
    parts = (problem.phases, problem.taper, v2g, problem.battery)
    return not has_flows and all(part is None for part in parts)


def _blocks(problem: ChargingProblem, *, length: int) -> Indices:
    """Number of the long step of each step: alike, neighbours, at most so many, shape (steps,)."""
    alike = [problem.price_eur_per_kwh, problem.site_limit_kw, *problem.preference_eur_per_kwh]
    alike += [group.limit_kw for group in problem.groups]
    changes = np.any(np.diff(np.array(alike), axis=1, prepend=np.nan) != 0, axis=0)
    varies = (problem.limit_kw[:, 1:] != problem.limit_kw[:, :-1]) & (
        (problem.available_h[:, 1:] > 0) & (problem.available_h[:, :-1] > 0)
    )
    changes[1:] |= varies.any(axis=0)
    changes[: FINE_STEPS + 1] = True
    steps = np.arange(len(changes))
    since = steps - np.maximum.accumulate(np.where(changes, steps, 0))
    return np.cumsum(changes | (since % length == 0)) - 1


def _means(problem: ChargingProblem, power: Array | None, first: Indices) -> Array | None:
    """Mean of powers over each long step, shape (vehicles, long steps)."""
    if power is None:
        return None
    energy = np.add.reduceat(power * problem.available_h, first, axis=1)
    hours = np.add.reduceat(problem.available_h, first, axis=1)
    return np.asarray(energy / np.where(hours > 0, hours, 1.0))
