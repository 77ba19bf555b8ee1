"""Jobs in the background: lost ones are marked as failed, the last ones may end."""

from collections.abc import Callable

from backend.clock import Ticker
from backend.components import Parts
from backend.features.jobs.service import await_all, fail_lost

GRACE_S = 10.0  # what is still at work then is found lost by the next process


def start(parts: Parts) -> Callable[[], None]:
    """Look for lost jobs again and again; gives what stops it."""
    interval_s = parts.settings.sweep_interval_s
    ticker = Ticker("lost jobs", interval_s, lambda: fail_lost(parts.database))

    def _stop() -> None:
        ticker.stop()
        await_all(parts.database, timeout_s=GRACE_S)

    return _stop
