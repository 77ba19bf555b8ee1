"""Sites for the measurements of the optimiser: like workplaces, and random with every option."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from backend.planning.equipment import (
    Battery,
    Grid,
    GroupLimit,
    Phases,
    Taper,
    Tiers,
    VehicleToGrid,
)
from backend.planning.problem import Array, ChargingProblem, Fairness

if TYPE_CHECKING:
    from collections.abc import Callable

Rng = np.random.Generator

DAY, EVENING, NIGHT = 32, 64, 84
PRICES = (0.056, 0.093, 0.267)


def time_of_use(step: npt.NDArray[np.intp]) -> Array:
    """Night, day and evening price of quarter hours of a day, in the way of a summer tariff."""
    return np.asarray(np.select([step < DAY, step < EVENING, step < NIGHT], PRICES, PRICES[0]))


def workplace(vehicles: int, *, seed: int = 0, steps: int = 96) -> ChargingProblem:
    """A workplace with stays of eight hours on average, a time-of-use price and a tight limit."""
    rng = np.random.default_rng(seed)
    stay = rng.integers(20, 45, vehicles)
    arrival = rng.integers(0, steps - 44, vehicles)
    step = np.arange(steps)
    is_there = (step >= arrival[:, None]) & (step < (arrival + stay)[:, None])
    return ChargingProblem(
        step_h=np.full(steps, 0.25),
        available_h=np.where(is_there, 0.25, 0.0),
        limit_kw=np.full((vehicles, steps), 6.656),
        demand_kwh=rng.uniform(5, 30, vehicles),
        site_limit_kw=np.full(steps, 1.6 * vehicles),
        price_eur_per_kwh=time_of_use(step),
        preference_eur_per_kwh=np.zeros((vehicles, steps)),
        urgency=np.ones(vehicles),
    )


def random_site(seed: int, *, vehicles: int | None = None) -> ChargingProblem:
    """A small site with any mix of options, often unreachable targets or no power at all."""
    rng = np.random.default_rng(seed)
    vehicles = int(rng.integers(0, 13)) if vehicles is None else vehicles
    steps = int(rng.integers(0, 33))
    step_h = np.r_[rng.choice([0.25, 0.1, 0.01, 1e-7]), np.full(steps, 0.25)][:steps]
    plain = ChargingProblem(
        step_h=step_h,
        available_h=_stays(rng, step_h, vehicles),
        limit_kw=rng.choice([0.0, 3.68, 6.656, 11.0, 22.0], (vehicles, 1)) * np.ones(steps),
        demand_kwh=rng.choice([0.0, 1.0, 1.0, 1.0], vehicles) * rng.uniform(0, 60, vehicles),
        site_limit_kw=_site_limit(rng, vehicles, steps),
        price_eur_per_kwh=rng.uniform(-0.1, 0.5, steps) * rng.choice([0, 1, 1]),
        preference_eur_per_kwh=rng.uniform(0, 0.1, (vehicles, steps)) * rng.choice([0, 0, 1]),
        urgency=rng.choice([1.0, 1.0, 3.0], vehicles),
    )
    return _with_options(rng, plain)


def _stays(rng: Rng, step_h: Array, vehicles: int) -> Array:
    end_h, horizon_h = np.cumsum(step_h), step_h.sum()
    is_later = rng.choice([0, 0, 1], (vehicles, 1))
    arrival_h = rng.uniform(0, horizon_h, (vehicles, 1)) * is_later
    departure_h = arrival_h + rng.uniform(0, 1, (vehicles, 1)) * (horizon_h - arrival_h)
    overlap_h = np.minimum(end_h, departure_h) - np.maximum(end_h - step_h, arrival_h)
    return np.asarray(np.clip(overlap_h, 0.0, step_h))


def _site_limit(rng: Rng, vehicles: int, steps: int) -> Array:
    """Ample, tight, none at all, or dropping by half on the way."""
    limit_kw = np.full(steps, rng.choice([0.0, 3.0, 3.0 * vehicles, 11.0 * vehicles, 300.0]))
    if steps and _happens(rng, 0.3):
        limit_kw[int(rng.integers(0, steps)) :] *= rng.choice([0.0, 0.5])
    return limit_kw


def _with_options(rng: Rng, site: ChargingProblem) -> ChargingProblem:
    """Each option with a chance of a quarter."""
    vehicles = len(site.demand_kwh)
    rules: tuple[Fairness, ...] = ("energy", "few_short", "equal_share")
    options: dict[str, Callable[[], Any]] = {
        "efficiency": lambda: rng.uniform(0.75, 1.0, vehicles),
        "min_power_kw": lambda: np.full(vehicles, 1.38),
        "levels_kw": lambda: np.tile(np.arange(6, 33, 2) * 0.23, (vehicles, 1)),
        "tiers": lambda: Tiers(rng.uniform(0, 10, vehicles), rng.uniform(0, 20, vehicles)),
        "previous_kw": lambda: _previous(rng, site),
        "grid": lambda: random_grid(rng, site),
        "groups": lambda: tuple(_group(rng, site) for _ in range(3)),
        "phases": lambda: _phases(rng, vehicles),
        "taper": lambda: _taper(rng, site),
        "v2g": lambda: random_v2g(rng, site),
        "battery": lambda: Battery(10.0, 20.0, float(rng.uniform(0, 20)), 0.85, 0.03),
    }
    chosen = {name: make() for name, make in options.items() if _happens(rng, 0.25)}
    return replace(site, fairness=rules[int(rng.integers(0, 3))], **chosen)


def _happens(rng: Rng, probability: float) -> bool:
    return bool(rng.random() < probability)


def _previous(rng: Rng, site: ChargingProblem) -> Array:
    previous_kw = rng.uniform(0, 1, site.limit_kw.shape) * site.limit_kw
    previous_kw[rng.random(len(previous_kw)) < 0.3] = np.nan  # noqa: PLR2004 - new vehicles
    return previous_kw


def _taper(rng: Rng, site: ChargingProblem) -> Taper:
    vehicles = len(site.demand_kwh)
    return Taper(
        knee_kwh=rng.uniform(-5, 30, vehicles),
        power_kw=site.limit_kw.max(axis=1, initial=0.0),
        slope_kw_per_kwh=rng.choice([0.0, 0.3, 1.0], vehicles),
    )


def random_grid(rng: Rng, site: ChargingProblem) -> Grid:
    """Base load, sun, export and demand charge, some of them missing."""
    steps = len(site.step_h)
    sun_kw = 30 * np.maximum(np.sin(np.linspace(-1, 4, steps)), 0.0)
    return Grid(
        base_load_kw=rng.uniform(0, 20, steps) if _happens(rng, 0.7) else None,
        pv_kw=sun_kw if _happens(rng, 0.6) else None,
        export_price_eur_per_kwh=rng.uniform(-0.05, 0.3, steps) if _happens(rng, 0.6) else None,
        export_limit_kw=float(rng.choice([0.0, 5.0, np.inf])),
        demand_charge_eur_per_kw=float(rng.choice([0.0, 15.0])),
        peak_so_far_kw=float(rng.uniform(0, 30)),
        expected_peak_kw=float(rng.uniform(0, 30)),
    )


def _group(rng: Rng, site: ChargingProblem) -> GroupLimit:
    vehicles, steps = site.limit_kw.shape
    members = np.flatnonzero(rng.integers(0, 2, vehicles))
    return GroupLimit(tuple(members.tolist()), np.full(steps, rng.choice([0.0, 7.0, 20.0])))


def _phases(rng: Rng, vehicles: int) -> Phases:
    return Phases(
        phase=rng.integers(-1, 3, vehicles),
        limit_a=rng.choice([10.0, 32.0, 100.0], 3),
        voltage_v=208.0,
        connection="line_to_line" if _happens(rng, 0.5) else "line_to_neutral",
        unbalance_a=20.0 if _happens(rng, 0.3) else None,
    )


def random_v2g(rng: Rng, site: ChargingProblem) -> VehicleToGrid:
    """Most vehicles may give; what they hold is anywhere below capacity."""
    vehicles, steps = len(site.demand_kwh), len(site.step_h)
    capacity_kwh = rng.uniform(60, 90, vehicles)
    energy_kwh = rng.uniform(0, 1, vehicles) * np.maximum(capacity_kwh - site.demand_kwh, 0.0)
    return VehicleToGrid(
        discharge_limit_kw=rng.choice([0.0, 5.0, 11.0], (vehicles, 1)) * np.ones(steps),
        energy_kwh=energy_kwh,
        capacity_kwh=capacity_kwh,
        floor_kwh=rng.uniform(0, 30, vehicles),
        wear_eur_per_kwh=rng.uniform(0, 0.1, vehicles),
        efficiency=rng.uniform(0.85, 1.0, vehicles),
    )
