"""Charging sessions and what hangs on them."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.database import Base

OPEN = ("active", "suspended")
_IS_OPEN = text("status IN ('active', 'suspended')")


class ChargingSession(Base):
    """One stay of one vehicle at one charger.

    `reserved → active ⇄ suspended → completed | cancelled | expired`.
    """

    __tablename__ = "charging_sessions"
    __table_args__ = (
        Index(
            "uq_charging_sessions_open_charger",
            "charger_did",
            unique=True,
            sqlite_where=_IS_OPEN,
            postgresql_where=_IS_OPEN,
        ),
        Index(
            "uq_charging_sessions_open_vehicle",
            "vehicle_did",
            unique=True,
            sqlite_where=_IS_OPEN,
            postgresql_where=_IS_OPEN,
        ),
        Index("ix_charging_sessions_site_id_status", "site_id", "status"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    site_id: Mapped[str] = mapped_column(ForeignKey("sites.id", ondelete="CASCADE"))
    charger_did: Mapped[str] = mapped_column(ForeignKey("chargers.did", ondelete="CASCADE"))
    driver_did: Mapped[str] = mapped_column(ForeignKey("drivers.did"), index=True)
    vehicle_did: Mapped[str] = mapped_column(ForeignKey("vehicles.did"), index=True)
    trip_id: Mapped[str | None] = mapped_column(ForeignKey("trips.id"))
    status: Mapped[str] = mapped_column(String(16))
    started_at: Mapped[datetime] = mapped_column(index=True)
    departure_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    billing_party: Mapped[str | None] = mapped_column(String(120))
    cost_center: Mapped[str | None] = mapped_column(String(120))
    battery_capacity_kwh: Mapped[float]
    soc_percent_at_start: Mapped[float | None]
    soc_percent_at_end: Mapped[float | None]
    effective_power_kw: Mapped[float]  # what the schedule may use: derated
    rated_power_kw: Mapped[float]  # what charger and vehicle could do at most
    energy_target_kwh: Mapped[float]
    energy_delivered_kwh: Mapped[float]
    energy_discharged_kwh: Mapped[float] = mapped_column(default=0.0, server_default="0")
    energy_metered_at: Mapped[datetime]  # until when delivered energy is known
    not_before_at: Mapped[datetime | None]  # an accepted delay
    stay_quantiles_h: Mapped[list[Any] | None]  # how long such drivers usually stay
    priority: Mapped[str | None] = mapped_column(String(10))
    has_priority_slot: Mapped[bool]
    tariff_id: Mapped[str] = mapped_column(ForeignKey("sales_tariffs.id"))
    equipment: Mapped[dict[str, Any] | None]  # what vehicle and driver allow: `StayTerms`
    plan: Mapped[dict[str, Any]]  # what does not change when the site is planned again
    assurance: Mapped[str] = mapped_column(String(16))
    proved: Mapped[list[Any] | None]  # the credentials it rests upon: `ProvedBy`
    priority_tier: Mapped[int | None]  # 1 is served first, 4 is a guest; None is everybody else

    @property
    def parties(self) -> dict[str, str]:
        """Whose it is, as `Holder.sees` and `Holder.steers` ask."""
        return {
            "site_id": self.site_id,
            "driver_did": self.driver_did,
            "vehicle_did": self.vehicle_did,
            "charger_did": self.charger_did,
        }


class GuestQuote(Base):
    """A price a guest was shown; it is good once."""

    __tablename__ = "guest_quotes"

    quote_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    site_id: Mapped[str] = mapped_column(ForeignKey("sites.id", ondelete="CASCADE"))
    charger_did: Mapped[str] = mapped_column(String(255))
    asked: Mapped[dict[str, Any]]
    tariff_id: Mapped[str] = mapped_column(String(40))
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]


class GuestPass(Base):
    """The link to a guest's session and the pass it was exchanged for, kept as hashes."""

    __tablename__ = "guest_passes"

    session_id: Mapped[str] = mapped_column(
        ForeignKey("charging_sessions.id", ondelete="CASCADE"), primary_key=True
    )
    link_hash: Mapped[str] = mapped_column(String(64), unique=True)
    link_expires_at: Mapped[datetime]
    link_used_at: Mapped[datetime | None]
    pass_hash: Mapped[str | None] = mapped_column(String(64), unique=True)
    expires_at: Mapped[datetime]


class SitePlan(Base):
    """One version of a site's plan."""

    __tablename__ = "site_plans"

    site_id: Mapped[str] = mapped_column(
        ForeignKey("sites.id", ondelete="CASCADE"), primary_key=True
    )
    version: Mapped[int] = mapped_column(primary_key=True)
    planned_at: Mapped[datetime]
    cause: Mapped[str] = mapped_column(String(40))
    method: Mapped[str] = mapped_column(String(16))
    solver: Mapped[str] = mapped_column(String(16))
    solve_ms: Mapped[float]
    cost_eur: Mapped[float]
    price_eur_per_kwh: Mapped[list[Any]]  # purchase price of each step
    limit_kw: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")
    base_load_kw: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")
    pv_kw: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")
    uncontrolled_kw: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")
    battery_kw: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")
    battery_kwh: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")  # at edges
    binding: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")  # names by step


class SessionPlan(Base):
    """Setpoints of one session in one version of its site's plan, from `planned_at` on."""

    __tablename__ = "session_plans"
    __table_args__ = (
        ForeignKeyConstraint(
            ["site_id", "version"], ["site_plans.site_id", "site_plans.version"], ondelete="CASCADE"
        ),
        Index("ix_session_plans_session_id_version", "session_id", "version"),
    )

    site_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    session_id: Mapped[str] = mapped_column(
        ForeignKey("charging_sessions.id", ondelete="CASCADE"), primary_key=True
    )
    planned_at: Mapped[datetime]
    departure_at: Mapped[datetime]
    # One per step: up to the next quarter-hour, then quarters; negative out of the vehicle.
    setpoint_kw: Mapped[list[Any]]
    energy_kwh: Mapped[float]
    shortfall_kwh: Mapped[float]
    purchase_cost_eur: Mapped[float]
    uncontrolled_cost_eur: Mapped[float]
    method: Mapped[str] = mapped_column(String(16))
    reasons: Mapped[list[Any]]


class Reservation(Base):
    """A charger kept for a driver: `reserved → used | released | no_show`."""

    __tablename__ = "reservations"
    __table_args__ = (Index("ix_reservations_charger_did_status", "charger_did", "status"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    site_id: Mapped[str] = mapped_column(ForeignKey("sites.id", ondelete="CASCADE"), index=True)
    charger_did: Mapped[str] = mapped_column(ForeignKey("chargers.did", ondelete="CASCADE"))
    driver_did: Mapped[str] = mapped_column(String(255), index=True)
    vehicle_did: Mapped[str | None] = mapped_column(String(255))
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    distance_km: Mapped[float | None]
    status: Mapped[str] = mapped_column(String(12))
    created_at: Mapped[datetime]


class MeterValue(Base):
    """A reading: energy delivered since the session began."""

    __tablename__ = "meter_values"

    session_id: Mapped[str] = mapped_column(
        ForeignKey("charging_sessions.id", ondelete="CASCADE"), primary_key=True
    )
    at: Mapped[datetime] = mapped_column(primary_key=True)
    energy_kwh: Mapped[float]
    discharged_kwh: Mapped[float] = mapped_column(default=0.0, server_default="0")
    power_kw: Mapped[float | None]
    soc_percent: Mapped[float | None]
    is_plausible: Mapped[bool]


class IncentiveOffer(Base):
    """What a driver is offered for charging another way."""

    __tablename__ = "incentive_offers"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    session_id: Mapped[str] = mapped_column(
        ForeignKey("charging_sessions.id", ondelete="CASCADE"), index=True
    )
    site_id: Mapped[str] = mapped_column(ForeignKey("sites.id", ondelete="CASCADE"), index=True)
    type: Mapped[str] = mapped_column(String(20))
    value: Mapped[float]
    reason: Mapped[str] = mapped_column(String(300))
    slot_start_at: Mapped[datetime | None]
    slot_end_at: Mapped[datetime | None]
    state: Mapped[str] = mapped_column(String(12))
    offered_at: Mapped[datetime]
    decided_at: Mapped[datetime | None]


class RewardEntry(Base):
    """Points credited to a driver for one session."""

    __tablename__ = "reward_entries"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    driver_did: Mapped[str] = mapped_column(ForeignKey("drivers.did"), index=True)
    session_id: Mapped[str] = mapped_column(
        ForeignKey("charging_sessions.id", ondelete="CASCADE"), index=True
    )
    points: Mapped[int]
    reason: Mapped[str] = mapped_column(String(300))
    credited_at: Mapped[datetime]


class ChargeDetailRecord(Base):
    """The bill of a session: written once, exact money."""

    __tablename__ = "charge_detail_records"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    session_id: Mapped[str] = mapped_column(
        ForeignKey("charging_sessions.id", ondelete="CASCADE"), unique=True
    )
    site_id: Mapped[str] = mapped_column(ForeignKey("sites.id", ondelete="CASCADE"), index=True)
    tariff_id: Mapped[str] = mapped_column(ForeignKey("sales_tariffs.id"))
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime] = mapped_column(index=True)
    energy_kwh: Mapped[Decimal]
    shortfall_kwh: Mapped[Decimal]
    energy_eur: Mapped[Decimal]
    session_eur: Mapped[Decimal]
    idle_eur: Mapped[Decimal]
    discount_eur: Mapped[Decimal]
    discharged_kwh: Mapped[Decimal] = mapped_column(default=Decimal(0), server_default="0")
    v2g_credit_eur: Mapped[Decimal] = mapped_column(default=Decimal(0), server_default="0")
    total_eur: Mapped[Decimal]
    vat_eur: Mapped[Decimal]  # contained in the total
    purchase_eur: Mapped[Decimal]
    uncontrolled_purchase_eur: Mapped[Decimal]
    billing_party: Mapped[str | None] = mapped_column(String(120))
    cost_center: Mapped[str | None] = mapped_column(String(120))
    energy_source: Mapped[str] = mapped_column(String(12))  # meter, caller or simulated
    plausibility: Mapped[str] = mapped_column(String(12))
    plausibility_reason: Mapped[str | None] = mapped_column(String(300))
