"""Vehicles, their trips and their telemetry."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from backend.database import Base


class Vehicle(Base):
    """A vehicle, known by a DID, and its data sheet."""

    __tablename__ = "vehicles"

    did: Mapped[str] = mapped_column(String(255), primary_key=True)
    battery_capacity_kwh: Mapped[float]
    consumption_wh_per_km: Mapped[float]
    max_charge_power_kw: Mapped[float]
    equipment: Mapped[dict[str, Any] | None]  # phases, taper, discharge: `VehicleEquipment`
    last_soc_percent: Mapped[float | None]
    last_soc_at: Mapped[datetime | None]
    registered_at: Mapped[datetime]


class Trip(Base):
    """Where a vehicle goes next: one of distance, energy or target, and when."""

    __tablename__ = "trips"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    vehicle_did: Mapped[str] = mapped_column(
        ForeignKey("vehicles.did", ondelete="CASCADE"), index=True
    )
    distance_km: Mapped[float | None]
    energy_kwh: Mapped[float | None]
    target_soc_percent: Mapped[float | None]
    departure_at: Mapped[datetime]
    departure_source: Mapped[str] = mapped_column(String(20))
    created_at: Mapped[datetime]


class FleetTrip(Base):
    """A trip that a vehicle of a fleet has to be ready for."""

    __tablename__ = "fleet_trips"
    __table_args__ = (UniqueConstraint("created_by", "external_id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    external_id: Mapped[str | None] = mapped_column(String(80))
    vehicle_did: Mapped[str] = mapped_column(
        ForeignKey("vehicles.did", ondelete="CASCADE"), index=True
    )
    departure_at: Mapped[datetime] = mapped_column(index=True)
    distance_km: Mapped[float]
    legs: Mapped[list[Any] | None]  # of a chain: `LegIn`, one after the other
    created_by: Mapped[str] = mapped_column(String(255))
    created_at: Mapped[datetime]


class TelemetryPoint(Base):
    """What a vehicle said of itself at a moment."""

    __tablename__ = "vehicle_telemetry"

    vehicle_did: Mapped[str] = mapped_column(
        ForeignKey("vehicles.did", ondelete="CASCADE"), primary_key=True
    )
    at: Mapped[datetime] = mapped_column(primary_key=True)
    is_plugged_in: Mapped[bool]
    soc_percent: Mapped[float | None]
    power_kw: Mapped[float | None]
    available_at: Mapped[datetime]
