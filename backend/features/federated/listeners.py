"""Federated rounds in the background: counted, taken up again when left alone, their gas noted."""

from collections.abc import Callable, Collection

from backend.adapters.events.bus import Event
from backend.clock import Ticker
from backend.components import Parts
from backend.features.federated import gas, service
from backend.features.federated.models import CLOSED, FAILED, FederatedExperiment


def start(parts: Parts) -> Callable[[], None]:
    """Listen, look now and again and again; gives what stops it."""
    for state in (CLOSED, FAILED):
        parts.bus.subscribe(f"federated.round.{state}", lambda event: _count(parts, event))
    parts.bus.subscribe(gas.MOVED, lambda event: _note_gas(parts, event.data["names"]))
    parts.bus.subscribe(f"federated.experiment.{CLOSED}", lambda event: _note_whole(parts, event))
    with parts.database.reading() as db:
        unnoted = gas.unnoted(db)
    _note_gas(parts, unnoted)
    service.resume_orphans(parts)
    interval_s = parts.settings.sweep_interval_s
    ticker = Ticker("federated rounds", interval_s, lambda: service.resume_orphans(parts))
    return ticker.stop


def _count(parts: Parts, event: Event) -> None:
    parts.metrics.federated_rounds.labels(event.data["state"]).inc()
    for update in event.data.get("updates", ()):
        parts.metrics.federated_updates.labels(update["verdict"]).inc()


def _note_gas(parts: Parts, names: Collection[str]) -> None:
    """Note what the chain took; it is asked anew, so a repeated delivery changes nothing."""
    if names:
        with parts.database.transaction() as db:
            gas.note(db, names, gas_of=parts.shared[gas.GAS_OF])


def _note_whole(parts: Parts, event: Event) -> None:
    """Note what was paid for an experiment before it had a summary."""
    with parts.database.reading() as db:
        row = db.get(FederatedExperiment, event.data["experiment_id"])
        names = [] if row is None else gas.names_of(db, row)
    _note_gas(parts, names)
