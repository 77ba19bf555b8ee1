"""Requests that work when pasted: the scenarios of the documentation, the demo and the tests."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.documentation import ahead
from backend.features.sessions.models import (
    ChargingSession,
    IncentiveOffer,
    Reservation,
    SessionPlan,
)

SESSION_ID = "ses_01KAF0000000000000000000"
OFFER_ID = "off_01KAF0000000000000000000"
RESERVATION_ID = "rsv_01KAF0000000000000000000"

_VISITOR = {"priority": "cost", "carbon_conscious": False}


def start_body(
    *,
    number: int,
    site_id: str = "site_hq",
    charger: int = 1,
    charger_kw: float = 150,
    soc_percent: float = 35,
    distance_km: float = 120,
    departure: str | None = None,
    preferences: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A start request of demo driver and vehicle `number`."""
    return {
        "driver": {
            "did": f"did:denso:driver:driver{number:03d}",
            "credentials": ["Employee:TechCorp"],
            "preferences": preferences or _VISITOR,
            "allowed_sites": [site_id],
        },
        "vehicle": {
            "did": f"did:denso:vehicle:vehicle{number:03d}",
            "battery_capacity_kwh": 75,
            "nominal_consumption_wh_per_km": 180,
            "max_charge_power_kw": 150,
            "current_soc_percent": soc_percent,
        },
        "charger": {
            "did": f"did:denso:charger:{site_id}_chr{charger:02d}",
            "site_id": site_id,
            "max_power_kw": charger_kw,
            "current_availability": True,
        },
        "trip": {"distance_km": distance_km, "departure_time": departure or ahead(6)},
    }


CARBON = {"priority": "cost", "carbon_conscious": True}
SCENARIOS: dict[str, tuple[str, dict[str, Any]]] = {
    "already_charged": (
        "The battery already holds what the trip needs: nothing to charge",
        start_body(number=1, preferences=CARBON),
    ),
    "insufficient_time": (
        "A 22 kW charger and half an hour: the trip cannot be met, and the answer says by how much",
        start_body(
            number=2,
            charger=5,
            charger_kw=22,
            soc_percent=20,
            distance_km=300,
            departure=ahead(0, 30),
        ),
    ),
    "peak_demand": (
        "Plugging in at the evening peak (set the clock to 17:30 local): a discount for waiting",
        start_body(
            number=3,
            site_id="site_mall",
            charger_kw=50,
            soc_percent=30,
            distance_km=150,
            departure=ahead(8),
        ),
    ),
    "carbon_conscious": (
        "A carbon-conscious driver: charging moves to solar hours and earns points",
        start_body(number=4, charger=2, soc_percent=25, distance_km=200, preferences=CARBON),
    ),
}
OPENAPI_EXAMPLES = {
    name: {"summary": summary, "value": value} for name, (summary, value) in SCENARIOS.items()
}


def existing_ids(db: Session) -> dict[str, str]:
    """For the ids that examples name, ones that exist: a planned session if there is one."""
    planned = db.scalar(
        select(SessionPlan.session_id).order_by(SessionPlan.session_id.desc()).limit(1)
    )
    any_session = select(ChargingSession.id).order_by(ChargingSession.id.desc()).limit(1)
    session_id = planned or db.scalar(any_session)
    offers = select(IncentiveOffer.id).where(IncentiveOffer.session_id == session_id)
    reservations = select(Reservation.id).order_by(Reservation.id.desc())
    found = {
        SESSION_ID: session_id,
        OFFER_ID: db.scalar(offers.limit(1)),
        RESERVATION_ID: db.scalar(reservations.limit(1)),
    }
    return {placeholder: existing for placeholder, existing in found.items() if existing}
