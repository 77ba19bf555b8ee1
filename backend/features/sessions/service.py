"""Start a session: plan the whole site with it and store everything at once."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.adapters.events.outbox import record
from backend.database import new_id
from backend.features.credentials.audit import note
from backend.features.credentials.holder import Holder
from backend.features.credentials.service import register_driver
from backend.features.forecasts import queries as forecasts
from backend.features.forecasts.service import add_plug_in
from backend.features.sessions import lending, planner, queries, reservations, views
from backend.features.sessions.intake import (
    Request,
    charging_kw,
    formula_view,
    look_up,
    newcomer_of,
    overridden_by,
    stay_terms,
    v2g_obstacle,
)
from backend.features.sessions.models import ChargingSession, IncentiveOffer, SessionPlan
from backend.features.sessions.planner import Answer, OpenSession, PlanOutdated
from backend.features.sessions.problems import (
    SessionNotFound,
    SiteBusy,
    VehicleInUse,
)
from backend.features.sessions.schemas import (
    SessionStart,
    SessionStarted,
)
from backend.features.sessions.stay_terms import NO_VEHICLE
from backend.features.sessions.telling import tell_replanned
from backend.features.sessions.turns import Desk
from backend.features.sites.service import (
    set_occupied,
)
from backend.features.vehicles import telemetry
from backend.features.vehicles.models import Trip
from backend.features.vehicles.service import register
from backend.planning.explanation import (
    HourlyForecast,
    Offer,
    offers,
    short_by_site_kwh,
)

log = structlog.get_logger("tasco.sessions")


@dataclass(frozen=True, slots=True)
class Drawn:
    """A planned request, ready to be stored.

    Attributes:
        place: Row of the new session in the plan.
    """

    request: Request
    answer: Answer
    place: int
    forecast: forecasts.IssuedForecast | None

    @property
    def newcomer(self) -> OpenSession:
        """The new session as the planner saw it."""
        return self.answer.situation.sessions[self.place]


def start_session(
    read: Session, db: Session, start: SessionStart, *, holder: Holder, desk: Desk, now: datetime
) -> SessionStarted:
    """Start a session: check, work out the trip's energy, plan the whole site, store all at once.

    The caller holds the site's turn. On SQLite another process may still come first; then the site
    is read and planned again.

    Raises:
        SiteBusy: If the site keeps changing for longer than a caller should wait.
    """
    until = time.monotonic() + desk.plan_timeout_s
    while True:
        request = look_up(read, start, holder=holder, desk=desk, now=now)
        newcomer = newcomer_of(read, request, now=now)
        situation = queries.situation_of(read, request.site, now=now).joined_by(newcomer)
        forecast = forecasts.current(read, request.site.id, now=now)
        read.commit()  # let go of the snapshot, keep what was read: planning takes a while
        answer = planner.plan_site(
            situation, compute=desk.compute, timeout_s=desk.plan_timeout_s, now=now
        )
        try:
            drawn = Drawn(request, answer, situation.place_of(newcomer.session_id), forecast)
            return _store(db, drawn, holder=holder, now=now)
        except PlanOutdated:
            db.rollback()
            read.expire_all()
            if time.monotonic() > until:
                raise SiteBusy from None


def _store(db: Session, drawn: Drawn, *, holder: Holder, now: datetime) -> SessionStarted:
    """Store session, plan, offers and event in the running transaction."""
    request = drawn.request
    version = planner.store(db, drawn.answer, cause="session.started", now=now)
    try:
        session = _store_session(db, drawn, holder=holder, now=now)
    except IntegrityError:
        # The vehicle was taken at another site meanwhile; a charger cannot be: its site is ours.
        raise VehicleInUse from None
    planner.store_sessions(db, drawn.answer, version)
    made = _offer_rows(drawn, session.id, now=now)
    db.add_all(made)
    set_occupied(db, request.charger.did, occupied=True, now=now)
    reservations.use(db, session, now=now)
    add_plug_in(db, request.site.id, at=now)
    _tell(db, drawn, session, version, holder=holder, now=now)
    cause, new = "session.started", session.id
    tell_replanned(db, drawn.answer, version, cause=cause, now=now, but=new)
    db.flush()
    return _started(drawn, session, made, version)


def _store_session(db: Session, drawn: Drawn, *, holder: Holder, now: datetime) -> ChargingSession:
    request = drawn.request
    _register_newcomers(db, request, now=now)
    trip = _trip_row(request, now=now)
    db.add(trip)
    db.flush()
    session = _session_row(drawn, trip.id, holder=holder, now=now)
    db.add(session)
    db.flush()
    telemetry.note(
        db,
        session.vehicle_did,
        at=now,
        is_plugged_in=True,
        soc_percent=None,  # what a driver states is no measurement
        power_kw=None,
        now=now,
    )
    return session


def _register_newcomers(db: Session, request: Request, *, now: datetime) -> None:
    start, vehicle = request.start, request.vehicle
    if request.is_new_driver:
        register_driver(db, start.driver.did, now=now)
    if request.is_new_vehicle:
        register(
            db,
            start.vehicle.did,
            battery_capacity_kwh=vehicle.battery_capacity_kwh,
            consumption_wh_per_km=vehicle.consumption_wh_per_km,
            max_charge_power_kw=vehicle.max_charge_power_kw,
            equipment=None if vehicle.equipment is NO_VEHICLE else vehicle.equipment.model_dump(),
            now=now,
        )


def _trip_row(request: Request, *, now: datetime) -> Trip:
    trip = request.start.trip
    return Trip(
        id=new_id("trp"),
        vehicle_did=request.start.vehicle.did,
        distance_km=trip.total_km,
        energy_kwh=trip.energy_kwh,
        target_soc_percent=trip.target_soc_percent,
        departure_at=request.departure.at,
        departure_source=request.departure.source,
        created_at=now,
    )


def _session_row(drawn: Drawn, trip_id: str, *, holder: Holder, now: datetime) -> ChargingSession:
    request, newcomer = drawn.request, drawn.newcomer
    start, vehicle = request.start, request.vehicle
    return ChargingSession(
        id=newcomer.session_id,
        site_id=request.site.id,
        charger_did=request.charger.did,
        driver_did=start.driver.did,
        vehicle_did=start.vehicle.did,
        trip_id=trip_id,
        status="active",
        started_at=now,
        departure_at=request.departure.at,
        billing_party=start.billing_party,
        cost_center=start.cost_center,
        battery_capacity_kwh=vehicle.battery_capacity_kwh,
        soc_percent_at_start=vehicle.soc_percent if vehicle.is_soc_known else None,
        effective_power_kw=newcomer.effective_power_kw,
        rated_power_kw=min(
            charging_kw(request.charger, vehicle.equipment, request.proved.charger_max_power_kw),
            vehicle.battery_max_power_kw,
        ),
        energy_target_kwh=newcomer.remaining_kwh,
        energy_delivered_kwh=0.0,
        energy_metered_at=now,
        priority=newcomer.priority,
        has_priority_slot=newcomer.has_priority_slot,
        priority_tier=newcomer.priority_tier,
        stay_quantiles_h=newcomer.stay_quantiles_h,
        tariff_id=request.tariff.id,
        equipment=stay_terms(request).stored(),
        plan=_settled(drawn),
        assurance=holder.assurance,
        proved=[one.model_dump(mode="json") for one in request.proved.used],
    )


def _settled(drawn: Drawn) -> dict[str, Any]:
    """The part of the plan that stays when the site is planned again."""
    request, forecast = drawn.request, drawn.forecast
    formula, tariff = request.energy, request.tariff
    battery_kwh = float(drawn.answer.plan.energy_kwh[drawn.place])
    power_kw = formula.effective_charge_power_kw
    planned_kwh = stay_terms(request).metered_kwh(max(0.0, battery_kwh), power_kw=power_kw)
    fee = float(tariff.eur_per_session) if planned_kwh > 0 else 0.0
    return {
        "plain": {
            "needed_trip_energy_kwh": formula.needed_trip_energy_kwh,
            "current_energy_kwh": formula.current_energy_kwh,
            "extra_energy_needed_kwh": formula.extra_energy_needed_kwh,
            "target_soc_percent": formula.target_soc_percent,
            "effective_charge_power_kw": formula.effective_charge_power_kw,
            "cost_if_charged_now_eur": planned_kwh * float(tariff.eur_per_kwh) + fee,
            "plan_type": request.kind,
            "trip_model": request.trip_model,
            "legs": [one.model_dump() for one in request.legs],
            "soc_source": request.vehicle.soc_source,
            "departure_source": request.departure.source,
            "forecast_source": forecast.source if forecast else None,
            "formula": formula_view(request.formula),
            "v2g": _v2g(request),
        },
        "exceeds_battery_kwh": formula.exceeds_battery_kwh,
        "consumption_wh_per_km": request.vehicle.consumption_wh_per_km,
        "comfort_soc_percent": request.start.driver.preferences.comfort_soc_percent,
        "eur_per_kwh": float(tariff.eur_per_kwh),
        "eur_per_session": float(tariff.eur_per_session),
    }


def _v2g(request: Request) -> dict[str, Any] | None:
    """What the driver is told of lending energy; nothing if they did not ask."""
    if request.start.driver.preferences.v2g is None:
        return None
    why_not, capacity_kwh = v2g_obstacle(request), request.vehicle.battery_capacity_kwh
    return lending.told(stay_terms(request).v2g, why_not, capacity_kwh).model_dump()


def _offer_rows(drawn: Drawn, session_id: str, *, now: datetime) -> list[IncentiveOffer]:
    request, answer, forecast = drawn.request, drawn.answer, drawn.forecast
    local = ZoneInfo(request.site.timezone)
    hourly = None
    if forecast is not None:
        starts = tuple(start.astimezone(local) for start in forecast.hour_starts)
        hourly = HourlyForecast(starts, np.array(forecast.mean_kwh))
    made = offers(
        request.kind,
        now=now,
        departure=request.departure.at,
        charging_time_h=request.energy.charging_time_h,
        short_by_site_kwh=short_by_site_kwh(answer.problem, answer.plan, drawn.place),
        forecast=hourly,
        solar_window=next_solar_window(now, request.site.timezone),
    )
    return [_offer_row(offer, request, session_id, now) for offer in made]


def next_solar_window(now: datetime, zone: str) -> tuple[datetime, datetime]:
    """The solar hours of today, or of tomorrow when they are over, in local time."""
    local = now.astimezone(ZoneInfo(zone))
    first, end = planner.SOLAR_HOURS
    day = local if local.hour < end else local + timedelta(days=1)
    start = day.replace(hour=first, minute=0, second=0, microsecond=0)
    return start, start.replace(hour=end)


def _offer_row(offer: Offer, request: Request, session_id: str, now: datetime) -> IncentiveOffer:
    return IncentiveOffer(
        id=new_id("off"),
        session_id=session_id,
        site_id=request.site.id,
        type=offer.type,
        value=offer.value,
        reason=offer.reason,
        slot_start_at=_in_utc(offer.slot_start),
        slot_end_at=_in_utc(offer.slot_end),
        state="offered",
        offered_at=now,
    )


def _in_utc(moment: datetime | None) -> datetime | None:
    return moment.astimezone(UTC) if moment else None


def _tell(
    db: Session,
    drawn: Drawn,
    session: ChargingSession,
    version: int,
    *,
    holder: Holder,
    now: datetime,
) -> None:
    """Audit note and event; no person is named in the event."""
    answer = drawn.answer
    facts = {
        "session_id": session.id,
        "charger_did": session.charger_did,
        "plan_version": version,
        "method": answer.plan.method,
        "departure_time": session.departure_at.isoformat(),
        "energy_target_kwh": session.energy_target_kwh,
    }
    note(db, now=now, actor=holder.did, action="session.started", object_id=session.id, facts=facts)
    ids = {"site_id": session.site_id, "session_id": session.id}
    record(db, "session.started", facts, now=now, **ids)
    log.info(
        "session.planned",
        **ids,
        energy_kwh=round(session.energy_target_kwh, 3),
        method=answer.plan.method,
        solver=answer.plan.solver,
        solve_ms=round(answer.solve_ms, 1),
        vehicles=len(answer.reasons),
    )


def _started(
    drawn: Drawn, session: ChargingSession, made: list[IncentiveOffer], version: int
) -> SessionStarted:
    request, answer = drawn.request, drawn.answer
    row = SessionPlan(**planner.session_row(answer, version, drawn.place))
    plan = views.plan_view(
        session,
        row,
        answer.problem.price_eur_per_kwh.tolist(),
        made,
        eur_per_kwh=session.plan["eur_per_kwh"],
        eur_per_session=session.plan["eur_per_session"],
    )
    return SessionStarted(
        session_id=session.id,
        status="active",
        plan=plan,
        message=_message(plan.is_feasible, plan.planned_energy_kwh, plan.planned_finish_time),
        assurance=session.assurance,
        warnings=[request.departure.warning] if request.departure.warning else [],
        overridden=overridden_by(request),
        proved=request.proved.used,
    )


def _message(is_feasible: bool, energy_kwh: float, finish: datetime) -> str:  # noqa: FBT001
    if not is_feasible:
        return "Charging has started, but the trip needs more than can be charged by departure."
    if energy_kwh <= 0:
        return "The battery holds enough for the trip; nothing needs to be charged."
    return f"{energy_kwh:.1f} kWh will be charged by {finish:%Y-%m-%d %H:%M} UTC."


def require_session(db: Session, session_id: str, *, holder: Holder) -> ChargingSession:
    """The session, if the holder may see it.

    Raises:
        SessionNotFound: Otherwise; an unknown and a forbidden session look the same.
    """
    session = db.get(ChargingSession, session_id)
    if session is None or not holder.sees(**session.parties):
        raise SessionNotFound
    return session
