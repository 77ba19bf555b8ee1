"""Ways to decide a step: the usual rules, and our plan; each is one function of the state.

A policy of your own is any function from a `State` to setpoints in kW.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from backend.planning.equipment import Grid, Taper
from backend.planning.mpc import plan_charging
from backend.planning.offline import perfect_foresight
from backend.planning.problem import ChargingPlan, ChargingProblem
from backend.planning.replay import LAST_POWER_SHARE, Array, Indices, Policy, Site, State, Visits

CAUTION = 0.95
"""Share of the median of earlier peaks that is expected: a peak expected too low is found out for
little, one expected too high is paid in full."""

NOTICEABLE_SHORTFALL = 1e-3
"""Share of the demand of earlier days that fell short, above which the site counts as short."""

SHORT_KWH = 1e-3
UNSURE_SHORTFALL_PRICE_EUR_PER_KWH = 1.25
"""What a kWh short is worth where departures are only probable: about five times the dearest hour,
so that it is charged early where that is likely to matter and not at any price."""

NEARLY_FULL_KWH = 0.01
"""What a plan may leave open and still mean full."""

TINY_KW = 1e-9

Survival = Callable[[State], Array]
"""Probability that each vehicle is still there throughout each step from now to the end of the day,
1 in the first, shape (vehicles, steps)."""


# The usual rules


def uncontrolled(state: State) -> Array:
    """Everybody charges at once, whatever the site's limit."""
    return state.usable_kw


def first_come(state: State) -> Array:
    """Who came first is served first."""
    return _served(state, np.lexsort((state.vehicles, state.arrival)))


def earliest_deadline(state: State) -> Array:
    """Who leaves first is served first."""
    return _served(state, np.argsort(state.departure, kind="stable"))


def least_laxity(state: State) -> Array:
    """Who can wait the least is served first."""
    return _served(state, np.argsort(_laxity(state, state.open_kwh), kind="stable"))


def round_robin(state: State) -> Array:
    """Everybody gets the same; where that is less than the minimum, some in turn get nothing."""
    turn = np.roll(np.arange(len(state.vehicles)), -state.step)
    shared_kw = _equal_share(state.usable_kw, state.site_limit_kw)
    needs_turn = np.any((shared_kw < state.min_kw) & (shared_kw < state.usable_kw - TINY_KW))
    return _served(state, turn) if needs_turn else shared_kw


def _served(state: State, order: Indices, base_kw: Array | None = None) -> Array:
    """Give each in turn what it can use of what is left, on top of a base that fits."""
    power_kw = np.zeros(len(order)) if base_kw is None else base_kw.copy()
    left_kw = state.site_limit_kw - power_kw.sum()
    for vehicle in order:
        usable_kw = state.usable_kw[vehicle]
        wanted_kw = min(usable_kw, power_kw[vehicle] + max(0.0, left_kw))
        if wanted_kw + TINY_KW < min(usable_kw, state.min_kw[vehicle]):
            wanted_kw = power_kw[vehicle]
        left_kw -= wanted_kw - power_kw[vehicle]
        power_kw[vehicle] = wanted_kw
    return power_kw


def _equal_share(usable_kw: Array, limit_kw: float) -> Array:
    """The same power for all who can use it, so that the sum keeps the limit."""
    if usable_kw.sum() <= limit_kw:
        return usable_kw
    ascending = np.sort(usable_kw)
    users = len(ascending) - np.arange(len(ascending))
    before_kw = np.cumsum(ascending) - ascending
    levels_kw = (limit_kw - before_kw) / users
    level_kw = levels_kw[np.argmax(levels_kw <= ascending)]
    return np.minimum(usable_kw, max(0.0, level_kw))


def _laxity(state: State, wanted_kwh: Array) -> Array:
    """Steps each vehicle can wait and still be given this energy, shape (vehicles,)."""
    full_kwh = np.maximum(state.plug_kw * state.site.step_h, TINY_KW)
    needed = _at_full_power_kwh(state, wanted_kwh) / full_kwh
    return np.asarray(state.departure - state.step - needed)


def _at_full_power_kwh(state: State, wanted_kwh: Array) -> Array:
    """What full power would charge in the time this energy takes, shape (vehicles,).

    Where power falls linearly with the open energy, time grows with its logarithm.
    """
    if not state.taper_kwh.any():
        return wanted_kwh
    knee_kwh = np.maximum(state.taper_kwh, TINY_KW)
    start_kwh = np.minimum(state.open_kwh, knee_kwh)
    end_kwh = np.minimum(start_kwh, np.maximum(state.open_kwh - wanted_kwh, 0.0))
    fall = 1 - LAST_POWER_SHARE
    share = [LAST_POWER_SHARE + fall * kwh / knee_kwh for kwh in (start_kwh, end_kwh)]
    tapered_kwh = knee_kwh / fall * np.log(share[0] / share[1])
    return np.asarray(wanted_kwh - (start_kwh - end_kwh) + tapered_kwh)


def _cannot_wait_kwh(state: State, wanted_kwh: Array) -> Array:
    """What has to be charged in this step so that full power later gives the rest.

    Shape (vehicles,). Steps are undone from the last: a battery whose open energy is `open_kwh`
    after a step at full power had that and what it accepted before.
    """
    step_h, later = state.site.step_h, state.departure - state.step - 1
    taper_kwh = np.maximum(state.taper_kwh, TINY_KW)
    fall_per_kwh = (1 - LAST_POWER_SHARE) * state.plug_kw * step_h / taper_kwh
    kept = np.maximum(1 - fall_per_kwh, TINY_KW)
    open_kwh = state.open_kwh - wanted_kwh
    for step in range(int(later.max(initial=0))):
        before_kwh = (open_kwh + LAST_POWER_SHARE * state.plug_kw * step_h) / kept
        full_kwh = open_kwh + state.plug_kw * step_h
        before_kwh = np.where(before_kwh < state.taper_kwh, before_kwh, np.maximum(full_kwh, 0.0))
        open_kwh = np.where(step < later, before_kwh, open_kwh)
    return np.asarray(state.open_kwh - open_kwh)


# Our plan


@dataclass(frozen=True, slots=True)
class Expectation:
    """What like days teach about this one.

    Attributes:
        peak_kw: A peak that will be needed anyway.
        is_short: Whether room for every demand is in doubt.
    """

    peak_kw: float = 0.0
    is_short: bool = False


NOTHING_EXPECTED = Expectation()


def expectation(site: Site, like_days: Sequence[Visits]) -> Expectation:
    """What perfect foresight would have made of like days under today's limits and prices.

    The peak is a little below the median of theirs, but no less than one plug's full power, which
    even a single vehicle needs.
    """
    days = [day for day in like_days if len(day.demand_kwh)]
    if not days:
        return NOTHING_EXPECTED
    powers_kw = [perfect_foresight(site, day) for day in days]
    peaks_kw = [power_kw.sum(axis=0).max() for power_kw in powers_kw]
    short = [
        1 - power_kw.sum() * site.step_h / day.demand_kwh.sum()
        for power_kw, day in zip(powers_kw, days, strict=True)
    ]
    one_plug_kw = np.median([day.max_kw.max() for day in days])
    return Expectation(
        peak_kw=float(max(CAUTION * np.median(peaks_kw), one_plug_kw)),
        is_short=bool(np.mean(short) > NOTICEABLE_SHORTFALL),
    )


def mpc(
    expected: Expectation = NOTHING_EXPECTED,
    survival: Survival | None = None,
    *,
    shortfall_price_eur_per_kwh: float = UNSURE_SHORTFALL_PRICE_EUR_PER_KWH,
) -> Policy:
    """Carry out the first step of the cheapest plan for the vehicles that are there.

    Where the site is short, or is expected to be, money waits: the site runs at its limit, and the
    power goes to those whom the plan serves fully (see `served_where_short`).

    Args:
        expected: What like days teach.
        survival: How likely vehicles stay; without it they leave when they are said to.
        shortfall_price_eur_per_kwh: What a kWh short is worth where stays are only probable.
    """
    if survival is not None:
        return partial(
            _planned_with_stays,
            expected=expected,
            survival=survival,
            shortfall_price_eur_per_kwh=shortfall_price_eur_per_kwh,
        )
    return partial(_planned, expected=expected)


def _planned(state: State, *, expected: Expectation) -> Array:
    problem = problem_of(state, expected)
    plan = plan_charging(problem, whole_numbers=False)  # the next step soon makes up for rounding
    if state.efficiency is None and (expected.is_short or _is_short(state, plan)):
        return served_where_short(state, plan)
    return _first_step(state, plan)


def _is_short(state: State, plan: ChargingPlan) -> bool:
    """Whether the site's limit makes vehicles fall short: then it is worth more than any price."""
    dearest_eur_per_kw = np.abs(state.site.price_eur_per_kwh).max() * state.site.step_h
    is_binding = plan.site_limit_price_eur_per_kw.max(initial=0.0) > dearest_eur_per_kw
    return bool(is_binding and plan.shortfall_kwh.sum() > SHORT_KWH)


def _planned_with_stays(
    state: State,
    *,
    expected: Expectation,
    survival: Survival,
    shortfall_price_eur_per_kwh: float,
) -> Array:
    problem = problem_of(
        state,
        expected,
        still_there=survival(state),
        shortfall_price_eur_per_kwh=shortfall_price_eur_per_kwh,
    )
    return _first_step(state, plan_charging(problem, whole_numbers=False))


def _first_step(state: State, plan: ChargingPlan) -> Array:
    """What is carried out; a fallback's first step is as good as any."""
    return np.minimum(plan.setpoint_kw[:, 0], np.maximum(state.usable_kw, state.min_kw))


def problem_of(
    state: State,
    expected: Expectation = NOTHING_EXPECTED,
    *,
    still_there: Array | None = None,
    shortfall_price_eur_per_kwh: float = 0.0,
) -> ChargingProblem:
    """The planner's question at this step, up to the last departure.

    With probabilities the expected cost is still linear: a kWh planned for a step reaches the
    battery only if the vehicle is still there, so planning it there costs the price times that
    probability, and what a kWh short is worth times its complement.
    """
    site, vehicles = state.site, len(state.vehicles)
    ends = state.departure if still_there is None else _last_steps(still_there) + state.step
    steps = np.arange(state.step, int(ends.max(initial=state.step + 1)))
    price = site.price_eur_per_kwh[steps]
    preference = np.zeros((vehicles, len(steps)))
    if still_there is not None:
        gone = 1 - still_there[:, : len(steps)]
        preference = gone * (shortfall_price_eur_per_kwh - price)
    return ChargingProblem(
        step_h=np.full(len(steps), site.step_h),
        available_h=np.where(steps < ends[:, None], site.step_h, 0.0),
        limit_kw=np.repeat(state.limit_kw[:, None], len(steps), axis=1),
        demand_kwh=state.open_kwh,
        site_limit_kw=np.minimum(site.limit_kw[steps], state.plug_kw.sum() + 1.0),
        price_eur_per_kwh=price,
        preference_eur_per_kwh=preference,
        urgency=np.ones(vehicles),
        min_power_kw=state.min_kw if state.min_kw.any() else None,
        fairness="few_short",
        shortfall_price_eur_per_kwh=shortfall_price_eur_per_kwh,
        grid=Grid(
            demand_charge_eur_per_kw=site.demand_charge_eur_per_kw,
            peak_so_far_kw=state.peak_kw,
            expected_peak_kw=expected.peak_kw,
        ),
        taper=_taper(state),
        efficiency_curve=state.efficiency,
    )


def _last_steps(still_there: Array) -> Indices:
    """Steps until a vehicle has surely left, at least one, shape (vehicles,)."""
    is_possible = still_there > SHORT_KWH
    idle = np.argmax(is_possible[:, ::-1], axis=1)
    return np.asarray(np.maximum(1, still_there.shape[1] - idle), dtype=np.intp)


def _taper(state: State) -> Taper | None:
    if not state.taper_kwh.any():
        return None
    fall_kw = (1 - LAST_POWER_SHARE) * state.plug_kw
    has_taper = state.taper_kwh > 0
    return Taper(
        knee_kwh=state.open_kwh - state.taper_kwh,
        power_kw=state.plug_kw,
        slope_kw_per_kwh=np.where(has_taper, fall_kw / np.where(has_taper, state.taper_kwh, 1), 0),
        binds_at=0.0,
    )


def served_where_short(state: State, plan: ChargingPlan) -> Array:
    """Use the whole limit, for as few unmet vehicles as possible and no energy lost.

    The plan says how much each vehicle gets; its rule leaves the shortfall to few of them. First
    everybody gets what cannot wait if that is to come true, then those whom the plan serves fully,
    who leaves first being served first, then the others likewise. So what
    arrives later finds the site no emptier than it could be, and few half-served vehicles.
    """
    is_met = plan.energy_kwh >= state.open_kwh - NEARLY_FULL_KWH
    step_h, wanted_kwh = state.site.step_h, np.where(is_met, state.open_kwh, plan.energy_kwh)
    now_kw = np.clip(_cannot_wait_kwh(state, wanted_kwh) / step_h, 0.0, state.usable_kw)
    now_kw = np.maximum(now_kw, np.where(now_kw > TINY_KW, state.min_kw, 0.0))
    now_kw = np.minimum(now_kw, state.usable_kw)
    if now_kw.sum() > state.site_limit_kw:
        return _served(state, np.argsort(_laxity(state, wanted_kwh), kind="stable"))
    order = np.lexsort((state.open_kwh, state.departure, ~is_met))
    return _served(state, order, now_kw)
