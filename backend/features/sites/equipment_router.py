"""`/sites/{site_id}/equipment` and `/battery`: what lies between the grid and the chargers."""

from fastapi import APIRouter, Response

from backend.components import CurrentParts, Db, ReadDb
from backend.features.credentials.holder import (
    EVERYONE,
    CurrentHolder,
    NotAllowed,
    NotAuthenticated,
    allow,
)
from backend.features.sites import equipping
from backend.features.sites.equipment import BatteryState, EquipmentView, SiteEquipment
from backend.features.sites.equipping import NoBattery
from backend.features.sites.models import Site
from backend.features.sites.schemas import SitePath
from backend.features.sites.service import (
    EquipmentImpossible,
    SiteNotFound,
    require_readable_site,
)
from backend.idempotency import IdempotencyKeyReused, Route
from backend.paging import IfMatch
from backend.problems import PreconditionFailed, described

router = APIRouter(tags=["sites"], route_class=Route)
REFUSED = (NotAuthenticated, NotAllowed)
OPERATOR = allow("operator")


@router.get(
    "/sites/{site_id}/equipment",
    summary="Equipment of a site",
    dependencies=[allow(*EVERYONE)],
    responses=described(*REFUSED, SiteNotFound),
)
def get_equipment(
    site_id: SitePath, response: Response, holder: CurrentHolder, db: ReadDb
) -> EquipmentView:
    """Read the tree of limits, phases and battery; the `ETag` guards a replacement."""
    site = require_readable_site(db, site_id, holder=holder)
    response.headers["ETag"] = equipping.equipment_etag(site)
    return equipping.view_of(db, site)


@router.put(
    "/sites/{site_id}/equipment",
    summary="Replace the equipment of a site",
    dependencies=[OPERATOR],
    responses=described(
        *REFUSED, SiteNotFound, EquipmentImpossible, PreconditionFailed, IdempotencyKeyReused
    ),
)
def replace_equipment(
    site_id: SitePath,
    equipment: SiteEquipment,
    holder: CurrentHolder,
    parts: CurrentParts,
    response: Response,
    db: Db,
    if_match: IfMatch = None,
) -> EquipmentView:
    """Replace the whole document; what is left out is gone. The site is planned again with it."""
    view = equipping.replace_equipment(
        db, site_id, equipment, if_match=if_match, holder=holder, now=parts.clock.now()
    )
    response.headers["ETag"] = equipping.equipment_etag(db.get_one(Site, site_id))
    return view


@router.put(
    "/sites/{site_id}/battery",
    summary="Tell what the battery holds",
    dependencies=[OPERATOR],
    responses=described(*REFUSED, SiteNotFound, NoBattery, IdempotencyKeyReused),
)
def tell_battery(
    site_id: SitePath, state: BatteryState, holder: CurrentHolder, parts: CurrentParts, db: Db
) -> EquipmentView:
    """Take a reading of the stationary battery; the next plan starts from it."""
    return equipping.tell_battery(db, site_id, state, holder=holder, now=parts.clock.now())
