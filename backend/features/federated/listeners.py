"""Federated rounds in the background: experiments whose conductor is gone are taken up again."""

from collections.abc import Callable

from backend.clock import Ticker
from backend.components import Parts
from backend.features.federated import service


def start(parts: Parts) -> Callable[[], None]:
    """Look now and again and again; gives what stops it."""
    service.resume_orphans(parts)
    interval_s = parts.settings.sweep_interval_s
    ticker = Ticker("federated rounds", interval_s, lambda: service.resume_orphans(parts))
    return ticker.stop
