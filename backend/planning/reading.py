"""What a solved programme says about its site: setpoints and prices."""

from dataclasses import dataclass, replace

import numpy as np

from backend.planning.coarse import Blocks
from backend.planning.problem import Array, ChargingProblem, Prices
from backend.planning.programme import Layout
from backend.planning.sparse import Indices
from backend.planning.standard import Optimum


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """What a solver found, within its tolerances.

    Attributes:
        setpoint_kw: Power while available, shape (vehicles, steps).
        site_limit_price_eur_per_kw: Dual value of the site limit, shape (steps,).
        battery_kw: Power into the stationary battery, shape (steps,); None without one.
        highest_import_kw: Import that costs nothing more, shape (steps,); None without a charge.
        prices: What the other limits are worth.
    """

    setpoint_kw: Array
    site_limit_price_eur_per_kw: Array
    battery_kw: Array | None = None
    highest_import_kw: Array | None = None
    prices: Prices | None = None


def read(problem: ChargingProblem, layout: Layout, optimum: Optimum) -> Solution:
    """Read setpoints and prices."""
    scale, steps = layout.costs.scale_eur_per_kwh, len(problem.step_h)
    limit_columns = layout.import_ if len(layout.import_) else layout.load
    peak_kw = optimum.x[layout.peak]
    return Solution(
        setpoint_kw=setpoints(problem, layout, optimum.x),
        site_limit_price_eur_per_kw=_upper(optimum, limit_columns) * scale,
        battery_kw=stationary_kw(problem, layout, optimum.x),
        highest_import_kw=np.full(steps, peak_kw[0] * (1 + 1e-6)) if len(peak_kw) else None,
        prices=_prices(problem, layout, optimum),
    )


def refined(solution: Solution, blocks: Blocks) -> Solution:
    """A solution of long steps as one of the steps they are made of."""
    peak_kw, prices = solution.highest_import_kw, solution.prices
    return replace(
        solution,
        setpoint_kw=blocks.refined(solution.setpoint_kw),
        site_limit_price_eur_per_kw=blocks.refined(solution.site_limit_price_eur_per_kw)
        * blocks.share,
        highest_import_kw=None if peak_kw is None else blocks.refined(peak_kw),
        prices=None
        if prices is None
        else Prices(
            energy_eur_per_kwh=prices.energy_eur_per_kwh,
            power_eur_per_kw=blocks.refined(prices.power_eur_per_kw) * blocks.share,
            load_eur_per_kw=blocks.refined(prices.load_eur_per_kw) * blocks.share,
            group_eur_per_kw=blocks.refined(prices.group_eur_per_kw) * blocks.share,
        ),
    )


def setpoints(problem: ChargingProblem, layout: Layout, x: Array) -> Array:
    """Net power of each cell: who would charge and give at once does only what is left of both."""
    setpoint_kw = np.zeros_like(problem.limit_kw)
    charge_kw = x[layout.charge].copy()
    if problem.v2g is not None and len(layout.give):
        cells, give_kw = layout.giving, x[layout.give]
        vehicle = layout.vehicle[cells]
        one_way = problem.charging_efficiency[vehicle]
        stored_kw = charge_kw[cells] * one_way - give_kw / problem.v2g.efficiency[vehicle]
        given_kw = stored_kw * problem.v2g.efficiency[vehicle]
        charge_kw[cells] = np.where(stored_kw >= 0, stored_kw / one_way, given_kw)
    setpoint_kw[layout.vehicle, layout.step] = charge_kw
    return setpoint_kw


def stationary_kw(problem: ChargingProblem, layout: Layout, x: Array) -> Array | None:
    """Power into the stationary battery, shape (steps,); None without one.

    Both ways at once is only what is left of both.
    """
    if problem.battery is None:
        return None
    one_way = float(np.sqrt(problem.battery.efficiency))
    stored_kw = x[layout.battery_in] * one_way - x[layout.battery_out] / one_way
    return np.where(stored_kw > 0, stored_kw / one_way, stored_kw * one_way)


def _prices(problem: ChargingProblem, layout: Layout, optimum: Optimum) -> Prices:
    """Prices of the limits from their duals."""
    scale, steps = layout.costs.scale_eur_per_kwh, len(problem.step_h)
    power = np.zeros_like(problem.limit_kw)
    power[layout.vehicle, layout.step] = _upper(optimum, layout.charge)
    load = optimum.equal_price[layout.load_row] * scale
    if len(layout.import_):
        load = load - problem.price_eur_per_kwh * problem.step_h
    groups = [_upper(optimum, columns) for columns in layout.groups]
    return Prices(
        energy_eur_per_kwh=-optimum.equal_price[layout.energy_row] * scale,
        power_eur_per_kw=power * scale,
        load_eur_per_kw=load,
        group_eur_per_kw=np.array(groups).reshape(len(groups), steps) * scale,
    )


def _upper(optimum: Optimum, columns: Indices) -> Array:
    """What one more of these upper bounds would save."""
    return np.asarray(np.maximum(optimum.reduced[columns], 0.0))
