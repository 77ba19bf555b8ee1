"""Reading sessions, their plans and what hangs on them."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session, defer

from backend.features.credentials.holder import Holder
from backend.features.forecasts.models import DemandInterval
from backend.features.forecasts.vehicles_queries import issued
from backend.features.sessions.accounts import Stretch, foreseen, in_quarters
from backend.features.sessions.habits import available_until
from backend.features.sessions.models import (
    OPEN,
    ChargeDetailRecord,
    ChargingSession,
    IncentiveOffer,
    MeterValue,
    SessionPlan,
    SitePlan,
)
from backend.features.sessions.situation import OpenSession, Situation, Surroundings
from backend.features.sessions.stay_terms import StayTerms, abilities_of
from backend.features.sites.equipment import StationaryBattery, equipment_of
from backend.features.sites.limits import limits_ahead
from backend.features.sites.models import Charger, PurchasePrice, Site
from backend.features.sites.queries import price_in_force
from backend.features.sites.wiring import ChargerEquipment
from backend.planning.problem import STEP, step_edges
from backend.planning.trip import POWER_DERATE

Listed = Select[ChargingSession, ChargeDetailRecord]
RECENT_STAYS = 200
LIKE_WEEKS = 4
QUARTERS_PER_HOUR = 4
NEGLIGIBLE_KWH = 0.001
USUAL_STAY = timedelta(hours=4)
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """Which sessions a list shows."""

    site_id: str | None = None
    driver_did: str | None = None
    vehicle_did: str | None = None
    status: str | None = None
    started_from: datetime | None = None
    started_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class ChargerNow:
    """A charger's power and equipment as they are registered now."""

    power_kw: float
    equipment: ChargerEquipment | None


def open_sessions(db: Session, site_id: str) -> list[ChargingSession]:
    """Sessions that hold a charger of the site, by start; without their settled plans."""
    query = (
        select(ChargingSession)
        .options(defer(ChargingSession.plan, raiseload=True))
        .where(ChargingSession.site_id == site_id, ChargingSession.status.in_(OPEN))
        .order_by(ChargingSession.started_at, ChargingSession.id)
    )
    return list(db.scalars(query))


def as_open(
    row: ChargingSession,
    plan: SessionPlan | None,
    *,
    charger: ChargerNow,
    stored_kwh: float,
    now: datetime,
) -> OpenSession:
    """What the planner needs of a session; a suspended one gets no power and gives none.

    A charger that became weaker since the start is taken as it is now.

    Args:
        row: The session.
        plan: Its newest plan.
        charger: Its charger.
        stored_kwh: What its battery gained by what meters told.
        now: The moment.
    """
    terms, wired = StayTerms.read(row.equipment), charger.equipment
    vehicle_phases = terms.vehicle.onboard_phases
    charger_kw = wired.highest_kw(charger.power_kw, vehicle_phases) if wired else charger.power_kw
    power_kw = min(row.effective_power_kw, charger_kw * POWER_DERATE)
    remaining_kwh = _remaining_kwh(row, terms, plan, stored_kwh=stored_kwh, now=now)
    abilities = abilities_of(
        terms if row.status == "active" else replace(terms, v2g=None),
        wired,
        charger_did=row.charger_did,
        capacity_kwh=row.battery_capacity_kwh,
        power_kw=power_kw,
        target_kwh=row.energy_target_kwh,
        remaining_kwh=remaining_kwh,
    )
    return OpenSession(
        session_id=row.id,
        started_at=row.started_at,
        departure_at=row.departure_at,
        not_before_at=row.not_before_at,
        effective_power_kw=power_kw,
        remaining_kwh=remaining_kwh if row.status == "active" else 0.0,
        priority=row.priority,
        has_priority_slot=row.has_priority_slot,
        priority_tier=row.priority_tier,
        stay_quantiles_h=row.stay_quantiles_h,
        previous_from=plan.planned_at if plan else None,
        previous_kw=tuple(plan.setpoint_kw) if plan else (),
        previous_short_kwh=plan.shortfall_kwh if plan else 0.0,
        abilities=abilities,
    )


def _remaining_kwh(
    row: ChargingSession,
    terms: StayTerms,
    plan: SessionPlan | None,
    *,
    stored_kwh: float,
    now: datetime,
) -> float:
    """Energy the battery still lacks: what no meter has told yet is taken to flow as planned."""
    left_kwh, since = row.energy_target_kwh - stored_kwh, row.energy_metered_at
    if plan is not None:
        if plan.planned_at > since:
            left_kwh, since = plan.energy_kwh + plan.shortfall_kwh, plan.planned_at
        left_kwh -= stored_by(foreseen(plan, since=since, until=now), terms)
    return left_kwh if left_kwh > NEGLIGIBLE_KWH else 0.0


def stored_by(stretches: Sequence[Stretch], terms: StayTerms) -> float:
    """What energy in and out of the vehicle comes to in its battery."""
    return sum(
        terms.battery_kwh(
            max(one.energy_kwh, 0.0), max(-one.energy_kwh, 0.0), power_kw=one.power_kw
        )
        for one in stretches
    )


def stored_kwh(db: Session, session: ChargingSession) -> float:
    """What the battery gained by what meters told, each reading at its mean power."""
    terms = StayTerms.read(session.equipment)
    total_kwh, since, before = 0.0, session.started_at, (0.0, 0.0)
    if terms.vehicle.losses.standby_kw == 0:  # the power does not matter
        known = (session.energy_delivered_kwh, session.energy_discharged_kwh)
        return terms.battery_kwh(*known, power_kw=session.effective_power_kw)
    for one in readings_of(db, session.id):
        charged_kwh, given_kwh = one.energy_kwh - before[0], one.discharged_kwh - before[1]
        power_kw = Stretch(since, one.at, charged_kwh).power_kw
        total_kwh += terms.battery_kwh(charged_kwh, given_kwh, power_kw=power_kw)
        since, before = one.at, (one.energy_kwh, one.discharged_kwh)
    return total_kwh


def _chargers_now(db: Session, site_id: str) -> dict[str, ChargerNow]:
    query = select(Charger.did, Charger.max_power_kw, Charger.equipment)
    rows = db.execute(query.where(Charger.site_id == site_id))
    return {
        did: ChargerNow(power_kw, ChargerEquipment.model_validate(wired) if wired else None)
        for did, power_kw, wired in rows
    }


def situation_of(db: Session, site: Site, *, now: datetime) -> Situation:
    """The site as the planner sees it now."""
    price = price_in_force(db, site_id=site.id, at=now)
    chargers = _chargers_now(db, site.id)
    plans = _newest_plans(db, site.id)
    rows = open_sessions(db, site.id)
    outlooks = issued(db, [row.vehicle_did for row in rows], now=now) if rows else {}
    sessions = [
        replace(
            as_open(
                row,
                plans.get(row.id),
                charger=chargers[row.charger_did],
                stored_kwh=stored_kwh(db, row),
                now=now,
            ),
            available_until=available_until(
                outlooks.get(row.vehicle_did), started_at=row.started_at
            ),
        )
        for row in rows
    ]
    return Situation.of(site, price, _surroundings(db, site, price, now=now), sessions)


def _surroundings(
    db: Session, site: Site, price: PurchasePrice | None, *, now: datetime
) -> Surroundings:
    base, equipment = site.base_load_kw_by_hour, equipment_of(site)
    has_demand_charge = price is not None and price.demand_charge_eur_per_kw > 0
    return Surroundings(
        limits=tuple(limits_ahead(db, site.id, now=now)),
        base_load_kw_by_hour=tuple(base) if base else None,
        pv_peak_kw=site.pv_peak_kw,
        export_eur_per_kwh=site.export_eur_per_kwh,
        fairness=site.fairness,  # type: ignore[arg-type]  # the column holds one of the rules
        peak_so_far_kw=_peak_of_month(db, site, now) if has_demand_charge else 0.0,
        expected_peak_kw=_usual_peak(db, site, now) if has_demand_charge else 0.0,
        equipment=equipment,
        battery_kwh=_battery_kwh(db, site, equipment.battery, now=now),
    )


def _battery_kwh(
    db: Session, site: Site, battery: StationaryBattery | None, *, now: datetime
) -> float | None:
    """What the battery holds: as last told, and from then on as planned; None if never told."""
    if battery is None or site.battery_soc_percent is None or site.battery_soc_at is None:
        return None
    newest = (
        select(SitePlan.planned_at, SitePlan.battery_kwh)
        .where(SitePlan.site_id == site.id)
        .order_by(SitePlan.version.desc())
        .limit(1)
    )
    plan = db.execute(newest).first()
    told_kwh = battery.capacity_kwh * site.battery_soc_percent / 100
    if plan is None or not plan.battery_kwh or plan.planned_at < site.battery_soc_at:
        return told_kwh
    edges = step_edges(plan.planned_at, plan.planned_at + STEP * (len(plan.battery_kwh) - 1))
    hours = [(edge - plan.planned_at) / HOUR for edge in edges[: len(plan.battery_kwh)]]
    held_kwh = np.interp((now - plan.planned_at) / HOUR, hours, plan.battery_kwh[: len(hours)])
    return min(float(held_kwh), battery.capacity_kwh)


def _peak_of_month(db: Session, site: Site, now: datetime) -> float:
    """Highest quarter-hour of the site since its month began, kW."""
    local = now.astimezone(ZoneInfo(site.timezone))
    since = local.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return _peak_kw(db, site, since, now)


def _usual_peak(db: Session, site: Site, now: datetime) -> float:
    """Mean of the peaks of the four previous same weekdays, kW."""
    midnight = now.astimezone(ZoneInfo(site.timezone)).replace(
        hour=0, minute=0, second=0, microsecond=0
    )
    days = [midnight - timedelta(weeks=week) for week in range(1, LIKE_WEEKS + 1)]
    peaks = [_peak_kw(db, site, day, day + timedelta(days=1)) for day in days]
    return sum(peaks) / LIKE_WEEKS


def _peak_kw(db: Session, site: Site, since: datetime, until: datetime) -> float:
    """Highest quarter-hour of charging, with what else the site draws at that hour.

    The history counts charging alone; what vehicles gave meanwhile was not drawn from the grid.
    """
    given = _given_kwh(db, site, since, until)
    span = (
        DemandInterval.site_id == site.id,
        DemandInterval.start_at >= since,
        DemandInterval.start_at < until,
    )
    base = site.base_load_kw_by_hour
    if not base and not given:
        highest = db.scalar(select(func.max(DemandInterval.energy_kwh)).where(*span))
        return (highest or 0.0) * QUARTERS_PER_HOUR
    zone, by_hour = ZoneInfo(site.timezone), base or [0.0] * 24
    query = select(DemandInterval.start_at, DemandInterval.energy_kwh).where(*span)
    drawn = {at: kwh - given.get(at, 0.0) for at, kwh in db.execute(query)}
    charging = [
        kwh * QUARTERS_PER_HOUR + by_hour[at.astimezone(zone).hour] for at, kwh in drawn.items()
    ]
    hours = min(24, math.ceil((until - since) / timedelta(hours=1)))
    alone = [
        by_hour[(since + timedelta(hours=hour)).astimezone(zone).hour] for hour in range(hours)
    ]
    return max([*charging, *alone], default=0.0)


def _given_kwh(db: Session, site: Site, since: datetime, until: datetime) -> dict[datetime, float]:
    """Metered energy out of vehicles by quarter-hour."""
    query = (
        select(MeterValue, ChargingSession.started_at)
        .join(ChargingSession, ChargingSession.id == MeterValue.session_id)
        .where(ChargingSession.site_id == site.id, ChargingSession.energy_discharged_kwh > 0)
        .where(ChargingSession.energy_metered_at > since, ChargingSession.started_at < until)
        .order_by(MeterValue.session_id, MeterValue.at)
    )
    given: dict[datetime, float] = defaultdict(float)
    last: tuple[str, datetime, float] = ("", since, 0.0)
    for one, started_at in db.execute(query):
        before = last if last[0] == one.session_id else (one.session_id, started_at, 0.0)
        stretch = Stretch(before[1], one.at, one.discharged_kwh - before[2])
        for start, kwh in in_quarters(stretch):
            given[start.replace(minute=start.minute // 15 * 15, second=0, microsecond=0)] += kwh
        last = (one.session_id, one.at, one.discharged_kwh)
    return given


def _newest_plans(db: Session, site_id: str) -> dict[str, SessionPlan]:
    """The site's newest plan by session; it holds every session that is open."""
    newest = select(func.max(SitePlan.version)).where(SitePlan.site_id == site_id)
    query = (
        select(SessionPlan)
        .options(defer(SessionPlan.reasons, raiseload=True))
        .where(SessionPlan.site_id == site_id, SessionPlan.version == newest.scalar_subquery())
    )
    return {row.session_id: row for row in db.scalars(query)}


def followed(db: Session, session_id: str, *, since: datetime, until: datetime) -> list[Stretch]:
    """What a session's plans had flow between two times, each while it was the newest."""
    query = select(SessionPlan).where(SessionPlan.session_id == session_id)
    rows = db.scalars(query.order_by(SessionPlan.version)).all()
    ends = [*(row.planned_at for row in rows[1:]), until]
    return [
        stretch
        for row, end in zip(rows, ends, strict=False)
        for stretch in foreseen(row, since=since, until=min(end, until))
    ]


def charged_kwh(db: Session, session: ChargingSession, *, now: datetime) -> float:
    """What the battery gained by now: as meters told, and since then as planned."""
    planned = followed(db, session.id, since=session.energy_metered_at, until=now)
    return stored_kwh(db, session) + stored_by(planned, StayTerms.read(session.equipment))


def session_holding(db: Session, column: InstrumentedAttribute[str], value: str) -> str | None:
    """The open session that holds a charger or a vehicle."""
    return db.scalar(
        select(ChargingSession.id).where(column == value, ChargingSession.status.in_(OPEN))
    )


def newest_plan(db: Session, session_id: str) -> tuple[SessionPlan, SitePlan] | None:
    """The session's part of its site's newest plan, and that plan."""
    row = db.execute(
        select(SessionPlan, SitePlan)
        .join(
            SitePlan,
            (SitePlan.site_id == SessionPlan.site_id) & (SitePlan.version == SessionPlan.version),
        )
        .where(SessionPlan.session_id == session_id)
        .order_by(SessionPlan.version.desc())
        .limit(1)
    ).first()
    return None if row is None else (row[0], row[1])


def offers_of(db: Session, session_id: str) -> Sequence[IncentiveOffer]:
    """Offers made for a session, oldest first."""
    query = select(IncentiveOffer).where(IncentiveOffer.session_id == session_id)
    return db.scalars(query.order_by(IncentiveOffer.id)).all()


def record_of(db: Session, session_id: str) -> ChargeDetailRecord | None:
    """The session's bill, once there is one."""
    return db.scalar(select(ChargeDetailRecord).where(ChargeDetailRecord.session_id == session_id))


def readings_of(db: Session, session_id: str) -> Sequence[MeterValue]:
    """The session's meter values, oldest first."""
    query = select(MeterValue).where(MeterValue.session_id == session_id)
    return db.scalars(query.order_by(MeterValue.at)).all()


def usual_stay(db: Session, site_id: str) -> timedelta:
    """Median of the last stays at the site, a few hours where there are none."""
    recent = (
        select(ChargingSession.started_at, ChargingSession.ended_at)
        .where(ChargingSession.site_id == site_id, ChargingSession.status == "completed")
        .order_by(ChargingSession.started_at.desc())
        .limit(RECENT_STAYS)
    )
    stays = sorted(ended - started for started, ended in db.execute(recent) if ended is not None)
    return max(stays[len(stays) // 2], timedelta(hours=1)) if stays else USUAL_STAY


def sessions_page(
    db: Session, which: SessionFilter, *, holder: Holder, after: str | None, limit: int
) -> Sequence[tuple[ChargingSession, ChargeDetailRecord | None]]:
    """Sessions the holder may see, newest first, one more than `limit`."""
    query = (
        select(ChargingSession, ChargeDetailRecord)
        .outerjoin(ChargeDetailRecord, ChargeDetailRecord.session_id == ChargingSession.id)
        .order_by(ChargingSession.id.desc())
        .limit(limit + 1)
    )
    query = _visible_to(_filtered(query, which), holder)
    if after is not None:
        query = query.where(ChargingSession.id < after)
    return [(row[0], row[1]) for row in db.execute(query)]


def _filtered(query: Listed, which: SessionFilter) -> Listed:
    exact = {
        ChargingSession.site_id: which.site_id,
        ChargingSession.driver_did: which.driver_did,
        ChargingSession.vehicle_did: which.vehicle_did,
        ChargingSession.status: which.status,
    }
    for column, value in exact.items():
        if value is not None:
            query = query.where(column == value)
    if which.started_from is not None:
        query = query.where(ChargingSession.started_at >= which.started_from)
    if which.started_to is not None:
        query = query.where(ChargingSession.started_at < which.started_to)
    return query


def _visible_to(query: Listed, holder: Holder) -> Listed:
    if holder.sees_everything:
        return query
    return query.where(
        or_(
            ChargingSession.driver_did == holder.did,
            ChargingSession.site_id.in_(holder.sites),
            ChargingSession.vehicle_did.in_(holder.vehicles),
            ChargingSession.charger_did.in_(holder.chargers),
        )
    )


def count_open(db: Session) -> int:
    """How many sessions are open."""
    query = select(func.count()).where(ChargingSession.status.in_(OPEN))
    return db.scalar(query) or 0
