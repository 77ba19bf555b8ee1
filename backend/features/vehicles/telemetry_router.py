"""`/vehicles/{vehicle_did}/telemetry`: what vehicles say of themselves."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request

from backend.components import CurrentParts, Db
from backend.features.credentials.holder import CurrentHolder, NotAllowed, NotAuthenticated, allow
from backend.features.vehicles import telemetry
from backend.features.vehicles.sheets import VehicleNotFound
from backend.features.vehicles.telemetry import TelemetryInFuture, TelemetryUnreadable
from backend.features.vehicles.telemetry_schemas import TelemetryAccepted, TelemetryBatch
from backend.idempotency import IdempotencyKeyReused, Route
from backend.problems import UnreadableBody, described
from backend.units import PRINTABLE

router = APIRouter(tags=["fleet"], route_class=Route)
REFUSED = (NotAuthenticated, NotAllowed)
SENDERS = allow("driver", "fleet")
VehiclePath = Annotated[
    str, Path(max_length=255, pattern=PRINTABLE, examples=["did:denso:vehicle:vehicle001"])
]


@router.post(
    "/vehicles/{vehicle_did}/telemetry",
    summary="Send telemetry",
    dependencies=[SENDERS],
    responses=described(*REFUSED, VehicleNotFound, TelemetryInFuture, IdempotencyKeyReused),
)
def add_telemetry(
    vehicle_did: VehiclePath,
    batch: TelemetryBatch,
    holder: CurrentHolder,
    parts: CurrentParts,
    db: Db,
) -> TelemetryAccepted:
    """Take a batch of points, late and repeated ones too; each moment is stored once.

    With `current_soc_percent: null` a session starts from the newest state of charge.
    """
    return telemetry.take(db, vehicle_did, batch.points, holder=holder, now=parts.clock.now())


async def _text(request: Request) -> str:
    try:
        return (await request.body()).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnreadableBody("The table is not UTF-8.") from None


CSV_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "text/csv": {
                "schema": {"type": "string", "minLength": 1},
                "example": "at,is_plugged_in,soc_percent,power_kw\n",
            }
        },
    }
}


@router.post(
    "/vehicles/{vehicle_did}/telemetry/csv",
    summary="Send telemetry as a table",
    dependencies=[SENDERS],
    responses=described(
        *REFUSED, VehicleNotFound, TelemetryInFuture, TelemetryUnreadable, IdempotencyKeyReused
    ),
    openapi_extra=CSV_BODY,
)
def add_telemetry_csv(
    vehicle_did: VehiclePath,
    table: Annotated[str, Depends(_text)],
    holder: CurrentHolder,
    parts: CurrentParts,
    db: Db,
) -> TelemetryAccepted:
    """Take a table with the columns at, is_plugged_in, soc_percent, power_kw."""
    points = telemetry.points_of_csv(table)
    return telemetry.take(db, vehicle_did, points, holder=holder, now=parts.clock.now())
