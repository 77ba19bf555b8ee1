"""The first steps chosen among what chargers can be set to, together with the rest of the plan.

A charger is off or between its minimum and its limit, or at one of its levels. The programme of the
site, without its quadratic terms, gets a whole number for each of these choices in the first steps
and is solved again by HiGHS. Rounding the relaxed plan is nearly always as good; then nothing is
solved, because the relaxed plan says how much better any other could be.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from backend.planning.costs import by_tier, shortfall_price, weighed
from backend.planning.mixed import least_cost
from backend.planning.problem import Array, ChargingPlan, ChargingProblem
from backend.planning.programme import Layout, Mask, programme_of
from backend.planning.reading import Solution, setpoints, stationary_kw
from backend.planning.rounding import SNAP_KW, has_steps, lowest_kw
from backend.planning.sparse import Indices, Rows
from backend.planning.standard import NotSolved, Programme, solve

MOST_VEHICLES = 200
"""Sites of more are only rounded: their sums hide what a single charger cannot be set to."""

MOST_CHOICES = 600
"""With more settings than this in all, only those next to the relaxed plan are open."""

FEW_VEHICLES = 20
"""At sites of no more, every vehicle may change its plan for the first step of another."""

STEPS = 1
"""Steps with whole numbers: the one that is carried out. Of four, all but one are planned anew."""

WORTH_KWH = 0.01
"""Shortfall that rounding has to be as bad as, against the relaxed plan, to be worth solving."""

TIME_LIMIT_S = 0.25


def is_worth_solving(problem: ChargingProblem, rounded: ChargingPlan, relaxed_kw: Array) -> bool:
    """Whether whole numbers could be noticeably better than the rounded plan.

    Args:
        problem: The site.
        rounded: The plan made of the relaxed setpoints by rounding.
        relaxed_kw: Setpoints that no plan can be better than, shape (vehicles, steps).
    """
    if not has_steps(problem) or len(problem.demand_kwh) > MOST_VEHICLES:
        return False
    if not relaxed_kw.size or np.array_equal(relaxed_kw[:, 0], rounded.setpoint_kw[:, 0]):
        return False
    relaxed = ChargingPlan.of(
        problem, relaxed_kw, method="optimal", battery_kw=rounded.flows.battery_kw
    )
    scale = float(np.abs(problem.cost_eur_per_kwh).max(initial=0.0)) or 1.0
    worth = WORTH_KWH * shortfall_price(problem, scale)
    return weighed(problem, rounded) - weighed(problem, relaxed) > worth


def with_integers(
    problem: ChargingProblem,
    relaxed: Solution,
    *,
    time_limit_s: float = TIME_LIMIT_S,
    steps: int = STEPS,
) -> Solution:
    """Solve again with settings the chargers know in the first steps.

    Args:
        problem: The site, whose chargers have a minimum or levels.
        relaxed: The solution without; its prices are kept.
        time_limit_s: Time after which the best found so far counts.
        steps: Steps in which chargers are off or at a setting.

    Raises:
        NotSolved: If nothing was found in time.
    """
    if time_limit_s <= 0:
        raise NotSolved("no time left for whole numbers")
    programme, layout = programme_of(problem)
    programme = _of_few(problem, layout, programme, relaxed.setpoint_kw)
    linear = _without_curvature(problem, layout, programme, relaxed.setpoint_kw)
    choices = _Choices.of(problem, layout, programme, steps, relaxed.setpoint_kw)
    x = _solve(problem, layout, linear, choices=choices, time_limit_s=time_limit_s)
    if linear is not programme and problem.levels_kw is None:
        x = _shared_out(layout, programme, choices, x)
    peak_kw = x[layout.peak]
    return replace(
        relaxed,
        setpoint_kw=setpoints(problem, layout, x),
        battery_kw=stationary_kw(problem, layout, x),
        highest_import_kw=np.full(len(problem.step_h), peak_kw[0]) if len(peak_kw) else None,
    )


def _of_few(
    problem: ChargingProblem, layout: Layout, programme: Programme, relaxed_kw: Array
) -> Programme:
    """The programme in which only vehicles that charge in part in the first step can still move.

    Those at no power or full power were not between two settings; at small sites they move too.
    """
    first_kw = relaxed_kw[:, 0]
    is_partial = (first_kw > SNAP_KW) & (first_kw < problem.limit_kw[:, 0] - SNAP_KW)
    if len(first_kw) <= FEW_VEHICLES:
        return programme
    if problem.levels_kw is not None and problem.levels_kw.shape[1]:
        away_kw = np.abs(problem.levels_kw - first_kw[:, None]).min(axis=1)
        is_partial = (first_kw > SNAP_KW) & (away_kw > SNAP_KW)
    held = ~is_partial[layout.vehicle]
    columns, at = layout.charge[held], (layout.vehicle[held], layout.step[held])
    lower, upper = programme.lower.copy(), programme.upper.copy()
    lower[columns] = upper[columns] = np.clip(relaxed_kw[at], lower[columns], upper[columns])
    return replace(programme, lower=lower, upper=upper)


def _without_curvature(
    problem: ChargingProblem, layout: Layout, programme: Programme, relaxed_kw: Array
) -> Programme:
    """The programme with a rising price of falling short made linear around the relaxed plan.

    The price holds as far as one step at full power can move a shortfall.
    """
    if problem.fairness != "equal_share":
        return programme
    lower, upper, cost = programme.lower.copy(), programme.upper.copy(), programme.cost.copy()
    energy_kwh = problem.battery_energy_kwh(relaxed_kw).sum(axis=1)
    moves_kwh = (problem.limit_kw * problem.available_h)[:, :1].sum(axis=1)
    parts = by_tier(layout.costs, np.maximum(problem.demand_kwh - energy_kwh, 0.0))
    for columns, short_kwh in zip(layout.short, parts, strict=True):
        cost[columns] += programme.curvature[columns] * short_kwh
        lower[columns] = np.maximum(short_kwh - moves_kwh, 0.0)
        upper[columns] = np.minimum(short_kwh + moves_kwh, upper[columns])
    return replace(programme, lower=lower, upper=upper, cost=cost)


@dataclass(frozen=True, slots=True, eq=False)
class _Choices:
    """The settings of the cells of the first steps, a binary column for each.

    Attributes:
        cells: The cells of these steps, shape (cells,).
        lower_kw: Lowest power of each setting, shape (cells, settings).
        upper_kw: Highest power of each setting, shape (cells, settings).
        is_open: Whether the cell can be set so, shape (cells, settings).
        needs_less: Cells that need less than their lowest setting in the very first step. They are
            given it and take only what they need.
    """

    cells: Indices
    lower_kw: Array
    upper_kw: Array
    is_open: Mask
    needs_less: Mask

    @classmethod
    def of(
        cls,
        problem: ChargingProblem,
        layout: Layout,
        programme: Programme,
        steps: int,
        relaxed_kw: Array,
    ) -> Self:
        """The settings of a site."""
        cells = np.flatnonzero(layout.step < steps)
        vehicle, step = layout.vehicle[cells], layout.step[cells]
        limit_kw = programme.upper[layout.charge[cells], None]
        least_kw = lowest_kw(problem)[vehicle, None]
        lower_kw, upper_kw = least_kw, limit_kw
        if problem.levels_kw is not None:
            lower_kw = upper_kw = problem.levels_kw[vehicle]
        stored_h = problem.available_h[vehicle, step] * problem.charging_efficiency[vehicle]
        needs_less = (step == 0) & (problem.demand_kwh[vehicle] < least_kw[:, 0] * stored_h)
        upper_kw = np.where(needs_less[:, None], least_kw, upper_kw)
        is_open = (lower_kw >= least_kw) & (lower_kw <= np.minimum(limit_kw, upper_kw))
        if np.count_nonzero(is_open) > MOST_CHOICES:
            planned_kw = relaxed_kw[vehicle, step, None]
            is_open &= _is_near(lower_kw, upper_kw, planned_kw) | (lower_kw == least_kw)
        return cls(cells, lower_kw, upper_kw, is_open, needs_less)


def _is_near(lower_kw: Array, upper_kw: Array, planned_kw: Array) -> Mask:
    """Whether no setting is between this and the plan, shapes (cells, settings), (cells, 1)."""
    below_kw = np.where(lower_kw <= planned_kw, lower_kw, -np.inf).max(axis=1, keepdims=True)
    above_kw = np.where(upper_kw >= planned_kw, upper_kw, np.inf).min(axis=1, keepdims=True)
    return np.asarray((lower_kw == below_kw) | (upper_kw == above_kw))


def _shared_out(layout: Layout, programme: Programme, choices: _Choices, x: Array) -> Array:
    """The best plan with the same chargers on, its shortfalls priced as they rise again.

    Raises:
        NotSolved: If a charger is on for who needs less than its minimum, or PIQP gives up.
    """
    columns = layout.charge[choices.cells]
    is_on = x[columns] > SNAP_KW
    if np.any(is_on & choices.needs_less):
        raise NotSolved("a vehicle takes less than its charger gives")
    lower, upper = programme.lower.copy(), programme.upper.copy()
    lower[columns] = np.where(is_on, choices.lower_kw[:, 0], 0.0)
    upper[columns] = np.where(is_on, upper[columns], 0.0)
    return solve(replace(programme, lower=lower, upper=upper), "PIQP").x


def _rows(
    problem: ChargingProblem, layout: Layout, programme: Programme, choices: _Choices
) -> tuple[Rows, Rows]:
    """What choosing adds: rows that are at most their right-hand side, entries of the equations."""
    at_most, equal = Rows(), Rows()
    cells, columns = choices.cells, layout.charge[choices.cells]
    chosen = len(programme.cost) + np.arange(choices.is_open.size).reshape(choices.is_open.shape)
    settings = len(choices.is_open.T)
    for sign, power_kw, right in (
        (1.0, -choices.upper_kw, 0.0),
        (-1.0, choices.lower_kw, 0.0),
        (0.0, np.ones(chosen.shape), 1.0),
    ):
        rows = at_most.new(np.full(len(cells), right))
        at_most.put(rows, columns, sign)
        at_most.put(np.repeat(rows, settings), chosen.ravel(), power_kw.ravel())
    givers = np.flatnonzero(np.isin(layout.giving, cells))
    if len(givers):
        at = np.searchsorted(cells, layout.giving[givers])
        limit_kw = programme.upper[layout.give[givers]]
        rows = at_most.new(limit_kw)
        at_most.put(rows, layout.give[givers], 1.0)
        many = np.repeat(limit_kw, settings)
        at_most.put(np.repeat(rows, settings), chosen[at].ravel(), many)
    little = np.flatnonzero(choices.needs_less)
    vehicle = layout.vehicle[cells[little]]
    equal.put(layout.energy_row[vehicle], columns[little], -_stored_h(problem, vehicle))
    of_setting = np.repeat(problem.demand_kwh[vehicle], settings)
    rows = np.repeat(layout.energy_row[vehicle], settings)
    equal.put(rows, chosen[little].ravel(), of_setting)
    return at_most, equal


def _drawn_share(
    problem: ChargingProblem, layout: Layout, choices: _Choices
) -> tuple[Indices, Array]:
    """Columns of the vehicles that need less than they are given, and the share they draw of it."""
    cells = choices.cells[choices.needs_less]
    vehicle = layout.vehicle[cells]
    given_kwh = lowest_kw(problem)[vehicle] * _stored_h(problem, vehicle)
    return layout.charge[cells], np.asarray(problem.demand_kwh[vehicle] / given_kwh)


def _stored_h(problem: ChargingProblem, vehicle: Indices) -> Array:
    """Battery energy of the first step per kW, shape (vehicles,)."""
    return np.asarray(problem.available_h[vehicle, 0] * problem.charging_efficiency[vehicle])


def _solve(
    problem: ChargingProblem,
    layout: Layout,
    programme: Programme,
    *,
    choices: _Choices,
    time_limit_s: float,
) -> Array:
    """The values of the programme's columns, shape (variables,).

    Raises:
        NotSolved: If there is no solution in time.
    """
    import scipy.sparse as sp  # noqa: PLC0415 - only the processes that solve pay for it

    own, added = len(programme.cost), choices.is_open.size
    more, changed = _rows(problem, layout, programme, choices)
    (equal, right), (at_most, highest) = programme.equal, programme.at_most
    equal = sp.hstack((equal, sp.csc_array((len(right), added))))
    equal = equal + changed.entries(own + added, len(right))
    at_most = sp.hstack((at_most, sp.csc_array((len(highest), added))))
    more_matrix, more_highest = more.matrix(own + added)
    cost = np.concatenate((programme.cost, np.zeros(added)))
    little, share = _drawn_share(problem, layout, choices)
    cost[little] *= share
    highest = np.concatenate((right, highest, more_highest))
    return least_cost(
        cost,
        columns=(
            np.concatenate((programme.lower, np.zeros(added))),
            np.concatenate((programme.upper, choices.is_open.ravel())),
        ),
        matrix=sp.csc_array(sp.vstack((equal, at_most, more_matrix))),
        rows=(np.where(np.arange(len(highest)) < len(right), highest, -np.inf), highest),
        binaries=added,
        time_limit_s=time_limit_s,
    )[:own]
