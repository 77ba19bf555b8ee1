"""Recorded days lived through again with a policy by its name, compared and drawn."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import numpy as np

from backend.features.sessions.plots import Line, draw_day
from backend.features.sessions.recordings import Day, Recorded, steps_since_midnight
from backend.forecasting.stays import PastStays, StayDistribution, stay_distribution
from backend.planning import policies
from backend.planning.mpc import plan_charging
from backend.planning.offline import perfect_foresight
from backend.planning.replay import Array, Outcome, Policy, Replay, State, outcome, replay

LEARNING_STAYS = 5  # with fewer, what the driver said has to do


@dataclass(frozen=True, slots=True, eq=False)
class Lived:
    """A day as one policy made it."""

    day: Day
    replay: Replay
    outcome: Outcome


# Policies by name


def _ours(day: Day) -> Policy:
    return policies.mpc(policies.expectation(day.site, day.like))


def _ours_with_stays(day: Day) -> Policy:
    expected = policies.expectation(day.site, day.like)
    return policies.mpc(expected, survival=survival(day))


def _simple(policy: Policy) -> Callable[[Day], Policy]:
    return lambda _day: policy


POLICIES: Mapping[str, Callable[[Day], Policy]] = {
    "uncontrolled": _simple(policies.uncontrolled),
    "round-robin": _simple(policies.round_robin),
    "fcfs": _simple(policies.first_come),
    "edf": _simple(policies.earliest_deadline),
    "llf": _simple(policies.least_laxity),
    "mpc-naive": _simple(policies.mpc()),
    "mpc": _ours,
    "mpc-stays": _ours_with_stays,
}
FORESIGHT = "offline"


def live(day: Day, policy: str) -> Lived:
    """Live through a day with a policy by its name, or with perfect foresight."""
    if policy == FORESIGHT:
        lived = Replay(perfect_foresight(day.site, day.visits), (), np.zeros(0))
    else:
        lived = replay(day.site, day.visits, POLICIES[policy](day))
    return Lived(day, lived, outcome(day.site, day.visits, lived.power_kw))


def survival(day: Day) -> policies.Survival:
    """How likely the vehicles of a day stay, learned from sessions that had ended before it."""
    if len(day.past) < LEARNING_STAYS:
        return partial(_as_stated, steps=day.site.steps)
    past = PastStays(
        driver=[session.driver for session in day.past],
        arrival_hour=np.array([_hour(session.arrival) for session in day.past]),
        stay_h=np.array([_stay_h(session) for session in day.past]),
        charging_h=np.array([session.energy_kwh / session.max_kw for session in day.past]),
    )
    learned = [
        stay_distribution(
            past,
            driver=session.driver,
            arrival_hour=_hour(session.arrival),
            charging_h=demand_kwh / session.max_kw,
        )
        for session, demand_kwh in zip(day.sessions, day.visits.demand_kwh, strict=True)
    ]
    arrived_h = [steps_since_midnight(session.arrival, day.date, 1.0) for session in day.sessions]
    return partial(_as_learned, learned=learned, arrived_h=arrived_h)


def _as_learned(
    state: State, *, learned: Sequence[StayDistribution], arrived_h: Sequence[float]
) -> Array:
    step_h = state.site.step_h
    now_h, left = state.step * step_h, state.site.steps - state.step
    ahead_h = np.append(0.0, np.arange(2, left + 1) * step_h)
    rows = [learned[row].survival(now_h - arrived_h[row], ahead_h) for row in state.vehicles]
    return np.array(rows).reshape(len(rows), left)


def _as_stated(state: State, *, steps: int) -> Array:
    return (np.arange(state.step, steps) < state.departure[:, None]).astype(np.float64)


def _hour(moment: datetime) -> float:
    return moment.hour + moment.minute / 60


def _stay_h(session: Recorded) -> float:
    return (session.departure - session.arrival) / timedelta(hours=1)


def planned_kw(day: Day, *, at_h: float) -> Array:
    """The load our plan made at an hour foresaw, not a number before it, shape (steps,)."""
    expected = policies.expectation(day.site, day.like)
    seen: list[State] = []

    def watching(state: State) -> Array:
        seen.append(state)
        return follow(state)

    follow = policies.mpc(expected)
    replay(day.site, day.visits, watching)
    load_kw = np.full(day.site.steps, np.nan)
    state = next((one for one in seen if one.step * day.site.step_h >= at_h), None)
    if state is not None:
        foreseen = plan_charging(policies.problem_of(state, expected)).setpoint_kw.sum(axis=0)
        load_kw[state.step :] = 0.0
        load_kw[state.step : state.step + len(foreseen)] = foreseen
    return load_kw


def plot_day(day: Day, policy: str, *, planned_at_h: float) -> str:
    """Draw as SVG what a policy made of a day, our plan, perfect foresight and no control."""
    loads = {name: live(day, name).replay.power_kw.sum(axis=0) for name in (policy, FORESIGHT)}
    free = replay(day.site, day.visits, policies.uncontrolled).power_kw.sum(axis=0)
    lines = [
        Line(f"actual ({policy})", loads[policy], "#1565c0", is_filled=True),
        Line(f"planned at {planned_at_h:g} h", planned_kw(day, at_h=planned_at_h), "#00897b"),
        Line("perfect foresight", loads[FORESIGHT], "#7b1fa2", is_dashed=True),
        Line("uncontrolled", free, "#9e9e9e"),
        Line("limit", day.site.limit_kw, "#c62828", is_dashed=True),
        Line("price", day.site.price_eur_per_kwh, "#ef6c00", is_price=True),
    ]
    return draw_day(f"{day.date:%A %d %B %Y}", lines, price_unit="USD/kWh")
