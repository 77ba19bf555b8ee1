"""Where vehicles are at home: the site at which each has ended most of its sessions."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.features.sessions.models import ChargingSession


def home_sites(db: Session) -> dict[str, str]:
    """Site by vehicle; of sites with as many sessions the first by name."""
    count = func.count(ChargingSession.id)
    query = (
        select(ChargingSession.vehicle_did, ChargingSession.site_id)
        .where(ChargingSession.ended_at.is_not(None))
        .group_by(ChargingSession.vehicle_did, ChargingSession.site_id)
        .order_by(count, ChargingSession.site_id.desc())
    )
    return {vehicle: site for vehicle, site in db.execute(query)}  # noqa: C416 - rows, not pairs
