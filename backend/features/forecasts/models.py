"""Demand history, model versions, issued forecasts, what is known in advance, drift."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from backend.database import Base


class DemandSeries(Base):
    """The span in which a site was observed; a quarter-hour in it without a row had no demand."""

    __tablename__ = "demand_series"

    site_id: Mapped[str] = mapped_column(
        ForeignKey("sites.id", ondelete="CASCADE"), primary_key=True
    )
    observed_from: Mapped[datetime]
    observed_to: Mapped[datetime]


class DemandInterval(Base):
    """One quarter-hour with demand at a site."""

    __tablename__ = "demand_intervals"

    site_id: Mapped[str] = mapped_column(
        ForeignKey("sites.id", ondelete="CASCADE"), primary_key=True
    )
    start_at: Mapped[datetime] = mapped_column(primary_key=True)
    energy_kwh: Mapped[float]
    occupancy: Mapped[float]
    sessions_started: Mapped[int]
    available_at: Mapped[datetime]


class ModelVersion(Base):
    """A trained model: where its files lie, their hash and how well it did."""

    __tablename__ = "model_versions"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    kind: Mapped[str] = mapped_column(String(40))
    status: Mapped[str] = mapped_column(String(16), index=True)
    sha256: Mapped[str] = mapped_column(String(64))
    path: Mapped[str] = mapped_column(String(255))
    metrics: Mapped[dict[str, Any]]
    trained_at: Mapped[datetime]
    content_hash: Mapped[str | None] = mapped_column(String(64))
    feature_schema_hash: Mapped[str | None] = mapped_column(String(64))
    data_fingerprint: Mapped[str | None] = mapped_column(String(64))
    library_versions: Mapped[dict[str, Any] | None]
    conformal: Mapped[dict[str, Any] | None]  # level of the 80 % band by site and part of day
    decision: Mapped[dict[str, Any] | None]  # why it went into service, or did not
    retired_at: Mapped[datetime | None]


class SiteForecast(Base):
    """The forecast last issued for a site, hour by hour."""

    __tablename__ = "site_forecasts"

    site_id: Mapped[str] = mapped_column(
        ForeignKey("sites.id", ondelete="CASCADE"), primary_key=True
    )
    issued_at: Mapped[datetime] = mapped_column(primary_key=True)
    source: Mapped[str] = mapped_column(String(20))
    model_id: Mapped[str | None] = mapped_column(ForeignKey("model_versions.id"))
    first_hour_at: Mapped[datetime]
    mean_kwh: Mapped[list[Any]]
    p10_kwh: Mapped[list[Any]]
    p90_kwh: Mapped[list[Any]]
    occupancy: Mapped[list[Any]]
    sessions_started: Mapped[list[Any] | None]
    quantiles_kwh: Mapped[list[Any] | None]  # as the model gave them, before any correction


class SiteClosure(Base):
    """A local day on which a site is closed though it is no holiday."""

    __tablename__ = "site_closures"

    site_id: Mapped[str] = mapped_column(
        ForeignKey("sites.id", ondelete="CASCADE"), primary_key=True
    )
    day: Mapped[date] = mapped_column(primary_key=True)
    reason: Mapped[str] = mapped_column(String(120))


class SiteRegressor(Base):
    """A value that is known in advance for an hour, such as the weather forecast."""

    __tablename__ = "site_regressors"

    site_id: Mapped[str] = mapped_column(
        ForeignKey("sites.id", ondelete="CASCADE"), primary_key=True
    )
    name: Mapped[str] = mapped_column(String(24), primary_key=True)
    valid_at: Mapped[datetime] = mapped_column(primary_key=True)
    value: Mapped[float]
    source: Mapped[str] = mapped_column(String(60))
    is_simulated: Mapped[bool]
    available_at: Mapped[datetime]


class DriftAlarm(Base):
    """A change of a site's behaviour, found on a day: a sure one or a warning."""

    __tablename__ = "drift_alarms"

    site_id: Mapped[str] = mapped_column(
        ForeignKey("sites.id", ondelete="CASCADE"), primary_key=True
    )
    day: Mapped[date] = mapped_column(primary_key=True)
    signal: Mapped[str] = mapped_column(String(12), primary_key=True)
    is_sure: Mapped[bool] = mapped_column(primary_key=True)
    noticed_at: Mapped[datetime]


class VehicleForecast(Base):
    """The forecast last issued for a vehicle, horizon by horizon; only what models foretold."""

    __tablename__ = "vehicle_forecasts"

    vehicle_did: Mapped[str] = mapped_column(
        ForeignKey("vehicles.did", ondelete="CASCADE"), primary_key=True
    )
    issued_at: Mapped[datetime]
    lead_min: Mapped[list[Any]]
    plug_probability: Mapped[list[Any] | None]
    to_full_percent: Mapped[list[Any] | None]
