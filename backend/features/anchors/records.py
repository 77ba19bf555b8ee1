"""What is written down of a session, a charge or an event: JSON without floats, and no person.

Amounts are decimal texts or whole watt-hours, which everybody writes the same way. The vehicle is
a hash with the item's own salt: who holds salt and DID can show that they belong together, and no
two records can be linked by it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from backend.features.sessions.models import ChargeDetailRecord, ChargingSession
from backend.features.sites.models import SalesTariff

PLACES = Decimal("0.0001")
Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Settled:
    """A session that has ended, with what its receipt shows.

    Attributes:
        plan_version: The last plan that held the session; None if it never had one.
    """

    session: ChargingSession
    bill: ChargeDetailRecord
    tariff: SalesTariff
    plan_version: int | None


def receipt_record(one: Settled, salt: bytes) -> Record:
    """The record of a session's receipt."""
    bill = one.bill
    return {
        "session_id": one.session.id,
        "site_id": bill.site_id,
        "charger": one.session.charger_did,
        "vehicle": salted(one.session.vehicle_did, salt),
        "status": one.session.status,
        "started_at": moment(bill.started_at),
        "ended_at": moment(bill.ended_at),
        "meter": {
            "start_wh": 0,  # the session's own counter begins with it
            "stop_wh": wh(bill.energy_kwh),
            "discharged_start_wh": 0,
            "discharged_stop_wh": wh(bill.discharged_kwh),
            "source": bill.energy_source,
        },
        "energy_kwh": amount(bill.energy_kwh),
        "discharged_kwh": amount(bill.discharged_kwh),
        "tariff": _tariff(one.tariff),
        "cost": _cost(bill),
        "plan_version": one.plan_version,
        "plausibility": bill.plausibility,
        "assurance": one.session.assurance,
    }


def charge_record(one: Settled, salt: bytes) -> Record:
    """The ledger's record of energy into a vehicle: what was asked for it, before any credit."""
    bill, tariff = one.bill, one.tariff
    energy, price = bill.energy_kwh, tariff.eur_per_kwh
    cost = bill.total_eur + bill.v2g_credit_eur
    return _flow(one, salt, kind="charge", energy=energy, price=price, cost=cost)


def discharge_record(one: Settled, salt: bytes) -> Record:
    """The ledger's record of energy out of a vehicle: what was credited for it."""
    bill, price = one.bill, one.tariff.v2g_credit_eur_per_kwh or Decimal(0)
    energy, cost = bill.discharged_kwh, -bill.v2g_credit_eur
    return _flow(one, salt, kind="discharge", energy=energy, price=price, cost=cost)


def simulated_record(flow: Mapping[str, Any], salt: bytes) -> Record:
    """The ledger's record of a flow of a simulated vehicle, and that it is one."""
    kept = ("type", "energy_wh", "price_eur_per_kwh", "cost_eur", "started_at", "ended_at")
    vehicle = salted(flow["vehicle"], salt)
    return {"site_id": None, "vehicle": vehicle, "is_simulated": True} | {
        name: flow[name] for name in kept
    }


def _flow(
    one: Settled, salt: bytes, *, kind: str, energy: Decimal, price: Decimal, cost: Decimal
) -> Record:
    return {
        "type": kind,
        "site_id": one.bill.site_id,
        "vehicle": salted(one.session.vehicle_did, salt),
        "energy_wh": wh(energy),
        "price_eur_per_kwh": amount(price),
        "cost_eur": amount(cost),
        "started_at": moment(one.bill.started_at),
        "ended_at": moment(one.bill.ended_at),
    }


def _tariff(tariff: SalesTariff) -> Record:
    credit = tariff.v2g_credit_eur_per_kwh
    return {
        "id": tariff.id,
        "version": tariff.version,
        "eur_per_kwh": amount(tariff.eur_per_kwh),
        "eur_per_session": amount(tariff.eur_per_session),
        "idle_eur_per_hour": amount(tariff.idle_eur_per_hour),
        "vat_percent": amount(tariff.vat_percent),
        "v2g_credit_eur_per_kwh": None if credit is None else amount(credit),
    }


def _cost(bill: ChargeDetailRecord) -> Record:
    parts = ("energy_eur", "session_eur", "idle_eur", "discount_eur", "v2g_credit_eur")
    amounts = {name: amount(getattr(bill, name)) for name in (*parts, "total_eur", "vat_eur")}
    return {"currency": "EUR", **amounts}


def event_record(event_type: str, data: Mapping[str, Any], at: datetime) -> Record:
    """The record of an event: its facts, floats as texts."""
    return {"event": event_type, "at": moment(at), "facts": _without_floats(data)}


def salted(text: str, salt: bytes) -> str:
    """A text that only who knows it and the salt can recognise, hexadecimal with 0x."""
    return "0x" + hashlib.sha256(salt + text.encode()).hexdigest()


def amount(value: Decimal) -> str:
    """Four decimals, the same text from every database."""
    return str(value.quantize(PLACES))


def wh(energy_kwh: Decimal) -> int:
    """Whole watt-hours."""
    return int((energy_kwh * 1000).to_integral_value(ROUND_HALF_UP))


def moment(at: datetime) -> str:
    """RFC 3339 in UTC, to the microsecond where there is one."""
    return at.isoformat().replace("+00:00", "Z")


def _without_floats(value: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, Mapping):
        return {str(name): _without_floats(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_floats(one) for one in value]
    return repr(value) if isinstance(value, float) else value
