"""Live events of a round or an experiment: a snapshot first, then every arrow, to its end."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
from anyio import to_thread
from fastapi import Request
from fastapi.sse import ServerSentEvent
from sqlalchemy.orm import Session

from backend.adapters.events.bus import Event
from backend.adapters.events.relay import BATCH, events_after
from backend.components import Parts
from backend.features.federated.models import CLOSED, FAILED

POLL_S = 0.1
PREFIX = "federated."
ENDED = (CLOSED, FAILED)
Snapshot = Callable[[Session], dict[str, Any]]


async def follow(
    request: Request, *, last_event_id: int | None, snapshot: Snapshot, member: str, value: str
) -> AsyncIterator[ServerSentEvent]:
    """Stream the events whose `member` is this value; the stream ends with what it is about.

    Args:
        request: Of the caller, for as long as it is there.
        last_event_id: Number of the last event seen; None begins with the snapshot.
        snapshot: The state of what is followed; its `state` tells whether it has ended.
        member: `round_id` or `experiment_id`.
        value: Its id.
    """
    parts: Parts = request.app.state.parts
    seen = last_event_id
    if seen is None or seen > parts.relay.latest:
        seen = parts.relay.latest
        state = await to_thread.run_sync(_read, parts, snapshot)
        yield ServerSentEvent(event="snapshot", id=str(seen), data=state, retry=1000)
        if state["state"] in ENDED:
            return
    while not parts.shared.get("closing") and not await request.is_disconnected():
        latest = parts.relay.latest
        if latest > seen:
            events = await to_thread.run_sync(_after, parts, seen)
            for event in events:
                if event.type.startswith(PREFIX) and event.data.get(member) == value:
                    yield _as_sse(event)
                    if _is_end(event, member):
                        return
            last = events[-1].sequence if events else seen
            seen = last if len(events) == BATCH else max(last, latest)
        elif (await to_thread.run_sync(_read, parts, snapshot))["state"] in ENDED:
            return  # it ended before the number that the caller had seen
        await anyio.sleep(POLL_S)


def _is_end(event: Event, member: str) -> bool:
    what = "round" if member == "round_id" else "experiment"
    return event.type in {f"{PREFIX}{what}.{state}" for state in ENDED}


def _read(parts: Parts, snapshot: Snapshot) -> dict[str, Any]:
    with parts.database.reading() as db:
        return snapshot(db)


def _after(parts: Parts, seen: int) -> list[Event]:
    with parts.database.reading() as db:
        return events_after(db, seen)


def _as_sse(event: Event) -> ServerSentEvent:
    at = event.occurred_at.isoformat().replace("+00:00", "Z")
    data = {"event_id": event.id, "type": event.type, "occurred_at": at, "data": event.data}
    return ServerSentEvent(event=event.type, id=str(event.sequence), data=data)
