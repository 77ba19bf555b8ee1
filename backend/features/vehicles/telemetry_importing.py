"""Import of telemetry of many vehicles from a CSV: one transaction, repeatable."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from sqlalchemy.orm import Session

from backend.database import Database
from backend.features.vehicles import telemetry
from backend.features.vehicles.models import Vehicle
from backend.features.vehicles.schemas import VehicleDid
from backend.features.vehicles.service import register
from backend.features.vehicles.telemetry import (
    CLOCKS_DIFFER,
    TelemetryUnreadable,
    point_of_row,
)
from backend.features.vehicles.telemetry_schemas import TelemetryPointNew
from backend.units import CapacityKwh

USUAL_CONSUMPTION_WH_PER_KM = 180.0
USUAL_POWER_KW = 11.0
DID: TypeAdapter[str] = TypeAdapter(VehicleDid)
CAPACITY: TypeAdapter[float] = TypeAdapter(CapacityKwh)


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a file."""

    vehicles: int
    registered: int
    received: int
    stored: int


def import_file(database: Database, file: Path, *, now: datetime) -> Imported:
    """Store the telemetry of a CSV; what is known already stays as it is.

    Vehicles that are new are registered with the file's `battery_capacity_kwh` and usual values
    for what telemetry does not say.

    Raises:
        TelemetryUnreadable: If a row is no point, lies in the future, or names no vehicle, or a
            new vehicle has no capacity; nothing is stored then.
    """
    vehicles: set[str] = set()
    registered = received = stored = 0
    with database.transaction() as db:
        for (did, capacity), rows in groupby(points_of_file(file, now), key=itemgetter(0, 1)):
            if did not in vehicles:
                registered += _require(db, did, capacity, now)
            vehicles.add(did)
            points = [row[2] for row in rows]
            received += len(points)
            stored += telemetry.store(db, did, points, now=now)
    return Imported(len(vehicles), registered, received, stored)


def points_of_file(file: Path, now: datetime) -> Iterator[tuple[str, str, TelemetryPointNew]]:
    """Vehicle, capacity as written, and point of every row.

    Raises:
        TelemetryUnreadable: If a row is no point, or lies in the future.
    """
    with file.open(newline="", encoding="utf-8-sig") as sheet:
        has_semicolons = ";" in sheet.readline()
        sheet.seek(0)
        table = csv.DictReader(sheet, delimiter=";" if has_semicolons else ",")
        missing = {"vehicle_did", "at", "is_plugged_in"} - set(table.fieldnames or ())
        if missing:
            names = ", ".join(sorted(missing))
            raise TelemetryUnreadable(f"The first line does not name {names}.")
        for number, row in enumerate(table, 1):
            point = point_of_row(row, number, has_semicolons)
            if point.at > now + CLOCKS_DIFFER:
                raise TelemetryUnreadable(f"Row {number}: {point.at.isoformat()} lies ahead.")
            yield row["vehicle_did"], row.get("battery_capacity_kwh") or "", point


def _require(db: Session, did: str, capacity: str, now: datetime) -> bool:
    """See to it that the vehicle is registered; whether it is new."""
    if db.get(Vehicle, did) is not None:
        return False
    try:
        name, capacity_kwh = DID.validate_python(did), CAPACITY.validate_python(capacity)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise TelemetryUnreadable(f"{did} cannot be registered: {reason}.") from None
    return register(
        db,
        name,
        battery_capacity_kwh=capacity_kwh,
        consumption_wh_per_km=USUAL_CONSUMPTION_WH_PER_KM,
        max_charge_power_kw=USUAL_POWER_KW,
        now=now,
    )
