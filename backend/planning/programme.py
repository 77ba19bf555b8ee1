"""The site problem as one convex programme over the steps in which each vehicle can charge.

Costs are in multiples of the dearest kWh. The load of a step is written once, as a variable of its
own; everything that depends on it uses that, which halves the solver's time.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from backend.planning.costs import PULL, SPREAD, Costs, costs_of
from backend.planning.equipment import Taper
from backend.planning.limits import COARSE_DEG, pair_limits, pair_shares
from backend.planning.problem import Array, ChargingProblem
from backend.planning.sparse import Draft, Indices
from backend.planning.standard import Programme

NOISE_KWH = 1e-5
"""What a solver leaves in a step that should be idle."""

SHORTEST_H = 1 / 3600
"""A shorter available time would spoil the scaling of the programme; it is filled in afterwards."""

FLOOR_MARGIN_KWH = 1e-4
"""What vehicles that give stay above their floor, so that rounding does not take them below."""

EXPORT_TIE = 1e-6
"""Cost of export that keeps import and export from growing together where they tie."""

Mask = npt.NDArray[np.bool_]

NONE: Indices = np.zeros(0, dtype=np.intp)


@dataclass(slots=True, eq=False)
class Layout:
    """Where to find what in the programme of a site.

    Attributes:
        vehicle: Row of the vehicle of each cell, shape (cells,).
        step: Step of each cell, shape (cells,).
        costs: What is minimised.
        charge: Columns of the power into the vehicles, shape (cells,).
        giving: Cells that can also give, shape (giving,).
        give: Columns of their power, shape (giving,).
        energy_row: Rows of the energy of each vehicle, shape (vehicles,).
        short: Columns of the unmet demand of each tier, each of shape (vehicles,).
        load: Columns of the load of each step, shape (steps,).
        load_row: Rows of the same.
        import_: Columns of the import, if the grid has a balance of its own, shape (steps,).
        groups: Columns of the loads of the groups, each of shape (steps,).
        battery_in: Columns of the power into the stationary battery, shape (steps,).
        battery_out: Columns of the power out of it, shape (steps,).
        peak: Column of the peak import, if it has a price.
    """

    vehicle: Indices
    step: Indices
    costs: Costs
    charge: Indices = field(default_factory=lambda: NONE)
    giving: Indices = field(default_factory=lambda: NONE)
    give: Indices = field(default_factory=lambda: NONE)
    energy_row: Indices = field(default_factory=lambda: NONE)
    short: list[Indices] = field(default_factory=list)
    load: Indices = field(default_factory=lambda: NONE)
    load_row: Indices = field(default_factory=lambda: NONE)
    import_: Indices = field(default_factory=lambda: NONE)
    groups: list[Indices] = field(default_factory=list)
    battery_in: Indices = field(default_factory=lambda: NONE)
    battery_out: Indices = field(default_factory=lambda: NONE)
    peak: Indices = field(default_factory=lambda: NONE)


def programme_of(problem: ChargingProblem) -> tuple[Programme, Layout]:
    """Build the programme of a site."""
    vehicle, step = np.nonzero(_may_move(problem))
    layout, draft = Layout(vehicle, step, costs_of(problem)), Draft()
    _vehicles(draft, layout, problem)
    _site(draft, layout, problem)
    _vehicle_to_grid(draft, layout, problem)
    _stored(draft, layout, problem)
    _groups(draft, layout, problem)
    _phases(draft, layout, problem)
    if has_balance(problem):
        _balance(draft, layout, problem)
    _peak(draft, layout, problem)
    return draft.finished(), layout


def has_balance(problem: ChargingProblem) -> bool:
    """Whether import and export have to be told apart, so that the price is the import's."""
    may_export = problem.grid is not None and (
        problem.grid.pv_kw is not None or problem.v2g is not None
    )
    return may_export or problem.battery is not None


def _may_move(problem: ChargingProblem) -> Mask:
    """Where a vehicle can charge or give, shape (vehicles, steps)."""
    highest_kw, wants = problem.limit_kw, problem.demand_kwh[:, None] > NOISE_KWH
    if problem.v2g is not None:
        gives_kw = problem.v2g.discharge_limit_kw
        highest_kw, wants = np.maximum(highest_kw, gives_kw), wants | (gives_kw > 0)
    is_long = problem.available_h > SHORTEST_H
    return is_long & (highest_kw * problem.available_h > NOISE_KWH) & wants


def _vehicles(draft: Draft, layout: Layout, problem: ChargingProblem) -> None:
    """Energy drawn and shortfall of each vehicle make its demand."""
    cell = (layout.vehicle, layout.step)
    hours, limit_kw = problem.available_h[cell], problem.limit_kw[cell]
    per_kw = hours / np.maximum(limit_kw, 1.0)
    spread, pull, previous_kw = (
        SPREAD * layout.costs.waiting[layout.vehicle],
        0.0 * hours,
        0.0 * hours,
    )
    if problem.previous_kw is not None:
        known = problem.previous_kw[cell]
        pull, previous_kw = np.where(np.isnan(known), 0.0, PULL) * per_kw, np.nan_to_num(known)
    cost = layout.costs.cell[cell] * hours - _borne_by_import(problem, layout)
    layout.charge = draft.variables(
        0.0, limit_kw, cost=cost - pull * previous_kw, curvature=pull, help_=spread * per_kw
    )
    # Next to no demand would leave a solver next to no room between its bounds.
    wants = problem.demand_kwh > NOISE_KWH
    layout.energy_row = draft.equal.new(np.where(wants, problem.demand_kwh, 0.0))
    stored_h = hours * problem.charging_efficiency[layout.vehicle]
    draft.equal.put(layout.energy_row[layout.vehicle], layout.charge, stored_h)
    for tier in layout.costs.shortfall:
        upper_kwh = np.where(wants, tier.upper_kwh, 1.0)
        short = draft.variables(0.0, upper_kwh, cost=tier.cost, curvature=tier.curvature)
        draft.equal.put(layout.energy_row, short, 1.0)
        layout.short.append(short)


def _borne_by_import(problem: ChargingProblem, layout: Layout) -> Array | float:
    """The part of a cell's cost per kW that the grid's balance bears instead, shape (cells,)."""
    if not has_balance(problem):
        return 0.0
    scaled = problem.price_eur_per_kwh * problem.step_h / layout.costs.scale_eur_per_kwh
    return np.asarray(scaled[layout.step])


def _site(draft: Draft, layout: Layout, problem: ChargingProblem) -> None:
    """The load of each step, limited unless the grid's balance limits import instead."""
    steps = len(problem.step_h)
    lower, upper = np.zeros(steps), problem.import_limit_kw - problem.base_load_kw + problem.pv_kw
    if has_balance(problem):
        lower, upper = np.full(steps, -np.inf), np.full(steps, np.inf)
    layout.load, layout.load_row = draft.sums(lower, upper)
    draft.equal.put(layout.load_row[layout.step], layout.charge, 1.0)


def _vehicle_to_grid(draft: Draft, layout: Layout, problem: ChargingProblem) -> None:
    """Power out of vehicles: it earns the price, costs wear and lowers the load."""
    if problem.v2g is None:
        return
    v2g, cells = problem.v2g, (layout.vehicle, layout.step)
    layout.giving = np.flatnonzero(v2g.discharge_limit_kw[cells] > 0)
    vehicle, step = layout.vehicle[layout.giving], layout.step[layout.giving]
    hours = problem.available_h[vehicle, step]
    worth = v2g.wear_eur_per_kwh[vehicle] - problem.price_eur_per_kwh[step]
    borne = np.broadcast_to(_borne_by_import(problem, layout), layout.vehicle.shape)
    cost = worth * hours / layout.costs.scale_eur_per_kwh + borne[layout.giving]
    layout.give = draft.variables(0.0, v2g.discharge_limit_kw[vehicle, step], cost=cost)
    draft.equal.put(layout.energy_row[vehicle], layout.give, -hours / v2g.efficiency[vehicle])
    draft.equal.put(layout.load_row[step], layout.give, -1.0)


def _stored(draft: Draft, layout: Layout, problem: ChargingProblem) -> None:
    """Energy gained after each cell, for vehicles whose limits depend on it."""
    vehicles = len(problem.demand_kwh)
    lower, upper = np.full(vehicles, -np.inf), np.full(vehicles, np.inf)
    slope = np.zeros(vehicles) if problem.taper is None else problem.taper.slope_kw_per_kwh
    depends = slope > 0
    if problem.v2g is not None:
        v2g = problem.v2g
        gives = (v2g.discharge_limit_kw > 0).any(axis=1)
        above_floor_kwh = v2g.floor_kwh + FLOOR_MARGIN_KWH - v2g.energy_kwh
        lower = np.where(gives, np.minimum(above_floor_kwh, 0.0), lower)
        room_kwh = np.maximum(v2g.capacity_kwh - v2g.energy_kwh, 0.0)
        upper, depends = np.where(gives, room_kwh, upper), depends | gives
    cells = np.flatnonzero(depends[layout.vehicle])
    vehicle = layout.vehicle[cells]
    gained, row = draft.sums(lower[vehicle], upper[vehicle])
    follows = np.flatnonzero(vehicle[1:] == vehicle[:-1]) + 1
    draft.equal.put(row[follows], gained[follows - 1], 1.0)
    hours = problem.available_h[vehicle, layout.step[cells]]
    stored_h = hours * problem.charging_efficiency[vehicle]
    draft.equal.put(row, layout.charge[cells], stored_h)
    if problem.v2g is not None:
        at = np.searchsorted(cells, layout.giving)
        taken_h = hours[at] / problem.v2g.efficiency[vehicle[at]]
        draft.equal.put(row[at], layout.give, -taken_h)
    if problem.taper is not None:
        falling = np.flatnonzero(_can_taper(problem, problem.taper)[vehicle, layout.step[cells]])
        which = vehicle[falling]
        highest_kw = problem.taper.power_kw[which] + slope[which] * problem.taper.knee_kwh[which]
        rows = draft.at_most.new(np.maximum(highest_kw, 0.0))
        later_h = (1 - problem.taper.binds_at) * stored_h[falling]
        draft.at_most.put(rows, layout.charge[cells[falling]], 1.0 - slope[which] * later_h)
        draft.at_most.put(rows, gained[falling], slope[which])


def _can_taper(problem: ChargingProblem, taper: Taper) -> Mask:
    """Where a vehicle can be so full that its power has fallen, shape (vehicles, steps)."""
    hours = problem.available_h * problem.charging_efficiency[:, None]
    full_kwh = problem.limit_kw * hours
    reached_kwh = full_kwh.cumsum(axis=1) - (1 - taper.binds_at) * full_kwh
    slope = taper.slope_kw_per_kwh[:, None]
    left_kw = taper.power_kw[:, None] + slope * (taper.knee_kwh[:, None] - reached_kwh)
    return np.asarray((slope > 0) & (problem.limit_kw > left_kw))


def _groups(draft: Draft, layout: Layout, problem: ChargingProblem) -> None:
    """The load of each group of chargers."""
    lower = 0.0 if problem.v2g is None else -np.inf
    for group in problem.groups:
        columns, rows = draft.sums(lower, group.limit_kw)
        share = np.zeros(len(problem.demand_kwh))
        share[list(group.vehicles)] = 1.0
        _put_powers(draft, layout, rows=rows, share=share)
        layout.groups.append(columns)


def _phases(draft: Draft, layout: Layout, problem: ChargingProblem) -> None:
    """The loads of the three pairs of lines, and chords in place of the currents' circles."""
    if problem.phases is None:
        return
    steps, gives = len(problem.step_h), problem.v2g is not None
    weights, limits_kw = pair_limits(problem.phases, corners_deg=COARSE_DEG, gives=gives)
    possible_kw = problem.limit_kw * (problem.available_h > 0)
    if problem.v2g is not None:
        possible_kw = np.maximum(possible_kw, problem.v2g.discharge_limit_kw)
    highest_kw = pair_shares(problem.phases) @ possible_kw
    pairs = []
    for share in pair_shares(problem.phases):
        columns, rows = draft.sums(-np.inf if gives else 0.0, np.full(steps, np.inf))
        _put_powers(draft, layout, rows=rows, share=share)
        pairs.append(columns)
    for weight, limit_kw in zip(weights, limits_kw, strict=True):
        can_bind = np.flatnonzero(np.abs(weight) @ highest_kw > limit_kw)
        rows = draft.at_most.new(np.full(len(can_bind), limit_kw))
        for pair in np.flatnonzero(np.abs(weight) > 1e-12):  # noqa: PLR2004 - rounding of cosines
            draft.at_most.put(rows, pairs[pair][can_bind], weight[pair])


def _put_powers(draft: Draft, layout: Layout, *, rows: Indices, share: Array) -> None:
    """Add each vehicle's share of its power to the rows, one row for each step."""
    for sign, cells, columns in (
        (1.0, np.arange(len(layout.charge)), layout.charge),
        (-1.0, layout.giving, layout.give),
    ):
        counts = np.flatnonzero(share[layout.vehicle[cells]])
        of_cell = cells[counts]
        values = sign * share[layout.vehicle[of_cell]]
        draft.equal.put(rows[layout.step[of_cell]], columns[counts], values)


def _balance(draft: Draft, layout: Layout, problem: ChargingProblem) -> None:
    """Load, base load and battery less the sun are what is imported less what is exported."""
    scale, step_h = layout.costs.scale_eur_per_kwh, problem.step_h
    export_kw = 0.0 if problem.grid is None else problem.grid.export_limit_kw
    export_cost = EXPORT_TIE - problem.export_value_eur_per_kwh / scale
    rows = draft.equal.new(problem.pv_kw - problem.base_load_kw)
    draft.equal.put(rows, layout.load, 1.0)
    price = problem.price_eur_per_kwh / scale * step_h
    layout.import_ = draft.variables(0.0, problem.import_limit_kw, cost=price)
    draft.equal.put(rows, layout.import_, -1.0)
    highest_kw = np.full(len(step_h), export_kw)
    draft.equal.put(rows, draft.variables(0.0, highest_kw, cost=export_cost * step_h), 1.0)
    if problem.pv_kw.any():
        draft.equal.put(
            rows, draft.variables(0.0, problem.pv_kw, cost=np.maximum(-price, 0.0)), 1.0
        )
    if problem.battery is not None:
        _battery(draft, layout, problem, rows=rows)


def _battery(draft: Draft, layout: Layout, problem: ChargingProblem, *, rows: Indices) -> None:
    """A stationary battery in the balance, and what it holds after each step."""
    battery = problem.battery
    if battery is None:
        return
    hours, one_way = problem.step_h, float(np.sqrt(battery.efficiency))
    highest_kw = np.full(len(hours), battery.power_kw)
    wear = battery.wear_eur_per_kwh / layout.costs.scale_eur_per_kwh * hours
    layout.battery_in = draft.variables(0.0, highest_kw)
    layout.battery_out = draft.variables(0.0, highest_kw, cost=wear)
    draft.equal.put(rows, layout.battery_in, 1.0)
    draft.equal.put(rows, layout.battery_out, -1.0)
    lowest_kwh = np.where(np.arange(len(hours)) < len(hours) - 1, 0.0, battery.energy_kwh)
    gained, row = draft.sums(
        lowest_kwh - battery.energy_kwh,
        np.full(len(hours), battery.capacity_kwh - battery.energy_kwh),
    )
    draft.equal.put(row[1:], gained[:-1], 1.0)
    draft.equal.put(row, layout.battery_in, hours * one_way)
    draft.equal.put(row, layout.battery_out, -hours / one_way)


def _peak(draft: Draft, layout: Layout, problem: ChargingProblem) -> None:
    """The peak import is at least the free one and costs from there on."""
    if problem.grid is None or problem.grid.demand_charge_eur_per_kw == 0:
        return
    charge = problem.grid.demand_charge_eur_per_kw / layout.costs.scale_eur_per_kwh
    layout.peak = draft.variables(problem.grid.free_peak_kw, np.array([np.inf]), cost=charge)
    has_import = len(layout.import_) > 0
    rows = draft.at_most.new(0.0 * problem.step_h if has_import else -problem.base_load_kw)
    draft.at_most.put(rows, layout.import_ if has_import else layout.load, 1.0)
    draft.at_most.put(rows, np.repeat(layout.peak, len(rows)), -1.0)
