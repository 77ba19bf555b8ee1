"""Reading sites, chargers and the prices in force."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Row, case, func, select
from sqlalchemy.orm import Session

from backend.features.sites.models import Charger, PurchasePrice, SalesTariff, Site


def sites_with_counts(
    db: Session, *, after: str | None, limit: int, site_id: str | None = None
) -> Sequence[Row[Site, int, int]]:
    """Sites by id with their chargers and free chargers, one more than `limit`."""
    free = func.coalesce(func.sum(case((Charger.status == "available", 1), else_=0)), 0)
    query = (
        select(Site, func.count(Charger.did), free)
        .outerjoin(Charger, Charger.site_id == Site.id)
        .group_by(Site.id)
        .order_by(Site.id)
        .limit(limit + 1)
    )
    if after is not None:
        query = query.where(Site.id > after)
    if site_id is not None:
        query = query.where(Site.id == site_id)
    return db.execute(query).all()


def chargers_page(
    db: Session, *, site_id: str | None, available_only: bool, after: str | None, limit: int
) -> Sequence[Charger]:
    """Chargers by DID, one more than `limit`."""
    query = select(Charger).order_by(Charger.did).limit(limit + 1)
    if site_id is not None:
        query = query.where(Charger.site_id == site_id)
    if available_only:
        query = query.where(Charger.status == "available")
    if after is not None:
        query = query.where(Charger.did > after)
    return db.scalars(query).all()


def tariff_in_force(
    db: Session, *, site_id: str, charger_did: str, at: datetime
) -> SalesTariff | None:
    """The newest tariff of the charger that is valid, else the site's."""
    return db.scalar(
        select(SalesTariff)
        .where(SalesTariff.site_id == site_id, SalesTariff.valid_from <= at)
        .where((SalesTariff.charger_did == charger_did) | SalesTariff.charger_did.is_(None))
        .order_by(SalesTariff.charger_did.is_(None), SalesTariff.version.desc())
        .limit(1)
    )


def tariffs_in_force(db: Session, *, site_ids: set[str], at: datetime) -> dict[str, SalesTariff]:
    """The valid tariff by charger DID; a site's own under its id."""
    rows = db.scalars(
        select(SalesTariff)
        .where(SalesTariff.site_id.in_(site_ids), SalesTariff.valid_from <= at)
        .order_by(SalesTariff.version)
    )
    return {row.charger_did or row.site_id: row for row in rows}


def price_in_force(db: Session, *, site_id: str, at: datetime) -> PurchasePrice | None:
    """The newest purchase price of the site that is valid."""
    return db.scalar(
        select(PurchasePrice)
        .where(PurchasePrice.site_id == site_id, PurchasePrice.valid_from <= at)
        .order_by(PurchasePrice.version.desc())
        .limit(1)
    )
