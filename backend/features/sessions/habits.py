"""How long such drivers usually stay: learned from the site's own sessions that have ended."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.features.forecasts.vehicles_queries import IssuedOutlook
from backend.features.sessions.models import ChargingSession
from backend.features.sites.models import Site
from backend.forecasting.stays import PastStays, probably_there_h, stay_distribution

LEARNED_FROM = timedelta(days=75)
MOST_STAYS, FEWEST_STAYS = 600, 20
CAREFUL = 0.15  # a vehicle leaves before the time it is counted on with this probability
PROBABILITIES = tuple(np.round(np.arange(0.05, 1.0, 0.05), 2).tolist())
HOUR = timedelta(hours=1)


def stay_quantiles_h(
    db: Session, site: Site, *, driver_did: str, charging_h: float, now: datetime
) -> list[float] | None:
    """Stays that 5 %, 10 % … 95 % of like visits do not exceed; None with too little history."""
    query = (
        select(
            ChargingSession.driver_did,
            ChargingSession.started_at,
            ChargingSession.ended_at,
            ChargingSession.energy_delivered_kwh / ChargingSession.effective_power_kw,
        )
        .where(ChargingSession.site_id == site.id, ChargingSession.status == "completed")
        .where(ChargingSession.started_at > now - LEARNED_FROM, ChargingSession.ended_at <= now)
        .order_by(ChargingSession.started_at.desc())
        .limit(MOST_STAYS)
    )
    rows = db.execute(query).all()
    if len(rows) < FEWEST_STAYS:
        return None
    zone = ZoneInfo(site.timezone)
    past = PastStays(
        driver=[row[0] for row in rows],
        arrival_hour=np.array([_local_hour(row[1], zone) for row in rows]),
        stay_h=np.array([((row[2] or now) - row[1]) / HOUR for row in rows]),
        charging_h=np.array([row[3] for row in rows], dtype=np.float64),
    )
    learned = stay_distribution(
        past, driver=driver_did, arrival_hour=_local_hour(now, zone), charging_h=charging_h
    )
    return [learned.residual_quantile_h(0.0, one) for one in PROBABILITIES]


def _local_hour(moment: datetime, zone: ZoneInfo) -> float:
    local = moment.astimezone(zone)
    return local.hour + local.minute / 60


def likely_departure(
    quantiles_h: list[float] | None, *, started_at: datetime, stated: datetime, now: datetime
) -> datetime | None:
    """By when such drivers have usually left, given that this one is still here.

    Never later than stated. None if nothing was learned, or who has stayed this long may leave at
    any moment.
    """
    if quantiles_h is None:
        return None
    elapsed_h = (now - started_at) / HOUR
    gone = float(np.interp(elapsed_h, quantiles_h, PROBABILITIES, left=0.0, right=1.0))
    wanted = gone + CAREFUL * (1 - gone)
    if wanted >= PROBABILITIES[-1]:
        return None
    stay_h = float(np.interp(wanted, PROBABILITIES, quantiles_h))
    return min(stated, started_at + stay_h * HOUR)


def available_until(outlook: IssuedOutlook | None, *, started_at: datetime) -> datetime | None:
    """Until when a vehicle is foretold to be plugged in; None if nothing was since it came.

    What was foretold before it came knows nothing of its being here.
    """
    if outlook is None or outlook.plug_probability is None or outlook.issued_at < started_at:
        return None
    stay_h = probably_there_h(outlook.ahead_h, outlook.plug_probability, at_least=1 - CAREFUL)
    if stay_h >= outlook.ahead_h[-1]:
        return None
    return outlook.issued_at + stay_h * HOUR


def soc_percent_by(outlook: IssuedOutlook | None, *, now: datetime) -> float | None:
    """State of charge as foretold for now; None if no model foretold it."""
    if outlook is None or outlook.to_full_percent is None:
        return None
    since_h = (now - outlook.issued_at) / HOUR
    return 100.0 - float(np.interp(since_h, outlook.ahead_h, outlook.to_full_percent))
