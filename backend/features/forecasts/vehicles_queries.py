"""Reading telemetry as traces, and where the fleet lives."""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.features.forecasts.models import VehicleForecast
from backend.features.sites.models import Site
from backend.features.vehicles.models import TelemetryPoint, Vehicle
from backend.forecasting.availability_history import SLOT, floor_hour
from backend.forecasting.history import FloatArray
from backend.forecasting.telemetry_features import Fleet, Trace, fleet_of, trace_of

LOOKED_BACK = timedelta(days=57)
LEARNED_FROM = timedelta(days=180)
FRESH = timedelta(hours=1)


def traces_of(
    db: Session, *, since: datetime, until: datetime, vehicle_did: str | None = None
) -> Iterator[Trace]:
    """Traces of the vehicles that spoke in a span, as they were known at its end, by DID."""
    query = (
        select(
            TelemetryPoint.vehicle_did,
            Vehicle.battery_capacity_kwh,
            TelemetryPoint.at,
            TelemetryPoint.soc_percent,
            TelemetryPoint.is_plugged_in,
            TelemetryPoint.power_kw,
        )
        .join(Vehicle, Vehicle.did == TelemetryPoint.vehicle_did)
        .where(TelemetryPoint.at >= since, TelemetryPoint.at <= until)
        .where(TelemetryPoint.available_at <= until)
        .order_by(TelemetryPoint.vehicle_did, TelemetryPoint.at)
        .execution_options(yield_per=10_000)
    )
    if vehicle_did is not None:
        query = query.where(TelemetryPoint.vehicle_did == vehicle_did)
    with db.execute(query) as points:
        for (did, capacity_kwh), rows in groupby(points, key=itemgetter(0, 1)):
            yield _trace(did, capacity_kwh, list(rows))


def _trace(did: str, capacity_kwh: float, rows: list[Any]) -> Trace:
    return trace_of(
        did,
        capacity_kwh,
        at_s=np.array([row[2].timestamp() for row in rows]).astype(np.int64),
        soc_percent=np.array([row[3] for row in rows], dtype=np.float64),
        is_plugged_in=np.array([row[4] for row in rows], dtype=np.int8),
        power_kw=np.array([row[5] for row in rows], dtype=np.float64),
    )


def home_of(db: Session) -> tuple[str, str | None]:
    """Zone and country that most sites live by; UTC without a country where there are none."""
    counted = Counter((zone, country) for zone, country in db.execute(_homes()))
    return counted.most_common(1)[0][0] if counted else ("UTC", None)


def _homes() -> Any:  # noqa: ANN401 - a statement of two columns
    return select(Site.timezone, Site.country).order_by(Site.id)


def gathered(
    traces: list[Trace], *, home: tuple[str, str | None], now: datetime, gap_min: float
) -> Fleet:
    """The fleet from its first point until now; at least one trace has to be given."""
    first_s = min(int(trace.at_s[0]) for trace in traces if len(trace.at_s))
    return fleet_of(
        traces,
        start=floor_hour(datetime.fromtimestamp(first_s, tz=now.tzinfo)),
        end=now,
        timezone=home[0],
        country=home[1],
        gap_min=gap_min,
    )


@dataclass(frozen=True, slots=True, eq=False)
class IssuedOutlook:
    """A stored forecast of one vehicle by models, arrays (horizons,).

    Attributes:
        ahead_h: Hours from `issued_at`.
        plug_probability: None if no model foretold it.
        to_full_percent: None if no model foretold it.
    """

    issued_at: datetime
    ahead_h: FloatArray
    plug_probability: FloatArray | None
    to_full_percent: FloatArray | None


def issued(db: Session, dids: Sequence[str], *, now: datetime) -> dict[str, IssuedOutlook]:
    """The forecasts of some vehicles that were issued within the last hour, by DID."""
    rows = db.execute(
        select(
            VehicleForecast.vehicle_did,
            VehicleForecast.issued_at,
            VehicleForecast.lead_min,
            VehicleForecast.plug_probability,
            VehicleForecast.to_full_percent,
        )
        .where(VehicleForecast.vehicle_did.in_(dids))
        .where(VehicleForecast.issued_at > now - FRESH, VehicleForecast.issued_at <= now)
    )
    return {
        did: IssuedOutlook(
            issued_at,
            np.array(lead_min, dtype=np.float64) / 60,
            None if chances is None else np.array(chances, dtype=np.float64),
            None if points is None else np.array(points, dtype=np.float64),
        )
        for did, issued_at, lead_min, chances, points in rows
    }


class FleetMemory:
    """The traces of everybody, read anew every quarter-hour at most."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read_at: datetime | None = None
        self._traces: list[Trace] = []

    def traces(self, db: Session, *, now: datetime, fresh: str) -> list[Trace]:
        """Everybody's traces; that of the vehicle `fresh`, last of all, as it is known now."""
        with self._lock:
            is_old = self._read_at is None or not timedelta(0) <= now - self._read_at < SLOT
            if is_old:
                self._traces = list(traces_of(db, since=now - LOOKED_BACK, until=now))
                self._read_at = now
            others = [trace for trace in self._traces if trace.vehicle_id != fresh]
        own = traces_of(db, since=now - LOOKED_BACK, until=now, vehicle_did=fresh)
        return [*others, *own]
