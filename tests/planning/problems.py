"""Charging problems for the tests: small ones by hand and random ones for properties."""

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from backend.planning.problem import Array, ChargingProblem


def small_problem(
    *,
    limit_kw: Sequence[float],
    demand_kwh: Sequence[float],
    site_limit_kw: float,
    price_eur_per_kwh: Sequence[float],
    urgency: Sequence[float] | None = None,
    available_h: Array | None = None,
    step_h: float = 1.0,
) -> ChargingProblem:
    """Vehicles that stay for the whole horizon of equal steps, unless said otherwise."""
    vehicles, steps = len(demand_kwh), len(price_eur_per_kwh)
    return ChargingProblem(
        step_h=np.full(steps, step_h),
        available_h=np.full((vehicles, steps), step_h) if available_h is None else available_h,
        limit_kw=np.repeat(np.array(limit_kw, dtype=np.float64)[:, None], steps, axis=1),
        demand_kwh=np.array(demand_kwh, dtype=np.float64),
        site_limit_kw=np.full(steps, site_limit_kw),
        price_eur_per_kwh=np.array(price_eur_per_kwh, dtype=np.float64),
        preference_eur_per_kwh=np.zeros((vehicles, steps)),
        urgency=np.ones(vehicles) if urgency is None else np.array(urgency, dtype=np.float64),
    )


@st.composite
def any_problems(draw: st.DrawFn, *, is_feasible: bool = False) -> ChargingProblem:
    """A site with stays, partial steps, prices of any sign, preferences and urgencies.

    A feasible one takes its demands and site limit from random setpoints, often without any room;
    its stays keep to the edges of the steps, because a vehicle that shares a full step for seconds
    only costs the others more than its shortfall is worth.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    vehicles, steps = draw(st.integers(0, 9)), draw(st.integers(0, 30))
    first_h = draw(st.sampled_from([0.25, 0.1, 1e-7]))
    step_h = np.r_[first_h, np.full(steps, 0.25)][:steps]
    available_h = _stays(rng, step_h, vehicles)
    if is_feasible:
        available_h = np.where(available_h > step_h / 2, step_h, 0.0)
    limit_kw = rng.choice([3.7, 11.0, 22.0, 127.5], (vehicles, 1)) * np.ones(steps)
    limit_kw = limit_kw * (available_h > 0)
    setpoint_kw = limit_kw * rng.uniform(0, 1, limit_kw.shape).round(rng.integers(0, 3))
    room = draw(st.sampled_from([1.0, 1.0, 1.1, 3.0]))
    demand_factor = 1.0 if is_feasible else rng.uniform(0, 3)
    price = _prices(draw(st.sampled_from(["flat", "two", "any", "zero"])), rng, steps)
    preference_eur_per_kwh = rng.uniform(0, 0.1, limit_kw.shape) * draw(st.sampled_from([0, 0, 1]))
    return ChargingProblem(
        step_h=step_h,
        available_h=available_h,
        limit_kw=limit_kw,
        demand_kwh=(setpoint_kw * available_h).sum(axis=1) * demand_factor,
        site_limit_kw=setpoint_kw.sum(axis=0) * room,
        price_eur_per_kwh=price,
        preference_eur_per_kwh=preference_eur_per_kwh,
        urgency=rng.choice([1.0, 1.0, 3.0], vehicles),
    )


def _stays(rng: np.random.Generator, step_h: Array, vehicles: int) -> Array:
    """One stay per vehicle, most from the start, with arrivals and departures inside steps."""
    end_h = np.cumsum(step_h)
    horizon_h = step_h.sum()
    arrival_h = rng.uniform(0, horizon_h, (vehicles, 1)) * (rng.random((vehicles, 1)) < 0.3)
    departure_h = arrival_h + rng.uniform(0, 1, (vehicles, 1)) * (horizon_h - arrival_h)
    overlap_h = np.minimum(end_h, departure_h) - np.maximum(end_h - step_h, arrival_h)
    return np.asarray(np.clip(overlap_h, 0.0, step_h))


def _prices(kind: str, rng: np.random.Generator, steps: int) -> Array:
    if kind == "flat":
        return np.full(steps, 0.2)
    if kind == "two":
        return rng.choice([0.12, 0.35], steps)
    return rng.uniform(-0.1, 0.5, steps).round(5) if kind == "any" else np.zeros(steps)
