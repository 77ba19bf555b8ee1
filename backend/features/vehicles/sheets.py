"""Data sheets of vehicles: what they are, and how their batteries charge."""

from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.adapters.events.outbox import record
from backend.features.credentials.audit import note
from backend.features.credentials.grants import assign_vehicle
from backend.features.credentials.holder import Holder
from backend.features.vehicles import service
from backend.features.vehicles.models import Vehicle
from backend.features.vehicles.schemas import VehicleDid
from backend.paging import Body, etag_of, require_match
from backend.planning.charging_losses import NO_LOSSES, USUAL_CHARGER, OnboardCharger
from backend.problems import NotFound, Problem
from backend.units import CapacityKwh, ConsumptionWhPerKm, PowerKw, SocPercent, UtcDatetime


class VehicleNotFound(NotFound):
    """There is no such vehicle."""


class VehicleExists(Problem):
    """A vehicle with this DID exists."""

    status = HTTPStatus.CONFLICT
    fix = "Change the vehicle with PATCH."


class ChargingLosses(Body):
    """What charging loses between meter and battery, by power: the usual where left out.

    Source of the usual: `planning.charging_losses.USUAL_CHARGER`, fitted to what ADAC measured.
    """

    conversion_loss: float = Field(
        default=USUAL_CHARGER.conversion_loss, ge=0, le=0.3, description="Share of the power"
    )
    standby_kw: float = Field(
        default=USUAL_CHARGER.standby_kw,
        ge=0,
        le=0.5,
        description="What the vehicle's electronics draw as long as it charges",
    )


class VehicleEquipment(Body):
    """How a vehicle charges beyond its highest power; what is left out is not known."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"onboard_phases": 3, "taper_knee_soc_percent": 80, "max_discharge_power_kw": 11}
            ]
        }
    )

    onboard_phases: Literal[1, 3] | None = Field(default=None, description="Of the AC charger")
    min_power_kw: PowerKw | None = Field(default=None, description="Accepts no less")
    taper_knee_soc_percent: float | None = Field(
        default=None, ge=10, lt=100, description="From here on the highest power falls"
    )
    full_power_share: float = Field(
        default=0.2, ge=0, lt=1, description="Of the highest power that is left when full"
    )
    charging_efficiency: Annotated[float, Field(ge=0.5, le=1)] | ChargingLosses | None = Field(
        default=None,
        description="Battery energy per metered energy: one number, or losses by power ({} for "
        "the usual ones); 1 if left out",
    )
    max_discharge_power_kw: PowerKw | None = Field(
        default=None, description="Out of the vehicle; none if left out"
    )
    discharge_efficiency: float = Field(default=0.95, ge=0.5, le=1)

    @property
    def losses(self) -> OnboardCharger:
        """What charging loses; nothing where nothing was stated."""
        stated = self.charging_efficiency
        if stated is None:
            return NO_LOSSES
        if isinstance(stated, ChargingLosses):
            return OnboardCharger(stated.conversion_loss, stated.standby_kw)
        return OnboardCharger(conversion_loss=1 - stated, standby_kw=0.0)


class VehicleNew(Body):
    """A vehicle to register."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "did": "did:denso:vehicle:vehicle042",
                    "battery_capacity_kwh": 75,
                    "nominal_consumption_wh_per_km": 180,
                    "max_charge_power_kw": 150,
                    "equipment": {"onboard_phases": 3, "taper_knee_soc_percent": 80},
                }
            ]
        }
    )

    did: VehicleDid
    battery_capacity_kwh: CapacityKwh
    nominal_consumption_wh_per_km: ConsumptionWhPerKm
    max_charge_power_kw: PowerKw
    equipment: VehicleEquipment | None = None


class VehicleChange(Body):
    """What to change of a vehicle; what is left out stays, equipment is replaced whole."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"equipment": {"taper_knee_soc_percent": 80}}]}
    )

    battery_capacity_kwh: CapacityKwh | None = None
    nominal_consumption_wh_per_km: ConsumptionWhPerKm | None = None
    max_charge_power_kw: PowerKw | None = None
    equipment: VehicleEquipment | None = None


class VehicleView(BaseModel):
    """A vehicle's data sheet and its last known state of charge."""

    did: str
    battery_capacity_kwh: float
    nominal_consumption_wh_per_km: float
    max_charge_power_kw: float
    equipment: VehicleEquipment | None
    last_soc_percent: SocPercent | None
    last_soc_at: UtcDatetime | None
    registered_at: UtcDatetime


def equipment_of(vehicle: Vehicle | None) -> VehicleEquipment | None:
    """The vehicle's equipment, if it was stated."""
    if vehicle is None or vehicle.equipment is None:
        return None
    return VehicleEquipment.model_validate(vehicle.equipment)


def view_of(vehicle: Vehicle) -> VehicleView:
    """A vehicle as callers see it."""
    return VehicleView(
        did=vehicle.did,
        battery_capacity_kwh=vehicle.battery_capacity_kwh,
        nominal_consumption_wh_per_km=vehicle.consumption_wh_per_km,
        max_charge_power_kw=vehicle.max_charge_power_kw,
        equipment=equipment_of(vehicle),
        last_soc_percent=vehicle.last_soc_percent,
        last_soc_at=vehicle.last_soc_at,
        registered_at=vehicle.registered_at,
    )


def sheet_etag(vehicle: Vehicle) -> str:
    """Changes with every change of the data sheet."""
    sizes = (vehicle.battery_capacity_kwh, vehicle.consumption_wh_per_km)
    return etag_of(vehicle.did, *sizes, vehicle.max_charge_power_kw, vehicle.equipment)


def require_vehicle(db: Session, did: str, *, holder: Holder) -> Vehicle:
    """The vehicle, if the holder manages it.

    Raises:
        VehicleNotFound: Otherwise; an unknown and a foreign vehicle look the same.
    """
    vehicle = db.get(Vehicle, did)
    if vehicle is None or not holder.manages(did):
        raise VehicleNotFound
    return vehicle


def sheets_page(db: Session, *, holder: Holder, after: str | None, limit: int) -> Sequence[Vehicle]:
    """Vehicles that the holder manages, by DID, one more than `limit`."""
    query = select(Vehicle).order_by(Vehicle.did).limit(limit + 1)
    if "administrator" not in holder.roles:
        query = query.where(Vehicle.did.in_(holder.vehicles))
    if after is not None:
        query = query.where(Vehicle.did > after)
    return db.scalars(query).all()


def create_vehicle(db: Session, new: VehicleNew, *, holder: Holder, now: datetime) -> Vehicle:
    """Register a vehicle with its data sheet; a fleet manager's becomes part of the fleet.

    Raises:
        VehicleExists: If the DID is taken.
    """
    is_new = service.register(
        db,
        new.did,
        battery_capacity_kwh=new.battery_capacity_kwh,
        consumption_wh_per_km=new.nominal_consumption_wh_per_km,
        max_charge_power_kw=new.max_charge_power_kw,
        equipment=new.equipment.model_dump() if new.equipment else None,
        now=now,
    )
    if not is_new:
        raise VehicleExists
    if len(holder.fleets) == 1:
        assign_vehicle(db, min(holder.fleets), new.did, holder=holder, now=now)
    _tell(db, new.did, "vehicle.registered", holder=holder, now=now)
    return db.get_one(Vehicle, new.did)


def change_vehicle(
    db: Session,
    did: str,
    change: VehicleChange,
    *,
    if_match: str | None,
    holder: Holder,
    now: datetime,
) -> Vehicle:
    """Change a data sheet; sessions that are open keep what they began with.

    Raises:
        VehicleNotFound: If it is not registered.
        PreconditionFailed: If the caller's ETag is not the current one.
    """
    vehicle = require_vehicle(db, did, holder=holder)
    db.refresh(vehicle, with_for_update=True)
    require_match(if_match, sheet_etag(vehicle))
    if change.battery_capacity_kwh is not None:
        vehicle.battery_capacity_kwh = change.battery_capacity_kwh
    if change.nominal_consumption_wh_per_km is not None:
        vehicle.consumption_wh_per_km = change.nominal_consumption_wh_per_km
    if change.max_charge_power_kw is not None:
        vehicle.max_charge_power_kw = change.max_charge_power_kw
    if change.equipment is not None:
        vehicle.equipment = change.equipment.model_dump()
    _tell(db, did, "vehicle.changed", holder=holder, now=now)
    db.flush()
    return vehicle


def _tell(db: Session, did: str, action: str, *, holder: Holder, now: datetime) -> None:
    note(db, now=now, actor=holder.did, action=action, object_id=did, facts={})
    record(db, action, {"vehicle_did": did}, now=now)
