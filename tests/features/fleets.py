"""Simulated fleets for tests: commuters whose stays at the chargers are drawn, not recorded."""

from datetime import datetime, timedelta

import numpy as np

from backend.database import Database, insert_missing
from backend.features.vehicles.models import TelemetryPoint, Vehicle
from backend.forecasting.telemetry_features import Trace, trace_of
from backend.forecasting.telemetry_simulation import (
    RecordedStays,
    SimulationSettings,
    simulate,
)

SLOW = SimulationSettings(step_min=(8.0, 25.0))


def commuters(
    *, until: datetime, days: int, vehicles: int = 4, seed: int = 0, capacity_kwh: float = 60.0
) -> list[Trace]:
    """Cleaned traces of vehicles that come to work on most work days."""
    rng = np.random.default_rng(seed)
    first = (until - timedelta(days=days)).replace(hour=0, minute=0, second=0, microsecond=0)
    traces = []
    for number in range(vehicles):
        usual_h, rows = rng.uniform(5.5, 7.5), []
        for day in range(days + 1):
            midnight = first + timedelta(days=day)
            if midnight.weekday() >= 5 or rng.random() < 0.15:
                continue
            came = midnight + timedelta(hours=usual_h + rng.normal(0, 0.3))
            left = came + timedelta(hours=8.5 + rng.normal(0, 0.5))
            energy_kwh = rng.uniform(8, 20)
            rows.append((came, came + timedelta(hours=energy_kwh / 6), left, energy_kwh))
        came_s, charged_s, left_s = (
            np.array([int(moment.timestamp()) for moment in moments])
            for moments in zip(*[row[:3] for row in rows], strict=True)
        )
        stays = RecordedStays(
            f"did:denso:vehicle:commuter{number:02d}",
            came_s,
            charged_s,
            left_s,
            np.array([row[3] for row in rows]),
        )
        drawn = simulate(
            stays,
            begin_s=int(first.timestamp()),
            end_s=int(until.timestamp()),
            settings=SLOW,
            battery_capacity_kwh=capacity_kwh,
        )
        traces.append(
            trace_of(
                drawn.vehicle_id,
                capacity_kwh,
                at_s=drawn.at_s,
                soc_percent=drawn.soc_percent,
                is_plugged_in=drawn.is_plugged_in,
                power_kw=drawn.power_kw,
            )
        )
    return traces


def put(database: Database, traces: list[Trace], *, now: datetime) -> None:
    """Store the vehicles and their telemetry."""
    with database.transaction() as db:
        for trace in traces:
            db.add(
                Vehicle(
                    did=trace.vehicle_id,
                    battery_capacity_kwh=trace.battery_capacity_kwh,
                    consumption_wh_per_km=180.0,
                    max_charge_power_kw=11.0,
                    registered_at=now,
                )
            )
            db.flush()
            rows = [
                {
                    "vehicle_did": trace.vehicle_id,
                    "at": datetime.fromtimestamp(int(at_s), tz=now.tzinfo),
                    "is_plugged_in": bool(state),
                    "soc_percent": float(soc),
                    "power_kw": float(power),
                    "available_at": datetime.fromtimestamp(int(at_s), tz=now.tzinfo),
                }
                for at_s, state, soc, power in zip(
                    trace.at_s,
                    trace.is_plugged_in,
                    trace.soc_percent,
                    trace.power_kw,
                    strict=True,
                )
            ]
            for start in range(0, len(rows), 1_000):
                insert_missing(db, TelemetryPoint, rows[start : start + 1_000])
