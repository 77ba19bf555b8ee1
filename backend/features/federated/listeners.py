"""Federated rounds in the background: counted when they end, taken up again when left alone."""

from collections.abc import Callable

from backend.adapters.events.bus import Event
from backend.clock import Ticker
from backend.components import Parts
from backend.features.federated import service
from backend.features.federated.models import CLOSED, FAILED


def start(parts: Parts) -> Callable[[], None]:
    """Listen, look now and again and again; gives what stops it."""
    for state in (CLOSED, FAILED):
        parts.bus.subscribe(f"federated.round.{state}", lambda event: _count(parts, event))
    service.resume_orphans(parts)
    interval_s = parts.settings.sweep_interval_s
    ticker = Ticker("federated rounds", interval_s, lambda: service.resume_orphans(parts))
    return ticker.stop


def _count(parts: Parts, event: Event) -> None:
    parts.metrics.federated_rounds.labels(event.data["state"]).inc()
    for update in event.data.get("updates", ()):
        parts.metrics.federated_updates.labels(update["verdict"]).inc()
