"""Demonstration data in the database: made anew, or taken away."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from backend.adapters.events.outbox import record
from backend.database import Database, insert_missing
from backend.features.credentials.holder import DEMO_HOLDER
from backend.features.credentials.models import Driver
from backend.features.demo import equipment
from backend.features.demo.fixtures import DemoCharger, DemoSite
from backend.features.demo.schemas import DemoStatistics
from backend.features.demo.telemetry import add_telemetry
from backend.features.demo.weather import add_weather
from backend.features.demo.world import DemoSession, SiteDemand, World, generate_world
from backend.features.forecasts.models import DemandInterval, DemandSeries
from backend.features.sessions.archive import DecidedOffer, EndedSession, add_ended
from backend.features.sessions.completion import cancel
from backend.features.sessions.models import (
    OPEN,
    ChargeDetailRecord,
    ChargingSession,
    RewardEntry,
)
from backend.features.sites.models import Charger, PurchasePrice, SalesTariff, Site
from backend.features.sites.service import EPOCH, as_money
from backend.features.vehicles.models import Trip, Vehicle

log = structlog.get_logger("tasco.demo")
SEED = 42
IDLE_EUR_PER_HOUR = as_money(3.0)
VAT_PERCENT = as_money(25.5)
QUARTER = timedelta(minutes=15)
Report = Callable[[float, str], None]


def generate(
    database: Database, *, days: int, now: datetime, report: Report, seed: int = SEED
) -> DemoStatistics:
    """Replace the demonstration's sites and sessions by a freshly simulated world that ends now."""
    report(0.02, "simulating")
    world = generate_world(
        days=days, end=now, seed=seed, progress=lambda share, _: report(0.6 * share, "simulating")
    )
    report(0.6, "storing")  # not from inside: who reports may need the one writer
    with database.transaction() as db:
        _clear(db)
        _add_places(db, world, now)
        _add_people(db, world, now)
        add_ended(db, _ended_sessions(db, world))
        _add_demand(db, world)
        add_telemetry(db, world)
        add_weather(db, world, now=now)
        record(db, "demo.generated", {"days": days, "sessions": len(world.sessions)}, now=now)
    report(1.0, "done")
    return DemoStatistics(
        sites_created=len(world.sites),
        chargers_created=len(world.chargers),
        driver_dids=len(world.drivers),
        vehicle_dids=len(world.vehicles),
        sessions_created=len(world.sessions),
    )


def _clear(db: Session) -> None:
    """Take away the demonstration's sites and all that hangs on them."""
    demo_sites = select(Site.id).where(Site.is_demo)
    its_sessions = select(ChargingSession.id).where(ChargingSession.site_id.in_(demo_sites))
    unbound = {"synchronize_session": False}
    for table in (RewardEntry, ChargeDetailRecord):
        db.execute(
            delete(table).where(table.session_id.in_(its_sessions)), execution_options=unbound
        )
    its_trips = select(ChargingSession.trip_id).where(
        ChargingSession.site_id.in_(demo_sites), ChargingSession.trip_id.is_not(None)
    )
    trip_ids = db.scalars(its_trips).all()
    db.execute(
        delete(ChargingSession).where(ChargingSession.site_id.in_(demo_sites)),
        execution_options=unbound,
    )
    if trip_ids:
        db.execute(delete(Trip).where(Trip.id.in_(trip_ids)), execution_options=unbound)
    db.execute(delete(Site).where(Site.is_demo), execution_options=unbound)


def _add_places(db: Session, world: World, now: datetime) -> None:
    db.execute(insert(Site), [_site(one, now) for one in world.sites])
    db.execute(insert(Charger), [_charger(one, now) for one in world.chargers])
    db.execute(insert(SalesTariff), list(_tariffs(world)))
    db.execute(insert(PurchasePrice), [_price(one) for one in world.sites])


def _site(one: DemoSite, now: datetime) -> dict[str, Any]:
    return {
        "id": one.site_id,
        "name": one.name,
        "kind": one.kind,
        "timezone": one.timezone,
        "country": one.country,
        "currency": "EUR",
        "grid_limit_kw": one.limit_kw,
        "latitude": one.latitude,
        "longitude": one.longitude,
        "is_demo": True,
        "base_load_kw_by_hour": None,
        "export_eur_per_kwh": 0.0,
        "battery_soc_percent": None,
        **equipment.of_site(one),
        "battery_soc_at": now if one.site_id == equipment.MALL else None,
        "plan_version": 0,
        "updated_at": now,
    }


def _charger(one: DemoCharger, now: datetime) -> dict[str, Any]:
    return {
        "did": one.did,
        "site_id": one.site_id,
        "max_power_kw": one.max_power_kw,
        "status": "available",
        "equipment": equipment.of_charger(one),
        "latitude": one.latitude,
        "longitude": one.longitude,
        "updated_at": now,
    }


def _tariffs(world: World) -> Iterable[dict[str, Any]]:
    """One tariff per charger, and the site's own for chargers added later."""
    shared = {
        "version": 1,
        "valid_from": EPOCH,
        "eur_per_session": as_money(0),
        "idle_eur_per_hour": IDLE_EUR_PER_HOUR,
        "vat_percent": VAT_PERCENT,
    }
    v2g_credits = {equipment.DEPOT: as_money(equipment.V2G_CREDIT_EUR_PER_KWH)}
    for site in world.sites:
        rates = [one.tariff_eur_per_kwh for one in world.chargers if one.site_id == site.site_id]
        key = f"trf_{site.site_id}"
        rate = as_money(min(rates))
        yield {
            "id": key,
            "site_id": site.site_id,
            "charger_did": None,
            "eur_per_kwh": rate,
            "v2g_credit_eur_per_kwh": v2g_credits.get(site.site_id),
            **shared,
        }
    for one in world.chargers:
        yield {
            "id": tariff_id(one.did),
            "site_id": one.site_id,
            "charger_did": one.did,
            "eur_per_kwh": as_money(one.tariff_eur_per_kwh),
            "v2g_credit_eur_per_kwh": v2g_credits.get(one.site_id),
            **shared,
        }


def tariff_id(charger_did: str) -> str:
    """Id of a demo charger's own tariff."""
    return f"trf_{charger_did.rpartition(':')[2]}"


def _price(one: DemoSite) -> dict[str, Any]:
    return {
        "id": f"prc_{one.site_id}",
        "site_id": one.site_id,
        "version": 1,
        "valid_from": EPOCH,
        "eur_per_kwh_by_hour": list(one.purchase_price_eur_per_kwh),
        "demand_charge_eur_per_kw": as_money(0),
    }


def _add_people(db: Session, world: World, now: datetime) -> None:
    insert_missing(db, Driver, [{"did": one.did, "registered_at": now} for one in world.drivers])
    insert_missing(
        db,
        Vehicle,
        [
            {
                "did": one.did,
                "battery_capacity_kwh": one.battery_capacity_kwh,
                "consumption_wh_per_km": one.nominal_consumption_wh_per_km,
                "max_charge_power_kw": one.max_charge_power_kw,
                "equipment": equipment.of_vehicle(one),
                "registered_at": now,
            }
            for one in world.vehicles
        ],
    )


def _ended_sessions(db: Session, world: World) -> list[EndedSession]:
    tariffs = {one.id: one for one in db.scalars(select(SalesTariff))}
    power = {one.did: one.max_power_kw for one in world.chargers}
    capacity = {one.did: one.battery_capacity_kwh for one in world.vehicles}
    return [
        _ended(
            one,
            tariffs[tariff_id(one.charger_did)],
            rated_power_kw=power[one.charger_did],
            capacity_kwh=capacity[one.vehicle_did],
        )
        for one in world.sessions
    ]


def _ended(
    one: DemoSession, tariff: SalesTariff, *, rated_power_kw: float, capacity_kwh: float
) -> EndedSession:
    return EndedSession(
        site_id=one.site_id,
        charger_did=one.charger_did,
        driver_did=one.driver_did,
        vehicle_did=one.vehicle_did,
        tariff=tariff,
        started_at=one.started_at,
        departure_at=one.departure,
        ended_at=one.ended_at,
        energy_kwh=one.energy_kwh,
        target_kwh=one.requested_kwh,
        battery_capacity_kwh=capacity_kwh,
        effective_power_kw=one.effective_power_kw,
        rated_power_kw=rated_power_kw,
        soc_percent_at_start=one.soc_start_percent,
        soc_percent_at_end=one.soc_end_percent,
        purchase_eur=one.purchase_cost_eur,
        uncontrolled_purchase_eur=one.uncontrolled_purchase_cost_eur,
        priority=one.priority,
        source="simulated",
        discount_percent=sum(o.value for o in one.offers if o.type == "discount" and o.is_accepted),
        offers=tuple(
            DecidedOffer(o.type, o.value, o.reason, o.time_slot, o.is_accepted) for o in one.offers
        ),
    )


def _add_demand(db: Session, world: World) -> None:
    for one in world.demand:
        end = one.start + len(one.energy_kwh) * QUARTER
        span = {"site_id": one.site_id, "observed_from": one.start, "observed_to": end}
        db.execute(insert(DemandSeries), [span])
        rows = list(_intervals(one))
        if rows:
            db.execute(insert(DemandInterval), rows)


def _intervals(one: SiteDemand) -> Iterable[dict[str, Any]]:
    """The quarter-hours in which something happened."""
    columns = (one.energy_kwh.tolist(), one.occupancy.tolist(), one.sessions_started.tolist())
    for quarter, (energy_kwh, occupancy, started) in enumerate(zip(*columns, strict=True)):
        if energy_kwh or occupancy or started:
            yield {
                "site_id": one.site_id,
                "start_at": one.start + quarter * QUARTER,
                "energy_kwh": energy_kwh,
                "occupancy": occupancy,
                "sessions_started": int(started),
                "available_at": one.start + (quarter + 1) * QUARTER,
            }


def newest_observation(database: Database) -> datetime | None:
    """Until when the demonstration's sites were observed; None without demonstration data."""
    with database.reading() as db:
        query = select(DemandSeries.observed_to).join(Site, Site.id == DemandSeries.site_id)
        return db.scalar(
            query.where(Site.is_demo).order_by(DemandSeries.observed_to.desc()).limit(1)
        )


def close_open_sessions(database: Database, *, now: datetime) -> int:
    """Cancel every open session at the demonstration's sites; gives how many."""
    with database.transaction() as db:
        query = (
            select(ChargingSession.id)
            .join(Site, Site.id == ChargingSession.site_id)
            .where(Site.is_demo, ChargingSession.status.in_(OPEN))
        )
        session_ids = db.scalars(query).all()
        for session_id in session_ids:
            cancel(db, session_id, holder=DEMO_HOLDER, now=now)
    return len(session_ids)
