"""Outbox, relay, bus and inbox: at least once, effects once, in order."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import func, select

from backend.adapters.events.bus import Event, InProcessBus
from backend.adapters.events.outbox import InboxEntry, OutboxEvent, is_first_delivery, record
from backend.adapters.events.relay import (
    FIRST_RETRY_S,
    LONGEST_RETRY_S,
    MAX_ATTEMPTS,
    Relay,
    events_after,
    retry_wait_s,
)
from backend.database import Database
from backend.features.credentials.service import register_driver
from tests.conftest import House
from tests.tables import row_counts, rows_of

NOON = datetime(2026, 3, 10, 10, 0, tzinfo=UTC)


class Ear:
    """A listener that remembers what it heard and fails when told to."""

    def __init__(self, *, failures: int = 0) -> None:
        self.heard: list[Event] = []
        self.calls = 0
        self._failures = failures

    def __call__(self, event: Event) -> None:
        self.calls += 1
        if self.calls <= self._failures:
            raise ConnectionError("not now")
        self.heard.append(event)

    @property
    def numbers(self) -> list[Any]:
        """The `n` of each event heard."""
        return [event.data["n"] for event in self.heard]


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


class Seconds:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.shown = 0.0

    def __call__(self) -> float:
        return self.shown


def _relay(
    database: Database,
    *ears: Ear,
    event_type: str = "thing.happened",
    clock: Callable[[], float] = time.monotonic,
) -> Relay:
    bus = InProcessBus()
    for ear in ears:
        bus.subscribe(event_type, ear)
    return Relay(database, bus, interval_s=0.02, clock=clock)


def _tell(database: Database, *numbers: int, **ids: str) -> None:
    """One transaction per event."""
    for number in numbers:
        with database.transaction() as db:
            record(db, "thing.happened", {"n": number}, now=NOON, **ids)


def test_an_event_and_its_change_are_stored_together(database: Database) -> None:
    with database.transaction() as db:
        register_driver(db, "did:x:1", now=NOON)
        record(db, "driver.registered", {"did": "did:x:1"}, now=NOON)

    counts = row_counts(database)
    assert (counts["drivers"], counts["outbox"]) == (1, 1)


def test_an_event_is_lost_with_its_change(database: Database) -> None:
    with suppress(ZeroDivisionError), database.transaction() as db:
        register_driver(db, "did:x:1", now=NOON)
        record(db, "driver.registered", {"did": "did:x:1"}, now=NOON)
        raise ZeroDivisionError

    counts = row_counts(database)
    assert (counts["drivers"], counts["outbox"]) == (0, 0)


def test_events_are_delivered_in_the_order_of_their_numbers(database: Database) -> None:
    ear = Ear()
    _tell(database, *range(20))

    _relay(database, ear).drain()

    assert ear.numbers == list(range(20))
    assert [event.sequence for event in ear.heard] == list(range(1, 21))


def test_an_event_arrives_as_it_was_recorded(database: Database) -> None:
    ear = Ear()
    with database.transaction() as db:
        data = {"n": 1.5, "text": "ä", "inner": {"list": [1, None]}}
        record(db, "thing.happened", data, now=NOON, site_id="site_a", session_id="ses_1")

    _relay(database, ear).drain()

    (event,) = ear.heard
    assert (event.type, event.data, event.occurred_at) == ("thing.happened", data, NOON)
    assert (event.site_id, event.session_id) == ("site_a", "ses_1")


def test_an_uncommitted_event_gets_no_number_and_leaves_no_gap(database_url: str) -> None:
    # PostgreSQL lets several transactions write at once: the first may commit last.
    database = Database(database_url)
    ear = Ear()
    relay = _relay(database, ear)
    if database.is_sqlite:
        _tell(database, 1, 2)
        relay.drain()
    else:
        with database.transaction() as late:
            record(late, "thing.happened", {"n": 1}, now=NOON)
            late.flush()
            _tell(database, 2)
            relay.drain()
        relay.drain()

    assert sorted(ear.numbers) == [1, 2]
    assert [event.sequence for event in ear.heard] == [1, 2]
    database.close()


def test_a_listener_that_fails_once_is_called_again(database: Database) -> None:
    ear, clock = Ear(failures=1), Seconds()
    _tell(database, 1)
    relay = _relay(database, ear, clock=clock)

    relay.drain()
    heard_at_first = list(ear.heard)
    clock.shown = FIRST_RETRY_S
    relay.drain()

    assert heard_at_first == []
    assert ear.numbers == [1]
    assert ear.calls == 2


def test_each_attempt_waits_twice_as_long_as_the_one_before(database: Database) -> None:
    ear, clock = Ear(failures=99), Seconds()
    _tell(database, 1)
    relay = _relay(database, ear, clock=clock)

    tried_at = []
    for _ in range(80):
        calls = ear.calls
        relay.drain()
        tried_at += [clock.shown] * (ear.calls - calls)
        clock.shown += 0.5

    assert tried_at == [0, 1, 3, 7, 15, 31]


def test_a_resource_may_be_away_for_an_hour() -> None:
    waits_s = [retry_wait_s(attempts) for attempts in range(1, MAX_ATTEMPTS)]

    assert waits_s == sorted(waits_s)
    assert max(waits_s) == LONGEST_RETRY_S
    assert 3_000 < sum(waits_s) < 4_000


def test_events_of_a_type_at_a_site_keep_their_order_behind_one_that_waits(
    database: Database,
) -> None:
    ear, other, clock = Ear(failures=1), Ear(), Seconds()
    relay = _relay(database, ear, clock=clock)
    relay._bus.subscribe("other.happened", other)  # noqa: SLF001 - a second kind on the same bus
    _tell(database, 1, 2, site_id="site_a")
    _tell(database, 3, site_id="site_b")
    _tell(database, 4)
    with database.transaction() as db:
        record(db, "other.happened", {"n": 5}, now=NOON, site_id="site_a")

    relay.drain()
    at_once, waiting = list(ear.numbers), relay.pending
    _tell(database, 6, site_id="site_a")
    relay.drain()
    meanwhile = list(ear.numbers)
    clock.shown = FIRST_RETRY_S
    relay.drain()

    assert (at_once, other.numbers, waiting) == ([3, 4], [5], 2)
    assert meanwhile == [3, 4]
    assert ear.numbers == [3, 4, 1, 2, 6]
    assert relay.pending == 0


def test_many_events_behind_one_that_waits_keep_nothing_else_back(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.adapters.events.relay.BATCH", 3)
    never, other = Ear(failures=99), Ear()
    relay = _relay(database, never, clock=Seconds())
    relay._bus.subscribe("other.happened", other)  # noqa: SLF001 - a second kind on the same bus
    _tell(database, *range(5))
    with database.transaction() as db:
        record(db, "other.happened", {"n": 9}, now=NOON)

    for _ in range(3):
        relay.drain()

    assert never.calls == 1
    assert other.numbers == [9]


def test_a_relay_that_starts_anew_tries_at_once_and_goes_on_counting(database: Database) -> None:
    ear, clock = Ear(failures=5), Seconds()
    _tell(database, 1)
    before = _relay(database, ear, clock=clock)
    for moment in (0, 1, 3):
        clock.shown = moment
        before.drain()

    after = _relay(database, ear, clock=clock)
    after.drain()
    calls = ear.calls
    clock.shown += retry_wait_s(4) - 0.1
    after.drain()
    too_early = ear.calls
    clock.shown += 0.1
    after.drain()

    assert (calls, too_early, ear.calls) == (4, 4, 5)
    (row,) = rows_of(database, "outbox")
    assert row["attempts"] == 5


def test_a_failing_listener_does_not_keep_an_event_from_the_others(database: Database) -> None:
    failing, working = Ear(failures=99), Ear()
    _tell(database, 1)

    _relay(database, failing, working).drain()

    assert working.numbers == [1]


def test_an_event_that_nobody_can_hear_is_given_up_and_blocks_no_other(database: Database) -> None:
    never, other, clock = Ear(failures=999), Ear(), Seconds()
    relay = _relay(database, never, clock=clock)
    relay._bus.subscribe("other.happened", other)  # noqa: SLF001 - a second kind on the same bus
    _tell(database, 1)
    with database.transaction() as db:
        record(db, "other.happened", {"n": 2}, now=NOON)

    for _ in range(MAX_ATTEMPTS + 3):
        relay.drain()
        clock.shown += LONGEST_RETRY_S

    dead = next(row for row in rows_of(database, "outbox") if row["type"] == "thing.happened")
    assert other.numbers == [2]
    assert never.calls == MAX_ATTEMPTS
    assert (dead["attempts"], dead["delivered_at"]) == (MAX_ATTEMPTS, None)


def test_an_effect_happens_once_however_often_the_event_is_delivered(database: Database) -> None:
    effects = []

    def _listener(event: Event) -> None:
        with database.transaction() as db:
            if is_first_delivery(db, listener="ear", event_id=event.id, now=NOON):
                effects.append(event.data["n"])

    _tell(database, 7)
    first = Relay(database, InProcessBus(), interval_s=1)
    first._bus.subscribe("thing.happened", _listener)  # noqa: SLF001
    first.drain()
    (event,) = _numbered(database)

    _listener(event)
    _listener(event)

    assert effects == [7]


def test_an_effect_that_failed_is_tried_again(database: Database) -> None:
    effects = []

    def _listener(event: Event) -> None:
        with database.transaction() as db:
            if not is_first_delivery(db, listener="ear", event_id=event.id, now=NOON):
                return
            effects.append(event.data["n"])
            if len(effects) == 1:
                raise ConnectionError("after the mark, before the commit")

    _tell(database, 7)
    bus, clock = InProcessBus(), Seconds()
    bus.subscribe("thing.happened", _listener)
    relay = Relay(database, bus, interval_s=1, clock=clock)

    for _ in range(3):
        relay.drain()
        clock.shown += FIRST_RETRY_S

    assert effects == [7, 7]  # the first one was rolled back with its mark
    with database.reading() as db:
        assert db.scalar(select(func.count()).select_from(InboxEntry)) == 1


def test_two_listeners_have_marks_of_their_own(database: Database) -> None:
    with database.transaction() as db:
        answers = [
            is_first_delivery(db, listener=name, event_id="evt_1", now=NOON)
            for name in ("a", "b", "a")
        ]

    assert answers == [True, True, False]


def test_a_relay_goes_on_where_another_stopped(database: Database) -> None:
    before, after = Ear(), Ear()
    _tell(database, 1, 2)
    _relay(database, before).drain()
    _tell(database, 3)

    relay = _relay(database, after)
    relay.drain()

    assert before.numbers == [1, 2]
    assert after.numbers == [3]
    assert after.heard[0].sequence == relay.latest == 3


def test_what_was_numbered_but_not_delivered_is_delivered_after_a_restart(
    database: Database,
) -> None:
    _tell(database, 1, 2)
    stopped = _relay(database)
    stopped._number()  # noqa: SLF001 - stopped between its two steps
    ear = Ear()

    _relay(database, ear).drain()

    assert ear.numbers == [1, 2]


def test_relays_side_by_side_give_each_number_once(database_url: str) -> None:
    databases = [Database(database_url) for _ in range(3)]
    relays = [_relay(one) for one in databases]
    _tell(databases[0], *range(30))

    threads = [threading.Thread(target=relay.drain) for relay in relays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    numbers = sorted(row["sequence"] for row in rows_of(databases[0], "outbox"))
    assert numbers == list(range(1, 31))
    for database in databases:
        database.close()


def test_a_running_relay_delivers_soon_and_stops_when_told(database: Database) -> None:
    arrived = threading.Event()
    bus = InProcessBus()
    bus.subscribe("thing.happened", lambda _: arrived.set())
    relay = Relay(database, bus, interval_s=60)
    relay.start()

    _tell(database, 1)
    relay.wake()
    is_delivered = arrived.wait(10)
    relay.stop()

    assert is_delivered
    assert not [thread for thread in threading.enumerate() if thread.name == "relay"]


def test_draining_beside_a_running_relay_delivers_nothing_twice(database: Database) -> None:
    heard, is_heard, go_on = [], threading.Event(), threading.Event()

    def _slow(event: Event) -> None:
        heard.append(event.sequence)
        is_heard.set()
        go_on.wait(10)

    bus = InProcessBus()
    bus.subscribe("thing.happened", _slow)
    relay = Relay(database, bus, interval_s=60)
    relay.start()
    _tell(database, 1)
    relay.wake()
    assert is_heard.wait(10)

    draining = threading.Thread(target=relay.drain)
    draining.start()
    draining.join(0.2)
    waited = draining.is_alive()
    go_on.set()
    draining.join(10)
    drained = rows_of(database, "outbox")
    relay.stop()

    assert waited
    assert heard == [1]
    assert drained[0]["delivered_at"] is not None
    assert rows_of(database, "outbox") == drained


def test_a_running_relay_outlives_a_failing_database(database: Database) -> None:
    ear = Ear()
    relay = _relay(database, ear)
    reading = database.reading
    failures = iter([True, True])

    def _failing() -> Any:
        if next(failures, False):
            raise ConnectionError("away")
        return reading()

    relay.start()
    database.reading = _failing  # type: ignore[method-assign]  # the database goes away
    _tell(database, 1)
    relay.wake()
    _until(lambda: ear.numbers == [1])
    relay.stop()

    assert ear.numbers == [1]


def test_streams_read_events_after_a_number_by_site_and_session(database: Database) -> None:
    _tell(database, 1, site_id="site_a", session_id="ses_1")
    _tell(database, 2, site_id="site_a", session_id="ses_2")
    _tell(database, 3, site_id="site_b", session_id="ses_3")
    _relay(database).drain()

    with database.reading() as db:
        of_site = [event.data["n"] for event in events_after(db, 0, site_id="site_a")]
        of_session = [event.data["n"] for event in events_after(db, 0, session_id="ses_2")]
        later = [event.data["n"] for event in events_after(db, 1, site_id="site_a")]

    assert (of_site, of_session, later) == ([1, 2], [2], [2])


def test_a_start_and_its_event_are_one(house: House) -> None:
    house.site()
    started = house.start()

    events = [row for row in rows_of(house.parts.database, "outbox") if row["session_id"]]
    refused = house.post("/sessions/start", house.start_body(number=2))

    assert [(row["type"], row["session_id"]) for row in events] == [
        ("session.started", started["session_id"])
    ]
    assert refused.status_code == 409
    after = [row["id"] for row in rows_of(house.parts.database, "outbox") if row["session_id"]]
    assert after == [row["id"] for row in events]


def _numbered(database: Database) -> list[Event]:
    with database.reading() as db:
        return events_after(db, 0)


def _until(is_so: Any) -> None:
    waited = threading.Event()
    for _ in range(500):
        if is_so():
            return
        waited.wait(0.02)


def test_the_outbox_names_no_person(house: House) -> None:
    house.site()
    session = house.start()
    house.post(f"/sessions/{session['session_id']}/complete", {"energy_delivered_kwh": 0})
    house.settle()

    with house.parts.database.reading() as db:
        data = [str(one) for one in db.scalars(select(OutboxEvent.data))]

    assert data
    assert not [one for one in data if "driver001" in one or "vehicle001" in one]
