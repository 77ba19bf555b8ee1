"""`/vehicles`: data sheets."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from backend.components import CurrentParts, Db, ReadDb
from backend.features.credentials.holder import CurrentHolder, NotAllowed, NotAuthenticated, allow
from backend.features.vehicles import sheets
from backend.features.vehicles.sheets import (
    VehicleChange,
    VehicleExists,
    VehicleNew,
    VehicleNotFound,
    VehicleView,
)
from backend.idempotency import IdempotencyKeyReused, Route
from backend.paging import Cursor, CursorInvalid, IfMatch, Limit, Page, decoded, page_of
from backend.problems import PreconditionFailed, described
from backend.units import PRINTABLE

router = APIRouter(tags=["fleet"], route_class=Route)
REFUSED = (NotAuthenticated, NotAllowed)
FLEET = allow("fleet", "operator")
VehiclePath = Annotated[
    str, Path(max_length=255, pattern=PRINTABLE, examples=["did:denso:vehicle:vehicle001"])
]


@router.get(
    "/vehicles",
    summary="List vehicles",
    dependencies=[FLEET],
    responses=described(*REFUSED, CursorInvalid),
)
def list_vehicles(
    request: Request,
    response: Response,
    holder: CurrentHolder,
    db: ReadDb,
    cursor: Cursor = None,
    limit: Limit = 25,
) -> Page[VehicleView]:
    """List the data sheets of the vehicles you manage, by DID."""
    rows = sheets.sheets_page(db, holder=holder, after=decoded(cursor, request), limit=limit)
    return page_of(
        rows,
        limit,
        key=lambda row: row.did,
        show=sheets.view_of,
        request=request,
        response=response,
    )


@router.get(
    "/vehicles/{vehicle_did}",
    summary="Read one vehicle",
    dependencies=[FLEET],
    responses=described(*REFUSED, VehicleNotFound),
)
def get_vehicle(
    vehicle_did: VehiclePath, holder: CurrentHolder, response: Response, db: ReadDb
) -> VehicleView:
    """Read a data sheet; its `ETag` guards changes."""
    vehicle = sheets.require_vehicle(db, vehicle_did, holder=holder)
    response.headers["ETag"] = sheets.sheet_etag(vehicle)
    return sheets.view_of(vehicle)


@router.post(
    "/vehicles",
    summary="Register a vehicle",
    status_code=201,
    dependencies=[FLEET],
    responses=described(*REFUSED, VehicleExists, IdempotencyKeyReused),
)
def create_vehicle(
    new: VehicleNew, holder: CurrentHolder, parts: CurrentParts, response: Response, db: Db
) -> VehicleView:
    """Register a vehicle with its data sheet."""
    vehicle = sheets.create_vehicle(db, new, holder=holder, now=parts.clock.now())
    response.headers["Location"] = f"/api/v1/vehicles/{vehicle.did}"
    return sheets.view_of(vehicle)


@router.patch(
    "/vehicles/{vehicle_did}",
    summary="Change a vehicle",
    dependencies=[FLEET],
    responses=described(*REFUSED, VehicleNotFound, PreconditionFailed, IdempotencyKeyReused),
)
def change_vehicle(
    vehicle_did: VehiclePath,
    change: VehicleChange,
    holder: CurrentHolder,
    parts: CurrentParts,
    response: Response,
    db: Db,
    if_match: IfMatch = None,
) -> VehicleView:
    """Change a data sheet; it holds from the vehicle's next session on."""
    vehicle = sheets.change_vehicle(
        db, vehicle_did, change, if_match=if_match, holder=holder, now=parts.clock.now()
    )
    response.headers["ETag"] = sheets.sheet_etag(vehicle)
    return sheets.view_of(vehicle)
