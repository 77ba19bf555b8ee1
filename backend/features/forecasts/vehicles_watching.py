"""Vehicles in the background: every quarter-hour each that spoke lately is foretold anew."""

from backend.clock import Ticker
from backend.components import Parts
from backend.features.forecasts.vehicles_service import issue_vehicles

INTERVAL_S = 900.0


def start(parts: Parts) -> Ticker:
    """Tick until stopped."""
    return Ticker("vehicle_forecasts", INTERVAL_S, lambda: issue_now(parts))


def issue_now(parts: Parts) -> int:
    """Foretell every vehicle that spoke lately; gives how many."""
    return issue_vehicles(
        parts.database,
        parts.artifacts,
        compute=parts.compute,
        gap_min=parts.settings.telemetry_gap_min,
        now=parts.clock.now(),
    )
