"""Live events from a real server: a snapshot, then every change in order, resumable."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import httpx2
import pytest
import uvicorn

from backend.main import create_app
from backend.settings import Settings
from tests.conftest import House, TestClock

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

PATIENCE_S = 10.0
Events = Iterator[dict[str, Any]]


@pytest.fixture
def live(database_url: str, tmp_path: Path) -> Iterator[House]:
    """A house behind a real server on a loopback port."""
    settings = Settings(
        profile="demo",
        database_url=database_url,
        artifacts_dir=tmp_path / "artifacts",
        compute_workers=0,
        sweep_interval_s=3600,
        replan_interval_s=3600,
        log_level="error",
        _env_file=None,
    )
    clock = TestClock()
    app = create_app(settings, clock=clock)
    config = uvicorn.Config(app, port=0, log_config=None, ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + PATIENCE_S
    while not server.started and time.monotonic() < until:
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client:
        yield House(app, cast("TestClient", client), clock, settings)
    server.should_exit = True
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


@contextmanager
def stream(live: House, path: str, *, after: str | None = None) -> Iterator[Events]:
    """The events of a path, one by one; waits no longer than the client's patience.

    What happened before is published first: a snapshot holds it, and is not followed by it.
    """
    live.settle()
    headers = {} if after is None else {"Last-Event-ID": after}
    client = cast("httpx2.Client", live.client)
    with client.stream("GET", f"/api/v1{path}", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield parsed(answer.iter_lines())


def parsed(lines: Iterator[str]) -> Events:
    event: dict[str, Any] = {}
    for line in lines:
        if not line:
            if "data" in event:
                yield {**event, "data": json.loads(event["data"])}
            event = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            event[name] = value.removeprefix(" ")


def take(events: Events, count: int) -> list[dict[str, Any]]:
    return [next(events) for _ in range(count)]


def numbers(events: list[dict[str, Any]]) -> list[int]:
    return [int(one["id"]) for one in events]


def a_day(live: House) -> list[str]:
    """Two sessions start; the first is completed, which has the second planned again."""
    first = live.start(number=1, soc_percent=10)["session_id"]
    second = live.start(number=2, charger=2, soc_percent=10)["session_id"]
    live.post(f"/sessions/{first}/complete", {})
    return [first, second]


DAY = [
    "session.started",
    "site.replanned",
    "session.started",
    "site.replanned",
    "session.completed",
    "site.replanned",
]


def test_a_site_is_followed_from_a_snapshot_on(live: House) -> None:
    live.site()
    waiting = live.start(number=9, charger=4)["session_id"]

    with stream(live, "/sites/site_hq/events") as events:
        snapshot = next(events)
        first, second = a_day(live)
        seen = take(events, 5)

    assert snapshot["event"] == "snapshot"
    assert snapshot["data"]["site_id"] == "site_hq"
    assert [one["session_id"] for one in snapshot["data"]["open_sessions"]] == [waiting]
    assert [one["event"] for one in seen] == DAY[:5]
    assert [one["data"]["session_id"] for one in seen] == [first, None, second, None, first]
    assert {one["data"]["site_id"] for one in seen} == {"site_hq"}
    assert seen[4]["data"]["data"]["total_eur"].startswith("0")
    ids = numbers([snapshot, *seen])
    assert ids == sorted(set(ids))


def test_a_stream_resumes_without_gap_or_repeat(live: House) -> None:
    live.site()
    with stream(live, "/sites/site_hq/events") as events:
        start = next(events)["id"]
        a_day(live)
        whole = take(events, len(DAY))

    assert [one["event"] for one in whole] == DAY
    assert numbers(whole) == sorted(set(numbers(whole)))
    for position, after in enumerate([start, *(one["id"] for one in whole[:-1])]):
        with stream(live, "/sites/site_hq/events", after=after) as events:
            assert take(events, len(DAY) - position) == whole[position:]


def test_a_site_does_not_hear_of_another(live: House) -> None:
    live.site("site_hq")
    live.site("site_mall")

    with stream(live, "/sites/site_mall/events") as events:
        next(events)
        a_day(live)
        there = live.start(number=5, site_id="site_mall")["session_id"]
        heard = next(events)

    assert heard["event"] == "session.started"
    assert heard["data"]["session_id"] == there


@pytest.mark.parametrize("ending", ["complete", "cancel"])
def test_a_sessions_stream_ends_with_it(live: House, ending: str) -> None:
    live.site()
    session_id = live.start()["session_id"]
    path = f"/sessions/{session_id}/events"

    with stream(live, path) as events:
        snapshot = next(events)
        live.start(number=2, charger=2)
        live.clock.advance(minutes=30)
        value = {"at": "2026-03-10T10:30:00Z", "energy_delivered_kwh": 0.5}
        assert live.post(f"/sessions/{session_id}/meter-values", {"values": [value]}).is_success
        live.post(f"/sessions/{session_id}/{ending}", {} if ending == "complete" else None)
        rest = list(events)  # comes to an end

    assert snapshot["data"]["session_id"] == session_id
    assert snapshot["data"]["status"] == "active"
    told = [one["event"] for one in rest]
    assert told[0] == "session.metered"
    assert told[-1] == f"session.{'completed' if ending == 'complete' else 'cancelled'}"
    assert {one["data"]["session_id"] for one in rest} == {session_id}
    with stream(live, path) as events:
        [over] = list(events)
        assert over["data"]["status"] == ("completed" if ending == "complete" else "cancelled")
    with stream(live, path, after=rest[0]["id"]) as events:
        assert list(events) == rest[1:]
    with stream(live, path, after=rest[-1]["id"]) as events:
        assert list(events) == []


def test_a_number_from_another_life_of_the_database_begins_anew(live: House) -> None:
    live.site()

    with stream(live, "/sites/site_hq/events", after="999999") as events:
        assert next(events)["event"] == "snapshot"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/sessions/ses_01KAF0000000000000000000/events", "session_not_found"),
        ("/sites/site_nowhere/events", "site_not_found"),
    ],
)
def test_what_does_not_exist_cannot_be_followed(live: House, path: str, code: str) -> None:
    answer = live.get(path)

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == code


@pytest.mark.parametrize("number", ["x", "-1", "1.5"])
def test_a_last_event_that_is_no_number_is_malformed(sqlite_house: House, number: str) -> None:
    sqlite_house.site()

    answer = sqlite_house.get("/sites/site_hq/events", headers={"Last-Event-ID": number})

    assert answer.status_code == 422
