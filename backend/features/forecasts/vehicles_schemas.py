"""Forecasts of vehicles as callers see them."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from backend.units import UtcDatetime


class VehicleModelResult(BaseModel):
    """One trained model."""

    model_id: str
    kind: str
    status: Literal["champion", "challenger"]
    sha256: str
    metrics: dict[str, Any]


class VehicleTrainingResult(BaseModel):
    """What was learned of the vehicles."""

    status: Literal["success"]
    message: str
    vehicles: int
    models: list[VehicleModelResult]


class VehicleSlot(BaseModel):
    """One horizon."""

    horizon_minutes: int
    valid_at: UtcDatetime
    plug_probability: float | None = Field(
        ge=0, le=1, description="Of being plugged in then; null if nothing is known"
    )
    predicted_energy_to_full: float | None = Field(
        ge=0, le=100, description="Points of state of charge missing to full"
    )
    predicted_energy_to_full_kwh: float | None = Field(ge=0)


class PlugInEnergyView(BaseModel):
    """What a vehicle is expected to charge if it plugs in now, by its own past charges."""

    expected_energy_kwh: float | None = Field(
        ge=0, description="Into the battery; null if nothing is known", examples=[18.4]
    )
    source: Literal["model", "usual", "none"] = Field(
        description="usual is the median of the vehicle's last charges, else of everybody's"
    )
    model_id: str | None
    model_sha256: str | None


class VehicleForecastView(BaseModel):
    """A vehicle a quarter-hour to two days ahead."""

    vehicle_did: str
    issued_at: UtcDatetime
    source: Literal["model", "like_day", "none"] = Field(
        description="Who foretold the plug-ins; like_day is how often it was there on like days"
    )
    model_id: str | None
    model_sha256: str | None
    model_kind: str | None = Field(
        description="`federated_availability` is what sites grew together",
        examples=["vehicle_availability"],
    )
    energy_source: Literal["model", "last_soc", "none"] = Field(
        description="Who foretold the energy; last_soc is the last known state of charge"
    )
    energy_model_id: str | None
    energy_model_sha256: str | None
    energy_model_kind: str | None = Field(
        description="`federated_energy_to_full` is what sites grew together",
        examples=["vehicle_energy_to_full"],
    )
    telemetry_at: UtcDatetime | None = Field(description="The vehicle's last point")
    is_after_gap: bool = Field(description="The present is unknown: no recent telemetry")
    battery_capacity_kwh: float
    energy_at_plug_in: PlugInEnergyView
    forecasts: list[VehicleSlot]
