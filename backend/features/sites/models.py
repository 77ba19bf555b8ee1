"""Sites, chargers and what energy costs there."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from backend.database import Base


class Site(Base):
    """A charging site behind one grid connection."""

    __tablename__ = "sites"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(120))
    kind: Mapped[str] = mapped_column(String(20))
    timezone: Mapped[str] = mapped_column(String(64))
    country: Mapped[str | None] = mapped_column(String(2))
    currency: Mapped[str] = mapped_column(String(3))
    grid_limit_kw: Mapped[float]
    latitude: Mapped[float | None]
    longitude: Mapped[float | None]
    base_load_kw_by_hour: Mapped[list[Any] | None]  # what else the site draws, by local hour
    pv_peak_kw: Mapped[float] = mapped_column(default=0.0, server_default="0")
    export_eur_per_kwh: Mapped[float] = mapped_column(default=0.0, server_default="0")
    fairness: Mapped[str] = mapped_column(
        String(16), default="few_short", server_default="few_short"
    )
    equipment: Mapped[dict[str, Any] | None]  # limit tree, phases, battery: `SiteEquipment`
    admission: Mapped[dict[str, Any] | None]  # who may charge here: `Admission`
    battery_soc_percent: Mapped[float | None]
    battery_soc_at: Mapped[datetime | None]
    is_demo: Mapped[bool]
    plan_version: Mapped[int]  # counts every change of the site's open sessions or their plan
    updated_at: Mapped[datetime]


class Charger(Base):
    """One charge point with one connector."""

    __tablename__ = "chargers"

    did: Mapped[str] = mapped_column(String(255), primary_key=True)
    site_id: Mapped[str] = mapped_column(ForeignKey("sites.id", ondelete="CASCADE"), index=True)
    max_power_kw: Mapped[float]
    status: Mapped[str] = mapped_column(String(20))
    equipment: Mapped[dict[str, Any] | None]  # wiring, minimum, levels: `ChargerEquipment`
    latitude: Mapped[float | None]
    longitude: Mapped[float | None]
    updated_at: Mapped[datetime]


class SiteLimit(Base):
    """A limit of power for a time, such as a curtailment by the grid operator."""

    __tablename__ = "site_limits"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    site_id: Mapped[str] = mapped_column(ForeignKey("sites.id", ondelete="CASCADE"), index=True)
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime | None]
    limit_kw: Mapped[float]
    node: Mapped[str | None] = mapped_column(String(60))  # of the tree; None is the connection
    reason: Mapped[str] = mapped_column(String(300))
    created_by: Mapped[str] = mapped_column(String(255))
    created_at: Mapped[datetime]


class SalesTariff(Base):
    """What drivers pay: versioned, for a whole site or one of its chargers; VAT included."""

    __tablename__ = "sales_tariffs"
    __table_args__ = (UniqueConstraint("site_id", "charger_did", "version"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    site_id: Mapped[str] = mapped_column(ForeignKey("sites.id", ondelete="CASCADE"), index=True)
    charger_did: Mapped[str | None] = mapped_column(
        ForeignKey("chargers.did", ondelete="CASCADE"), index=True
    )
    version: Mapped[int]
    valid_from: Mapped[datetime]
    eur_per_kwh: Mapped[Decimal]
    eur_per_session: Mapped[Decimal]
    idle_eur_per_hour: Mapped[Decimal]
    vat_percent: Mapped[Decimal]
    v2g_credit_eur_per_kwh: Mapped[Decimal | None]  # none: the site takes no energy from vehicles


class PurchasePrice(Base):
    """What the site pays for energy: versioned, by hour of the site's local day."""

    __tablename__ = "purchase_prices"
    __table_args__ = (UniqueConstraint("site_id", "version"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    site_id: Mapped[str] = mapped_column(ForeignKey("sites.id", ondelete="CASCADE"), index=True)
    version: Mapped[int]
    valid_from: Mapped[datetime]
    eur_per_kwh_by_hour: Mapped[list[Any]]  # 24 numbers
    demand_charge_eur_per_kw: Mapped[Decimal]
