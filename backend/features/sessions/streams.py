"""Live events: a snapshot first, then whatever happens, resumable by number."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import anyio
from anyio import to_thread
from fastapi import Header, Request
from fastapi.sse import ServerSentEvent
from sqlalchemy.orm import Session

from backend.adapters.events.bus import Event
from backend.adapters.events.relay import BATCH, events_after
from backend.components import Parts

POLL_S = 0.1
LastEventId = Annotated[
    int | None,
    Header(ge=0, le=2**53, description="Number of the last event seen; those after it follow"),
]
Snapshot = Callable[[Session], dict[str, Any]]
ENDED = ("completed", "cancelled", "expired")
ENDS = tuple(f"session.{state}" for state in ENDED)


async def follow(
    request: Request,
    *,
    last_event_id: int | None,
    snapshot: Snapshot,
    site_id: str | None = None,
    session_id: str | None = None,
) -> AsyncIterator[ServerSentEvent]:
    """Stream the events of a site or a session; a session's stream ends with it."""
    parts: Parts = request.app.state.parts
    seen = last_event_id
    if seen is None or seen > parts.relay.latest:  # a number from another life of the database
        seen = parts.relay.latest
        state = await to_thread.run_sync(_read, parts, snapshot)
        yield ServerSentEvent(event="snapshot", id=str(seen), data=state, retry=1000)
        if state.get("status") in ENDED:
            return
    elif session_id is not None and await _is_over(parts, seen, snapshot, session_id):
        return
    while not parts.shared.get("closing") and not await request.is_disconnected():
        latest = parts.relay.latest
        if latest > seen:
            events = await to_thread.run_sync(_after, parts, seen, site_id, session_id)
            for event in events:
                yield _as_sse(event)
                if session_id is not None and event.type in ENDS:
                    return
            last = events[-1].sequence if events else seen
            seen = last if len(events) == BATCH else max(last, latest)
        await anyio.sleep(POLL_S)


async def _is_over(parts: Parts, seen: int, snapshot: Snapshot, session_id: str) -> bool:
    """Whether a session has ended and the caller has seen its last event."""
    state = await to_thread.run_sync(_read, parts, snapshot)
    if state.get("status") not in ENDED:
        return False
    return not await to_thread.run_sync(_after, parts, seen, None, session_id)


def _read(parts: Parts, snapshot: Snapshot) -> dict[str, Any]:
    with parts.database.reading() as db:
        return snapshot(db)


def _after(parts: Parts, seen: int, site_id: str | None, session_id: str | None) -> list[Event]:
    with parts.database.reading() as db:
        return events_after(db, seen, site_id=site_id, session_id=session_id)


def _as_sse(event: Event) -> ServerSentEvent:
    data = {
        "event_id": event.id,
        "type": event.type,
        "site_id": event.site_id,
        "session_id": event.session_id,
        "occurred_at": stamp(event.occurred_at),
        "data": event.data,
    }
    return ServerSentEvent(event=event.type, id=str(event.sequence), data=data)


def stamp(moment: datetime) -> str:
    """A time as events carry it."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
