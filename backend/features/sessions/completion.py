"""The end of a session: completed, cancelled or expired, always with a bill."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.adapters.events.outbox import record
from backend.database import new_id
from backend.features.credentials.audit import note
from backend.features.credentials.holder import Holder
from backend.features.forecasts.service import add_demand, add_energy
from backend.features.sessions import accounts, queries
from backend.features.sessions.accounts import HOUR, Bill, Stretch
from backend.features.sessions.models import (
    OPEN,
    ChargeDetailRecord,
    ChargingSession,
    IncentiveOffer,
    MeterValue,
    RewardEntry,
)
from backend.features.sessions.problems import EnergyImplausible, SessionEnded, SessionNotFound
from backend.features.sessions.schemas import Overridden, SessionComplete, SessionCompleted
from backend.features.sessions.stay_terms import StayTerms
from backend.features.sites.models import SalesTariff, Site
from backend.features.sites.queries import price_in_force
from backend.features.sites.service import outdate_plan, set_occupied
from backend.features.vehicles import telemetry
from backend.planning.explanation import earned_points

log = structlog.get_logger("tasco.sessions")
EXPIRES_AFTER = timedelta(hours=24)
SYSTEM = "did:denso:service:tasco"


def open_for_change(
    db: Session, session_id: str, *, holder: Holder, changes_plan: bool
) -> ChargingSession:
    """The session, locked, if it is open and the holder may change it.

    A change that bears on the site's plan locks the site first and moves its plan version on, so
    that whoever planned without it plans again. Everybody locks in this order: site, session,
    demand; on PostgreSQL another order could end in a deadlock.

    Raises:
        SessionNotFound: If there is none for this holder.
        SessionEnded: If it has ended.
    """
    session = db.get(ChargingSession, session_id)
    if session is None or not holder.steers(**session.parties):
        raise SessionNotFound
    if changes_plan:
        outdate_plan(db, session.site_id)
    _lock(db, session)
    if session.status not in OPEN:
        raise SessionEnded(f"{session_id} is {session.status}.")
    return session


def plan_version(db: Session, site_id: str) -> int:
    """The version that the running transaction has moved the site to; plans after it know."""
    return db.scalar(select(Site.plan_version).where(Site.id == site_id)) or 0


def _lock(db: Session, session: ChargingSession) -> None:
    """Hold the row and read it anew; plans that name it may still be stored meanwhile."""
    db.refresh(session, with_for_update={"key_share": True})


@dataclass(frozen=True, slots=True)
class Energy:
    """How much energy a session got and gave, and how we know; only a meter tells what it gave."""

    kwh: float
    source: str
    readings: tuple[MeterValue, ...]
    discharged_kwh: float = 0.0
    overridden: tuple[Overridden, ...] = ()


def complete(
    db: Session,
    session_id: str,
    said: SessionComplete,
    *,
    holder: Holder,
    is_demo: bool,
    now: datetime,
) -> SessionCompleted:
    """End a session and bill it; meter readings outrank what the caller says.

    Raises:
        EnergyImplausible: If the energy cannot have flowed; the demo, whose clock nobody can wait
            for, takes it and marks the bill.
    """
    session = open_for_change(db, session_id, holder=holder, changes_plan=True)
    energy = _energy(db, session, said.energy_delivered_kwh)
    reason = accounts.implausible(
        session, energy_kwh=energy.kwh, until=now
    ) or accounts.not_discharged(session, discharged_kwh=energy.discharged_kwh, until=now)
    if reason is not None and not is_demo:
        raise EnergyImplausible(reason)
    session.soc_percent_at_end = said.final_soc_percent
    return _end(
        db,
        session,
        energy,
        status="completed",
        actor=holder.did,
        implausible=reason,
        now=now,
    )


def cancel(db: Session, session_id: str, *, holder: Holder, now: datetime) -> SessionCompleted:
    """End a session early; what was metered is billed."""
    session = open_for_change(db, session_id, holder=holder, changes_plan=True)
    energy = _energy(db, session, None)
    return _end(db, session, energy, status="cancelled", actor=holder.did, now=now)


def _energy(db: Session, session: ChargingSession, said_kwh: float | None) -> Energy:
    readings = tuple(queries.readings_of(db, session.id))
    if not readings:
        return Energy(said_kwh or 0.0, "caller", ())
    metered_kwh = readings[-1].energy_kwh
    overridden: tuple[Overridden, ...] = ()
    if said_kwh is not None and said_kwh != metered_kwh:
        overridden = (Overridden(field="energy_delivered_kwh", stated=said_kwh, used=metered_kwh),)
    return Energy(metered_kwh, "meter", readings, readings[-1].discharged_kwh, overridden)


def _end(
    db: Session,
    session: ChargingSession,
    energy: Energy,
    *,
    status: str,
    actor: str,
    now: datetime,
    implausible: str | None = None,
) -> SessionCompleted:
    ended_at = max(now, session.started_at)
    site = db.get_one(Site, session.site_id)
    stretches = _stretches(db, session, energy, ended_at)
    _hand_over_demand(db, session, energy, stretches, ended_at)
    written = _write_record(
        db, session, energy, stretches, site, ended_at=ended_at, implausible=implausible
    )
    points = _reward(db, session, stretches, energy.kwh, site, now=now)
    session.status, session.ended_at = status, ended_at
    session.energy_delivered_kwh = energy.kwh
    session.energy_discharged_kwh = energy.discharged_kwh
    set_occupied(db, session.charger_did, occupied=False, now=now)
    telemetry.note(
        db,
        session.vehicle_did,
        at=ended_at,
        is_plugged_in=False,
        soc_percent=session.soc_percent_at_end,
        power_kw=None,
        now=now,
    )
    _tell(db, session, written, actor=actor, now=now)
    db.flush()
    return _completed(session, written, energy, points)


def _stretches(
    db: Session, session: ChargingSession, energy: Energy, ended_at: datetime
) -> list[Stretch]:
    """Where the energy went in time."""
    if energy.readings:
        return accounts.from_readings(session.started_at, energy.readings)
    if energy.kwh <= 0:
        return []
    planned = queries.followed(db, session.id, since=session.started_at, until=ended_at)
    return accounts.as_planned(session, planned, energy_kwh=energy.kwh, ended_at=ended_at)


def _hand_over_demand(
    db: Session,
    session: ChargingSession,
    energy: Energy,
    stretches: list[Stretch],
    ended_at: datetime,
) -> None:
    """Tell the demand history what it has not heard with the meter readings."""
    since, site_id = session.energy_metered_at, session.site_id
    add_demand(db, site_id, start=since, end=ended_at, energy_kwh=0.0, now=ended_at)
    if not energy.readings:
        for one in stretches:
            add_energy(
                db,
                site_id,
                start=one.start,
                end=one.end,
                energy_kwh=one.energy_kwh,
                now=ended_at,
            )


def _write_record(
    db: Session,
    session: ChargingSession,
    energy: Energy,
    stretches: list[Stretch],
    site: Site,
    *,
    ended_at: datetime,
    implausible: str | None,
) -> ChargeDetailRecord:
    tariff = db.get_one(SalesTariff, session.tariff_id)
    price = price_in_force(db, site_id=site.id, at=session.started_at)
    last = energy.readings[-1].at if energy.readings else None
    idle_h = accounts.idle_h(session, last_reading_at=last, until=ended_at)
    discount = _earned_discount(db, session, stretches)
    terms = StayTerms.read(session.equipment)
    amounts = accounts.bill(
        tariff,
        energy_kwh=energy.kwh,
        idle_h=idle_h,
        discount_percent=discount,
        discharged_kwh=0.0 if terms.v2g is None else energy.discharged_kwh,
    )
    is_metered = bool(energy.readings)
    stored_kwh = (
        queries.stored_kwh(db, session) if is_metered else queries.stored_by(stretches, terms)
    )
    kept_kwh = max(0.0, energy.kwh - energy.discharged_kwh)
    uncontrolled = accounts.at_once(session, energy_kwh=kept_kwh)
    written = ChargeDetailRecord(
        id=new_id("cdr"),
        session_id=session.id,
        site_id=site.id,
        tariff_id=tariff.id,
        started_at=session.started_at,
        ended_at=ended_at,
        energy_kwh=_exact(energy.kwh),
        discharged_kwh=_exact(energy.discharged_kwh),
        shortfall_kwh=_exact(max(0.0, session.energy_target_kwh - stored_kwh)),
        **_amounts(amounts),
        purchase_eur=accounts.purchase_eur(stretches, price, site.timezone),
        uncontrolled_purchase_eur=accounts.purchase_eur(uncontrolled, price, site.timezone),
        billing_party=session.billing_party,
        cost_center=session.cost_center,
        energy_source=energy.source,
        plausibility="implausible" if implausible else "plausible",
        plausibility_reason=implausible,
    )
    db.add(written)
    return written


def _amounts(amounts: Bill) -> dict[str, Decimal]:
    return {
        "energy_eur": amounts.energy_eur,
        "session_eur": amounts.session_eur,
        "idle_eur": amounts.idle_eur,
        "discount_eur": amounts.discount_eur,
        "v2g_credit_eur": amounts.v2g_credit_eur,
        "total_eur": amounts.total_eur,
        "vat_eur": amounts.vat_eur,
    }


def _exact(kwh: float) -> Decimal:
    return Decimal(str(kwh)).quantize(Decimal("0.0001"))


def _accepted(db: Session, session: ChargingSession, offer_type: str) -> IncentiveOffer | None:
    return db.scalar(
        select(IncentiveOffer).where(
            IncentiveOffer.session_id == session.id,
            IncentiveOffer.type == offer_type,
            IncentiveOffer.state == "accepted",
        )
    )


def _earned_discount(db: Session, session: ChargingSession, stretches: list[Stretch]) -> float:
    """The accepted discount in per cent, if the vehicle did wait."""
    offer = _accepted(db, session, "discount")
    if offer is None or session.not_before_at is None:
        return 0.0
    early_kwh = accounts.energy_before(stretches, session.not_before_at)
    return offer.value if early_kwh <= accounts.TOLERANCE_KWH else 0.0


def _reward(
    db: Session,
    session: ChargingSession,
    stretches: list[Stretch],
    energy_kwh: float,
    site: Site,
    *,
    now: datetime,
) -> int:
    """Credit accepted points for the share of energy charged in solar hours."""
    offer = _accepted(db, session, "reward_points")
    if offer is None:
        return 0
    sunny_kwh = accounts.solar_kwh(stretches, site.timezone)
    points = earned_points(offer.value, solar_kwh=sunny_kwh, charged_kwh=energy_kwh)
    if points > 0:
        db.add(
            RewardEntry(
                id=new_id("rwd"),
                driver_did=session.driver_did,
                session_id=session.id,
                points=points,
                reason=f"{sunny_kwh:.1f} of {energy_kwh:.1f} kWh charged in solar hours.",
                credited_at=now,
            )
        )
    return points


def _tell(
    db: Session, session: ChargingSession, written: ChargeDetailRecord, *, actor: str, now: datetime
) -> None:
    facts = {
        "session_id": session.id,
        "plan_version": plan_version(db, session.site_id),
        "cdr_id": written.id,
        "energy_kwh": str(written.energy_kwh),
        "total_eur": str(written.total_eur),
        "v2g_credit_eur": str(written.v2g_credit_eur),
        "plausibility": written.plausibility,
    }
    action = f"session.{session.status}"
    note(db, now=now, actor=actor, action=action, object_id=session.id, facts=facts)
    record(db, action, facts, now=now, site_id=session.site_id, session_id=session.id)
    log.info(action, session_id=session.id, energy_kwh=float(written.energy_kwh))


def _completed(
    session: ChargingSession, written: ChargeDetailRecord, energy: Energy, points: int
) -> SessionCompleted:
    duration_h = (written.ended_at - written.started_at) / HOUR
    return SessionCompleted(
        session_id=session.id,
        final_cost_eur=float(written.total_eur),
        energy_delivered_kwh=energy.kwh,
        duration_hours=duration_h,
        message=f"{energy.kwh:.1f} kWh in {duration_h:.1f} h cost {written.total_eur:.2f} EUR.",
        status=session.status,
        short_by_kwh=float(written.shortfall_kwh),
        energy_discharged_kwh=energy.discharged_kwh,
        v2g_credit_eur=float(written.v2g_credit_eur),
        reward_points=points,
        plausibility=written.plausibility,
        plausibility_reason=written.plausibility_reason,
        overridden=list(energy.overridden),
        assurance=session.assurance,
    )


def sweep(db: Session, *, now: datetime) -> list[str]:
    """Suspend sessions that overstay without readings, expire those a day later.

    Returns:
        The sites whose open sessions changed.
    """
    overdue = (
        select(ChargingSession)
        .where(ChargingSession.status.in_(OPEN))
        .where(ChargingSession.departure_at < now - accounts.GRACE)
        .order_by(ChargingSession.site_id, ChargingSession.id)
    )
    changed = [session for session in db.scalars(overdue).all() if _ends_or_rests(db, session, now)]
    return [session.site_id for session in changed]


def _ends_or_rests(db: Session, session: ChargingSession, now: datetime) -> bool:
    """Expire or suspend a session that overstays in silence; False if it is left as it is."""
    silent_since = max(session.departure_at, session.energy_metered_at)
    is_expired = silent_since < now - EXPIRES_AFTER
    if silent_since >= now - accounts.GRACE or (session.status == "suspended" and not is_expired):
        return False
    outdate_plan(db, session.site_id)
    _lock(db, session)
    if session.status not in OPEN:
        return False
    if is_expired:
        energy = _energy(db, session, None)
        _end(db, session, energy, status="expired", actor=SYSTEM, now=now)
    else:
        _suspend(db, session, now=now)
    return True


def _suspend(db: Session, session: ChargingSession, *, now: datetime) -> None:
    session.status = "suspended"
    local = ZoneInfo(db.get_one(Site, session.site_id).timezone)
    left = f"{session.departure_at.astimezone(local):%H:%M}"
    facts = {
        "session_id": session.id,
        "plan_version": plan_version(db, session.site_id),
        "reason": f"It was to leave at {left} and is silent since.",
    }
    note(db, now=now, actor=SYSTEM, action="session.suspended", object_id=session.id, facts=facts)
    ids = {"site_id": session.site_id, "session_id": session.id}
    record(db, "session.suspended", facts, now=now, **ids)
