"""From a site at one moment to the question that its planner answers."""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from backend.features.sessions import outfit
from backend.features.sessions.habits import likely_departure
from backend.features.sessions.outfit import CONNECTION
from backend.features.sessions.proving import GUEST_TIER
from backend.features.sessions.situation import OpenSession, Situation
from backend.features.sites.limits import limit_curve
from backend.features.sites.service import price_curve
from backend.planning.equipment import Grid, GroupLimit
from backend.planning.problem import (
    STEP,
    Array,
    ChargingProblem,
    available_hours,
    step_edges,
    step_hours,
)

HORIZON = timedelta(hours=48)
BATTERY_HORIZON = timedelta(hours=24)  # a battery looks a day ahead even when nobody is there
SOLAR_HOURS = (10, 16)  # site-local
SPEED_EUR_PER_KWH_PER_H = 0.5  # what an hour of waiting is worth to a driver in a hurry
CARBON_EUR_PER_KWH = 0.2  # what clean hours are worth to a carbon-conscious driver
EARLY_LEAVER_EUR_PER_KWH = 1.0  # dearer than any price, cheaper than falling short
STEPS_KEPT = 4  # of the last plan, where nothing speaks against it
PRIORITY_SLOT_URGENCY = 3.0
# By the tier of a slot that was proved; a slot taken as an offer counts as the second.
URGENCY_BY_TIER = {1: 4.0, 2: PRIORITY_SLOT_URGENCY, 3: 2.0, GUEST_TIER: 0.5}
BOOST_URGENCY = 10.0  # above every other; whom it would harm is looked at afterwards


def edges_of(situation: Situation, now: datetime, beyond: timedelta) -> tuple[datetime, ...]:
    """Edges of the steps to plan: to the last departure and `beyond`, at most 48 hours."""
    latest = max((one.departure_at for one in situation.sessions), default=now) + beyond
    if situation.surroundings.has_battery:
        latest = max(latest, now + BATTERY_HORIZON)
    return step_edges(now, min(max(latest, now + STEP), now + HORIZON))


def problem_of(situation: Situation, edges: tuple[datetime, ...]) -> ChargingProblem:
    """The site's vehicles, limits and prices in these steps."""
    sessions, step_h = situation.sessions, step_hours(edges)
    power_kw = np.array([one.effective_power_kw for one in sessions], dtype=np.float64)
    starts = edges[:-1]
    available_h = available_hours(
        edges,
        arrivals=[max(one.not_before_at or edges[0], edges[0]) for one in sessions],
        departures=[one.departure_at for one in sessions],
    ).reshape(len(sessions), len(step_h))
    site_limit_kw = np.array(
        limit_curve(situation.surroundings.limits, situation.grid_limit_kw, edges)
    )
    grid = _grid(situation, starts)
    room_kw = _room_kw(site_limit_kw, grid)
    limit_kw = np.repeat(power_kw[:, None], len(step_h), axis=1)
    groups = (*_connection(situation, room_kw), *outfit.groups(situation, edges))
    for place, one in enumerate(sessions):
        if one.is_boosted and outfit.is_steady(one.abilities):
            shared_kw = [group.limit_kw for group in groups if place in group.vehicles]
            possible_kw = np.min([limit_kw[place], room_kw, *shared_kw], axis=0)
            limit_kw[place] = _at_once(possible_kw, available_h[place], one)
    return ChargingProblem(
        step_h=step_h,
        available_h=available_h,
        limit_kw=limit_kw,
        demand_kwh=np.array([one.remaining_kwh for one in sessions], dtype=np.float64),
        site_limit_kw=site_limit_kw,
        price_eur_per_kwh=np.array(price_curve(situation.price, situation.timezone, starts)),
        preference_eur_per_kwh=_preferences(situation, starts),
        urgency=_urgencies(sessions),
        previous_kw=_previous(situation, edges),
        fairness=situation.surroundings.fairness,
        grid=grid,
        groups=groups,
        **outfit.parts(situation, available_h, gone=_likely_gone(situation, starts)),
    )


def _urgencies(sessions: Sequence[OpenSession]) -> Array:
    """How urgent each is, 1 for the least, shape (vehicles,)."""
    urgency = np.array([_urgency(one) for one in sessions], dtype=np.float64)
    return np.asarray(urgency / min(1.0, urgency.min(initial=1.0)))


def _urgency(session: OpenSession) -> float:
    if session.is_boosted:
        return BOOST_URGENCY
    if session.priority_tier is not None:
        return URGENCY_BY_TIER[session.priority_tier]
    return PRIORITY_SLOT_URGENCY if session.has_priority_slot else 1.0


def _at_once(possible_kw: Array, available_h: Array, session: OpenSession) -> Array:
    """All the site can give one vehicle in each step until it has enough, shape (steps,)."""
    kept = [session.abilities.losses.kept_share(power_kw) for power_kw in possible_kw]
    step_kwh = possible_kw * available_h * np.array(kept)
    before_kwh = np.cumsum(step_kwh) - step_kwh
    return np.asarray(np.where(before_kwh < session.remaining_kwh, possible_kw, 0.0))


def _room_kw(site_limit_kw: Array, grid: Grid | None) -> Array:
    """What the connection leaves for charging when the sun gives nothing, shape (steps,)."""
    base_kw = 0.0 if grid is None or grid.base_load_kw is None else grid.base_load_kw
    return np.asarray(np.maximum(site_limit_kw - base_kw, 0.0))


def _connection(situation: Situation, room_kw: Array) -> tuple[GroupLimit, ...]:
    """What charging may draw at most, whatever sun and battery are planned to do.

    Sun that is only guessed, and a battery that nobody vouches for, may make charging cheaper, but
    must not carry it over the limit.
    """
    around = situation.surroundings
    battery = around.equipment.battery if around.has_battery else None
    is_doubtful = battery is not None and not battery.may_carry_load
    if not (around.pv_peak_kw or is_doubtful) or not situation.sessions:
        return ()
    everybody = tuple(range(len(situation.sessions)))
    return (GroupLimit(everybody, room_kw, name=CONNECTION),)


def _grid(situation: Situation, starts: Sequence[datetime]) -> Grid | None:
    """The rest of the connection; None where a site has nothing but chargers."""
    around, price = situation.surroundings, situation.price
    demand_charge = float(price.demand_charge_eur_per_kw) if price else 0.0
    gives = around.has_battery or any(one.abilities.discharge_kw for one in situation.sessions)
    if not (around.base_load_kw_by_hour or around.pv_peak_kw or demand_charge or gives):
        return None
    export_kw = around.equipment.export_limit_kw
    zone = ZoneInfo(situation.timezone)
    local = [start.astimezone(zone) for start in starts]
    base = around.base_load_kw_by_hour or (0.0,) * 24
    return Grid(
        base_load_kw=np.array([base[one.hour] for one in local], dtype=np.float64),
        pv_kw=around.pv_peak_kw * np.array([clear_sky_share(one) for one in local]),
        export_price_eur_per_kwh=np.full(len(local), around.export_eur_per_kwh),
        export_limit_kw=situation.grid_limit_kw if export_kw is None else export_kw,
        demand_charge_eur_per_kw=demand_charge,
        peak_so_far_kw=around.peak_so_far_kw,
        expected_peak_kw=around.expected_peak_kw,
    )


def clear_sky_share(local: datetime) -> float:
    """Share of the rated power that sun panels give at a local time, without knowing the weather.

    A half sine over the day's length in the middle latitudes, lower in winter: a stand-in until a
    forecast of the sun is given, and meant to be on the low side.
    """
    season = 0.5 - 0.5 * math.cos(2 * math.pi * (local.timetuple().tm_yday + 10) / 365.25)
    half_day_h = 4.0 + 3.5 * season
    hour = local.hour + local.minute / 60 - 12.5
    if abs(hour) >= half_day_h:
        return 0.0
    return (0.15 + 0.5 * season) * math.cos(math.pi / 2 * hour / half_day_h)


def _preferences(situation: Situation, starts: Sequence[datetime]) -> Array:
    """What each session's driver would pay to charge at another time, shape (sessions, steps)."""
    waited_h = np.array([(start - starts[0]) / timedelta(hours=1) for start in starts])
    emitted_eur, dirt = _carbon(situation, starts)
    by_priority = {"speed": SPEED_EUR_PER_KWH_PER_H * waited_h, "carbon": CARBON_EUR_PER_KWH * dirt}
    indifferent = np.zeros(len(starts))
    gone = _likely_gone(situation, starts)
    rows = [
        by_priority.get(one.priority or "", indifferent)
        + EARLY_LEAVER_EUR_PER_KWH * gone[place]
        + emitted_eur
        for place, one in enumerate(situation.sessions)
    ]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(starts))


def _carbon(situation: Situation, starts: Sequence[datetime]) -> tuple[Array, Array]:
    """What a kWh's emissions cost, and how dirty it is from 0 to 1; each of shape (steps,).

    Without a profile of the grid, hours without sun are the dirty ones.
    """
    carbon, zone = situation.surroundings.equipment.carbon, situation.timezone
    if carbon is None:
        is_solar = np.array([is_solar_hour(start, zone) for start in starts], dtype=bool)
        return np.zeros(len(starts)), np.asarray(~is_solar, dtype=np.float64)
    local = ZoneInfo(zone)
    by_hour = carbon.g_per_kwh_by_hour
    grams = np.array([by_hour[start.astimezone(local).hour] for start in starts], dtype=np.float64)
    return grams * carbon.eur_per_tonne / 1e6, grams / (max(by_hour) or 1.0)


def _previous(situation: Situation, edges: tuple[datetime, ...]) -> Array:
    """Setpoints of the last plan in the next steps of this one; NaN is no wish to keep any.

    Only the next steps: further ahead, charging early is worth more than a plan that stays.
    """
    rows = [_previous_row(one, edges) for one in situation.sessions]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(edges) - 1)


def _previous_row(session: OpenSession, edges: tuple[datetime, ...]) -> list[float]:
    if session.previous_from is None or not session.keeps_plan:
        return [math.nan] * (len(edges) - 1)
    until = session.previous_from + STEP * len(session.previous_kw)
    old = step_edges(session.previous_from, until)
    known = dict(zip(old, session.previous_kw, strict=False))
    # A step that has begun goes on with the power of the quarter-hour that it lies in.
    begun = [start for start in old if start <= edges[0] < start + STEP]
    first = known.get(begun[-1], 0.0) if begun else 0.0
    kept = [first, *(known.get(start, 0.0) for start in edges[1:-1])][:STEPS_KEPT]
    return kept + [math.nan] * (len(edges) - 1 - len(kept))


def _likely_gone(situation: Situation, starts: Sequence[datetime]) -> Array:
    """1 where such drivers have usually left, else 0, shape (sessions, steps).

    A preference and no deadline: whoever does stay as long as stated is still served by then.
    """
    rows = []
    for one in situation.sessions:
        likely = likely_departure(
            one.stay_quantiles_h,
            started_at=one.started_at,
            stated=one.departure_at,
            now=starts[0],
        )
        ends = [end for end in (likely, one.available_until) if end is not None]
        rows.append([any(start >= end for end in ends) for start in starts])
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(starts))


def is_solar_hour(moment: datetime, zone: str) -> bool:
    """Whether the sun is expected to carry part of the load, by the site's local hour."""
    return SOLAR_HOURS[0] <= moment.astimezone(ZoneInfo(zone)).hour < SOLAR_HOURS[1]
