"""Equipment of a site: look up, replace, tell what its battery holds."""

from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.adapters.events.outbox import record
from backend.features.credentials.audit import note
from backend.features.credentials.holder import Holder
from backend.features.sites.equipment import (
    BatteryState,
    EquipmentView,
    SiteEquipment,
    equipment_of,
    faults_of,
    warnings_of,
)
from backend.features.sites.limits import limits_ahead
from backend.features.sites.models import Charger, Site
from backend.features.sites.service import EquipmentImpossible, outdate_plan, require_site
from backend.paging import etag_of, require_match
from backend.problems import Problem


class NoBattery(Problem):
    """The site has no stationary battery."""

    status = HTTPStatus.CONFLICT
    fix = "Add it to the site's equipment first."


def view_of(db: Session, site: Site) -> EquipmentView:
    """A site's equipment with what is odd about it."""
    equipment = equipment_of(site)
    return EquipmentView(
        site_id=site.id,
        equipment=equipment,
        battery_soc_percent=site.battery_soc_percent,
        battery_soc_at=site.battery_soc_at,
        warnings=warnings_of(equipment, site, list(_chargers(db, site.id))),
        updated_at=site.updated_at,
    )


def equipment_etag(site: Site) -> str:
    """Changes with every change of the site's equipment."""
    return etag_of(site.id, site.equipment)


def replace_equipment(
    db: Session,
    site_id: str,
    equipment: SiteEquipment,
    *,
    if_match: str | None,
    holder: Holder,
    now: datetime,
) -> EquipmentView:
    """Replace a site's equipment; the site is planned again with it.

    Raises:
        SiteNotFound: If the holder runs no such site.
        PreconditionFailed: If the caller's ETag is not the current one.
        EquipmentImpossible: With everything that is wrong with the tree of limits.
    """
    version = outdate_plan(db, site_id)
    site = require_site(db, site_id, holder=holder)
    require_match(if_match, equipment_etag(site))
    faults = faults_of(equipment, {one.did for one in _chargers(db, site_id)})
    faults += _still_limited(db, site_id, equipment, now=now)
    if faults:
        raise EquipmentImpossible(" ".join(faults[:20]))
    site.equipment, site.updated_at = equipment.model_dump(), now
    if equipment.battery is None:
        site.battery_soc_percent = site.battery_soc_at = None
    facts = {"site_id": site_id, "plan_version": version, "limits": len(equipment.limits)}
    note(db, now=now, actor=holder.did, action="site.equipped", object_id=site_id, facts=facts)
    record(db, "site.changed", facts, now=now, site_id=site_id)
    db.flush()
    return view_of(db, site)


def _still_limited(
    db: Session, site_id: str, equipment: SiteEquipment, *, now: datetime
) -> list[str]:
    """Timed limits that would be without the part of the tree they are for."""
    names = {one.name for one in equipment.limits}
    timed = {one.node for one in limits_ahead(db, site_id, now=now) if one.node is not None}
    return [f"{one} has a limit for a time: lift it first." for one in sorted(timed - names)]


def tell_battery(
    db: Session, site_id: str, state: BatteryState, *, holder: Holder, now: datetime
) -> EquipmentView:
    """Take what the stationary battery holds; the next plan starts from it.

    Raises:
        SiteNotFound: If the holder runs no such site.
        NoBattery: If the site has none.
    """
    site = require_site(db, site_id, holder=holder)
    if equipment_of(site).battery is None:
        raise NoBattery
    site.battery_soc_percent, site.battery_soc_at = state.soc_percent, now
    facts = {"site_id": site_id, "soc_percent": state.soc_percent}
    record(db, "site.battery_metered", facts, now=now, site_id=site_id)
    db.flush()
    return view_of(db, site)


def _chargers(db: Session, site_id: str) -> Sequence[Charger]:
    query = select(Charger).where(Charger.site_id == site_id).order_by(Charger.did)
    return db.scalars(query).all()
