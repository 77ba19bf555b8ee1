"""Why a plan is as it is, in words, and what to offer the driver for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import numpy as np
import numpy.typing as npt

from backend.planning.problem import Array, ChargingPlan, ChargingProblem

Mask = npt.NDArray[np.bool_]

Cause = Literal[
    "nothing_needed",
    "fallback",
    "shortfall",
    "charger_limit",
    "site_limit",
    "peak",
    "departure",
    "price",
    "early_when_free",
]
PlanType = Literal["GREEN", "ECONOMY", "FAST", "STANDARD"]

NOTICEABLE_KWH = 0.01
"""Less energy than this is not worth a word."""

NOTICEABLE_KW = 0.01
NOTICEABLE_EUR_PER_KWH = 1e-4

NO_ROOM_SHARE = 0.9
"""A vehicle that needs this share of what its stay allows has no hours to choose from."""

GREEN_POINTS = 50
ROUNDING_POINTS = 1e-6
"""A sum of energies that falls short of the whole by its rounding still earns the whole."""

DELAY_DISCOUNT_PERCENT = 10
PEAK_SHARE = 0.8
"""An hour with this share of the highest forecast hour is a peak hour."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One cause of a plan.

    Attributes:
        code: The cause, from a closed list.
        text: The cause in plain English, with numbers and units.
    """

    code: Cause
    text: str


@dataclass(frozen=True, slots=True)
class Offer:
    """What a driver may get for being flexible, or ask for when the site is full.

    Attributes:
        type: The kind of offer.
        value: Reward points, discount in per cent, or the kWh a priority slot would bring.
        reason: Why it is made.
        slot_start: When it applies; None if at any time.
        slot_end: End of that time, not included.
    """

    type: Literal["reward_points", "discount", "priority_slot"]
    value: float
    reason: str
    slot_start: datetime | None = None
    slot_end: datetime | None = None


@dataclass(frozen=True, slots=True, eq=False)
class HourlyForecast:
    """Energy a site is expected to deliver in each hour of a day.

    Attributes:
        starts: When each hour starts, ascending without gaps.
        energy_kwh: Forecast energy, shape (hours,).
    """

    starts: tuple[datetime, ...]
    energy_kwh: Array


def reasons(
    problem: ChargingProblem, plan: ChargingPlan, vehicle: int, *, edges: Sequence[datetime]
) -> tuple[Reason, ...]:
    """Say why one vehicle charges when and as much as it does.

    Args:
        problem: The vehicles, limits and prices of one site over one horizon.
        plan: A plan for it.
        vehicle: The row of the vehicle.
        edges: Edges of the steps, one more than steps, in the zone to speak in.

    Returns:
        The causes, the most important first; at least one.
    """
    if problem.demand_kwh[vehicle] <= NOTICEABLE_KWH:
        return (Reason("nothing_needed", "The battery already holds what was asked for."),)
    found: list[Reason] = []
    if plan.method == "fallback":
        found.append(
            Reason(
                "fallback",
                "The optimiser had no plan in time, so vehicles charge at once "
                "and those that leave first go first.",
            )
        )
    if plan.shortfall_kwh[vehicle] > NOTICEABLE_KWH:
        found += _why_short(problem, plan, vehicle)
    else:
        if _needs_whole_stay(problem, vehicle):
            found.append(_no_choice(problem, vehicle))
        if plan.method == "optimal":
            found += _why_then(problem, plan, vehicle, edges)
    return tuple(found) or (Reason("early_when_free", "It charges as soon as it can."),)


def _why_short(problem: ChargingProblem, plan: ChargingPlan, vehicle: int) -> list[Reason]:
    demand_kwh, shortfall_kwh = problem.demand_kwh[vehicle], plan.shortfall_kwh[vehicle]
    possible_kwh = problem.possible_kwh[vehicle]
    found = [
        Reason(
            "shortfall",
            f"{shortfall_kwh:.1f} kWh of {demand_kwh:.1f} kWh cannot be charged before departure.",
        )
    ]
    if demand_kwh - possible_kwh > NOTICEABLE_KWH:
        found.append(
            Reason(
                "charger_limit",
                f"Even alone it could take {possible_kwh:.1f} kWh: at most "
                f"{problem.limit_kw[vehicle].max(initial=0.0):.1f} kW for the "
                f"{_span(problem.available_h[vehicle].sum())} until departure.",
            )
        )
    lost_kwh = short_by_site_kwh(problem, plan, vehicle)
    if lost_kwh > NOTICEABLE_KWH:
        found.append(
            Reason(
                "site_limit",
                f"{lost_kwh:.1f} kWh are missing because {_full_part(problem, plan, vehicle)}.",
            )
        )
    return found


def _span(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.0f} min"


def _full_part(problem: ChargingProblem, plan: ChargingPlan, vehicle: int) -> str:
    """What of the site is full while the vehicle is there: a limit above it, if not the whole."""
    there = problem.available_h[vehicle] > 0
    reached = _reached(problem, plan, vehicle)
    is_whole = bool(np.any(_is_site_full(problem, plan) & there))
    part = next((name for name, is_full in reached if np.any(is_full & there)), None)
    return "the site is full" if is_whole or part is None else f"{part} is reached"


def _is_site_full(problem: ChargingProblem, plan: ChargingPlan) -> Mask:
    return np.asarray(plan.flows.import_kw >= problem.import_limit_kw - NOTICEABLE_KW)


def _reached(problem: ChargingProblem, plan: ChargingPlan, vehicle: int) -> list[tuple[str, Mask]]:
    """The limits of groups above a vehicle and when they are reached, the nearest first."""
    above = [group for group in problem.groups if vehicle in group.vehicles]
    found: list[tuple[str, Mask]] = []
    for group in sorted(above, key=lambda one: len(one.vehicles)):
        load_kw = plan.setpoint_kw[list(group.vehicles)].sum(axis=0)
        is_full = np.asarray(load_kw >= group.limit_kw - NOTICEABLE_KW)
        name = "the connection" if group.name == "connection" else group.name
        found.append((f"the limit of {name}", is_full))
    return found


def short_by_site_kwh(problem: ChargingProblem, plan: ChargingPlan, vehicle: int) -> float:
    """The part of a vehicle's shortfall that it would not have were it alone at the site."""
    short_alone_kwh = max(0.0, problem.demand_kwh[vehicle] - problem.possible_kwh[vehicle])
    return max(0.0, float(plan.shortfall_kwh[vehicle] - short_alone_kwh))


def _needs_whole_stay(problem: ChargingProblem, vehicle: int) -> bool:
    return bool(problem.demand_kwh[vehicle] >= NO_ROOM_SHARE * problem.possible_kwh[vehicle])


def _no_choice(problem: ChargingProblem, vehicle: int) -> Reason:
    stay_h = problem.available_h[vehicle].sum()
    share = problem.demand_kwh[vehicle] / problem.possible_kwh[vehicle]
    return Reason(
        "departure",
        f"{problem.demand_kwh[vehicle]:.1f} kWh take {100 * share:.0f} % of the {_span(stay_h)} "
        "until departure, which leaves no choice of hours.",
    )


def _why_then(
    problem: ChargingProblem, plan: ChargingPlan, vehicle: int, edges: Sequence[datetime]
) -> list[Reason]:
    """What moved an optimised plan: dear hours left out, others served first, or nothing."""
    power_kw, limit_kw = plan.setpoint_kw[vehicle], problem.limit_kw[vehicle]
    cost = problem.cost_eur_per_kwh[vehicle]
    is_used = power_kw > NOTICEABLE_KW
    if not is_used.any():
        return []
    last = np.flatnonzero(is_used)[-1]
    could_have = (problem.available_h[vehicle] > 0) & (power_kw < limit_kw - NOTICEABLE_KW)
    could_have[last:] = False  # what comes after the last charging step is not waited through
    highest_used = cost[is_used].max()
    found: list[Reason] = []
    dearer = could_have & (cost > cost[is_used].min() + NOTICEABLE_EUR_PER_KWH)
    avoided = dearer & (cost >= highest_used)
    if avoided.any():
        counted = " with preferences" if problem.preference_eur_per_kwh[vehicle].any() else ""
        found.append(_price_reason(cost, is_used, avoided, edges=edges, counted=counted))
    wanted = could_have & (cost <= highest_used)
    is_full = _is_site_full(problem, plan)
    if (wanted & is_full).any():
        found.append(_site_reason(problem, wanted & is_full, edges))
    for name, is_reached in _reached(problem, plan, vehicle):
        crowded = wanted & is_reached & ~is_full
        if crowded.any():
            found.append(Reason("site_limit", f"{_between(crowded, edges)} {name} is reached."))
            break
    if (wanted & _is_at_peak(problem, plan) & ~is_full).any():
        found.append(Reason("peak", "More power at once would raise the peak the site pays for."))
    if not found:
        found.append(
            Reason(
                "early_when_free",
                f"It charges from {edges[np.flatnonzero(is_used)[0]]:%H:%M}: "
                "waiting would not be cheaper.",
            )
        )
    return found


def _is_at_peak(problem: ChargingProblem, plan: ChargingPlan) -> Mask:
    """Steps in which more would raise a peak that is paid for."""
    if problem.grid is None or problem.grid.demand_charge_eur_per_kw <= 0:
        return np.zeros(len(problem.step_h), dtype=np.bool_)
    highest_kw = max(plan.flows.peak_kw, problem.grid.free_peak_kw)
    return np.asarray(plan.flows.import_kw >= highest_kw - NOTICEABLE_KW)


def _between(steps: Mask, edges: Sequence[datetime]) -> str:
    first, last = np.flatnonzero(steps)[[0, -1]]
    return f"Between {edges[first]:%H:%M} and {edges[last + 1]:%H:%M}"


def _price_reason(
    cost: Array, is_used: Mask, avoided: Mask, *, edges: Sequence[datetime], counted: str
) -> Reason:
    cheapest = int(np.flatnonzero(is_used)[np.argmin(cost[is_used])])
    dearest = int(np.flatnonzero(avoided)[np.argmax(cost[avoided])])
    return Reason(
        "price",
        f"Energy{counted} costs {cost[cheapest]:.3f} EUR/kWh at {edges[cheapest]:%H:%M} "
        f"and {cost[dearest]:.3f} EUR/kWh at {edges[dearest]:%H:%M}.",
    )


def _site_reason(problem: ChargingProblem, crowded: Mask, edges: Sequence[datetime]) -> Reason:
    room_kw = problem.import_limit_kw - problem.base_load_kw + problem.pv_kw
    return Reason(
        "site_limit",
        f"{_between(crowded, edges)} the site's {room_kw[crowded].min():.1f} kW for charging "
        "are all used.",
    )


def plan_type(priority: str | None, *, carbon_conscious: bool) -> PlanType:
    """What a driver's preferences make of a plan."""
    if carbon_conscious or priority == "carbon":
        return "GREEN"
    if priority == "speed":
        return "FAST"
    return "ECONOMY" if priority == "cost" else "STANDARD"


def offers(
    kind: PlanType,
    *,
    now: datetime,
    departure: datetime,
    charging_time_h: float,
    short_by_site_kwh: float,
    forecast: HourlyForecast | None = None,
    solar_window: tuple[datetime, datetime] | None = None,
) -> tuple[Offer, ...]:
    """What to offer the driver of one vehicle.

    Args:
        kind: The type of the plan.
        now: When the vehicle would start to charge.
        departure: When it leaves.
        charging_time_h: Time its charging takes; 0 if nothing is needed.
        short_by_site_kwh: What it falls short of because the site is full.
        forecast: The site's demand over the day; without it no delay is asked for.
        solar_window: The hours in which green points are earned.
    """
    made: list[Offer] = []
    if kind == "GREEN":
        start, end = solar_window or (None, None)
        reason = "For energy charged in solar hours."
        made.append(Offer("reward_points", GREEN_POINTS, reason, start, end))
    if forecast is not None and charging_time_h > 0:
        slot = _quieter_slot(forecast, now=now, departure=departure, length_h=charging_time_h)
        if slot is not None:
            reason = f"Demand peaks now; charging from {slot[0]:%H:%M} helps the site."
            made.append(Offer("discount", DELAY_DISCOUNT_PERCENT, reason, *slot))
    if short_by_site_kwh > NOTICEABLE_KWH:
        reason = f"The site is full; a priority slot brings up to {short_by_site_kwh:.1f} kWh more."
        made.append(Offer("priority_slot", round(short_by_site_kwh, 3), reason, now, departure))
    return tuple(made)


def earned_points(offered_points: float, *, solar_kwh: float, charged_kwh: float) -> int:
    """Reward points for the share of the energy that was charged in solar hours, rounded down."""
    if charged_kwh <= 0:
        return 0
    share = min(1.0, max(0.0, solar_kwh) / charged_kwh)
    return int(offered_points * share + ROUNDING_POINTS)


def _quieter_slot(
    forecast: HourlyForecast, *, now: datetime, departure: datetime, length_h: float
) -> tuple[datetime, datetime] | None:
    """The first slot of this length off the peak and before departure, if now is at a peak."""
    length = timedelta(hours=length_h)
    is_peak = forecast.energy_kwh >= PEAK_SHARE * forecast.energy_kwh.max(initial=0.0)
    hours = [(start, start + timedelta(hours=1)) for start in forecast.starts]
    peaks = [hour for hour, at_peak in zip(hours, is_peak, strict=True) if at_peak]
    if not forecast.energy_kwh.any() or not any(start <= now < end for start, end in peaks):
        return None
    for slot_start, _ in hours:
        slot_end = slot_start + length
        meets_peak = any(start < slot_end and slot_start < end for start, end in peaks)
        is_known = slot_end <= hours[-1][1]
        if slot_start > now and slot_end <= departure and is_known and not meets_peak:
            return slot_start, slot_end
    return None
