"""What a site is going to do, step by step: plan, limit, base load, sun and no planning at all."""

from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.features.sessions.models import OPEN, ChargingSession, SessionPlan, SitePlan
from backend.features.sites.models import Site
from backend.planning.problem import STEP, step_edges
from backend.units import UtcDatetime


class ScheduleStep(BaseModel):
    """One step of the plan."""

    start: UtcDatetime
    end: UtcDatetime
    planned_kw: float = Field(description="All vehicles together, less what they give")
    discharging_kw: float = Field(description="What vehicles give the site")
    battery_kw: float = Field(description="Into the stationary battery; negative out of it")
    battery_kwh: float | None = Field(description="What it holds at the end; null without one")
    limit_kw: float = Field(description="What the connection may draw")
    base_load_kw: float
    pv_kw: float
    uncontrolled_kw: float = Field(
        description="Charging at once, first come first served, within the limits"
    )
    purchase_price_eur_per_kwh: float
    binding_limits: list[str] = Field(
        description="Limits that are reached: `connection`, `line 1` to `line 3`, or a name"
    )


class SiteSchedule(BaseModel):
    """The newest plan of a site."""

    site_id: str
    version: int | None
    planned_at: UtcDatetime | None
    cause: str | None
    method: str | None
    vehicles: int
    planned_peak_kw: float
    uncontrolled_peak_kw: float
    steps: list[ScheduleStep]


def schedule_of(db: Session, site: Site, *, now: datetime) -> SiteSchedule:
    """The site's newest plan from now on, for who is still there; empty while nobody is.

    A stationary battery is planned with nobody there, too.
    """
    query = select(SitePlan).where(SitePlan.site_id == site.id).order_by(SitePlan.version.desc())
    plan = db.scalar(query.limit(1))
    if plan is None:
        return _nothing(site)
    parts = (
        select(SessionPlan)
        .join(ChargingSession, ChargingSession.id == SessionPlan.session_id)
        .where(
            SessionPlan.site_id == site.id,
            SessionPlan.version == plan.version,
            ChargingSession.status.in_(OPEN),
        )
    )
    rows = db.scalars(parts).all()
    if not rows and not plan.battery_kw:
        return _nothing(site)
    steps = [one for one in _steps(site, plan, rows) if one.end > now]
    return SiteSchedule(
        site_id=site.id,
        version=plan.version,
        planned_at=plan.planned_at,
        cause=plan.cause,
        method=plan.method,
        vehicles=len(rows),
        planned_peak_kw=max((one.planned_kw for one in steps), default=0.0),
        uncontrolled_peak_kw=max((one.uncontrolled_kw for one in steps), default=0.0),
        steps=steps,
    )


def _steps(site: Site, plan: SitePlan, rows: Sequence[SessionPlan]) -> list[ScheduleStep]:
    count = len(plan.price_eur_per_kwh)
    nothing = [0.0] * count  # what plans of earlier versions of this service do not hold
    edges = step_edges(plan.planned_at, plan.planned_at + STEP * count)
    return [
        ScheduleStep(
            start=edges[step],
            end=edges[step + 1],
            planned_kw=sum(_power(row, step, edges[step]) for row in rows),
            discharging_kw=sum(max(0.0, -_power(row, step, edges[step])) for row in rows),
            battery_kw=(plan.battery_kw or nothing)[step],
            battery_kwh=plan.battery_kwh[step + 1] if plan.battery_kwh else None,
            limit_kw=(plan.limit_kw or [site.grid_limit_kw] * count)[step],
            base_load_kw=(plan.base_load_kw or nothing)[step],
            pv_kw=(plan.pv_kw or nothing)[step],
            uncontrolled_kw=(plan.uncontrolled_kw or nothing)[step],
            purchase_price_eur_per_kwh=plan.price_eur_per_kwh[step],
            binding_limits=(plan.binding or [[]] * count)[step],
        )
        for step in range(count)
    ]


def _power(row: SessionPlan, step: int, start: datetime) -> float:
    is_there = step < len(row.setpoint_kw) and start < row.departure_at
    return float(row.setpoint_kw[step]) if is_there else 0.0


def _nothing(site: Site) -> SiteSchedule:
    return SiteSchedule(
        site_id=site.id,
        version=None,
        planned_at=None,
        cause=None,
        method=None,
        vehicles=0,
        planned_peak_kw=0.0,
        uncontrolled_peak_kw=0.0,
        steps=[],
    )
