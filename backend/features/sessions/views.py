"""What callers see of a session and its plan."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy.orm import Session

from backend.features.sessions import queries
from backend.features.sessions.models import (
    ChargeDetailRecord,
    ChargingSession,
    IncentiveOffer,
    SessionPlan,
)
from backend.features.sessions.schemas import (
    OfferView,
    Plan,
    ReasonView,
    SessionSummary,
    SessionView,
    Slot,
)
from backend.features.sessions.stay_terms import StayTerms
from backend.paging import etag_of
from backend.planning.problem import STEP, step_edges

HOUR = timedelta(hours=1)
SHORT_KWH = 0.01  # a smaller shortfall is no shortfall


@dataclass(frozen=True, slots=True)
class Schedule:
    """What the newest site plan holds for one session."""

    row: SessionPlan
    slots: list[Slot]

    @property
    def charging(self) -> list[Slot]:
        """The stretches in which the vehicle charges."""
        return [slot for slot in self.slots if slot.power_kw > 0]

    @property
    def duration_h(self) -> float:
        """Hours in which it charges."""
        return sum((slot.end - slot.start) / HOUR for slot in self.charging)

    @property
    def power_kw(self) -> float | None:
        """Mean power while it charges; None if it does not."""
        hours = self.duration_h
        return sum(slot.energy_kwh for slot in self.charging) / hours if hours else None

    @property
    def discharge_kwh(self) -> float:
        """What it lends the site."""
        return -sum(slot.energy_kwh for slot in self.slots if slot.power_kw < 0)


def schedule_of(row: SessionPlan, prices: Sequence[float]) -> Schedule:
    """Stretches of equal power and price, without the pauses between them."""
    edges = step_edges(row.planned_at, row.planned_at + STEP * len(row.setpoint_kw))
    slots: list[Slot] = []
    for step, power_kw in enumerate(row.setpoint_kw):
        if not power_kw:
            continue
        start, end = edges[step], min(edges[step + 1], row.departure_at)
        slot = Slot(
            start=start,
            end=end,
            power_kw=power_kw,
            energy_kwh=power_kw * ((end - start) / HOUR),
            purchase_price_eur_per_kwh=prices[step],
        )
        if slots and _continues(slots[-1], slot):
            slots[-1] = _joined(slots[-1], slot)
        else:
            slots.append(slot)
    return Schedule(row, slots)


def _continues(before: Slot, slot: Slot) -> bool:
    return (
        before.end == slot.start
        and before.power_kw == slot.power_kw
        and before.purchase_price_eur_per_kwh == slot.purchase_price_eur_per_kwh
    )


def _joined(before: Slot, slot: Slot) -> Slot:
    energy_kwh = before.energy_kwh + slot.energy_kwh
    return before.model_copy(update={"end": slot.end, "energy_kwh": energy_kwh})


def plan_view(
    session: ChargingSession,
    row: SessionPlan,
    prices: Sequence[float],
    offers: Sequence[IncentiveOffer],
    *,
    eur_per_kwh: float,
    eur_per_session: float,
) -> Plan:
    """The whole plan of a session: what was settled at its start and the site's newest schedule."""
    schedule = schedule_of(row, prices)
    settled: dict[str, Any] = session.plan
    short_kwh = row.shortfall_kwh + settled["exceeds_battery_kwh"]
    charging, lent_kwh = schedule.charging, schedule.discharge_kwh
    whole_kwh = _whole_kwh(session, schedule)
    cost_eur = whole_kwh * eur_per_kwh + (eur_per_session if whole_kwh > 0 else 0.0)
    cost_eur -= _credit_eur(session, lent_kwh)
    return Plan(
        **settled["plain"],
        planned_energy_kwh=whole_kwh,
        planned_discharge_kwh=session.energy_discharged_kwh + lent_kwh,
        planned_duration_hours=schedule.duration_h,
        planned_start_time=charging[0].start if charging else None,
        planned_finish_time=charging[-1].end if charging else row.planned_at,
        departure_time=session.departure_at,
        is_feasible=short_kwh <= SHORT_KWH,
        feasibility_warning=_warning(row, exceeds_kwh=settled["exceeds_battery_kwh"]),
        short_by_kwh=short_kwh if short_kwh > SHORT_KWH else 0.0,
        planned_cost_eur=round(cost_eur, 4),
        planned_purchase_cost_eur=row.purchase_cost_eur,
        purchase_cost_if_charged_now_eur=row.uncontrolled_cost_eur,
        incentive_offers=[offer_view(offer) for offer in offers],
        slots=schedule.slots,
        reasons=[ReasonView(**one) for one in row.reasons],
        method="fallback" if row.method == "fallback" else "optimal",
        version=row.version,
    )


def _credit_eur(session: ChargingSession, lent_kwh: float) -> float:
    """What the bill is lowered by for energy given by departure."""
    v2g = StayTerms.read(session.equipment).v2g
    given_kwh = session.energy_discharged_kwh + lent_kwh
    return 0.0 if v2g is None else v2g.credit_eur_per_kwh * given_kwh


def _whole_kwh(session: ChargingSession, schedule: Schedule) -> float:
    """What the meter will have counted by departure: before the newest plan, and by it."""
    row, full_kw = schedule.row, session.effective_power_kw
    terms, told_kwh = StayTerms.read(session.equipment), session.energy_delivered_kwh
    stored_kwh = max(0.0, session.energy_target_kwh - row.energy_kwh - row.shortfall_kwh)
    given_kwh = session.energy_discharged_kwh
    if session.status in ("suspended", "expired"):
        return max(terms.metered_kwh(0.0, given_kwh, power_kw=full_kw), told_kwh)
    before_kwh = terms.metered_kwh(stored_kwh, given_kwh, power_kw=full_kw)
    if row.planned_at >= session.energy_metered_at:
        before_kwh = max(before_kwh, told_kwh)  # told by now, at whatever power it flowed
    ahead_kwh = terms.metered_kwh(
        row.energy_kwh, schedule.discharge_kwh, power_kw=schedule.power_kw or full_kw
    )
    return max(before_kwh + ahead_kwh, told_kwh)


def _warning(row: SessionPlan, *, exceeds_kwh: float) -> str | None:
    """Why the trip is not met and what would help; None if it is."""
    short_kwh = row.shortfall_kwh + exceeds_kwh
    if short_kwh <= SHORT_KWH:
        return None
    said = [f"The trip needs {short_kwh:.1f} kWh more than can be charged by departure."]
    if exceeds_kwh > SHORT_KWH:
        said.append(f"The battery is {exceeds_kwh:.1f} kWh too small: charge on the way.")
    if row.shortfall_kwh > SHORT_KWH:
        said += [one["text"] for one in row.reasons if one["code"] != "nothing_needed"]
        said.append("Leave later, use a stronger charger, or charge on the way.")
    return " ".join(said)


def offer_view(offer: IncentiveOffer) -> OfferView:
    """An offer with its slot as an ISO 8601 interval."""
    slot = None
    if offer.slot_start_at is not None and offer.slot_end_at is not None:
        slot = f"{offer.slot_start_at:%Y-%m-%dT%H:%M:%SZ}/{offer.slot_end_at:%Y-%m-%dT%H:%M:%SZ}"
    return OfferView(
        offer_id=offer.id,
        type=offer.type,
        value=offer.value,
        reason=offer.reason,
        time_slot=slot,
        state=offer.state,
    )


def current_plan(db: Session, session: ChargingSession) -> Plan | None:
    """The session's newest plan; none for sessions that came from records."""
    found = queries.newest_plan(db, session.id)
    if found is None:
        return None
    row, site_plan = found
    return plan_view(
        session,
        row,
        site_plan.price_eur_per_kwh,
        queries.offers_of(db, session.id),
        eur_per_kwh=session.plan["eur_per_kwh"],
        eur_per_session=session.plan["eur_per_session"],
    )


def session_view(db: Session, session: ChargingSession) -> SessionView:
    """One session with plan and bill."""
    bill = queries.record_of(db, session.id) if session.ended_at else None
    return SessionView(
        **_shared(session, bill),
        plan=current_plan(db, session),
        energy_discharged_kwh=session.energy_discharged_kwh,
        final_soc_percent=session.soc_percent_at_end,
        plausibility=bill.plausibility if bill else None,
        assurance=session.assurance,
        proved=session.proved or [],
    )


def summary(session: ChargingSession, bill: ChargeDetailRecord | None) -> SessionSummary:
    """One session in a list."""
    return SessionSummary(**_shared(session, bill))


def _shared(session: ChargingSession, bill: ChargeDetailRecord | None) -> dict[str, Any]:
    return {
        "session_id": session.id,
        "driver_did": session.driver_did,
        "vehicle_did": session.vehicle_did,
        "charger_did": session.charger_did,
        "site_id": session.site_id,
        "status": session.status,
        "start_time": session.started_at,
        "end_time": session.ended_at,
        "departure_time": session.departure_at,
        "energy_delivered_kwh": session.energy_delivered_kwh,
        "final_cost_eur": float(bill.total_eur) if bill else None,
        "billing_party": session.billing_party,
        "cost_center": session.cost_center,
    }


def session_etag(view: SessionView) -> str:
    """Changes with state, plan, metered energy and decisions on offers."""
    plan = view.plan
    decided = [one.state for one in plan.incentive_offers] if plan else []
    version = plan.version if plan else None
    return etag_of(view.session_id, view.status, version, view.energy_delivered_kwh, decided)
