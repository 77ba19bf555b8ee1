"""What a site did: read across rooms."""

from collections import defaultdict
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.features.forecasts.models import DemandInterval
from backend.features.reports.schemas import SiteAnalytics
from backend.features.sessions.models import ChargeDetailRecord, IncentiveOffer
from backend.features.sites.models import Site

HOUR_S = 3600.0


def analytics(
    db: Session, site: Site, *, since: datetime | None, until: datetime | None
) -> SiteAnalytics:
    """Sum up the sessions of a site that ended, and its demand by hour of the local day."""
    sums = _bills(db, site.id, since, until)
    peak_hour, peak_kwh = _peak(db, site, since, until)
    return SiteAnalytics(
        site_id=site.id,
        **sums,
        peak_hour=peak_hour,
        peak_demand_kwh=peak_kwh,
        incentive_acceptance_rate=_acceptance(db, site.id, since, until),
    )


def _bills(
    db: Session, site_id: str, since: datetime | None, until: datetime | None
) -> dict[str, float]:
    query = select(
        ChargeDetailRecord.started_at,
        ChargeDetailRecord.ended_at,
        ChargeDetailRecord.energy_kwh,
        ChargeDetailRecord.total_eur,
        ChargeDetailRecord.uncontrolled_purchase_eur - ChargeDetailRecord.purchase_eur,
    ).where(ChargeDetailRecord.site_id == site_id)
    if since is not None:
        query = query.where(ChargeDetailRecord.ended_at >= since)
    if until is not None:
        query = query.where(ChargeDetailRecord.ended_at < until)
    rows = db.execute(query).all()
    stayed_s = sum((row[1] - row[0]).total_seconds() for row in rows)
    return {
        "total_sessions": len(rows),
        "total_energy_kwh": float(sum(row[2] for row in rows)),
        "total_revenue_eur": float(sum(row[3] for row in rows)),
        "avg_session_duration_hours": stayed_s / HOUR_S / len(rows) if rows else 0.0,
        "cost_savings_eur": float(sum(row[4] for row in rows)),
    }


def _peak(
    db: Session, site: Site, since: datetime | None, until: datetime | None
) -> tuple[int | None, float]:
    """The local hour of day with most energy, and that energy in kWh."""
    query = select(DemandInterval.start_at, DemandInterval.energy_kwh).where(
        DemandInterval.site_id == site.id, DemandInterval.energy_kwh > 0
    )
    if since is not None:
        query = query.where(DemandInterval.start_at >= since)
    if until is not None:
        query = query.where(DemandInterval.start_at < until)
    zone, by_hour = ZoneInfo(site.timezone), defaultdict[int, float](float)
    for start_at, energy_kwh in db.execute(query):
        by_hour[start_at.astimezone(zone).hour] += energy_kwh
    if not by_hour:
        return None, 0.0
    hour = max(by_hour, key=lambda one: by_hour[one])
    return hour, by_hour[hour]


def _acceptance(db: Session, site_id: str, since: datetime | None, until: datetime | None) -> float:
    """Accepted share of the offers decided in the span."""
    query = select(IncentiveOffer.state, func.count()).where(
        IncentiveOffer.site_id == site_id, IncentiveOffer.state != "offered"
    )
    if since is not None:
        query = query.where(IncentiveOffer.decided_at >= since)
    if until is not None:
        query = query.where(IncentiveOffer.decided_at < until)
    rows = db.execute(query.group_by(IncentiveOffer.state))
    counts = {row[0]: row[1] for row in rows}
    decided = sum(counts.values())
    return counts.get("accepted", 0) / decided if decided else 0.0
