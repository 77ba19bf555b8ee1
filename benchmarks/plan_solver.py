"""What the optimiser costs and how far it can be trusted: every function gives named figures.

Times are CPU milliseconds of this process, one thread of the solver.
"""

import argparse
import csv
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.planning import standard
from backend.planning.checker import violations
from backend.planning.costs import objective_eur
from backend.planning.equipment import Grid, Phases
from backend.planning.explanation import reasons
from backend.planning.mpc import plan_charging
from backend.planning.problem import STEP, Array, ChargingPlan, ChargingProblem
from backend.planning.programme import programme_of
from benchmarks.plan_cases import random_site, random_v2g, time_of_use, workplace

STEP_H = 0.25
DEMAND_CHARGE = 15.51
SHORT_KWH = 0.01
"""A vehicle short by more than this has to have a reason."""


@dataclass(frozen=True, slots=True, eq=False)
class Day:
    """The sessions of a site on one day, shapes (sessions,); steps are quarter hours."""

    arrival: Array
    departure: Array
    energy_kwh: Array
    max_kw: Array


def real_day(path: Path, day: str) -> Day:
    """Sessions of one day of a file of sessions, clipped to the day."""
    with path.open() as file:
        rows = [row for row in csv.DictReader(file) if row["arrival"].startswith(day)]
    midnight = datetime.fromisoformat(rows[0]["arrival"]).replace(hour=0, minute=0)
    times = [
        [(datetime.fromisoformat(row[end]) - midnight).total_seconds() / 900 for row in rows]
        for end in ("arrival", "departure")
    ]
    arrival, departure = np.ceil(times[0]), np.minimum(np.floor(times[1]), 96.0)
    max_kw = np.array([float(row["max_kw"]) for row in rows])
    stay_h = np.maximum(departure - arrival, 0.0) * STEP_H
    energy_kwh = np.minimum([float(row["energy_kwh"]) for row in rows], max_kw * stay_h)
    return Day(arrival, departure, energy_kwh, max_kw)


def usual_day(sessions: int = 76, seed: int = 1) -> Day:
    """A workday like those of the real sites, for when no file is given."""
    rng = np.random.default_rng(seed)
    arrival = np.clip(rng.normal(29, 6, sessions).round(), 16, 60)
    departure = np.minimum(arrival + np.clip(rng.normal(34, 8, sessions).round(), 4, 60), 96)
    max_kw = np.full(sessions, 6.656)
    energy_kwh = np.minimum(rng.gamma(3, 5, sessions), max_kw * (departure - arrival) * STEP_H)
    return Day(arrival, departure, energy_kwh, max_kw)


def problem_at(
    day: Day, step: int, delivered_kwh: Array, limit_kw: float, previous: Array | None
) -> tuple[ChargingProblem, npt.NDArray[np.intp]]:
    """The site as it is seen at a step, and which sessions are there, shape (present,)."""
    there = (day.arrival <= step) & (day.departure > step) & (day.energy_kwh > delivered_kwh)
    present = np.flatnonzero(there)
    steps = int(day.departure[present].max(initial=step + 1)) - step
    ahead = step + np.arange(steps)
    stays = ahead < day.departure[present, None]
    price = time_of_use(ahead)
    problem = ChargingProblem(
        step_h=np.full(steps, STEP_H),
        available_h=np.where(stays, STEP_H, 0.0),
        limit_kw=np.repeat(day.max_kw[present, None], steps, axis=1),
        demand_kwh=(day.energy_kwh - delivered_kwh)[present],
        site_limit_kw=np.full(steps, limit_kw),
        price_eur_per_kwh=price,
        preference_eur_per_kwh=np.zeros((len(present), steps)),
        urgency=np.ones(len(present)),
        grid=Grid(demand_charge_eur_per_kw=DEMAND_CHARGE, expected_peak_kw=limit_kw * 0.8),
        previous_kw=None if previous is None else previous[present, step : step + steps],
    )
    return problem, present


def rolling_figures(day: Day, *, limit_kw: float | None = None) -> dict[str, float]:
    """S5: the CPU of every replan of a day, from the state of the site to a checked plan."""
    limit_kw = 1.2 * len(day.arrival) if limit_kw is None else limit_kw
    delivered, previous = np.zeros(len(day.arrival)), np.full((len(day.arrival), 96), np.nan)
    taken_ms = []
    for step in range(96):
        began = time.process_time()
        problem, present = problem_at(day, step, delivered, limit_kw, previous)
        if not len(present):
            continue
        plan = plan_charging(problem)
        taken_ms.append((time.process_time() - began) * 1000)
        delivered[present] += plan.setpoint_kw[:, 0] * STEP_H
        previous[present, step : step + plan.setpoint_kw.shape[1]] = plan.setpoint_kw
    return {
        "step_cpu_ms_median_76": float(np.median(taken_ms)),
        "step_cpu_ms_p99_76": float(np.percentile(taken_ms, 99)),
    }


def large_figures(sizes: Sequence[int] = (1000, 5000)) -> dict[str, float]:
    """S5: one plan of a large site that was never seen before, best of three."""
    return {
        f"step_cpu_ms_{vehicles}": _best_ms(partial(_fresh, _peaky(vehicles)), 3)
        for vehicles in sizes
    }


def _fresh(problem: ChargingProblem) -> ChargingPlan:
    standard.forget()
    return plan_charging(problem)


def _peaky(vehicles: int) -> ChargingProblem:
    grid = Grid(demand_charge_eur_per_kw=DEMAND_CHARGE, expected_peak_kw=0.8 * vehicles)
    return replace(workplace(vehicles), grid=grid)


def raw_figures(sizes: Sequence[int] = (50, 200, 1000)) -> dict[str, float]:
    """S6: solving again through cvxpy against the same matrices handed to the solvers."""
    figures: dict[str, float] = {}
    for vehicles in sizes:
        site = _peaky(vehicles)
        old_kw = 0.3 * site.limit_kw * (site.available_h > 0)
        quadratic, _ = programme_of(replace(site, previous_kw=old_kw))
        linear, _ = programme_of(site)
        repeats = 9 if vehicles < 1000 else 5  # noqa: PLR2004 - the large one takes long
        figures |= {
            f"build_ms_{vehicles}": _best_ms(partial(_first, quadratic), 5),
            f"again_ms_{vehicles}": _best_ms(_changing(quadratic), repeats),
            f"raw_piqp_ms_{vehicles}": _best_ms(partial(_raw_piqp, quadratic), repeats),
            f"again_linear_ms_{vehicles}": _best_ms(_changing(linear), repeats),
            f"raw_highs_ms_{vehicles}": _best_ms(partial(_raw_highs, linear), 3),
        }
    of_piqp = [figures[f"again_ms_{n}"] / figures[f"raw_piqp_ms_{n}"] for n in sizes]
    of_highs = [figures[f"again_linear_ms_{n}"] / figures[f"raw_highs_ms_{n}"] for n in sizes]
    return {"x_raw_piqp": max(of_piqp), "x_raw_highs": max(of_highs), **figures}


def _first(programme: standard.Programme) -> None:
    """Compile only, as for a pattern that was never seen."""
    standard.forget()
    standard.compiled(programme)


def _changing(programme: standard.Programme) -> Callable[[], object]:
    """Solve a compiled programme with other costs every time."""
    standard.solve(programme, "PIQP")
    factor = 1.0

    def again() -> object:
        nonlocal factor
        factor *= 1.0001
        return standard.solve(replace(programme, cost=programme.cost * factor), "PIQP")

    return again


def _raw_piqp(programme: standard.Programme) -> None:
    import piqp  # noqa: PLC0415 - the raw solver is only for comparison
    import scipy.sparse as sp  # noqa: PLC0415

    solver = piqp.SparseSolver()
    for name, value in standard.OPTIONS["PIQP"].items():
        setattr(solver.settings, name, value)
    curvature = sp.csc_matrix(sp.diags_array(programme.curvature + programme.help))
    (equal, right), (at_most, highest) = programme.equal, programme.at_most
    bounds = (programme.lower, programme.upper)
    equal, at_most = sp.csc_matrix(equal), sp.csc_matrix(at_most)
    solver.setup(curvature, programme.cost, equal, right, at_most, None, highest, *bounds)
    solver.solve()


def _raw_highs(programme: standard.Programme) -> None:
    import highspy  # noqa: PLC0415 - the raw solver is only for comparison
    import scipy.sparse as sp  # noqa: PLC0415

    (equal, right), (at_most, highest) = programme.equal, programme.at_most
    matrix = sp.csc_matrix(sp.vstack((equal, at_most)))
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = len(programme.cost), matrix.shape[0]
    model.col_cost_, model.col_lower_ = programme.cost, programme.lower
    model.col_upper_ = programme.upper
    model.row_lower_ = np.concatenate((right, np.full(len(highest), -np.inf)))
    model.row_upper_ = np.concatenate((right, highest))
    model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    model.a_matrix_.start_, model.a_matrix_.index_ = matrix.indptr, matrix.indices
    model.a_matrix_.value_ = matrix.data
    solver = highspy.Highs()  # type: ignore[no-untyped-call]  # it has no types
    solver.setOptionValue("output_flag", False)  # noqa: FBT003 - the option's own form
    solver.setOptionValue("threads", 1)
    solver.setOptionValue("solver", "simplex")
    solver.passModel(model)
    solver.run()


def stability_figures(vehicles: int = 76, replans: int = 24) -> dict[str, float]:
    """S7: how far the next step moves when nothing happens between replans, worst vehicle.

    Each replan carries out one step of the last plan; sites are tight, ample and with a peak.
    """
    flat = np.full(96, 0.2)
    sites = [
        replace(workplace(vehicles), price_eur_per_kwh=flat),
        replace(workplace(vehicles), site_limit_kw=np.full(96, 0.7 * vehicles)),
        _peaky(vehicles),
    ]
    return {
        "next_step_change_pct": max(_largest_move(site, replans, keeps=True) for site in sites),
        "next_step_change_pct_without_last_plan": max(
            _largest_move(site, replans, keeps=False) for site in sites
        ),
    }


def _largest_move(site: ChargingProblem, replans: int, *, keeps: bool) -> float:
    """Largest change of a setpoint between plans, in percent of the rating."""
    plan, worst = plan_charging(site), 0.0
    for _ in range(replans):
        later = _one_step_later(site, plan)
        again = plan_charging(later if keeps else replace(later, previous_kw=None))
        moved_kw = np.abs(again.setpoint_kw[:, 0] - plan.setpoint_kw[:, 1])
        worst = max(worst, float((moved_kw / site.limit_kw[:, 0]).max()) * 100)
        site, plan = later, again
    return worst


def _one_step_later(site: ChargingProblem, plan: ChargingPlan) -> ChargingProblem:
    """The site after the first step went as planned."""
    gained_kwh = site.battery_energy_kwh(plan.setpoint_kw)[:, 0]
    return replace(
        site,
        step_h=site.step_h[1:],
        available_h=site.available_h[:, 1:],
        limit_kw=site.limit_kw[:, 1:],
        demand_kwh=np.maximum(site.demand_kwh - gained_kwh, 0.0),
        site_limit_kw=site.site_limit_kw[1:],
        price_eur_per_kwh=site.price_eur_per_kwh[1:],
        preference_eur_per_kwh=site.preference_eur_per_kwh[:, 1:],
        previous_kw=plan.setpoint_kw[:, 1:],
    )


def random_figures(cases: int = 10_000, *, first: int = 0) -> dict[str, float]:
    """S8 and S4: random sites with every option; a case fails without a valid plan."""
    failed, fallbacks = 0, 0
    for seed in range(first, first + cases):
        try:
            problem = random_site(seed)
            plan = plan_charging(problem)
        except Exception:  # noqa: BLE001 - any exception is a failed case
            failed += 1
            continue
        fallbacks += plan.method == "fallback"
        failed += bool(violations(problem, plan)) or not _says_who_is_short(problem, plan)
    return {
        "random_cases": cases,
        "random_cases_failed": failed,
        "random_cases_by_fallback": fallbacks,
    }


def _says_who_is_short(problem: ChargingProblem, plan: ChargingPlan) -> bool:
    """Whether each vehicle has a reason, and one that is short says so, with its energy right."""
    start = datetime(2026, 11, 20, tzinfo=UTC)
    edges = [start + step * STEP for step in range(len(problem.step_h) + 1)]
    missing_kwh = np.maximum(problem.demand_kwh - plan.energy_kwh, 0.0)
    for vehicle, short_kwh in enumerate(missing_kwh):
        codes = {reason.code for reason in reasons(problem, plan, vehicle, edges=edges)}
        if not codes or (short_kwh > SHORT_KWH) != ("shortfall" in codes):
            return False
    return bool(np.all(np.abs(missing_kwh - plan.shortfall_kwh) < SHORT_KWH))


def three_phase_figures(vehicles: int = 54, cases: int = 8) -> dict[str, float]:
    """S9: a three-phase site against the exact cone optimum."""
    gaps, broken, taken = [], 0, []
    for seed in range(cases):
        site = _three_phase_site(vehicles, seed)
        plan = _fresh(site)
        broken += any(one.code == "line_current" for one in violations(site, plan))
        taken.append(_best_ms(partial(_fresh, site), 3))
        exact = _cone_optimum(site)
        gaps.append(100 * (objective_eur(site, plan) - exact) / abs(exact))
    return {
        "three_phase_gap_pct": max(gaps),
        "three_phase_violations": broken,
        "three_phase_ms": max(taken),
    }


def _three_phase_site(vehicles: int, seed: int) -> ChargingProblem:
    """Chargers between lines; the currents bind, the site limit does not."""
    rng = np.random.default_rng(seed)
    site = workplace(vehicles, seed=seed)
    phases = Phases(
        phase=rng.choice(3, vehicles, p=(0.45, 0.3, 0.25)),
        limit_a=np.full(3, rng.uniform(1.7, 3.0) * vehicles),
        voltage_v=208.0,
        connection="line_to_line",
    )
    ample_kw = np.full(len(site.step_h), 1e4)
    return replace(site, phases=phases, site_limit_kw=ample_kw, shortfall_price_eur_per_kwh=5.0)


def _cone_optimum(problem: ChargingProblem) -> float:
    """The optimum with the true currents as cones, by Clarabel."""
    import cvxpy as cp  # noqa: PLC0415 - only this comparison needs it

    phases = problem.phases
    if phases is None:
        raise ValueError("the problem has no phases")
    vehicles, steps = problem.limit_kw.shape
    power_kw = cp.Variable((vehicles, steps), nonneg=True)
    energy_kwh = cp.sum(cp.multiply(power_kw, problem.available_h), axis=1)
    short_kwh = problem.demand_kwh - energy_kwh
    there_kw = problem.limit_kw * (problem.available_h > 0)
    pair_kw = [cp.sum(power_kw[phases.phase == pair], axis=0) for pair in range(3)]
    limits: list[Any] = [power_kw <= there_kw, short_kwh >= 0]
    for line in range(3):
        own, other = pair_kw[line], pair_kw[line - 1]
        current = cp.vstack([own + other / 2, other * np.sqrt(3) / 2])
        limit_kw = phases.limit_a[line] * phases.voltage_v / 1000
        limits.append(cp.norm(current, axis=0) <= limit_kw)
    cost = cp.sum(cp.multiply(power_kw, problem.available_h) @ problem.price_eur_per_kwh)
    objective = cost + problem.shortfall_price_eur_per_kwh * cp.sum(short_kwh)
    programme = cp.Problem(cp.Minimize(objective), limits)
    programme.solve(solver="CLARABEL")
    return float(programme.value)


def vehicle_to_grid_figures(cases: int = 200) -> dict[str, float]:
    """S10: batteries below their floor, plans dearer than without giving, energy given in all."""
    below, losses, given_kwh = 0, 0, 0.0
    for seed in range(cases):
        site = _giving_site(seed)
        v2g = site.v2g
        if v2g is None:
            raise ValueError("the site has no vehicle that gives")
        plan, without = plan_charging(site), plan_charging(replace(site, v2g=None))
        held_kwh = v2g.energy_kwh[:, None] + site.battery_energy_kwh(plan.setpoint_kw).cumsum(1)
        lowest_kwh = np.minimum(v2g.floor_kwh, v2g.energy_kwh)
        reached_kwh = v2g.energy_kwh + site.demand_kwh - plan.shortfall_kwh
        below += bool(np.any(held_kwh.min(axis=1) < lowest_kwh - 1e-6))
        below += bool(np.any(held_kwh[:, -1] < reached_kwh - 1e-6))
        losses += objective_eur(site, plan) > objective_eur(site, without) + 1e-3
        given_kwh += float(np.maximum(-plan.setpoint_kw * site.available_h, 0.0).sum())
    return {"v2g_floor_violations": below, "v2g_losses": losses, "v2g_given_kwh": given_kwh}


def _giving_site(seed: int) -> ChargingProblem:
    rng = np.random.default_rng(seed)
    site = workplace(12, seed=seed)
    price = rng.choice([0.05, 0.15, 0.3, 0.45], 24).repeat(4)
    base_kw = rng.uniform(0, 40, 24).repeat(4)
    sells = rng.random() < 0.5  # noqa: PLR2004 - half of them
    grid = Grid(
        base_load_kw=base_kw,
        export_price_eur_per_kwh=0.9 * price if sells else None,
        demand_charge_eur_per_kw=float(rng.choice([0.0, 2.0])),
    )
    site = replace(site, price_eur_per_kwh=price, grid=grid, site_limit_kw=np.full(96, 90.0))
    v2g = random_v2g(rng, site)
    return replace(site, v2g=replace(v2g, floor_kwh=v2g.energy_kwh * rng.uniform(0.2, 1.0, 12)))


def explanation_figures(cases: int = 12, step_kwh: float = 0.01) -> dict[str, float]:
    """S11: stated prices against what a little more demand or limit changes, by solving again.

    Where the two differences differ (at a kink), any price between them is right.
    """
    worst = 0.0
    for seed in range(cases):
        site = _tight_site(seed)
        plan = plan_charging(site)
        if plan.prices is None:
            raise ValueError("the plan states no prices")
        unit = float(np.abs(site.price_eur_per_kwh).max()) * 0.05
        for vehicle, stated in enumerate(plan.prices.energy_eur_per_kwh):
            slopes = _slopes(site, "demand_kwh", vehicle, step_kwh)
            worst = max(worst, _error_pct(float(stated), slopes, unit))
        for step in range(0, len(site.step_h), 3):
            stated = -plan.site_limit_price_eur_per_kw[step]
            slopes = _slopes(site, "site_limit_kw", step, step_kwh)
            worst = max(worst, _error_pct(float(stated), slopes, unit))
    return {"explanation_error_pct": worst}


def _tight_site(seed: int) -> ChargingProblem:
    """Ten vehicles at a limit that binds, some of them short, random prices."""
    rng = np.random.default_rng(seed)
    site = workplace(10, seed=seed, steps=48)
    limit_kw = np.full(48, rng.uniform(12, 22))
    return replace(site, site_limit_kw=limit_kw, price_eur_per_kwh=rng.uniform(0.05, 0.4, 48))


def _slopes(site: ChargingProblem, name: str, index: int, change: float) -> tuple[float, float]:
    """Change of the objective per unit, downward and upward."""
    values = []
    for sign in (-1, 0, 1):
        array = getattr(site, name).copy()
        array[index] += sign * change
        changed: dict[str, Any] = {name: array}
        other = replace(site, **changed)
        values.append(objective_eur(other, plan_charging(other)))
    return (values[1] - values[0]) / change, (values[2] - values[1]) / change


def _error_pct(stated: float, slopes: tuple[float, float], unit: float) -> float:
    """Distance of a stated price from the interval of the slopes, in percent."""
    low, high = min(slopes), max(slopes)
    away = max(low - stated, stated - high, 0.0)
    return 100 * away / max(abs(low), abs(high), unit)


def _best_ms(run: Callable[[], object], repeats: int) -> float:
    """Least CPU of some runs."""
    taken = []
    for _ in range(repeats):
        began = time.process_time()
        run()
        taken.append((time.process_time() - began) * 1000)
    return min(taken)


def all_figures(*, day: Day | None = None, random_cases: int = 10_000) -> dict[str, float]:
    """Everything this module measures."""
    plan_charging(workplace(5))  # imports are not the plan's
    return {
        **rolling_figures(usual_day() if day is None else day),
        **large_figures(),
        **raw_figures(),
        **stability_figures(),
        **three_phase_figures(),
        **vehicle_to_grid_figures(),
        **explanation_figures(),
        **random_figures(random_cases),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--data", type=Path, help="file of sessions for the 76 real vehicles")
    options.add_argument("--day", default="2019-05-15")
    options.add_argument("--cases", type=int, default=10_000)
    args = options.parse_args()
    day = real_day(args.data, args.day) if args.data else None
    print(json.dumps(all_figures(day=day, random_cases=args.cases), indent=1))


if __name__ == "__main__":
    main()
