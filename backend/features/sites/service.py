"""Sites, chargers, tariffs and prices: create, change, look up."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from http import HTTPStatus
from zoneinfo import ZoneInfo

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.adapters.events.outbox import record
from backend.database import new_id
from backend.features.credentials.audit import note
from backend.features.credentials.holder import Holder
from backend.features.sites import queries
from backend.features.sites.models import Charger, PurchasePrice, SalesTariff, Site
from backend.features.sites.schemas import (
    Admission,
    ChargerChange,
    ChargerNew,
    PurchasePriceNew,
    SalesTariffNew,
    SiteChange,
    SiteNew,
)
from backend.features.sites.wiring import ChargerEquipment, charger_equipment_of, charger_fault
from backend.paging import etag_of, require_match
from backend.problems import NotFound, Problem

DEFAULT_SALES_EUR_PER_KWH = Decimal("0.30")
DEFAULT_PURCHASE_EUR_PER_KWH = 0.12
EPOCH = datetime.fromisoformat("2000-01-01T00:00:00+00:00")


class SiteNotFound(NotFound):
    """There is no such site for this caller."""


class ChargerNotFound(NotFound):
    """There is no such charger."""


class SiteExists(Problem):
    """A site with this id exists."""

    status = HTTPStatus.CONFLICT
    fix = "Choose another id, or change the site with PATCH."


class ChargerExists(Problem):
    """A charger with this DID exists."""

    status = HTTPStatus.CONFLICT
    fix = "Choose another DID, or change the charger with PATCH."


class EquipmentImpossible(Problem):
    """Equipment as described cannot be."""

    status = HTTPStatus.CONFLICT
    fix = "Mend what the detail names and send the whole document again."


class ChargerOccupied(Problem):
    """A session is open at this charger."""

    status = HTTPStatus.CONFLICT
    fix = "Complete or cancel the session first."


def require_site(db: Session, site_id: str, *, holder: Holder | None = None) -> Site:
    """The site, if it exists and the holder runs it.

    Raises:
        SiteNotFound: Otherwise; an unknown and a forbidden site look the same.
    """
    site = db.get(Site, site_id)
    if site is None or (holder is not None and not holder.runs(site_id)):
        raise SiteNotFound
    return site


def require_readable_site(db: Session, site_id: str, *, holder: Holder) -> Site:
    """The site, if it exists and the holder may read what belongs to it.

    Raises:
        SiteNotFound: Otherwise; an unknown and a forbidden site look the same.
    """
    site = db.get(Site, site_id)
    if site is None or not holder.reads(site_id):
        raise SiteNotFound
    return site


def require_charger(db: Session, did: str) -> Charger:
    """The charger.

    Raises:
        ChargerNotFound: If it is not registered.
    """
    charger = db.get(Charger, did)
    if charger is None:
        raise ChargerNotFound
    return charger


def admission_of(site: Site) -> Admission:
    """Who may charge at a site: no guests and drivers of every trusted fleet, unless it says."""
    return Admission() if site.admission is None else Admission.model_validate(site.admission)


def site_etag(site: Site) -> str:
    """Changes with every change of the site's data."""
    beside = (site.base_load_kw_by_hour, site.pv_peak_kw, site.export_eur_per_kwh, site.fairness)
    return etag_of(site.id, site.name, site.kind, site.grid_limit_kw, beside, site.updated_at)


def charger_etag(charger: Charger) -> str:
    """Changes with every change of the charger's data or state."""
    place = (charger.latitude, charger.longitude)
    state = (charger.max_power_kw, charger.status, charger.equipment)
    return etag_of(charger.did, *state, place, charger.updated_at)


def outdate_plan(db: Session, site_id: str) -> int:
    """Lock the site and move its plan version on: whoever is planning it has to plan again.

    Returns:
        The new version, 0 for an unknown site.
    """
    moved = db.execute(
        update(Site)
        .where(Site.id == site_id)
        .values(plan_version=Site.plan_version + 1)
        .returning(Site.plan_version)
        .execution_options(synchronize_session=False)
    )
    return moved.scalar() or 0


def create_site(db: Session, new: SiteNew, *, holder: Holder, now: datetime) -> Site:
    """Create a site with default tariffs.

    Raises:
        SiteExists: If the id is taken.
    """
    if db.get(Site, new.site_id) is not None:
        raise SiteExists
    site = Site(
        id=new.site_id,
        name=new.name,
        kind=new.kind,
        timezone=new.timezone,
        country=new.country,
        currency="EUR",
        grid_limit_kw=new.grid_limit_kw,
        latitude=new.location.lat if new.location else None,
        longitude=new.location.lon if new.location else None,
        is_demo=False,
        plan_version=0,
        updated_at=now,
    )
    db.add(site)
    try:
        db.flush()
    except IntegrityError:  # an equal request came first
        raise SiteExists from None
    _add_default_prices(db, site.id)
    note(db, now=now, actor=holder.did, action="site.created", object_id=site.id, facts={})
    record(db, "site.created", {"site_id": site.id}, now=now, site_id=site.id)
    return site


def _add_default_prices(db: Session, site_id: str) -> None:
    """Prices that hold until the operator sets their own."""
    sales = SalesTariffNew(kind="sales", eur_per_kwh=float(DEFAULT_SALES_EUR_PER_KWH))
    purchase = PurchasePriceNew(
        kind="purchase", eur_per_kwh_by_hour=[DEFAULT_PURCHASE_EUR_PER_KWH] * 24
    )
    _add_sales_tariff(db, site_id, sales, valid_from=EPOCH)
    _add_purchase_price(db, site_id, purchase, valid_from=EPOCH)


def change_site(
    db: Session,
    site_id: str,
    change: SiteChange,
    *,
    if_match: str | None,
    holder: Holder,
    now: datetime,
) -> Site:
    """Change a site; a new limit has the site planned again."""
    outdate_plan(db, site_id)
    site = require_site(db, site_id, holder=holder)
    require_match(if_match, site_etag(site))
    changed = {k: v for k, v in change.model_dump().items() if v is not None}
    for name, value in changed.items():
        setattr(site, name, value)
    site.updated_at = now
    note(db, now=now, actor=holder.did, action="site.changed", object_id=site_id, facts=changed)
    record(db, "site.changed", {"site_id": site_id, **changed}, now=now, site_id=site_id)
    return site


def create_charger(db: Session, new: ChargerNew, *, holder: Holder, now: datetime) -> Charger:
    """Create a charger at a site.

    Raises:
        ChargerExists: If the DID is taken.
        SiteNotFound: If the site does not exist.
        EquipmentImpossible: If its equipment contradicts itself.
    """
    _check(new.equipment, new.max_power_kw)
    require_site(db, new.site_id, holder=holder)
    if db.get(Charger, new.did) is not None:
        raise ChargerExists
    charger = Charger(
        did=new.did,
        site_id=new.site_id,
        max_power_kw=new.max_power_kw,
        status="available",
        latitude=new.location.lat if new.location else None,
        longitude=new.location.lon if new.location else None,
        equipment=new.equipment.model_dump() if new.equipment else None,
        updated_at=now,
    )
    db.add(charger)
    try:
        db.flush()
    except IntegrityError:  # an equal request came first
        raise ChargerExists from None
    note(db, now=now, actor=holder.did, action="charger.created", object_id=new.did, facts={})
    record(db, "charger.created", {"charger_did": new.did}, now=now, site_id=new.site_id)
    return charger


def change_charger(
    db: Session,
    did: str,
    change: ChargerChange,
    *,
    if_match: str | None,
    holder: Holder,
    now: datetime,
) -> Charger:
    """Change a charger; its site is planned again.

    Raises:
        ChargerOccupied: If its state should change while a session is open.
        EquipmentImpossible: If its equipment contradicts itself or its power.
    """
    charger = require_charger(db, did)
    if not holder.runs(charger.site_id):
        raise ChargerNotFound
    outdate_plan(db, charger.site_id)
    db.refresh(charger)
    require_match(if_match, charger_etag(charger))
    if change.status is not None and charger.status == "occupied":
        raise ChargerOccupied
    charger.max_power_kw = change.max_power_kw or charger.max_power_kw
    _check(change.equipment or charger_equipment_of(charger), charger.max_power_kw)
    if change.equipment is not None:
        charger.equipment = change.equipment.model_dump()
    charger.status = change.status or charger.status
    if change.location is not None:
        charger.latitude, charger.longitude = change.location.lat, change.location.lon
    charger.updated_at = now
    facts = change.model_dump(exclude_none=True)
    note(db, now=now, actor=holder.did, action="charger.changed", object_id=did, facts=facts)
    record(db, "charger.changed", {"charger_did": did}, now=now, site_id=charger.site_id)
    return charger


def _check(equipment: ChargerEquipment | None, max_power_kw: float) -> None:
    fault = charger_fault(equipment, max_power_kw) if equipment else None
    if fault is not None:
        raise EquipmentImpossible(fault)


def set_occupied(db: Session, charger_did: str, *, occupied: bool, now: datetime) -> None:
    """Note that a session began or ended at the charger."""
    charger = require_charger(db, charger_did)
    if occupied or charger.status == "occupied":
        charger.status = "occupied" if occupied else "available"
        charger.updated_at = now


def add_tariff(
    db: Session,
    site_id: str,
    new: SalesTariffNew | PurchasePriceNew,
    *,
    holder: Holder,
    now: datetime,
) -> SalesTariff | PurchasePrice:
    """Add a version of what drivers pay, or of what the site pays."""
    outdate_plan(db, site_id)
    require_site(db, site_id, holder=holder)
    valid_from = new.valid_from or now
    added: SalesTariff | PurchasePrice
    if isinstance(new, SalesTariffNew):
        if new.charger_did is not None and _site_of(db, new.charger_did) != site_id:
            raise ChargerNotFound
        added = _add_sales_tariff(db, site_id, new, valid_from=valid_from)
    else:
        added = _add_purchase_price(db, site_id, new, valid_from=valid_from)
    facts = {"kind": new.kind, "version": added.version}
    note(db, now=now, actor=holder.did, action="tariff.added", object_id=site_id, facts=facts)
    record(db, "price.changed", facts, now=now, site_id=site_id)
    return added


def _site_of(db: Session, charger_did: str) -> str:
    return require_charger(db, charger_did).site_id


def _add_sales_tariff(
    db: Session, site_id: str, new: SalesTariffNew, *, valid_from: datetime
) -> SalesTariff:
    newest = db.scalar(
        select(func.max(SalesTariff.version)).where(
            SalesTariff.site_id == site_id, SalesTariff.charger_did == new.charger_did
        )
    )
    tariff = SalesTariff(
        id=new_id("trf"),
        site_id=site_id,
        charger_did=new.charger_did,
        version=(newest or 0) + 1,
        valid_from=valid_from,
        eur_per_kwh=as_money(new.eur_per_kwh),
        eur_per_session=as_money(new.eur_per_session),
        idle_eur_per_hour=as_money(new.idle_eur_per_hour),
        vat_percent=as_money(new.vat_percent),
        v2g_credit_eur_per_kwh=(
            None if new.v2g_credit_eur_per_kwh is None else as_money(new.v2g_credit_eur_per_kwh)
        ),
    )
    db.add(tariff)
    db.flush()
    return tariff


def _add_purchase_price(
    db: Session, site_id: str, new: PurchasePriceNew, *, valid_from: datetime
) -> PurchasePrice:
    newest = db.scalar(
        select(func.max(PurchasePrice.version)).where(PurchasePrice.site_id == site_id)
    )
    price = PurchasePrice(
        id=new_id("prc"),
        site_id=site_id,
        version=(newest or 0) + 1,
        valid_from=valid_from,
        eur_per_kwh_by_hour=list(new.eur_per_kwh_by_hour),
        demand_charge_eur_per_kw=as_money(new.demand_charge_eur_per_kw),
    )
    db.add(price)
    db.flush()
    return price


def as_money(value: float) -> Decimal:
    """The decimal that the caller wrote, to a hundredth of a cent."""
    return Decimal(str(value)).quantize(Decimal("0.0001"))


def tariff_for(db: Session, *, site_id: str, charger_did: str, at: datetime) -> SalesTariff:
    """The tariff in force at a charger.

    Raises:
        ChargerNotFound: If the site has no tariff at all.
    """
    tariff = queries.tariff_in_force(db, site_id=site_id, charger_did=charger_did, at=at)
    if tariff is None:
        raise ChargerNotFound("The site has no tariff.")
    return tariff


def price_curve(
    price: PurchasePrice | None, zone: str, starts_at: Sequence[datetime]
) -> list[float]:
    """Purchase price in EUR/kWh at each of the given times."""
    if price is None:
        return [DEFAULT_PURCHASE_EUR_PER_KWH] * len(starts_at)
    local = ZoneInfo(zone)
    by_hour = price.eur_per_kwh_by_hour
    return [float(by_hour[start.astimezone(local).hour]) for start in starts_at]
