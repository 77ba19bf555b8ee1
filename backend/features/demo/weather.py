"""The demonstration's weather, known in advance as a forecast is, and marked as simulated."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from backend.features.demo.world import World
from backend.features.forecasts.models import SiteRegressor

HOUR = timedelta(hours=1)
TOLD_AHEAD = timedelta(days=2)
BATCH = 5_000


def add_weather(db: Session, world: World, *, now: datetime) -> None:
    """Store the world's temperature, a week ahead too, as a regressor of each of its sites."""
    rows = _rows(world, now)
    while some := list(islice(rows, BATCH)):
        db.execute(insert(SiteRegressor), some)


def _rows(world: World, now: datetime) -> Iterator[dict[str, Any]]:
    for site in world.sites:
        for hour, value in enumerate(world.hourly_temperature_c().tolist()):
            valid_at = world.start + hour * HOUR
            yield {
                "site_id": site.site_id,
                "name": "temperature_c",
                "valid_at": valid_at,
                "value": value,
                "source": "simulated",
                "is_simulated": True,
                "available_at": min(valid_at - TOLD_AHEAD, now),
            }
