"""Why a vehicle charges in one step and not in another, and what more time would save."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np

from backend.planning.costs import PEAK_KW_PER_KWH
from backend.planning.limits import FINE_DEG, pair_limits, pair_shares
from backend.planning.longer_stays import LongerStay, longer_stay
from backend.planning.problem import Array, ChargingPlan, ChargingProblem

Limit = Literal["charger", "site", "peak", "group", "phases", "taper", "none"]
Choice = Literal["charges", "gives", "waits", "short", "done", "away"]

NOTICEABLE_KW = 0.01
NOTICEABLE_EUR = 1e-3
NOTICEABLE_KWH = 0.01
FULL_SHARE = 0.99
"""A current or group with this share of its limit is full."""


@dataclass(frozen=True, slots=True)
class SlotExplanation:
    """One step of one vehicle.

    Attributes:
        start: When the step begins.
        power_kw: Its setpoint.
        choice: What the vehicle does in it; short is waiting for what never comes.
        limit: What keeps it from more; none if nothing does, or the price.
        price_eur_per_kwh: What a kWh costs the site here: energy, preference and the room it takes
            from others; None for a plan that states no prices, and where the room is somebody's
            missing energy, which has none.
        text: The choice in one plain sentence.
    """

    start: datetime
    power_kw: float
    choice: Choice
    limit: Limit
    price_eur_per_kwh: float | None
    text: str


@dataclass(frozen=True, slots=True)
class VehicleExplanation:
    """A vehicle's plan step by step.

    Attributes:
        slots: Its steps until it leaves.
        marginal_price_eur_per_kwh: What one more kWh of demand would cost the site; None for a
            plan that states no prices, and where somebody would go short of it.
        longer: What a longer stay would save.
        text: The whole in one plain sentence.
    """

    slots: tuple[SlotExplanation, ...]
    marginal_price_eur_per_kwh: float | None
    longer: LongerStay
    text: str


def explain(
    problem: ChargingProblem,
    plan: ChargingPlan,
    vehicle: int,
    *,
    edges: Sequence[datetime],
    longer_h: float = 1.0,
) -> VehicleExplanation:
    """Explain one vehicle's plan.

    Args:
        problem: The site.
        plan: A plan for it.
        vehicle: The row of the vehicle.
        edges: Edges of the steps, one more than steps, in the zone to speak in.
        longer_h: The longer stay to price; solved for again.
    """
    present = np.flatnonzero(problem.available_h[vehicle] > 0)
    last = int(present[-1]) + 1 if len(present) else 0
    prices = slot_prices(problem, plan, vehicle)
    longer = longer_stay(problem, plan, vehicle, hours=longer_h)
    price = _marginal_price(problem, plan, vehicle, prices)
    slots = tuple(
        _slot(problem, plan, vehicle, step=step, start=edges[step], prices=prices)
        for step in range(last)
    )
    return VehicleExplanation(slots, price, longer, _summary(problem, plan, vehicle, longer))


def _marginal_price(
    problem: ChargingProblem, plan: ChargingPlan, vehicle: int, prices: Array | None
) -> float | None:
    """What one more kWh costs; who wants nothing has the prices of the steps, none of its own."""
    if plan.prices is None or prices is None:
        return None
    price = float(plan.prices.energy_eur_per_kwh[vehicle])
    if problem.demand_kwh[vehicle] <= NOTICEABLE_KWH:
        there = problem.available_h[vehicle] > 0
        price = float(prices[there].min(initial=np.inf)) / problem.charging_efficiency[vehicle]
    return _as_money(problem, plan, price)


def _as_money(problem: ChargingProblem, plan: ChargingPlan, price: float) -> float | None:
    """A price, unless it is the weight of energy that somebody goes short of."""
    charge = 0.0 if problem.grid is None else problem.grid.demand_charge_eur_per_kw
    dearest = float(problem.cost_eur_per_kwh.max(initial=0.0)) + PEAK_KW_PER_KWH * charge
    is_short = bool(np.any(plan.shortfall_kwh > NOTICEABLE_KWH))
    return None if is_short and price > dearest + NOTICEABLE_EUR else price


def slot_prices(problem: ChargingProblem, plan: ChargingPlan, vehicle: int) -> Array | None:
    """What a kWh drawn by this vehicle costs the site in each step, shape (steps,)."""
    if plan.prices is None:
        return None
    per_kw = plan.prices.load_eur_per_kw.copy()
    for group, price in zip(problem.groups, plan.prices.group_eur_per_kw, strict=False):
        if vehicle in group.vehicles:
            per_kw += price
    hours = problem.available_h[vehicle]
    room = np.where(hours > 0, per_kw / np.where(hours > 0, hours, 1.0), 0.0)
    preference = problem.preference_eur_per_kwh[vehicle]
    return np.asarray(problem.price_eur_per_kwh + preference + room)


def binding_limit(
    problem: ChargingProblem, plan: ChargingPlan, vehicle: int, *, step: int
) -> Limit:
    """What keeps the vehicle from more power in this step."""
    power_kw = plan.setpoint_kw[vehicle, step]
    if power_kw >= problem.limit_kw[vehicle, step] - NOTICEABLE_KW:
        return "charger"
    if _is_tapering(problem, plan, vehicle, step=step):
        return "taper"
    for group in problem.groups:
        load_kw = plan.setpoint_kw[list(group.vehicles), step].sum()
        if vehicle in group.vehicles and load_kw >= group.limit_kw[step] - NOTICEABLE_KW:
            return "group"
    if _are_phases_full(problem, plan.setpoint_kw[:, step], vehicle):
        return "phases"
    import_kw = plan.flows.import_kw[step]
    if import_kw >= problem.import_limit_kw[step] - NOTICEABLE_KW:
        return "site"
    grid = problem.grid
    has_charge = grid is not None and grid.demand_charge_eur_per_kw > 0
    free_kw = 0.0 if grid is None else grid.free_peak_kw
    is_peak = import_kw >= max(plan.flows.peak_kw, free_kw) - NOTICEABLE_KW
    return "peak" if has_charge and is_peak else "none"


def _slot(
    problem: ChargingProblem,
    plan: ChargingPlan,
    vehicle: int,
    *,
    step: int,
    start: datetime,
    prices: Array | None,
) -> SlotExplanation:
    power_kw = float(plan.setpoint_kw[vehicle, step])
    choice = _choice(problem, plan, vehicle, step=step)
    limit: Limit = "none"
    if choice in {"charges", "short"} or (
        choice == "waits" and _cheaper_later(problem, plan, vehicle, step=step) is None
    ):
        limit = binding_limit(problem, plan, vehicle, step=step)
    price = None if prices is None else _as_money(problem, plan, float(prices[step]))
    text = _sentence(problem, vehicle, choice, limit, step=step, power_kw=power_kw, plan=plan)
    return SlotExplanation(start, power_kw, choice, limit, price, text)


def _choice(problem: ChargingProblem, plan: ChargingPlan, vehicle: int, *, step: int) -> Choice:
    power_kw = plan.setpoint_kw[vehicle]
    if problem.available_h[vehicle, step] <= 0:
        return "away"
    if power_kw[step] < -NOTICEABLE_KW:
        return "gives"
    if power_kw[step] > NOTICEABLE_KW:
        return "charges"
    if (np.abs(power_kw[step + 1 :]) > NOTICEABLE_KW).any():
        return "waits"
    is_short = plan.shortfall_kwh[vehicle] > NOTICEABLE_KWH
    is_kept_from_it = binding_limit(problem, plan, vehicle, step=step) not in {"charger", "none"}
    return "short" if is_short and is_kept_from_it else "done"


def _cheaper_later(
    problem: ChargingProblem, plan: ChargingPlan, vehicle: int, *, step: int
) -> float | None:
    """The lowest price it charges at after this step; None if that is no lower than now."""
    cost, used = problem.cost_eur_per_kwh[vehicle], plan.setpoint_kw[vehicle] > NOTICEABLE_KW
    cheapest = float(cost[step + 1 :][used[step + 1 :]].min(initial=np.inf))
    return cheapest if cheapest < cost[step] - NOTICEABLE_EUR else None


FULL: dict[Limit, str] = {
    "site": "the site's limit is reached",
    "peak": "more would raise the peak the site pays for",
    "group": "its group of chargers is full",
    "phases": "its phase carries all it may",
    "taper": "the battery is nearly full",
    "charger": "its charger gives no more",
    "none": "it needs no more",
}


def _sentence(
    problem: ChargingProblem,
    vehicle: int,
    choice: Choice,
    limit: Limit,
    *,
    step: int,
    power_kw: float,
    plan: ChargingPlan,
) -> str:
    here = f"{problem.cost_eur_per_kwh[vehicle, step]:.3f} EUR/kWh"
    if choice != "waits":
        why = FULL[limit]
        if limit == "none" and (plan.setpoint_kw[vehicle, step + 1 :] > NOTICEABLE_KW).any():
            why = "the rest comes later"
        return {
            "charges": f"It charges at {power_kw:.1f} kW for {here}; {why}.",
            "gives": f"It gives {-power_kw:.1f} kW while energy costs {here}.",
            "away": "It is not plugged in.",
            "short": f"Nothing is left for it: {FULL[limit]}.",
            "done": "It has what was asked for, as far as the stay allows.",
        }[choice]
    cheapest = _cheaper_later(problem, plan, vehicle, step=step)
    if cheapest is not None:
        return f"It waits: energy costs {here} now and {cheapest:.3f} EUR/kWh later."
    if limit in {"none", "charger"}:
        return f"It waits: energy costs {here} later too, and others use the room now."
    return f"It waits: {FULL[limit]}, and others come first."


def _summary(problem: ChargingProblem, plan: ChargingPlan, vehicle: int, longer: LongerStay) -> str:
    energy_kwh, short_kwh = plan.energy_kwh[vehicle], plan.shortfall_kwh[vehicle]
    if problem.demand_kwh[vehicle] <= NOTICEABLE_KWH:
        given_kwh = -(np.minimum(plan.setpoint_kw, 0.0) * problem.available_h)[vehicle].sum()
        lends = f"It lends {given_kwh:.1f} kWh and has them back before it leaves."
        return lends if given_kwh > NOTICEABLE_KWH else "Nothing is charged."
    done = f"It gets {energy_kwh:.1f} of {problem.demand_kwh[vehicle]:.1f} kWh"
    if longer.gains_kwh > NOTICEABLE_KW:
        return f"{done}; {longer.hours:.0f} h more would bring {longer.gains_kwh:.1f} kWh more."
    if longer.saves_eur > NOTICEABLE_KW:
        saved = f"would save the site {longer.saves_eur:.2f} EUR"
        return f"{done}; staying {longer.hours:.0f} h longer {saved}."
    if short_kwh > NOTICEABLE_KW:
        return f"{done}; staying {longer.hours:.0f} h longer would not change that."
    return f"{done}; staying {longer.hours:.0f} h longer would save nothing."


def _is_tapering(problem: ChargingProblem, plan: ChargingPlan, vehicle: int, *, step: int) -> bool:
    taper = problem.taper
    if taper is None or taper.slope_kw_per_kwh[vehicle] == 0:
        return False
    stored_kwh = problem.battery_energy_kwh(plan.setpoint_kw)[vehicle]
    at_kwh = stored_kwh[:step].sum() + taper.binds_at * stored_kwh[step]
    beyond_kwh = max(0.0, float(at_kwh - taper.knee_kwh[vehicle]))
    highest_kw = taper.power_kw[vehicle] - taper.slope_kw_per_kwh[vehicle] * beyond_kwh
    return bool(plan.setpoint_kw[vehicle, step] >= highest_kw - NOTICEABLE_KW)


def _are_phases_full(problem: ChargingProblem, power_kw: Array, vehicle: int) -> bool:
    """Whether a line that this vehicle loads carries all it may; power has shape (vehicles,)."""
    if problem.phases is None:
        return False
    shares = pair_shares(problem.phases)
    weights, limit_kw = pair_limits(problem.phases, corners_deg=FINE_DEG, gives=False)
    is_full = weights @ (shares @ power_kw) >= FULL_SHARE * limit_kw
    return bool(np.any(is_full & (weights @ shares[:, vehicle] > 0)))
