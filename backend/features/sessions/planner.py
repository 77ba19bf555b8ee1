"""From the open sessions of a site to its next plan: question, answer, rows."""

import time
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import structlog
from sqlalchemy import insert, update
from sqlalchemy.orm import Session

from backend.compute import Compute, Overdue, WorkerLost
from backend.features.sessions.answer import Answer
from backend.features.sessions.binding import binding_limits, limit_name
from backend.features.sessions.models import SessionPlan, SitePlan
from backend.features.sessions.site_problem import (
    SOLAR_HOURS,
    edges_of,
    is_solar_hour,
    problem_of,
)
from backend.features.sessions.situation import OpenSession, Situation, Surroundings
from backend.features.sites.models import Site
from backend.planning.checker import violations
from backend.planning.explanation import reasons
from backend.planning.fallback import earliest_deadline, uncontrolled
from backend.planning.mpc import plan_charging
from backend.planning.problem import Array, ChargingPlan, ChargingProblem

__all__ = [
    "SOLAR_HOURS",
    "Answer",
    "OpenSession",
    "Situation",
    "Surroundings",
    "is_solar_hour",
    "limit_name",
]

log = structlog.get_logger("tasco.planner")
NOTICEABLE_KWH = 0.01
SOLVER_SHARE = 0.6  # of the time allowed, before the second solver is no longer tried


def plan_site(
    situation: Situation,
    *,
    compute: Compute,
    timeout_s: float,
    now: datetime,
    beyond: timedelta = timedelta(0),
) -> Answer:
    """Plan every open session of the site from now on.

    With `beyond`, prices and limits after the last departure are looked at as well.
    """
    edges = edges_of(situation, now, beyond)
    problem = problem_of(situation, edges)
    began = time.perf_counter()
    plan = _solved(problem, compute=compute, timeout_s=timeout_s)
    solve_ms = (time.perf_counter() - began) * 1000
    at_once_kw = uncontrolled(problem).setpoint_kw
    local_edges = [edge.astimezone(ZoneInfo(situation.timezone)) for edge in edges]
    return Answer(
        situation=situation,
        edges=edges,
        problem=problem,
        plan=plan,
        uncontrolled_kw=at_once_kw.sum(axis=0),
        uncontrolled_cost_eur=_cost_eur(problem, at_once_kw),
        reasons=tuple(
            reasons(problem, plan, vehicle, edges=local_edges)
            for vehicle in range(len(situation.sessions))
        ),
        solve_ms=solve_ms,
    )


def _solved(problem: ChargingProblem, *, compute: Compute, timeout_s: float) -> ChargingPlan:
    try:
        plan = compute.run(plan_charging, timeout_s, problem, deadline_s=timeout_s * SOLVER_SHARE)
    except (Overdue, WorkerLost) as failure:
        log.warning("plan.fallback", reason=str(failure), vehicles=len(problem.demand_kwh))
        return earliest_deadline(problem)
    found = violations(problem, plan)
    if found:
        log.error("plan.refused", violations=[one.code for one in found])
        return earliest_deadline(problem)
    return plan


def _cost_eur(problem: ChargingProblem, setpoint_kw: Array) -> Array:
    return np.asarray((setpoint_kw * problem.available_h) @ problem.price_eur_per_kwh)


class PlanOutdated(Exception):
    """Another change of the site came first; plan again."""


def store(db: Session, answer: Answer, *, cause: str, now: datetime) -> int:
    """Store the plan as the site's next version; gives the version.

    Raises:
        PlanOutdated: If the site has moved on since the situation was read.
    """
    situation = answer.situation
    version = situation.plan_version + 1
    moved_on = db.execute(
        update(Site)
        .where(Site.id == situation.site_id, Site.plan_version == situation.plan_version)
        .values(plan_version=version)
        .execution_options(synchronize_session=False)
    )
    if moved_on.rowcount != 1:  # type: ignore[attr-defined]  # an UPDATE's result has a row count
        raise PlanOutdated
    grid, steps = answer.problem.grid, len(answer.problem.step_h)
    site_plan = {
        "site_id": situation.site_id,
        "version": version,
        "planned_at": now,
        "cause": cause,
        "method": answer.plan.method,
        "solver": answer.plan.solver,
        "solve_ms": answer.solve_ms,
        "cost_eur": answer.plan.cost_eur,
        "price_eur_per_kwh": answer.problem.price_eur_per_kwh.tolist(),
        "limit_kw": answer.problem.site_limit_kw.tolist(),
        "base_load_kw": _curve(grid.base_load_kw if grid else None, steps),
        "pv_kw": _curve(grid.pv_kw if grid else None, steps),
        "uncontrolled_kw": answer.uncontrolled_kw.tolist(),
        "battery_kw": _battery_kw(answer),
        "battery_kwh": _battery_kwh(answer),
        "binding": binding_limits(answer.problem, answer.plan),
    }
    db.execute(insert(SitePlan), [site_plan])
    return version


def _curve(values: Array | None, steps: int) -> list[float]:
    return [0.0] * steps if values is None else values.tolist()


def _battery_kw(answer: Answer) -> list[float]:
    battery_kw = answer.plan.flows.battery_kw
    return [] if answer.problem.battery is None else battery_kw.tolist()


def _battery_kwh(answer: Answer) -> list[float]:
    """What the stationary battery holds at each edge; empty without one."""
    battery, held_kwh = answer.problem.battery, answer.situation.surroundings.battery_kwh
    if battery is None or held_kwh is None:
        return []
    one_way = float(np.sqrt(battery.efficiency))
    grid_kwh = answer.plan.flows.battery_kw * answer.problem.step_h
    stored_kwh = np.where(grid_kwh > 0, grid_kwh * one_way, grid_kwh / one_way)
    return [held_kwh, *(held_kwh + stored_kwh.cumsum()).tolist()]


def store_sessions(db: Session, answer: Answer, version: int) -> None:
    """Store each session's part of a plan version; the sessions have to be there."""
    rows = [session_row(answer, version, vehicle) for vehicle in range(len(answer.reasons))]
    if rows:
        db.execute(insert(SessionPlan), rows)


def session_row(answer: Answer, version: int, vehicle: int) -> dict[str, Any]:
    """The columns of one session in a plan version."""
    plan, problem = answer.plan, answer.problem
    power_kw = plan.setpoint_kw[vehicle]
    last = int(np.flatnonzero(power_kw)[-1]) + 1 if power_kw.any() else 0
    # Rounded towards zero: a limit that holds for the plan holds for what is stored.
    setpoints = (np.trunc(power_kw[:last] * 1e6) / 1e6).tolist()
    return {
        "site_id": answer.situation.site_id,
        "version": version,
        "session_id": answer.situation.sessions[vehicle].session_id,
        "planned_at": answer.edges[0],
        "setpoint_kw": setpoints,
        "departure_at": answer.situation.sessions[vehicle].departure_at,
        "energy_kwh": float(plan.energy_kwh[vehicle]),
        "shortfall_kwh": float(plan.shortfall_kwh[vehicle]),
        "purchase_cost_eur": float(
            (power_kw * problem.available_h[vehicle]) @ problem.price_eur_per_kwh
        ),
        "uncontrolled_cost_eur": float(answer.uncontrolled_cost_eur[vehicle]),
        "method": plan.method,
        "reasons": [
            *({"code": one.code, "text": one.text} for one in answer.reasons[vehicle]),
            *_lent(answer, vehicle),
        ],
    }


def _lent(answer: Answer, vehicle: int) -> list[dict[str, str]]:
    """What the vehicle lends the site, if anything."""
    drawn_kwh = answer.plan.setpoint_kw[vehicle] * answer.problem.available_h[vehicle]
    lent_kwh = -float(np.minimum(drawn_kwh, 0.0).sum())
    if lent_kwh <= NOTICEABLE_KWH:
        return []
    floor_kwh = answer.situation.sessions[vehicle].abilities.floor_kwh
    text = (
        f"It lends the site {lent_kwh:.1f} kWh, never holds less than {floor_kwh:.1f} kWh for it, "
        "and has it back before it leaves."
    )
    return [{"code": "lends_energy", "text": text}]
