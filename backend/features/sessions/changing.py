"""Changes of a running session: another trip, another priority, a boost."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from backend.adapters.events.outbox import record
from backend.database import Database
from backend.features.credentials.audit import note
from backend.features.credentials.holder import Holder
from backend.features.sessions import lending, planner, queries, views
from backend.features.sessions.completion import open_for_change
from backend.features.sessions.intake import (
    Departure,
    Specification,
    Terms,
    departure_of,
    formula_view,
    has_reserve,
    legs_of,
    model_of,
    physical_terms,
    plain_terms,
)
from backend.features.sessions.models import OPEN, ChargingSession
from backend.features.sessions.planner import Answer, OpenSession, PlanOutdated, Situation
from backend.features.sessions.problems import (
    DepartureInPast,
    SessionEnded,
    SessionNotFound,
    SiteBusy,
)
from backend.features.sessions.schemas import Plan, SessionChange, SessionChanged, TripIn
from backend.features.sessions.stay_terms import StayTerms
from backend.features.sessions.telling import tell_replanned
from backend.features.sessions.turns import Desk
from backend.features.sites.models import Site
from backend.features.vehicles.models import Trip
from backend.features.vehicles.trips import LegView
from backend.paging import require_match
from backend.planning.explanation import Reason
from backend.planning.trip import POWER_DERATE, TripFormula, plain_formula
from backend.problems import Problem

NOTICEABLE_KWH = 0.01
HOUR = timedelta(hours=1)
BOOSTED = Reason(
    "early_when_free", "You asked to charge now: it goes before the others until it is ready."
)
KIND_OF = {"cost": "ECONOMY", "speed": "FAST", "carbon": "GREEN"}


class BoostRefused(Problem):
    """A boost would take energy from another driver's guaranteed trip."""

    status = HTTPStatus.CONFLICT
    fix = "Wait until the named limit is free, or move to another site."


@dataclass(frozen=True, slots=True)
class NewTrip:
    """Another trip of a session that has charged for a while.

    Attributes:
        charged_kwh: Energy charged by now, metered or as planned.
        formula: What the plain formula says from now on.
        energy: What is planned: the same, or with what road and weather ask for.
    """

    trip: TripIn
    departure: Departure
    charged_kwh: float
    formula: TripFormula
    energy: TripFormula
    legs: list[LegView]

    @property
    def remaining_kwh(self) -> float:
        """Energy still to charge, as far as the battery has room."""
        return self.energy.extra_energy_needed_kwh - self.energy.exceeds_battery_kwh


@dataclass(frozen=True, slots=True)
class Wanted:
    """A session as it should become.

    Attributes:
        settled: What of the stored plan changes with it.
        terms: What is settled for the stay, if the trip is another.
    """

    open_session: OpenSession
    new_trip: NewTrip | None
    settled: dict[str, Any]
    cause: str
    terms: StayTerms | None = None


def site_of_session(database: Database, session_id: str) -> str:
    """The site whose turn a change of this session has to wait for.

    Raises:
        SessionNotFound: If there is no such session.
    """
    with database.reading() as db:
        session = db.get(ChargingSession, session_id)
        if session is None:
            raise SessionNotFound
        return session.site_id


def change_session(
    read: Session,
    db: Session,
    session_id: str,
    change: SessionChange,
    *,
    if_match: str | None = None,
    holder: Holder,
    desk: Desk,
    now: datetime,
) -> SessionChanged:
    """Give a session another trip or priority and plan its site with it.

    Raises:
        PreconditionFailed: If the session is no longer the one the caller read.
        DepartureInPast: If the departure has passed.
    """

    def _wanted(session: ChargingSession, current: OpenSession) -> Wanted:
        if if_match is not None:
            require_match(if_match, views.session_etag(views.session_view(read, session)))
        return _changed(read, session, current, change, desk=desk, now=now)

    return _replanned(read, db, session_id, _wanted, holder=holder, desk=desk, now=now)


def boost_session(
    read: Session, db: Session, session_id: str, *, holder: Holder, desk: Desk, now: datetime
) -> SessionChanged:
    """Give a session all the site can give from now on, but never at the cost of another's trip.

    Raises:
        BoostRefused: With the limit that stands in the way.
        DepartureInPast: If the vehicle was to have left.
    """

    def _wanted(session: ChargingSession, current: OpenSession) -> Wanted:
        if session.departure_at <= now:
            raise DepartureInPast("It was to have left by now; send its new trip first.")
        boosted = replace(
            current.planned_anew(),
            priority="speed",
            not_before_at=None,
            stay_quantiles_h=None,
            is_boosted=True,
            abilities=replace(current.abilities, discharge_kw=0.0),
        )
        return Wanted(boosted, None, {"plan_type": KIND_OF["speed"]}, "session.boosted")

    return _replanned(
        read, db, session_id, _wanted, holder=holder, desk=desk, now=now, guard=_refuse_harm
    )


Guard = Callable[[Answer, Answer], None]


def _replanned(
    read: Session,
    db: Session,
    session_id: str,
    wanted_of: Callable[[ChargingSession, OpenSession], Wanted],
    *,
    holder: Holder,
    desk: Desk,
    now: datetime,
    guard: Guard | None = None,
) -> SessionChanged:
    """Read, plan with the change, store; again if another process came first."""
    until = time.monotonic() + desk.plan_timeout_s
    while True:
        session = _require_open(read, session_id, holder=holder)
        site = read.get_one(Site, session.site_id)
        situation = queries.situation_of(read, site, now=now)
        wanted = wanted_of(session, situation.sessions[situation.place_of(session_id)])
        read.commit()  # let go of the snapshot, keep what was read: planning takes a while
        answer = _plan(situation.changed(wanted.open_session), desk=desk, now=now)
        if guard is not None:
            guard(_plan(situation, desk=desk, now=now), answer)
        try:
            return _store(db, session_id, wanted, answer, holder=holder, now=now)
        except PlanOutdated:
            db.rollback()
            read.expire_all()
            if time.monotonic() > until:
                raise SiteBusy from None


def _plan(situation: Situation, *, desk: Desk, now: datetime) -> Answer:
    answer = planner.plan_site(
        situation, compute=desk.compute, timeout_s=desk.plan_timeout_s, now=now
    )
    told = [
        (BOOSTED,) if one.is_boosted and short_kwh <= NOTICEABLE_KWH else why
        for one, short_kwh, why in zip(
            answer.situation.sessions, answer.plan.shortfall_kwh, answer.reasons, strict=True
        )
    ]
    return replace(answer, reasons=tuple(told))


def _require_open(read: Session, session_id: str, *, holder: Holder) -> ChargingSession:
    session = read.get(ChargingSession, session_id)
    if session is None or not holder.steers(**session.parties):
        raise SessionNotFound
    if session.status not in OPEN:
        raise SessionEnded(f"{session_id} is {session.status}.")
    return session


def _changed(
    read: Session,
    session: ChargingSession,
    current: OpenSession,
    change: SessionChange,
    *,
    desk: Desk,
    now: datetime,
) -> Wanted:
    wished = replace(current.planned_anew(), priority=change.priority or current.priority)
    kind = {} if change.priority is None else {"plan_type": KIND_OF[change.priority]}
    if change.trip is None:
        return Wanted(wished, None, kind, "session.changed")
    new = _new_trip(read, session, current, change.trip, desk=desk, now=now)
    terms, abilities = lending.with_trip(
        StayTerms.read(session.equipment),
        current.abilities,
        new.energy,
        charged_kwh=new.charged_kwh,
        has_reserve=has_reserve(change.trip),
    )
    changed = replace(
        wished,
        abilities=abilities,
        departure_at=new.departure.at,
        remaining_kwh=new.remaining_kwh,
        not_before_at=_delay(current, new),
    )
    return Wanted(changed, new, _settled(new) | kind, "session.changed", terms)


def _new_trip(
    read: Session,
    session: ChargingSession,
    current: OpenSession,
    trip: TripIn,
    *,
    desk: Desk,
    now: datetime,
) -> NewTrip:
    """The trip by formula and by road, from what is in the battery by now."""
    departure = _departure(read, session, trip, desk=desk, now=now)
    charged_kwh = queries.charged_kwh(read, session, now=now)
    power_kw = current.effective_power_kw / POWER_DERATE
    vehicle = Specification(
        battery_capacity_kwh=session.battery_capacity_kwh,
        consumption_wh_per_km=session.plan["consumption_wh_per_km"],
        max_charge_power_kw=power_kw,
        soc_percent=_soc_percent(session, charged_kwh),
        soc_source=session.plan["plain"]["soc_source"],
    )
    terms = plain_terms(trip, session.plan.get("comfort_soc_percent"), vehicle)
    physical = physical_terms(trip, terms, vehicle)
    rate, hours = session.plan["eur_per_kwh"], (departure.at - now) / HOUR
    formula = _formula(terms, vehicle, eur_per_kwh=rate, hours=hours)
    energy = _formula(physical, vehicle, eur_per_kwh=rate, hours=hours) if physical else formula
    return NewTrip(trip, departure, charged_kwh, formula, energy, legs_of(trip, vehicle))


def _departure(
    read: Session, session: ChargingSession, trip: TripIn, *, desk: Desk, now: datetime
) -> Departure:
    """When the vehicle leaves now; a trip without a departure keeps the one there was."""
    if trip.departure_time is not None:
        site = read.get_one(Site, session.site_id)
        return departure_of(read, trip, site, now=now, is_demo=desk.is_demo)
    if session.departure_at <= now:
        raise DepartureInPast
    return Departure(session.departure_at, session.plan["plain"]["departure_source"])


def _soc_percent(session: ChargingSession, charged_kwh: float) -> float:
    share = charged_kwh / session.battery_capacity_kwh
    return min(100.0, (session.soc_percent_at_start or 0.0) + 100 * share)


def _formula(
    terms: Terms, vehicle: Specification, *, eur_per_kwh: float, hours: float
) -> TripFormula:
    return plain_formula(
        capacity_kwh=vehicle.battery_capacity_kwh,
        consumption_wh_per_km=vehicle.consumption_wh_per_km,
        soc_percent=vehicle.soc_percent,
        charger_max_power_kw=vehicle.max_charge_power_kw,
        vehicle_max_power_kw=vehicle.max_charge_power_kw,
        tariff_eur_per_kwh=eur_per_kwh,
        hours_to_departure=hours,
        distance_km=terms.distance_km,
        energy_kwh=terms.energy_kwh,
        trip_target_soc_percent=terms.target_soc_percent,
        comfort_soc_percent=terms.comfort_soc_percent,
        beyond_battery_kwh=terms.beyond_battery_kwh,
    )


def _delay(current: OpenSession, new: NewTrip) -> datetime | None:
    """The accepted delay, unless the new trip leaves no time for it."""
    if current.not_before_at is None:
        return None
    possible_kwh = (new.departure.at - current.not_before_at) / HOUR * current.effective_power_kw
    return current.not_before_at if possible_kwh >= new.remaining_kwh else None


def _settled(new: NewTrip) -> dict[str, Any]:
    return {
        "needed_trip_energy_kwh": new.energy.needed_trip_energy_kwh,
        "current_energy_kwh": new.energy.current_energy_kwh,
        "extra_energy_needed_kwh": new.energy.extra_energy_needed_kwh,
        "target_soc_percent": new.energy.target_soc_percent,
        "effective_charge_power_kw": new.energy.effective_charge_power_kw,
        "trip_model": model_of(new.trip, is_physical=new.energy is not new.formula),
        "legs": [one.model_dump() for one in new.legs],
        "departure_source": new.departure.source,
        "formula": formula_view(new.formula),
    }


def _store(
    db: Session,
    session_id: str,
    wanted: Wanted,
    answer: Answer,
    *,
    holder: Holder,
    now: datetime,
) -> SessionChanged:
    version = planner.store(db, answer, cause=wanted.cause, now=now)
    session = open_for_change(db, session_id, holder=holder, changes_plan=False)
    place = answer.situation.place_of(session_id)
    _apply(db, session, wanted, planned_kwh=float(answer.plan.energy_kwh[place]))
    planner.store_sessions(db, answer, version)
    _tell(db, session, wanted, answer, version, holder=holder, now=now)
    db.flush()
    plan = views.current_plan(db, session)
    if plan is None:
        raise SessionNotFound
    departure = wanted.new_trip.departure if wanted.new_trip else None
    return SessionChanged(
        session_id=session_id,
        plan=plan,
        message=_message(plan),
        warnings=[departure.warning] if departure and departure.warning else [],
    )


def _message(plan: Plan) -> str:
    if not plan.is_feasible:
        return f"Planned again, but {plan.short_by_kwh:.1f} kWh will be missing at departure."
    return f"Planned again: ready at {plan.planned_finish_time:%Y-%m-%d %H:%M} UTC."


def _tell(
    db: Session,
    session: ChargingSession,
    wanted: Wanted,
    answer: Answer,
    version: int,
    *,
    holder: Holder,
    now: datetime,
) -> None:
    """Audit note and event of the change, and of what it means for everybody else."""
    facts = {
        "session_id": session.id,
        "plan_version": version,
        "departure_time": session.departure_at.isoformat(),
        "energy_target_kwh": session.energy_target_kwh,
        "priority": session.priority,
    }
    note(db, now=now, actor=holder.did, action=wanted.cause, object_id=session.id, facts=facts)
    ids = {"site_id": session.site_id, "session_id": session.id}
    record(db, wanted.cause, facts, now=now, **ids)
    tell_replanned(db, answer, version, cause=wanted.cause, now=now, but=session.id)


def _apply(db: Session, session: ChargingSession, wanted: Wanted, *, planned_kwh: float) -> None:
    changed, new = wanted.open_session, wanted.new_trip
    session.priority = changed.priority
    session.not_before_at = changed.not_before_at
    session.stay_quantiles_h = changed.stay_quantiles_h
    settled = session.plan
    plain = {**settled["plain"], **wanted.settled}
    if new is not None:
        terms = wanted.terms or StayTerms.read(session.equipment)
        session.equipment = terms.stored()
        battery_kwh, power_kw = new.charged_kwh + planned_kwh, session.effective_power_kw
        whole_kwh = terms.metered_kwh(max(0.0, battery_kwh), power_kw=power_kw)
        fee = settled["eur_per_session"] if whole_kwh > 0 else 0.0
        plain["cost_if_charged_now_eur"] = whole_kwh * settled["eur_per_kwh"] + fee
        settled = {**settled, "exceeds_battery_kwh": new.energy.exceeds_battery_kwh}
        session.departure_at = changed.departure_at
        session.energy_target_kwh = new.charged_kwh + changed.remaining_kwh
        session.status = "active"  # with a departure ahead nobody overstays
        _change_trip(db, session, new)
    session.plan = {**settled, "plain": plain}


def _change_trip(db: Session, session: ChargingSession, new: NewTrip) -> None:
    if session.trip_id is None:
        return
    row = db.get_one(Trip, session.trip_id)
    row.distance_km = new.trip.total_km
    row.energy_kwh = new.trip.energy_kwh
    row.target_soc_percent = new.trip.target_soc_percent
    row.departure_at, row.departure_source = new.departure.at, new.departure.source


def _refuse_harm(before: Answer, after: Answer) -> None:
    """Refuse a plan in which somebody else falls shorter than before.

    Raises:
        BoostRefused: With the limit that binds.
    """
    for place, session in enumerate(before.situation.sessions):
        was = float(before.plan.shortfall_kwh[place])
        will = float(after.plan.shortfall_kwh[after.situation.place_of(session.session_id)])
        if will > was + NOTICEABLE_KWH and not _is_boosted(after, session.session_id):
            raise BoostRefused(
                f"{_binding(after)} binds: {will - was:.1f} kWh of another driver's trip "
                "would be missing."
            )


def _is_boosted(answer: Answer, session_id: str) -> bool:
    return answer.situation.sessions[answer.situation.place_of(session_id)].is_boosted


def _binding(answer: Answer) -> str:
    """The tightest limit while the boosted vehicle charges."""
    boosted = [one.is_boosted for one in answer.situation.sessions].index(True)
    steps = np.flatnonzero(answer.plan.setpoint_kw[boosted] > 0)
    limits = answer.problem.site_limit_kw
    tightest = int(steps[np.argmin(limits[steps])]) if len(steps) else int(np.argmin(limits))
    return planner.limit_name(answer, tightest, boosted)
