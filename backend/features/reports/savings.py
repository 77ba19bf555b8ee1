"""What planning saved a site, day by day: energy and demand charge apart."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import date, datetime
from zoneinfo import ZoneInfo

from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.features.forecasts.models import DemandInterval
from backend.features.sessions.accounts import at_once, in_quarters
from backend.features.sessions.models import OPEN, ChargeDetailRecord, ChargingSession
from backend.features.sites.models import Site
from backend.features.sites.queries import price_in_force

QUARTERS_PER_HOUR = 4


class DaySavings(BaseModel):
    """One site-local day."""

    day: date
    sessions: int
    energy_kwh: float
    purchase_eur: float
    uncontrolled_purchase_eur: float
    savings_eur: float


class SiteSavings(BaseModel):
    """What was paid, and what charging at once would have cost."""

    site_id: str
    since: datetime | None
    until: datetime | None
    energy_savings_eur: float
    demand_savings_eur: float = Field(description="Demand charge on the higher uncontrolled peaks")
    peak_kw: float = Field(description="Highest quarter-hour, with the site's base load")
    uncontrolled_peak_kw: float
    method: str
    days: list[DaySavings]


METHOD = (
    "Energy: each session's energy at the purchase price when it flowed, against the same energy "
    "charged from plug-in on at full power. Demand: each month's highest quarter-hour of both, "
    "with the site's base load, at the demand charge in force; sun panels are left out."
)


def savings_of(
    db: Session, site: Site, *, since: datetime | None, until: datetime | None, now: datetime
) -> SiteSavings:
    """Savings of the sessions that ended in the span."""
    rows = _bills(db, site.id, since, until)
    days = _days(rows, ZoneInfo(site.timezone))
    actual, uncontrolled = _peaks(db, site, rows, since, until)
    price = price_in_force(db, site_id=site.id, at=now)
    charge = float(price.demand_charge_eur_per_kw) if price else 0.0
    months = set(actual) | set(uncontrolled)
    idle_kw = max(site.base_load_kw_by_hour or [0.0])
    saved_kw = sum(uncontrolled.get(one, idle_kw) - actual.get(one, idle_kw) for one in months)
    return SiteSavings(
        site_id=site.id,
        since=since,
        until=until,
        energy_savings_eur=sum(day.savings_eur for day in days),
        demand_savings_eur=charge * saved_kw,
        peak_kw=max(actual.values(), default=idle_kw),
        uncontrolled_peak_kw=max(uncontrolled.values(), default=idle_kw),
        method=METHOD,
        days=days,
    )


Bills = Sequence[tuple[ChargeDetailRecord, ChargingSession]]


def _bills(db: Session, site_id: str, since: datetime | None, until: datetime | None) -> Bills:
    query = (
        select(ChargeDetailRecord, ChargingSession)
        .join(ChargingSession, ChargingSession.id == ChargeDetailRecord.session_id)
        .where(ChargeDetailRecord.site_id == site_id)
        .order_by(ChargeDetailRecord.ended_at)
    )
    if since is not None:
        query = query.where(ChargeDetailRecord.ended_at >= since)
    if until is not None:
        query = query.where(ChargeDetailRecord.ended_at < until)
    return [(row[0], row[1]) for row in db.execute(query)]


def _days(rows: Bills, zone: ZoneInfo) -> list[DaySavings]:
    by_day: dict[date, list[ChargeDetailRecord]] = defaultdict(list)
    for bill, _ in rows:
        by_day[bill.ended_at.astimezone(zone).date()].append(bill)
    return [_day(day, bills) for day, bills in sorted(by_day.items())]


def _day(day: date, bills: Sequence[ChargeDetailRecord]) -> DaySavings:
    purchase = sum(float(one.purchase_eur) for one in bills)
    uncontrolled = sum(float(one.uncontrolled_purchase_eur) for one in bills)
    return DaySavings(
        day=day,
        sessions=len(bills),
        energy_kwh=sum(float(one.energy_kwh) for one in bills),
        purchase_eur=purchase,
        uncontrolled_purchase_eur=uncontrolled,
        savings_eur=uncontrolled - purchase,
    )


Month = tuple[int, int]


def _peaks(
    db: Session, site: Site, rows: Bills, since: datetime | None, until: datetime | None
) -> tuple[dict[Month, float], dict[Month, float]]:
    """Highest quarter-hour of each local month, kW: as it was, and had all charged at once."""
    zone = ZoneInfo(site.timezone)
    query = select(DemandInterval.start_at, DemandInterval.energy_kwh).where(
        DemandInterval.site_id == site.id
    )
    if since is not None:
        query = query.where(DemandInterval.start_at >= since)
    if until is not None:
        query = query.where(DemandInterval.start_at < until)
    was = {row[0]: row[1] for row in db.execute(query)}
    would: dict[datetime, float] = defaultdict(float)
    for session, energy_kwh in [(one, float(bill.energy_kwh)) for bill, one in rows] + [
        (one, one.energy_delivered_kwh) for one in _still_open(db, site.id)
    ]:
        for start, kwh in _at_once(session, energy_kwh):
            if (since is None or start >= since) and (until is None or start < until):
                would[start] += kwh
    base = site.base_load_kw_by_hour
    most_kw = site.grid_limit_kw  # uncontrolled charging cannot draw more than the connection gives
    limited = {one: min(peak, most_kw) for one, peak in _monthly(would, zone, base).items()}
    return _monthly(was, zone, base), limited


def _still_open(db: Session, site_id: str) -> Sequence[ChargingSession]:
    """Their energy is in the demand already, so it has to be in what charging at once would be."""
    query = select(ChargingSession).where(
        ChargingSession.site_id == site_id, ChargingSession.status.in_(OPEN)
    )
    return db.scalars(query).all()


def _at_once(session: ChargingSession, energy_kwh: float) -> list[tuple[datetime, float]]:
    """A session's energy by quarter-hour, had it charged from plug-in on at full power."""
    stretches = at_once(session, energy_kwh=energy_kwh)
    return [(_floor_quarter(start), kwh) for one in stretches for start, kwh in in_quarters(one)]


def _floor_quarter(moment: datetime) -> datetime:
    return moment.replace(minute=moment.minute // 15 * 15, second=0, microsecond=0)


def _monthly(
    quarters: dict[datetime, float], zone: ZoneInfo, base_kw: Sequence[float] | None
) -> dict[Month, float]:
    by_hour = base_kw or (0.0,) * 24
    idle_kw = max(by_hour)
    peaks: dict[Month, float] = defaultdict(lambda: idle_kw)
    for start, kwh in quarters.items():
        local = start.astimezone(zone)
        month = (local.year, local.month)
        peaks[month] = max(peaks[month], kwh * QUARTERS_PER_HOUR + by_hour[local.hour])
    return peaks
