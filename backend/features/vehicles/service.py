"""Vehicles: find and register."""

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from backend.database import insert_missing
from backend.features.vehicles.models import Vehicle


def register(
    db: Session,
    did: str,
    *,
    battery_capacity_kwh: float,
    consumption_wh_per_km: float,
    max_charge_power_kw: float,
    equipment: dict[str, Any] | None = None,
    now: datetime,
) -> bool:
    """Register a vehicle unless it is known; True if it was new."""
    row = {
        "did": did,
        "battery_capacity_kwh": battery_capacity_kwh,
        "consumption_wh_per_km": consumption_wh_per_km,
        "max_charge_power_kw": max_charge_power_kw,
        "equipment": equipment,
        "registered_at": now,
    }
    return insert_missing(db, Vehicle, row) == 1
