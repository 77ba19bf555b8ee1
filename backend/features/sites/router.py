"""`/sites` and `/chargers`: list, create, change; tariffs."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Query, Request, Response
from sqlalchemy import select

from backend.components import CurrentParts, Db, ReadDb
from backend.features.credentials.holder import (
    EVERYONE,
    CurrentHolder,
    NotAllowed,
    NotAuthenticated,
    allow,
)
from backend.features.sites import equipment_router, limits, queries, service
from backend.features.sites.limits import LimitNotFound, LimitWindowImpossible, NodeUnknown
from backend.features.sites.models import (
    Charger,
    PurchasePrice,
    SalesTariff,
    Site,
    SiteLimit,
)
from backend.features.sites.schemas import (
    TARIFF_EXAMPLES,
    ChargerChange,
    ChargerNew,
    ChargerView,
    LimitNew,
    LimitView,
    Location,
    PurchasePriceView,
    SalesTariffView,
    SiteChange,
    SiteLimits,
    SiteNew,
    SitePath,
    SiteView,
    TariffNew,
    Tariffs,
)
from backend.features.sites.service import (
    ChargerExists,
    ChargerNotFound,
    ChargerOccupied,
    EquipmentImpossible,
    SiteExists,
    SiteNotFound,
)
from backend.features.sites.wiring import charger_equipment_of
from backend.idempotency import IdempotencyKeyReused, Route
from backend.paging import Cursor, CursorInvalid, IfMatch, Limit, Page, decoded, page_of
from backend.problems import PreconditionFailed, described
from backend.units import PRINTABLE

router = APIRouter(route_class=Route)
router.include_router(equipment_router.router)
ChargerPath = Annotated[
    str, Path(max_length=255, pattern=PRINTABLE, examples=["did:denso:charger:site_hq_chr01"])
]
LIMIT_ID = "lim_01KAF0000000000000000000"
LimitId = Annotated[
    str, Path(max_length=40, pattern=PRINTABLE, examples=[LIMIT_ID], description="lim_…")
]
ANY_ROLE = allow(*EVERYONE)
OPERATOR = allow("operator")
REFUSED = (NotAuthenticated, NotAllowed)


@router.get(
    "/sites",
    tags=["sites"],
    summary="List sites",
    dependencies=[ANY_ROLE],
    responses=described(*REFUSED, CursorInvalid),
)
def list_sites(
    request: Request, response: Response, db: ReadDb, cursor: Cursor = None, limit: Limit = 100
) -> Page[SiteView]:
    """List every site with its limit and how many chargers are free."""
    rows = queries.sites_with_counts(db, after=decoded(cursor, request), limit=limit)
    return page_of(
        rows,
        limit,
        key=lambda row: row[0].id,
        show=lambda row: _site_view(*row),
        request=request,
        response=response,
    )


@router.get(
    "/sites/{site_id}",
    tags=["sites"],
    summary="Read one site",
    dependencies=[ANY_ROLE],
    responses=described(*REFUSED, SiteNotFound),
)
def get_site(site_id: SitePath, response: Response, db: ReadDb) -> SiteView:
    """Read a site; its `ETag` guards changes."""
    rows = queries.sites_with_counts(db, after=None, limit=1, site_id=site_id)
    if not rows:
        raise SiteNotFound
    response.headers["ETag"] = service.site_etag(rows[0][0])
    return _site_view(*rows[0])


@router.post(
    "/sites",
    tags=["sites"],
    summary="Create a site",
    status_code=201,
    dependencies=[OPERATOR],
    responses=described(*REFUSED, SiteExists, IdempotencyKeyReused),
)
def create_site(
    new: SiteNew, holder: CurrentHolder, parts: CurrentParts, response: Response, db: Db
) -> SiteView:
    """Create a site; it starts with a default tariff and price that you can replace."""
    site = service.create_site(db, new, holder=holder, now=parts.clock.now())
    response.headers["Location"] = f"/api/v1/sites/{site.id}"
    return _site_view(site, 0, 0)


@router.patch(
    "/sites/{site_id}",
    tags=["sites"],
    summary="Change a site",
    dependencies=[OPERATOR],
    responses=described(*REFUSED, SiteNotFound, PreconditionFailed, IdempotencyKeyReused),
)
def change_site(
    site_id: SitePath,
    change: SiteChange,
    holder: CurrentHolder,
    parts: CurrentParts,
    response: Response,
    db: Db,
    if_match: IfMatch = None,
) -> SiteView:
    """Change name, kind, limit or what else the site draws; it is planned again."""
    service.change_site(
        db, site_id, change, if_match=if_match, holder=holder, now=parts.clock.now()
    )
    db.flush()
    row = queries.sites_with_counts(db, after=None, limit=1, site_id=site_id)[0]
    response.headers["ETag"] = service.site_etag(row[0])
    return _site_view(*row)


@router.get(
    "/chargers",
    tags=["chargers"],
    summary="List chargers",
    dependencies=[ANY_ROLE],
    responses=described(*REFUSED, CursorInvalid),
)
def list_chargers(
    request: Request,
    response: Response,
    db: ReadDb,
    parts: CurrentParts,
    site_id: Annotated[
        str | None, Query(max_length=64, pattern=PRINTABLE, examples=["site_hq"])
    ] = None,
    available_only: bool = False,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Page[ChargerView]:
    """List chargers with state and price, all or only those that are free."""
    rows = queries.chargers_page(
        db,
        site_id=site_id,
        available_only=available_only,
        after=decoded(cursor, request),
        limit=limit,
    )
    tariffs = queries.tariffs_in_force(
        db, site_ids={row.site_id for row in rows}, at=parts.clock.now()
    )
    return page_of(
        rows,
        limit,
        key=lambda row: row.did,
        show=lambda row: _charger_view(row, tariffs.get(row.did) or tariffs[row.site_id]),
        request=request,
        response=response,
    )


@router.get(
    "/chargers/{charger_did}",
    tags=["chargers"],
    summary="Read one charger",
    dependencies=[ANY_ROLE],
    responses=described(*REFUSED, ChargerNotFound),
)
def get_charger(
    charger_did: ChargerPath, response: Response, db: ReadDb, parts: CurrentParts
) -> ChargerView:
    """Read a charger; its `ETag` guards changes."""
    charger = service.require_charger(db, charger_did)
    response.headers["ETag"] = service.charger_etag(charger)
    tariff = service.tariff_for(
        db, site_id=charger.site_id, charger_did=charger.did, at=parts.clock.now()
    )
    return _charger_view(charger, tariff)


@router.post(
    "/chargers",
    tags=["chargers"],
    summary="Create a charger",
    status_code=201,
    dependencies=[OPERATOR],
    responses=described(
        *REFUSED, SiteNotFound, ChargerExists, EquipmentImpossible, IdempotencyKeyReused
    ),
)
def create_charger(
    new: ChargerNew, holder: CurrentHolder, parts: CurrentParts, response: Response, db: Db
) -> ChargerView:
    """Register a charger at a site."""
    now = parts.clock.now()
    charger = service.create_charger(db, new, holder=holder, now=now)
    response.headers["Location"] = f"/api/v1/chargers/{charger.did}"
    tariff = service.tariff_for(db, site_id=charger.site_id, charger_did=charger.did, at=now)
    return _charger_view(charger, tariff)


@router.patch(
    "/chargers/{charger_did}",
    tags=["chargers"],
    summary="Change a charger",
    dependencies=[OPERATOR],
    responses=described(
        *REFUSED,
        ChargerNotFound,
        ChargerOccupied,
        EquipmentImpossible,
        PreconditionFailed,
        IdempotencyKeyReused,
    ),
)
def change_charger(
    charger_did: ChargerPath,
    change: ChargerChange,
    holder: CurrentHolder,
    parts: CurrentParts,
    response: Response,
    db: Db,
    if_match: IfMatch = None,
) -> ChargerView:
    """Change power, place, state or equipment; the site is planned again."""
    now = parts.clock.now()
    charger = service.change_charger(
        db, charger_did, change, if_match=if_match, holder=holder, now=now
    )
    response.headers["ETag"] = service.charger_etag(charger)
    tariff = service.tariff_for(db, site_id=charger.site_id, charger_did=charger.did, at=now)
    return _charger_view(charger, tariff)


@router.get(
    "/sites/{site_id}/tariffs",
    tags=["sites"],
    summary="Tariffs and prices of a site",
    dependencies=[ANY_ROLE],
    responses=described(*REFUSED, SiteNotFound),
)
def get_tariffs(site_id: SitePath, db: ReadDb) -> Tariffs:
    """Read every version of what drivers pay and of what the site pays."""
    service.require_site(db, site_id)
    sales = select(SalesTariff).where(SalesTariff.site_id == site_id)
    purchase = select(PurchasePrice).where(PurchasePrice.site_id == site_id)
    return Tariffs(
        site_id=site_id,
        sales=[_sales_view(row) for row in db.scalars(sales.order_by(SalesTariff.id.desc()))],
        purchase=[
            _purchase_view(row) for row in db.scalars(purchase.order_by(PurchasePrice.id.desc()))
        ],
    )


@router.post(
    "/sites/{site_id}/tariffs",
    tags=["sites"],
    summary="Add a tariff or a purchase price",
    status_code=201,
    dependencies=[OPERATOR],
    responses=described(*REFUSED, SiteNotFound, ChargerNotFound, IdempotencyKeyReused),
)
def add_tariff(
    site_id: SitePath,
    new: Annotated[TariffNew, Body(discriminator="kind", openapi_examples=TARIFF_EXAMPLES)],
    holder: CurrentHolder,
    parts: CurrentParts,
    db: Db,
) -> SalesTariffView | PurchasePriceView:
    """Add a version: `sales` for what drivers pay, `purchase` for what the site pays."""
    added = service.add_tariff(db, site_id, new, holder=holder, now=parts.clock.now())
    return _sales_view(added) if isinstance(added, SalesTariff) else _purchase_view(added)


def _location(latitude: float | None, longitude: float | None) -> Location | None:
    if latitude is None or longitude is None:
        return None
    return Location(lat=latitude, lon=longitude)


def _site_view(site: Site, chargers: int, available: int) -> SiteView:
    return SiteView(
        site_id=site.id,
        name=site.name,
        kind=site.kind,
        timezone=site.timezone,
        country=site.country,
        currency=site.currency,
        grid_limit_kw=site.grid_limit_kw,
        base_load_kw_by_hour=site.base_load_kw_by_hour,
        pv_peak_kw=site.pv_peak_kw,
        export_eur_per_kwh=site.export_eur_per_kwh,
        fairness=site.fairness,
        admission=service.admission_of(site),
        location=_location(site.latitude, site.longitude),
        chargers=chargers,
        chargers_available=available,
        updated_at=site.updated_at,
    )


def _charger_view(charger: Charger, tariff: SalesTariff) -> ChargerView:
    return ChargerView(
        did=charger.did,
        site_id=charger.site_id,
        max_power_kw=charger.max_power_kw,
        status=charger.status,
        is_available=charger.status == "available",
        tariff_eur_per_kwh=float(tariff.eur_per_kwh),
        location=_location(charger.latitude, charger.longitude),
        equipment=charger_equipment_of(charger),
        updated_at=charger.updated_at,
    )


def _sales_view(row: SalesTariff) -> SalesTariffView:
    return SalesTariffView(
        id=row.id,
        charger_did=row.charger_did,
        version=row.version,
        valid_from=row.valid_from,
        eur_per_kwh=float(row.eur_per_kwh),
        eur_per_session=float(row.eur_per_session),
        idle_eur_per_hour=float(row.idle_eur_per_hour),
        vat_percent=float(row.vat_percent),
        v2g_credit_eur_per_kwh=(
            None if row.v2g_credit_eur_per_kwh is None else float(row.v2g_credit_eur_per_kwh)
        ),
    )


def _purchase_view(row: PurchasePrice) -> PurchasePriceView:
    return PurchasePriceView(
        id=row.id,
        version=row.version,
        valid_from=row.valid_from,
        eur_per_kwh_by_hour=row.eur_per_kwh_by_hour,
        demand_charge_eur_per_kw=float(row.demand_charge_eur_per_kw),
    )


@router.get(
    "/sites/{site_id}/limits",
    tags=["sites"],
    summary="Timed limits of a site",
    dependencies=[ANY_ROLE],
    responses=described(*REFUSED, SiteNotFound),
)
def list_limits(site_id: SitePath, db: ReadDb, parts: CurrentParts) -> SiteLimits:
    """List limits that are in force or ahead, by start."""
    service.require_site(db, site_id)
    ahead = limits.limits_ahead(db, site_id, now=parts.clock.now())
    return SiteLimits(site_id=site_id, limits=[_limit_view(one) for one in ahead])


@router.post(
    "/sites/{site_id}/limits",
    tags=["sites"],
    summary="Limit a site's power for a time",
    status_code=201,
    dependencies=[OPERATOR],
    responses=described(
        *REFUSED, SiteNotFound, LimitWindowImpossible, NodeUnknown, IdempotencyKeyReused
    ),
)
def add_limit(
    site_id: SitePath, new: LimitNew, holder: CurrentHolder, parts: CurrentParts, db: Db
) -> LimitView:
    """Curtail: the site is planned again within seconds, and its drivers are told why."""
    return _limit_view(limits.add_limit(db, site_id, new, holder=holder, now=parts.clock.now()))


@router.delete(
    "/sites/{site_id}/limits/{limit_id}",
    tags=["sites"],
    summary="Lift a limit",
    dependencies=[OPERATOR],
    responses=described(*REFUSED, SiteNotFound, LimitNotFound, IdempotencyKeyReused),
)
def lift_limit(
    site_id: SitePath,
    limit_id: LimitId,
    holder: CurrentHolder,
    parts: CurrentParts,
    db: Db,
) -> LimitView:
    """End a limit now; the site is planned again."""
    return _limit_view(
        limits.lift_limit(db, site_id, limit_id, holder=holder, now=parts.clock.now())
    )


def _limit_view(limit: SiteLimit) -> LimitView:
    return LimitView(
        limit_id=limit.id,
        site_id=limit.site_id,
        limit_kw=limit.limit_kw,
        starts_at=limit.starts_at,
        ends_at=limit.ends_at,
        node=limit.node,
        reason=limit.reason,
    )
