"""`/drivers/{did}`: what is held on a driver, and its erasure."""

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from backend.components import CurrentParts, Db, ReadDb
from backend.features.credentials.holder import (
    CurrentHolder,
    NotAllowed,
    NotAuthenticated,
    allow,
)
from backend.features.reports import erasure, export
from backend.features.reports.erasure import DriverIsCharging, DriverNotFound
from backend.problems import described
from backend.units import PRINTABLE

# An answer kept to be repeated would hold what was just erased.
router = APIRouter(tags=["reports"])
REFUSED = (NotAuthenticated, NotAllowed)
DriverPath = Annotated[
    str, Path(max_length=255, pattern=PRINTABLE, examples=["did:denso:driver:driver001"])
]


class DriverErased(BaseModel):
    """What became of a driver's data."""

    sessions_kept: int = Field(description="Under an alias, for their bills")
    vehicles_forgotten: int
    receipts_unlinked: int = Field(description="Hashes whose salts were deleted")
    credentials_revoked: int
    cards_deleted: int


@router.get(
    "/drivers/{did}/export",
    summary="Export what is held on a driver",
    dependencies=[allow("driver")],
    response_class=StreamingResponse,
    responses={
        200: {"content": {"application/json": {"schema": {"type": "object"}}}},
        **described(*REFUSED, DriverNotFound),
    },
)
def export_driver(
    did: DriverPath, holder: CurrentHolder, parts: CurrentParts, db: ReadDb
) -> StreamingResponse:
    """Everything: sessions, bills, readings, trips, cards, credentials, keys, audit trail."""
    erasure.require_driver(db, did, holder=holder)
    headers = {"Content-Disposition": 'attachment; filename="export.json"'}
    return StreamingResponse(
        export.written(parts, did), media_type="application/json", headers=headers
    )


@router.delete(
    "/drivers/{did}",
    summary="Erase a driver",
    dependencies=[allow("driver")],
    responses=described(*REFUSED, DriverNotFound, DriverIsCharging),
)
def erase_driver(
    did: DriverPath, holder: CurrentHolder, parts: CurrentParts, db: Db
) -> DriverErased:
    """Forget a driver for good; bills stay, under an alias nobody can resolve."""
    done = erasure.erase(db, did, holder=holder, now=parts.clock.now())
    return DriverErased(
        sessions_kept=done.sessions_kept,
        vehicles_forgotten=done.vehicles_forgotten,
        receipts_unlinked=done.receipts_unlinked,
        credentials_revoked=done.credentials_revoked,
        cards_deleted=done.cards_deleted,
    )
