"""Trips of a fleet: taken in bulk, one result per row."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Select, select, text
from sqlalchemy.orm import Session

from backend.database import new_id
from backend.features.credentials.holder import Holder
from backend.features.vehicles.models import FleetTrip, Vehicle
from backend.features.vehicles.schemas import (
    FleetTripNew,
    FleetTripResult,
    FleetTripsAccepted,
)
from backend.features.vehicles.trips import LegIn, journey_of
from backend.planning.journeys import journey_need
from backend.planning.trip import RESERVE_FACTOR
from backend.problems import Problem

MOST_ROWS = 1_000
FORMULA_STARTS = ("=", "+", "-", "@")
CSV_COLUMNS = ("external_id", "vehicle_did", "departure_time", "distance_km", "legs")
LEGS = TypeAdapter(list[LegIn])


class TableUnreadable(Problem):
    """The table has too many rows, or its first line does not name the columns."""

    status = HTTPStatus.CONFLICT
    fix = "Send CSV whose first line names vehicle_did, departure_time and distance_km."


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table: a trip, or why it is none."""

    number: int
    trip: FleetTripNew | None
    reason: str | None = None


def rows_of_csv(table: str) -> list[Row]:
    """Trips from a table with a header line; commas, or semicolons and decimal commas.

    Raises:
        TableUnreadable: If it is no such table, or too long.
    """
    delimiter = ";" if ";" in table.partition("\n")[0] else ","
    reader = csv.DictReader(io.StringIO(table), delimiter=delimiter)
    try:
        columns = [name.strip() for name in reader.fieldnames or ()]
        lines = [dict(zip(columns, cells.values(), strict=False)) for cells in reader]
    except csv.Error as error:
        raise TableUnreadable(f"The table cannot be read: {error}.") from None
    missing = sorted({"vehicle_did", "departure_time", "distance_km"} - set(columns))
    if missing:
        raise TableUnreadable(f"The first line does not name {', '.join(missing)}.")
    if len(lines) > MOST_ROWS:
        raise TableUnreadable(f"The table has over {MOST_ROWS} rows; send it in parts.")
    return [_row(number, cells, delimiter) for number, cells in enumerate(lines, 1)]


def rows_of_trips(trips: Sequence[FleetTripNew]) -> list[Row]:
    """Rows of trips that are known to be well-formed."""
    return [Row(number, trip) for number, trip in enumerate(trips, 1)]


def csv_of(trips: Iterable[FleetTrip]) -> str:
    """A table of trips that can be uploaded again."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(CSV_COLUMNS)
    for trip in trips:
        departure = trip.departure_at.isoformat(timespec="seconds")
        legs = LEGS.dump_json(legs_of(trip), exclude_defaults=True).decode() if trip.legs else ""
        distance = "" if trip.legs else f"{trip.distance_km:g}"
        cells = (trip.external_id or "", trip.vehicle_did, departure, distance, legs)
        writer.writerow([f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell for cell in cells])
    return text.getvalue()


def legs_of(trip: FleetTrip) -> list[LegIn]:
    """The legs of a chain; none of a plain distance."""
    return LEGS.validate_python(trip.legs or [])


def needed_kwh(trip: FleetTrip, vehicle: Vehicle) -> float:
    """What a trip needs in the battery at departure, reserve included."""
    if not trip.legs:
        return trip.distance_km * vehicle.consumption_wh_per_km * RESERVE_FACTOR / 1000
    journey = journey_of(
        legs_of(trip),
        None,
        capacity_kwh=vehicle.battery_capacity_kwh,
        consumption_wh_per_km=vehicle.consumption_wh_per_km,
        by_road=True,
    )
    need = journey_need(journey)
    return need.departure_kwh + need.beyond_battery_kwh


def _row(number: int, cells: dict[str, Any], delimiter: str) -> Row:
    known: dict[str, Any] = {
        name: _unquoted(cells[name].strip())
        for name in CSV_COLUMNS
        if (cells.get(name) or "").strip()
    }
    try:
        if "distance_km" in known:
            number_text = known["distance_km"]
            if delimiter == ";":
                number_text = number_text.replace(",", ".")
            known["distance_km"] = float(number_text)
        if "legs" in known:
            known["legs"] = LEGS.validate_json(known["legs"])
        return Row(number, FleetTripNew(**known))
    except ValidationError as error:
        first = error.errors()[0]
        where = next((name for name in first["loc"] if name in CSV_COLUMNS), "trip")
        return Row(number, None, f"{where}: {first['msg']}")
    except ValueError:
        return Row(number, None, f"distance_km: {known['distance_km']} is no number")


def _unquoted(cell: str) -> str:
    """A cell without the quote that keeps spreadsheets from running it as a formula."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA_STARTS) else cell


def take(
    db: Session,
    rows: Sequence[Row],
    *,
    dry_run: bool,
    all_or_nothing: bool,
    holder: Holder,
    now: datetime,
) -> FleetTripsAccepted:
    """Store the trips of every good row; the same external id replaces its trip.

    With `all_or_nothing`, one bad row is enough to store none.
    """
    _lock_uploads(db, holder)
    judged = [(row, row.reason or _refusal(db, row.trip, holder, now)) for row in rows]
    is_refused = any(reason is not None for _, reason in judged)
    stores = not dry_run and not (all_or_nothing and is_refused)
    results = [
        _refused(row, reason)
        if row.trip is None or reason is not None
        else _taken(db, row.number, row.trip, stores=stores, holder=holder, now=now)
        for row, reason in judged
    ]
    count = [one.outcome for one in results].count
    return FleetTripsAccepted(
        created=count("created"),
        replaced=count("replaced"),
        refused=count("refused"),
        stored=stores,
        results=results,
    )


def _refused(row: Row, reason: str | None) -> FleetTripResult:
    return FleetTripResult(row=row.number, outcome="refused", trip_id=None, reason=reason)


def _taken(
    db: Session, number: int, new: FleetTripNew, *, stores: bool, holder: Holder, now: datetime
) -> FleetTripResult:
    known = _known(db, new, holder)
    outcome: Literal["created", "replaced"] = "replaced" if known else "created"
    if not stores:
        return FleetTripResult(row=number, outcome=outcome, trip_id=None, reason=None)
    trip = known or FleetTrip(id=new_id("ftr"), created_by=holder.did, created_at=now)
    trip.external_id = new.external_id
    trip.vehicle_did = new.vehicle_did
    trip.departure_at = new.departure_time
    trip.distance_km = new.total_km
    trip.legs = None if new.legs is None else LEGS.dump_python(new.legs)
    db.add(trip)
    db.flush()
    return FleetTripResult(row=number, outcome=outcome, trip_id=trip.id, reason=None)


def _refusal(db: Session, trip: FleetTripNew | None, holder: Holder, now: datetime) -> str | None:
    """Why a trip cannot be taken; another fleet's vehicle looks like an unknown one."""
    if trip is None:
        return "no trip"
    if db.get(Vehicle, trip.vehicle_did) is None or not holder.manages(trip.vehicle_did):
        return f"{trip.vehicle_did} is not registered"
    if trip.departure_time <= now:
        return "the departure lies in the past"
    return None


def _known(db: Session, trip: FleetTripNew, holder: Holder) -> FleetTrip | None:
    if trip.external_id is None:
        return None
    query = select(FleetTrip).where(
        FleetTrip.created_by == holder.did, FleetTrip.external_id == trip.external_id
    )
    return db.scalar(query)


def _lock_uploads(db: Session, holder: Holder) -> None:
    """Let a caller's uploads come one by one: two with the same external ids would collide.

    SQLite has one writer anyway.
    """
    if db.get_bind().dialect.name == "postgresql":
        key = {"key": f"fleet_trips {holder.did}"}
        db.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"), key)


def trips_between(
    db: Session, *, holder: Holder, since: datetime | None, until: datetime | None
) -> Sequence[FleetTrip]:
    """The holder's trips by departure."""
    query = _visible(holder, since, until)
    return db.scalars(query.order_by(FleetTrip.departure_at, FleetTrip.id)).all()


def trips_page(
    db: Session,
    *,
    holder: Holder,
    since: datetime | None,
    until: datetime | None,
    after: str | None,
    limit: int,
) -> Sequence[FleetTrip]:
    """The holder's trips in the order they were made, one more than `limit`."""
    query = _visible(holder, since, until).order_by(FleetTrip.id).limit(limit + 1)
    if after is not None:
        query = query.where(FleetTrip.id > after)
    return db.scalars(query).all()


def _visible(holder: Holder, since: datetime | None, until: datetime | None) -> Select[FleetTrip]:
    query = select(FleetTrip)
    if not holder.sees_everything:
        query = query.where(
            FleetTrip.created_by == holder.did, FleetTrip.vehicle_did.in_(holder.vehicles)
        )
    if since is not None:
        query = query.where(FleetTrip.departure_at >= since)
    if until is not None:
        query = query.where(FleetTrip.departure_at < until)
    return query
