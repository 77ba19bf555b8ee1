"""`/fleet/trips`: what vehicles have to be ready for."""

import json
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from backend.components import CurrentParts, Db, ReadDb
from backend.features.credentials.holder import CurrentHolder, NotAllowed, NotAuthenticated, allow
from backend.features.vehicles import fleet, sheets_router, telemetry_router
from backend.features.vehicles.fleet import Row, TableUnreadable
from backend.features.vehicles.models import FleetTrip
from backend.features.vehicles.schemas import FleetTripsAccepted, FleetTripsNew, FleetTripView
from backend.idempotency import IdempotencyKeyReused, Route
from backend.paging import Cursor, CursorInvalid, Limit, Page, decoded, page_of
from backend.problems import UnreadableBody, UnsupportedMediaType, described
from backend.units import UtcDatetime

router = APIRouter(tags=["fleet"], route_class=Route)
router.include_router(sheets_router.router)
router.include_router(telemetry_router.router)
REFUSED = (NotAuthenticated, NotAllowed)
JSON, CSV = "application/json", "text/csv"
FLEET = allow("fleet", "operator")
DryRun = Annotated[bool, Query(description="Check every row, store none")]
AllOrNothing = Annotated[bool, Query(description="Store none if one row is bad")]
Since = Annotated[UtcDatetime | None, Query(alias="from")]
Until = Annotated[UtcDatetime | None, Query(alias="to")]


async def _rows(request: Request) -> list[Row]:
    """The rows of a body, JSON or CSV as its Content-Type says.

    Raises:
        UnsupportedMediaType: If it is neither.
        UnreadableBody: If it is not what it says.
        RequestValidationError: If the JSON does not have the documented form.
    """
    kind, _, _ = request.headers.get("Content-Type", JSON).partition(";")
    body = await request.body()
    if kind.strip().lower() == JSON:
        return fleet.rows_of_trips(_trips_of(body).trips)
    if kind.strip().lower() != CSV:
        raise UnsupportedMediaType
    try:
        return fleet.rows_of_csv(body.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise UnreadableBody("The table is not UTF-8.") from None


def _trips_of(body: bytes) -> FleetTripsNew:
    try:
        return FleetTripsNew.model_validate_json(body)
    except ValidationError as error:
        found = [{**one, "loc": ("body", *one["loc"])} for one in error.errors()]
        raise RequestValidationError(found, body=_parsed(body)) from None


def _parsed(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError:
        raise UnreadableBody from None


BODY = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {
                "schema": FleetTripsNew.model_json_schema(
                    ref_template="#/components/schemas/{model}"
                )
            },
            CSV: {
                "schema": {"type": "string", "minLength": 1},
                "example": "external_id,vehicle_did,departure_time,distance_km\n",
            },
        },
    }
}


@router.post(
    "/fleet/trips",
    summary="Plan trips",
    dependencies=[FLEET],
    responses=described(*REFUSED, TableUnreadable, UnsupportedMediaType, IdempotencyKeyReused),
    openapi_extra=BODY,
)
def add_trips(
    rows: Annotated[list[Row], Depends(_rows)],
    holder: CurrentHolder,
    parts: CurrentParts,
    db: Db,
    dry_run: DryRun = False,
    all_or_nothing: AllOrNothing = False,
) -> FleetTripsAccepted:
    """Take trips that vehicles have to be ready for, as JSON or as a spreadsheet's CSV.

    A table's first line names the columns: external_id, vehicle_did, departure_time, distance_km;
    a column `legs` may hold a chain as JSON where distance_km is left empty.
    Each row has a result of its own.
    """
    return fleet.take(
        db,
        rows,
        dry_run=dry_run,
        all_or_nothing=all_or_nothing,
        holder=holder,
        now=parts.clock.now(),
    )


@router.get(
    "/fleet/trips",
    summary="List trips",
    dependencies=[allow("fleet", "operator", "auditor")],
    response_model=Page[FleetTripView],
    responses={
        200: {"content": {CSV: {"schema": {"type": "string"}}}, "description": "The trips"},
        **described(*REFUSED, CursorInvalid),
    },
)
def list_trips(
    request: Request,
    response: Response,
    db: ReadDb,
    holder: CurrentHolder,
    since: Since = None,
    until: Until = None,
    format: Literal["json", "csv"] = "json",  # noqa: A002 - the name of the query parameter
    cursor: Cursor = None,
    limit: Limit = 25,
) -> Page[FleetTripView] | Response:
    """List the fleet's trips in the order they were made; `format=csv` gives all of a span.

    That table can be changed in a spreadsheet and sent back.
    """
    if format == "csv":
        headers = {"Content-Disposition": 'attachment; filename="trips.csv"'}
        table = fleet.csv_of(fleet.trips_between(db, holder=holder, since=since, until=until))
        return Response(table, media_type="text/csv; charset=utf-8", headers=headers)
    rows = fleet.trips_page(
        db,
        holder=holder,
        since=since,
        until=until,
        after=decoded(cursor, request),
        limit=limit,
    )
    return page_of(
        rows, limit, key=lambda row: row.id, show=_view, request=request, response=response
    )


def _view(trip: FleetTrip) -> FleetTripView:
    return FleetTripView(
        trip_id=trip.id,
        external_id=trip.external_id,
        vehicle_did=trip.vehicle_did,
        departure_time=trip.departure_at,
        distance_km=trip.distance_km,
        legs=fleet.legs_of(trip),
    )
