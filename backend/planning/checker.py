"""Whether a plan keeps every limit, worked out again from the problem alone.

Shares nothing with the optimiser but the problem and the plan, so that a mistake there shows here.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from backend.planning.equipment_checks import EquipmentCode, equipment_checks, kept_kw
from backend.planning.problem import Array, ChargingPlan, ChargingProblem

PlainCode = Literal[
    "wrong_shape",
    "not_finite",
    "negative_power",
    "vehicle_limit",
    "outside_window",
    "site_limit",
    "too_much_energy",
    "energy_misreported",
    "shortfall_misreported",
    "cost_misreported",
    "site_cost_misreported",
]
Code = PlainCode | EquipmentCode

FLOW_KW = 1e-6
"""Flows that do not add up to the load by more than this have no cost."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One way in which a plan breaks its problem.

    Attributes:
        code: What is broken.
        amount: By how much at worst: kW, kWh or EUR as the code has it; 0 if that has no meaning.
        vehicle: The vehicle where it is worst, if it concerns one.
        step: The step where it is worst, if it concerns one.
    """

    code: Code
    amount: float
    vehicle: int | None = None
    step: int | None = None


def violations(
    problem: ChargingProblem, plan: ChargingPlan, tolerance_kw: float = 1e-6
) -> tuple[Violation, ...]:
    """Find what a plan breaks; nothing means that it is safe to use.

    Args:
        problem: The vehicles, limits and prices of one site over one horizon.
        plan: The plan to judge.
        tolerance_kw: Excess that is let pass, in kW, kWh and EUR alike.

    Returns:
        One violation per kind, where it is worst.
    """
    malformed = _malformed(problem, plan)
    if malformed:
        return malformed
    excesses = (*_plain_checks(problem, plan), *equipment_checks(problem, plan))
    found = [_worst(code, excess) for code, excess in excesses if np.any(excess > tolerance_kw)]
    worst: dict[Code, Violation] = {}
    for one in sorted(found, key=lambda violation: -violation.amount):
        worst.setdefault(one.code, one)
    return tuple(worst.values())


def _plain_checks(problem: ChargingProblem, plan: ChargingPlan) -> list[tuple[Code, Array]]:
    """Excesses over what every problem has, of shape (vehicles or 1, steps or 1)."""
    power = plan.setpoint_kw
    is_available = problem.available_h > 0
    may_give = problem.v2g is not None
    given_kwh = _energy_kwh(problem, power)
    energy_kwh = _taken_kwh(problem, given_kwh)
    cost_eur = float(np.einsum("nt,nt,t->", power, problem.available_h, problem.price_eur_per_kwh))
    missing_kwh = np.maximum(problem.demand_kwh - energy_kwh, 0.0)
    return [
        ("negative_power", np.where(may_give, 0.0, -power)),
        ("vehicle_limit", np.where(is_available, power - problem.limit_kw, 0.0)),
        ("outside_window", np.where(is_available, 0.0, np.abs(power))),
        ("site_limit", _over_site_limit_kw(problem, plan)),
        ("too_much_energy", _too_much_kwh(problem, power, given_kwh)[:, None]),
        ("energy_misreported", np.abs(plan.energy_kwh - energy_kwh)[:, None]),
        ("shortfall_misreported", np.abs(plan.shortfall_kwh - missing_kwh)[:, None]),
        ("cost_misreported", _apart(plan.cost_eur, cost_eur)),
        ("site_cost_misreported", _apart(plan.site_cost_eur, _site_cost_eur(problem, plan))),
    ]


def _apart(reported: float, true: float) -> Array:
    """How far two numbers are apart, shape (1, 1); infinitely if there is no true one."""
    return np.array([[np.nan_to_num(abs(reported - true), nan=np.inf)]])


def _energy_kwh(problem: ChargingProblem, power: Array) -> Array:
    """Energy the batteries would gain if they took every setpoint in full, shape (vehicles,)."""
    charging_kw = np.maximum(power, 0.0)
    if problem.efficiency_curve is not None:
        charging_kw = kept_kw(problem.efficiency_curve, charging_kw)
    drawn_kwh = np.einsum("nt,nt->n", charging_kw, problem.available_h)
    if problem.efficiency is not None:
        drawn_kwh = drawn_kwh * problem.efficiency
    if problem.v2g is None:
        return np.asarray(drawn_kwh)
    given_kwh = np.einsum("nt,nt->n", np.maximum(-power, 0.0), problem.available_h)
    return np.asarray(drawn_kwh - given_kwh / problem.v2g.efficiency)


def _has_steps(problem: ChargingProblem) -> bool:
    """Whether chargers cannot be set freely, so that a vehicle may be given more than it takes."""
    return problem.min_power_kw is not None or problem.levels_kw is not None


def _taken_kwh(problem: ChargingProblem, given_kwh: Array) -> Array:
    return np.minimum(given_kwh, problem.demand_kwh) if _has_steps(problem) else given_kwh


def _too_much_kwh(problem: ChargingProblem, power: Array, given_kwh: Array) -> Array:
    """Energy beyond the demand, save for the lowest setpoint of the first step."""
    excess_kwh = given_kwh - problem.demand_kwh
    if not _has_steps(problem) or power.shape[1] == 0:
        return np.asarray(excess_kwh)
    lowest_kw = np.zeros(len(power)) if problem.min_power_kw is None else problem.min_power_kw
    if problem.levels_kw is not None and problem.levels_kw.shape[1]:
        known_kw = np.where(problem.levels_kw < lowest_kw[:, None], np.inf, problem.levels_kw)
        lowest_kw = known_kw.min(axis=1)
    only_first = (np.abs(power[:, 1:]).sum(axis=1) == 0) & (power[:, 0] <= lowest_kw + 1e-9)
    return np.asarray(np.where(only_first & (problem.demand_kwh > 0), 0.0, excess_kwh))


def _over_site_limit_kw(problem: ChargingProblem, plan: ChargingPlan) -> Array:
    """Import above the limit, or above what the site draws without charging, shape (1, steps)."""
    if problem.grid is None and problem.battery is None:
        return np.asarray(plan.setpoint_kw.sum(axis=0, keepdims=True) - problem.site_limit_kw)
    beside_kw = problem.base_load_kw - problem.pv_kw
    net_kw = plan.setpoint_kw.sum(axis=0) + beside_kw + plan.flows.battery_kw
    return np.asarray((net_kw - np.maximum(problem.site_limit_kw, beside_kw))[None])


def _site_cost_eur(problem: ChargingProblem, plan: ChargingPlan) -> float:
    """What the flows of the plan cost, with demand charge and wear."""
    flows, hours, price = plan.flows, problem.step_h, problem.price_eur_per_kwh
    net_kw = plan.setpoint_kw.sum(axis=0) + problem.base_load_kw - problem.pv_kw + flows.battery_kw
    gap_kw = net_kw + flows.curtailed_kw - flows.import_kw + flows.export_kw
    if np.any(np.abs(gap_kw) > FLOW_KW) or np.any(flows.curtailed_kw > problem.pv_kw + FLOW_KW):
        return float("nan")
    cost_eur = np.einsum("t,t,t->", flows.import_kw, price, hours)
    cost_eur -= np.einsum("t,t,t->", flows.export_kw, problem.export_value_eur_per_kwh, hours)
    absent_h = hours - problem.available_h
    cost_eur -= np.einsum("nt,nt,t->", plan.setpoint_kw, absent_h, price)
    if problem.grid is not None:
        peak_kw = np.max(net_kw, initial=0.0)
        above_kw = max(0.0, peak_kw - problem.grid.free_peak_kw)
        cost_eur += problem.grid.demand_charge_eur_per_kw * above_kw
    if problem.v2g is not None:
        given_kwh = np.einsum("nt,nt->n", np.maximum(-plan.setpoint_kw, 0.0), problem.available_h)
        cost_eur += given_kwh @ problem.v2g.wear_eur_per_kwh
    if problem.battery is not None:
        given_kwh = np.maximum(-flows.battery_kw, 0.0) @ hours
        cost_eur += problem.battery.wear_eur_per_kwh * given_kwh
    return float(cost_eur)


def _malformed(problem: ChargingProblem, plan: ChargingPlan) -> tuple[Violation, ...]:
    """What makes the plan unreadable: an array of another shape, or a value that is no number."""
    vehicles, steps = len(problem.demand_kwh), len(problem.step_h)
    expected = (
        (plan.setpoint_kw, (vehicles, steps)),
        (plan.energy_kwh, (vehicles,)),
        (plan.shortfall_kwh, (vehicles,)),
        (plan.flows.import_kw, (steps,)),
        (plan.flows.battery_kw, (steps,)),
    )
    if any(array.shape != shape for array, shape in expected):
        return (Violation("wrong_shape", 0.0),)
    totals = np.array([plan.cost_eur, plan.site_cost_eur])
    numbers = (plan.setpoint_kw, plan.energy_kwh, plan.shortfall_kwh, totals)
    if not all(np.all(np.isfinite(array)) for array in numbers):
        return (Violation("not_finite", 0.0),)
    return ()


OF_SITE: Final[set[Code]] = {
    "site_limit",
    "cost_misreported",
    "site_cost_misreported",
    "group_limit",
    "export_limit",
    "line_current",
    "unbalance",
    "battery_power",
    "battery_energy",
}


def _worst(code: Code, excess: Array) -> Violation:
    """The largest entry of an excess of shape (vehicles or 1, steps or 1)."""
    vehicle, step = np.unravel_index(np.argmax(excess), excess.shape)
    of_total = excess.shape[1] == 1 and code not in IN_STEPS
    return Violation(
        code,
        amount=float(excess[vehicle, step]),
        vehicle=None if code in OF_SITE else int(vehicle),
        step=None if of_total else int(step),
    )


IN_STEPS: Final[set[Code]] = {"site_limit", "group_limit", "line_current", "unbalance"}
"""These concern a step even if the horizon has only one."""
