"""What the optimiser minimises: prices, and the terms that decide what prices leave open."""

from dataclasses import dataclass

import numpy as np

from backend.planning.problem import Array, ChargingPlan, ChargingProblem

SHORTFALL_PRICE = 50.0
"""Price of a kWh not charged, in multiples of the dearest kWh of the problem, before urgency.

Many multiples, because serving a vehicle can push others to dearer steps. Only a vehicle that is
there for a sliver of a full step can cost the others more than that; then it rightly gives way.
"""

PEAK_KW_PER_KWH = 4.0
"""A kWh in a single quarter of an hour takes a peak of so many kW; a shortfall is worth as much."""

TIER_WEIGHTS = (5.0, 1.0, 0.2)
"""Price of a shortfall of reserve, trip and comfort energy in multiples of the trip's."""

FEW_SHORT, FEW_SHORT_TAPERING = 1.0, 9.0
"""By how much dearer the shortfall of the smallest open demand is where few shall fall short.

Batteries that taper take their last bit slowly. To fill it in time, power is taken early from
others that could take more of it, so it has to be worth more: energy is given up for fewer short.
"""

FINEST_EARLINESS, COARSEST_EARLINESS = 1e-5, 1e-3
"""Least and most that waiting for the whole horizon costs, in multiples of the dearest kWh."""

EARLINESS_SPREAD = 0.1
"""By how much more who leaves first is in a hurry than who leaves last, when all else ties."""

SPREAD = 0.05
"""Cost of full power where there is no last plan, in multiples of waiting for one step.

So little changes no plan by more than a trifle, but it halves the solver's work.
"""

PULL = 2e-3
"""What moving a charger by all its power from the last plan costs, in multiples of the dearest."""


@dataclass(frozen=True, slots=True, eq=False)
class Shortfall:
    """One tier of unmet demand, shapes (vehicles,): how much it can be and what it costs."""

    upper_kwh: Array
    cost: Array
    curvature: Array


@dataclass(frozen=True, slots=True, eq=False)
class Costs:
    """Costs in multiples of the dearest kWh.

    Attributes:
        scale_eur_per_kwh: The dearest kWh.
        cell: Cost of a kWh drawn, with preference and waiting, shape (vehicles, steps).
        waiting: What each step of waiting adds to that, shape (vehicles,).
        shortfall: Tiers of unmet demand.
    """

    scale_eur_per_kwh: float
    cell: Array
    waiting: Array
    shortfall: tuple[Shortfall, ...]


def costs_of(problem: ChargingProblem) -> Costs:
    """Costs of charging and of falling short."""
    cost = problem.cost_eur_per_kwh
    scale = float(np.abs(cost).max(initial=0.0)) or 1.0
    waiting = _waiting(problem, scale)
    cell = cost / scale + np.outer(waiting, np.arange(cost.shape[1]))
    return Costs(scale, cell, waiting, _shortfalls(problem, scale))


def departure_h(problem: ChargingProblem) -> Array:
    """Hours from now to the end of each vehicle's last available step, shape (vehicles,)."""
    start_h = np.cumsum(problem.step_h) - problem.step_h
    end_h = np.where(problem.available_h > 0, start_h + problem.available_h, 0.0)
    return np.asarray(end_h.max(axis=1, initial=0.0))


def _waiting(problem: ChargingProblem, scale: float) -> Array:
    """A little for each step of being late, so that what costs the same is charged earlier.

    Shape (vehicles,). Over the whole horizon it is half the smallest difference between two
    prices, so being early does not make the plan dearer unless prices differ by next to nothing.
    Who leaves first is in a little more of a hurry, which leaves fewer ties between vehicles.
    """
    vehicles, steps = problem.limit_kw.shape
    has_preferences = bool(problem.preference_eur_per_kwh.any())
    prices = problem.cost_eur_per_kwh if has_preferences else problem.price_eur_per_kwh
    gaps = np.diff(np.unique(np.round(prices / scale, 9)))
    whole = np.clip(
        gaps.min(initial=2 * COARSEST_EARLINESS) / 2, FINEST_EARLINESS, COARSEST_EARLINESS
    )
    rank = np.empty(vehicles)
    rank[np.argsort(departure_h(problem), kind="stable")] = np.arange(vehicles)
    hurry = problem.urgency / problem.urgency.max(initial=1.0)
    hurry = hurry * (1 - EARLINESS_SPREAD * rank / max(1, vehicles))
    return np.asarray(whole * hurry / max(1, steps))


def shortfall_price(problem: ChargingProblem, scale: float) -> float:
    """Price of a kWh of trip energy not charged, in multiples of the dearest kWh."""
    if problem.shortfall_price_eur_per_kwh:
        return problem.shortfall_price_eur_per_kwh / scale
    charge = 0.0 if problem.grid is None else problem.grid.demand_charge_eur_per_kw
    return SHORTFALL_PRICE + PEAK_KW_PER_KWH * charge / scale


def objective_eur(problem: ChargingProblem, plan: ChargingPlan) -> float:
    """What the optimiser minimises, without tiers, fairness and the terms that break ties."""
    scale = float(np.abs(problem.cost_eur_per_kwh).max(initial=0.0)) or 1.0
    short = shortfall_price(problem, scale) * scale * problem.urgency
    drawn_kwh = plan.setpoint_kw * problem.available_h
    preferred_eur = float((np.maximum(drawn_kwh, 0.0) * problem.preference_eur_per_kwh).sum())
    return plan.site_cost_eur + preferred_eur + float(plan.shortfall_kwh @ short)


def by_tier(costs: Costs, shortfall_kwh: Array) -> list[Array]:
    """A shortfall, shape (vehicles,), as its tiers, the least important of them first short."""
    parts: list[Array] = []
    for tier in reversed(costs.shortfall):
        parts.insert(0, np.minimum(shortfall_kwh, tier.upper_kwh))
        shortfall_kwh = shortfall_kwh - parts[0]
    return parts


def weighed(problem: ChargingProblem, plan: ChargingPlan) -> float:
    """All that the optimiser minimises, in multiples of the dearest kWh.

    A vehicle that is given more than it wants stops by itself; what it does not draw costs nothing.
    """
    costs, drawn_kwh = costs_of(problem), np.maximum(plan.setpoint_kw * problem.available_h, 0.0)
    late = costs.waiting @ drawn_kwh @ np.arange(drawn_kwh.shape[1])
    preferred_eur = (drawn_kwh * problem.preference_eur_per_kwh).sum()
    total = (plan.site_cost_eur + preferred_eur) / costs.scale_eur_per_kwh + late
    given_kwh = problem.battery_energy_kwh(plan.setpoint_kw).sum(axis=1)
    unused_kwh = np.maximum(given_kwh - problem.demand_kwh, 0.0) / problem.charging_efficiency
    total -= costs.cell[:, :1].sum(axis=1) @ unused_kwh
    for tier, short_kwh in zip(costs.shortfall, by_tier(costs, plan.shortfall_kwh), strict=True):
        total += tier.cost @ short_kwh + tier.curvature @ short_kwh**2 / 2
    if problem.previous_kw is not None:
        moved_kw = np.nan_to_num(plan.setpoint_kw - problem.previous_kw)
        per_kw = problem.available_h / np.maximum(problem.limit_kw, 1.0)
        total += PULL / 2 * (per_kw * moved_kw**2).sum()
    return float(total)


def _shortfalls(problem: ChargingProblem, scale: float) -> tuple[Shortfall, ...]:
    """The tiers of unmet demand; the fairness rule tells vehicles apart that are equally urgent."""
    price = shortfall_price(problem, scale) * problem.urgency
    curvature = np.zeros(len(price))
    if problem.fairness == "few_short":
        most = FEW_SHORT if problem.taper is None else FEW_SHORT_TAPERING
        price = price * (1 + most * _few_short_share(problem))
    elif problem.fairness == "equal_share":
        curvature = price / np.maximum(problem.demand_kwh, 1.0)
    if problem.tiers is None:
        return (Shortfall(problem.demand_kwh, price, curvature),)
    reserve_kwh = np.minimum(problem.tiers.reserve_kwh, problem.demand_kwh)
    trip_kwh = np.minimum(problem.tiers.trip_kwh, problem.demand_kwh - reserve_kwh)
    parts = (reserve_kwh, trip_kwh, problem.demand_kwh - reserve_kwh - trip_kwh)
    return tuple(
        Shortfall(upper_kwh, weight * price, weight * curvature)
        for upper_kwh, weight in zip(parts, TIER_WEIGHTS, strict=True)
    )


def _few_short_share(problem: ChargingProblem) -> Array:
    """From 1 for the smallest open demand to 0 for the largest, 0 for who cannot be met anyway.

    What the vehicles of a site can be given forms a polymatroid, so these prices serve them one
    after the other and cost no energy; the smallest first leaves the fewest unmet.
    """
    vehicles = len(problem.demand_kwh)
    can_be_met = problem.demand_kwh <= problem.possible_kwh + 1e-6
    order = np.lexsort((problem.demand_kwh, ~can_be_met))
    share = np.empty(vehicles)
    share[order] = 1 - np.arange(vehicles) / max(1, vehicles)
    return np.where(can_be_met, share, 0.0)
