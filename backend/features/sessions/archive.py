"""Sessions that ended before TASCO saw them: from a simulation or from records."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from backend.database import new_id
from backend.features.sessions.accounts import bill
from backend.features.sessions.models import ChargeDetailRecord, ChargingSession, IncentiveOffer
from backend.features.sites.models import SalesTariff

BATCH = 500


@dataclass(frozen=True, slots=True)
class DecidedOffer:
    """An offer and what the driver answered."""

    type: str
    value: float
    reason: str
    slot: tuple[datetime, datetime] | None
    is_accepted: bool


@dataclass(frozen=True, slots=True)
class EndedSession:
    """A session as records tell it.

    Attributes:
        source: `simulated` or `record`: where the energy was measured.
        discount_percent: Discount that the driver earned.
        assurance: `simulated`, or `record` where somebody else's books say so.
        session_id: Where the same session has the same id each time; else one is made.
        bill_id: Likewise.
        implausible_because: Why the energy cannot be right; None where it can.
    """

    site_id: str
    charger_did: str
    driver_did: str
    vehicle_did: str
    tariff: SalesTariff
    started_at: datetime
    departure_at: datetime
    ended_at: datetime
    energy_kwh: float
    target_kwh: float
    battery_capacity_kwh: float
    effective_power_kw: float
    rated_power_kw: float
    soc_percent_at_start: float | None
    soc_percent_at_end: float | None
    purchase_eur: float
    uncontrolled_purchase_eur: float
    priority: str | None
    source: str
    discount_percent: float = 0.0
    offers: tuple[DecidedOffer, ...] = ()
    assurance: str = "simulated"
    session_id: str | None = None
    bill_id: str | None = None
    implausible_because: str | None = None


def add_ended(db: Session, sessions: Sequence[EndedSession]) -> None:
    """Store ended sessions with their bills and offers."""
    for first in range(0, len(sessions), BATCH):
        batch = [
            (one.session_id or new_id("ses", at=one.started_at), one)
            for one in sessions[first : first + BATCH]
        ]
        db.execute(insert(ChargingSession), [_session(key, one) for key, one in batch])
        db.execute(insert(ChargeDetailRecord), [_bill(key, one) for key, one in batch])
        offers = [row for key, one in batch for row in _offers(key, one)]
        if offers:
            db.execute(insert(IncentiveOffer), offers)


def _session(key: str, one: EndedSession) -> dict[str, Any]:
    return {
        "id": key,
        "site_id": one.site_id,
        "charger_did": one.charger_did,
        "driver_did": one.driver_did,
        "vehicle_did": one.vehicle_did,
        "status": "completed",
        "started_at": one.started_at,
        "departure_at": one.departure_at,
        "ended_at": one.ended_at,
        "battery_capacity_kwh": one.battery_capacity_kwh,
        "soc_percent_at_start": one.soc_percent_at_start,
        "soc_percent_at_end": one.soc_percent_at_end,
        "effective_power_kw": one.effective_power_kw,
        "rated_power_kw": one.rated_power_kw,
        "energy_target_kwh": one.target_kwh,
        "energy_delivered_kwh": one.energy_kwh,
        "energy_metered_at": one.ended_at,
        "priority": one.priority,
        "has_priority_slot": False,
        "tariff_id": one.tariff.id,
        "plan": {},
        "assurance": one.assurance,
    }


def _bill(key: str, one: EndedSession) -> dict[str, Any]:
    amounts = bill(
        one.tariff, energy_kwh=one.energy_kwh, idle_h=0.0, discount_percent=one.discount_percent
    )
    return {
        "id": one.bill_id or new_id("cdr", at=one.ended_at),
        "session_id": key,
        "site_id": one.site_id,
        "tariff_id": one.tariff.id,
        "started_at": one.started_at,
        "ended_at": one.ended_at,
        "energy_kwh": _exact(one.energy_kwh),
        "shortfall_kwh": _exact(max(0.0, one.target_kwh - one.energy_kwh)),
        "energy_eur": amounts.energy_eur,
        "session_eur": amounts.session_eur,
        "idle_eur": amounts.idle_eur,
        "discount_eur": amounts.discount_eur,
        "total_eur": amounts.total_eur,
        "vat_eur": amounts.vat_eur,
        "purchase_eur": _exact(one.purchase_eur),
        "uncontrolled_purchase_eur": _exact(one.uncontrolled_purchase_eur),
        "energy_source": one.source,
        "plausibility": "implausible" if one.implausible_because else "plausible",
        "plausibility_reason": one.implausible_because,
    }


def _offers(key: str, one: EndedSession) -> Iterable[dict[str, Any]]:
    for offer in one.offers:
        yield {
            "id": new_id("off", at=one.started_at),
            "session_id": key,
            "site_id": one.site_id,
            "type": offer.type,
            "value": offer.value,
            "reason": offer.reason,
            "slot_start_at": offer.slot[0] if offer.slot else None,
            "slot_end_at": offer.slot[1] if offer.slot else None,
            "state": "accepted" if offer.is_accepted else "declined",
            "offered_at": one.started_at,
            "decided_at": one.started_at,
        }


def _exact(value: float) -> Decimal:
    return Decimal(str(value)).quantize(Decimal("0.0001"))
