"""The demand of ended sessions by quarter-hour, summed up here and added to the history in bulk."""

from datetime import UTC, datetime
from math import ceil
from typing import Any

from sqlalchemy import case
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import Session

from backend.features.forecasts.models import DemandInterval
from backend.features.forecasts.service import observe
from backend.features.sessions.accounts import Stretch

QUARTER_S = 900
MOST_SUMS = 20_000  # kept in memory before they go to the database


class DemandSums:
    """Energy, vehicles plugged in and starts of many sessions by site and quarter-hour."""

    def __init__(self, db: Session) -> None:
        self._db = db
        self._sums: dict[tuple[str, int], list[float]] = {}  # kWh, vehicles, starts, known at
        self._spans: dict[str, tuple[datetime, datetime]] = {}

    def add(self, site_id: str, stay: Stretch, *, charged_until: datetime) -> None:
        """Add one session: energy spread evenly over charging, occupancy over the stay."""
        start, end = stay.start.timestamp(), stay.end.timestamp()
        charging_s = charged_until.timestamp() - start
        first = int(start // QUARTER_S)
        for quarter in range(first, max(first + 1, ceil(end / QUARTER_S))):
            opens, closes = max(start, quarter * QUARTER_S), (quarter + 1) * QUARTER_S
            flowing_s = min(start + charging_s, closes) - opens
            share = flowing_s / charging_s if charging_s > 0 else float(quarter == first)
            sums = self._sums.setdefault((site_id, quarter), [0.0, 0.0, 0.0, 0.0])
            sums[0] += stay.energy_kwh * max(0.0, share)
            sums[1] += max(0.0, min(end, closes) - opens) / QUARTER_S
            sums[2] += quarter == first
            sums[3] = max(sums[3], end)
        since, until = self._spans.get(site_id, (stay.start, stay.end))
        self._spans[site_id] = min(since, stay.start), max(until, stay.end)
        if len(self._sums) >= MOST_SUMS:
            self._flush()

    def finish(self) -> dict[str, tuple[datetime, datetime]]:
        """Store the rest and the span in which each site was observed; gives those spans."""
        self._flush()
        for site_id, (since, until) in sorted(self._spans.items()):
            observe(self._db, site_id, since=since, until=until)
        return self._spans

    def _flush(self) -> None:
        rows = [_interval(key, sums) for key, sums in sorted(self._sums.items())]
        if rows:
            self._db.connection().execute(_added_to_what_is_there(self._db), rows)
        self._sums.clear()


def _interval(key: tuple[str, int], sums: list[float]) -> dict[str, Any]:
    (site_id, quarter), (energy_kwh, occupancy, started, known_at) = key, sums
    return {
        "site_id": site_id,
        "start_at": datetime.fromtimestamp(quarter * QUARTER_S, UTC),
        "energy_kwh": energy_kwh,
        "occupancy": occupancy,
        "sessions_started": int(started),
        "available_at": datetime.fromtimestamp(known_at, UTC),
    }


def _added_to_what_is_there(db: Session) -> Any:  # noqa: ANN401 - a dialect's own insert
    dialect = db.get_bind().dialect.name
    insert = sqlite_insert if dialect == "sqlite" else postgresql_insert
    statement = insert(DemandInterval)
    new = statement.excluded
    sums = {
        name: getattr(DemandInterval, name) + new[name]
        for name in ("energy_kwh", "occupancy", "sessions_started")
    }
    old_at = DemandInterval.available_at
    newest = case((old_at > new.available_at, old_at), else_=new.available_at)
    return statement.on_conflict_do_update(
        index_elements=["site_id", "start_at"], set_={**sums, "available_at": newest}
    )
