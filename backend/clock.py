"""What time it is: the system's clock, or one a demonstration can set."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

log = structlog.get_logger("tasco.ticker")


class Clock(Protocol):
    """Tells the time; read once at the front door of each request."""

    def now(self) -> datetime:
        """Current time, timezone-aware UTC."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """Current time, timezone-aware UTC."""
        return datetime.now(UTC)


class DemoClock:
    """A clock that can be set and sped up; it follows the machine's clock until then."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Follow the machine's clock again."""
        self._base, self._since, self._speed = datetime.now(UTC), time.monotonic(), 1.0

    @property
    def speed(self) -> float:
        """Seconds shown per second passed."""
        return self._speed

    def now(self) -> datetime:
        """Time shown, timezone-aware UTC."""
        with self._lock:
            return self._base + timedelta(seconds=(time.monotonic() - self._since) * self._speed)

    def change(self, *, set_to: datetime | None, advance_s: float, speed: float | None) -> None:
        """Set the time shown, then move it on, then run at another speed from there."""
        shown = self.now() if set_to is None else set_to
        with self._lock:
            self._base, self._since = shown + timedelta(seconds=advance_s), time.monotonic()
            self._speed = self._speed if speed is None else speed


class Ticker:
    """Calls a function again and again in a thread of its own, until it is stopped."""

    def __init__(self, name: str, interval_s: float, function: Callable[[], object]) -> None:
        self._interval_s, self._function, self._stop = interval_s, function, threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let the call at hand end, then no more."""
        self._stop.set()
        self._thread.join(5)

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            try:
                self._function()
            except Exception:
                log.exception("ticker.failed", name=self._thread.name)
