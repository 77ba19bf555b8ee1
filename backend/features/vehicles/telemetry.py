"""Telemetry of vehicles: taken in batches, once per moment, whatever order it comes in."""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from itertools import islice
from typing import Any

from pydantic import ValidationError
from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from backend.database import insert_missing
from backend.features.credentials.holder import Holder
from backend.features.vehicles.models import TelemetryPoint, Vehicle
from backend.features.vehicles.sheets import VehicleNotFound
from backend.features.vehicles.telemetry_schemas import (
    MOST_POINTS,
    TelemetryAccepted,
    TelemetryPointNew,
)
from backend.problems import FieldError, Problem

CLOCKS_DIFFER = timedelta(minutes=2)
BATCH = 1_000
MOST_REASONS = 100
COLUMNS = ("at", "is_plugged_in", "soc_percent", "power_kw")
TRUTHS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


class TelemetryInFuture(Problem):
    """A point lies in the future."""

    status = HTTPStatus.CONFLICT
    fix = "Set the vehicle's clock, drop the points that `errors` names, and send the others."


class TelemetryUnreadable(Problem):
    """The table has a row that is no point, too many rows, or does not name its columns."""

    status = HTTPStatus.CONFLICT
    fix = "Send CSV whose first line names at, is_plugged_in and, if known, soc_percent, power_kw."


def require_vehicle(db: Session, did: str, *, holder: Holder) -> Vehicle:
    """A registered vehicle that the holder may speak for.

    Raises:
        VehicleNotFound: If there is none, or it is somebody else's: strangers learn no more.
    """
    vehicle = db.get(Vehicle, did) if holder.manages(did) else None
    if vehicle is None:
        raise VehicleNotFound
    return vehicle


def take(
    db: Session,
    did: str,
    points: Sequence[TelemetryPointNew],
    *,
    holder: Holder,
    now: datetime,
) -> TelemetryAccepted:
    """Store the points that are new; the newest state of charge is the vehicle's.

    Raises:
        VehicleNotFound: If the vehicle is unknown or somebody else's.
        TelemetryInFuture: If a point lies ahead of now; nothing is stored then.
    """
    require_vehicle(db, did, holder=holder)
    _require_past(points, now)
    stored = store(db, did, points, now=now)
    soc, soc_at = db.execute(
        select(Vehicle.last_soc_percent, Vehicle.last_soc_at).where(Vehicle.did == did)
    ).one()
    return TelemetryAccepted(
        vehicle_did=did,
        received=len(points),
        stored=stored,
        duplicates=len(points) - stored,
        latest_at=max(point.at for point in points),
        soc_percent=soc,
        soc_at=soc_at,
    )


def _require_past(points: Sequence[TelemetryPointNew], now: datetime) -> None:
    ahead = [place for place, point in enumerate(points) if point.at > now + CLOCKS_DIFFER]
    if ahead:
        reason = f"lies ahead of {now.isoformat(timespec='seconds')}"
        errors = [
            FieldError(pointer=f"/body/points/{place}/at", reason=reason)
            for place in ahead[:MOST_REASONS]
        ]
        raise TelemetryInFuture(f"{len(ahead)} points lie in the future.", errors=errors)


def store(db: Session, did: str, points: Iterable[TelemetryPointNew], *, now: datetime) -> int:
    """Insert the points whose moment is not known yet; gives how many these were."""
    waiting, stored = iter(points), 0
    newest: TelemetryPointNew | None = None
    while batch := list(islice(waiting, BATCH)):
        stored += insert_missing(db, TelemetryPoint, [_row(did, one, now) for one in batch])
        charged = [one for one in batch if one.soc_percent is not None]
        newest = max([*charged, *([newest] if newest else [])], key=_moment, default=None)
    if newest is not None:
        keep_newest_soc(db, did, soc_percent=newest.soc_percent, at=newest.at)
    return stored


def _moment(point: TelemetryPointNew) -> datetime:
    return point.at


def _row(did: str, point: TelemetryPointNew, now: datetime) -> dict[str, Any]:
    return {"vehicle_did": did, "available_at": now, **point.model_dump()}


def keep_newest_soc(db: Session, did: str, *, soc_percent: float | None, at: datetime) -> None:
    """Note a state of charge unless a newer one is known."""
    is_newer = or_(Vehicle.last_soc_at.is_(None), Vehicle.last_soc_at < at)
    db.execute(
        update(Vehicle)
        .where(Vehicle.did == did, is_newer)
        .values(last_soc_percent=soc_percent, last_soc_at=at)
        .execution_options(synchronize_session="fetch")
    )


def note(
    db: Session,
    did: str,
    *,
    at: datetime,
    is_plugged_in: bool,
    soc_percent: float | None,
    power_kw: float | None,
    now: datetime,
) -> None:
    """Store what a charging session saw of a vehicle, unless something is known of that moment."""
    row = {
        "vehicle_did": did,
        "at": at,
        "is_plugged_in": is_plugged_in,
        "soc_percent": soc_percent,
        "power_kw": None if power_kw is None else max(power_kw, 0.0),  # it may give energy back
        "available_at": now,
    }
    insert_missing(db, TelemetryPoint, row)
    if soc_percent is not None:
        keep_newest_soc(db, did, soc_percent=soc_percent, at=at)


def points_of_csv(table: str) -> list[TelemetryPointNew]:
    """Points from a table with a header line; commas, or semicolons and decimal commas.

    Raises:
        TelemetryUnreadable: If it is no such table, is too long, or a row is no point.
    """
    header = table.partition("\n")[0]
    has_semicolons = ";" in header
    rows = csv.DictReader(io.StringIO(table), delimiter=";" if has_semicolons else ",")
    missing = {"at", "is_plugged_in"} - {name.strip() for name in rows.fieldnames or ()}
    if missing:
        raise TelemetryUnreadable(f"The first line does not name {', '.join(sorted(missing))}.")
    try:
        cells = list(islice(rows, MOST_POINTS + 1))
    except csv.Error as error:
        raise TelemetryUnreadable(f"The table cannot be read: {error}.") from None
    if len(cells) > MOST_POINTS:
        raise TelemetryUnreadable(f"The table has over {MOST_POINTS} rows; send it in parts.")
    if not cells:
        raise TelemetryUnreadable("The table has no rows.")
    return [point_of_row(row, number, has_semicolons) for number, row in enumerate(cells, 1)]


def point_of_row(
    row: dict[str, Any],
    number: int,
    has_decimal_comma: bool,  # noqa: FBT001 - said by the caller's own name for it
) -> TelemetryPointNew:
    """One row of a table as a point.

    Raises:
        TelemetryUnreadable: If it is none; the message names row and reason.
    """
    cells = {(name or "").strip(): (value or "") for name, value in row.items() if name}
    known: dict[str, Any] = {name: cells[name].strip() for name in COLUMNS if cells.get(name)}
    try:
        known["is_plugged_in"] = TRUTHS[known.get("is_plugged_in", "").lower()]
        for name in ("soc_percent", "power_kw"):
            if known.get(name):
                text = known[name].replace(",", ".") if has_decimal_comma else known[name]
                known[name] = float(text)
            else:
                known.pop(name, None)
        return TelemetryPointNew(**known)
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    except KeyError:
        reason = "is_plugged_in is true or false"
    except ValueError as error:
        reason = str(error)
    raise TelemetryUnreadable(f"Row {number}: {reason}.")
