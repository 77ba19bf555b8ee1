"""Delivery of published events to listeners in this process."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """A past fact, as listeners and streams see it.

    Attributes:
        sequence: Number given after the commit; streams resume from it.
    """

    id: str
    sequence: int
    type: str
    site_id: str | None
    session_id: str | None
    data: dict[str, Any]
    occurred_at: datetime


Listener = Callable[[Event], None]


@dataclass(slots=True)
class InProcessBus:
    """Hands each event to every listener of its type, in the relay's thread.

    A listener that raises is called again with the same event later, so it has to be idempotent
    by event id.
    """

    _listeners: dict[str, list[Listener]] = field(default_factory=dict)

    def subscribe(self, event_type: str, listener: Listener) -> None:
        """Call the listener with each event of this type."""
        self._listeners.setdefault(event_type, []).append(listener)

    def publish(self, event: Event) -> None:
        """Deliver one event to every listener.

        Raises:
            ExceptionGroup: Of what listeners raised; the others have heard the event.
        """
        failures = []
        for listener in self._listeners.get(event.type, ()):
            try:
                listener(event)
            except Exception as failure:  # noqa: BLE001 - raised together below
                failures.append(failure)
        if failures:
            raise ExceptionGroup(f"{event.id} was not heard by all", failures)
