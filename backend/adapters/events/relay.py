"""From the outbox to the bus: numbers committed events, then delivers them at least once."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import structlog
from sqlalchemy import func, select, text, tuple_, update
from sqlalchemy.orm import Session

from backend.adapters.events.bus import Event, InProcessBus
from backend.adapters.events.outbox import OutboxEvent
from backend.database import Database

log = structlog.get_logger("tasco.relay")
BATCH = 500
MAX_ATTEMPTS = 20
FIRST_RETRY_S, LONGEST_RETRY_S = 1.0, 300.0  # in all about an hour before an event is given up
Lane = tuple[str, str]  # type and site: what is kept in order
RELAY_LOCK = 0x7A5C01  # one relay at a time on PostgreSQL; SQLite has one writer anyway


class Relay:
    """Publishes what the outbox holds: one thread numbers, another delivers.

    Streams show numbered events, so they do not wait for listeners that take their time.

    Sequence numbers are given here and not at insertion: rows commit in another order than they are
    inserted, and a stream that resumes after number 7 would never see a 6 that committed later.

    An event that a listener could not take is tried again after a time that doubles with each
    attempt. Until then later events of its type at its site wait behind it, others go on. The
    attempts are kept in its row, the time of the next one in memory: a relay that starts anew
    tries at once, and then waits as long as the attempts before ask for.
    """

    def __init__(
        self,
        database: Database,
        bus: InProcessBus,
        *,
        interval_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database, self._bus, self._interval_s = database, bus, interval_s
        self._clock = clock
        self._retry_at: dict[Lane, float] = {}
        self._stop = threading.Event()
        self._delivering = threading.Lock()
        self._wakes = (threading.Event(), threading.Event())
        steps = (self._number, self._deliver)
        self._threads = [
            threading.Thread(target=self._run, args=(step, wake), name="relay", daemon=True)
            for step, wake in zip(steps, self._wakes, strict=True)
        ]
        self.latest = 0
        self.pending = 0

    def start(self) -> None:
        """Begin to publish."""
        with self._database.reading() as db:
            self.latest = db.scalar(select(func.max(OutboxEvent.sequence))) or 0
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Finish the event at hand and end."""
        self._stop.set()
        self.wake()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(5)

    def wake(self) -> None:
        """Look at the outbox now; called when a change was committed here."""
        for wake in self._wakes:
            wake.set()

    def drain(self) -> None:
        """Publish everything that is committed now, in the calling thread."""
        while self._number() or self._deliver():
            pass

    def _run(self, step: Callable[[], int], wake: threading.Event) -> None:
        while not self._stop.is_set():
            wake.clear()
            try:
                while step() and not self._stop.is_set():
                    pass
            except Exception:
                # The relay outlives a database that is away.
                log.warning("relay.waiting", exc_info=True)
            wake.wait(self._interval_s)

    def _number(self) -> int:
        """Give the next numbers to committed events; gives how many."""
        unnumbered = select(OutboxEvent.id).where(OutboxEvent.sequence.is_(None))
        with self._database.reading() as db:
            if db.scalar(unnumbered.limit(1)) is None:
                self.latest = db.scalar(select(func.max(OutboxEvent.sequence))) or 0
                return 0
        with self._database.transaction() as db:
            hold_relay_lock(db)
            ids = db.scalars(unnumbered.order_by(OutboxEvent.id).limit(BATCH)).all()
            first = (db.scalar(select(func.max(OutboxEvent.sequence))) or 0) + 1
            rows = [{"id": one, "sequence": first + i} for i, one in enumerate(ids)]
            if rows:
                db.execute(update(OutboxEvent), rows)
        self.latest = first + len(rows) - 1
        self._wakes[1].set()
        return len(rows)

    def _deliver(self) -> int:
        """Hand numbered events to the bus in order; gives how many were delivered."""
        with self._delivering:
            return self._deliver_waiting()

    def _deliver_waiting(self) -> int:
        events, waiting = self._due()
        self.pending = waiting
        done = [event.id for attempts, event in events if self._deliver_one(event, attempts)]
        if done:
            with self._database.transaction() as db:
                marks: list[dict[str, Any]] = [
                    {"id": one, "delivered_at": datetime.now(UTC)} for one in done
                ]
                db.execute(update(OutboxEvent), marks)
        self.pending -= len(done)
        return len(done)

    def _due(self) -> tuple[list[tuple[int, Event]], int]:
        """The next events to deliver with their attempts so far, and how many wait in all."""
        now = self._clock()
        self._retry_at = {lane: at for lane, at in self._retry_at.items() if at > now}
        waiting = (
            OutboxEvent.sequence.is_not(None),
            OutboxEvent.delivered_at.is_(None),
            OutboxEvent.attempts < MAX_ATTEMPTS,
        )
        due = select(OutboxEvent).where(*waiting).order_by(OutboxEvent.sequence).limit(BATCH)
        if self._retry_at:
            lane = tuple_(OutboxEvent.type, func.coalesce(OutboxEvent.site_id, ""))
            due = due.where(lane.not_in(list(self._retry_at)))
        with self._database.reading() as db:
            events = [(row.attempts, as_event(row)) for row in db.scalars(due)]
            if not self._retry_at:
                return events, len(events)
            return events, db.scalar(select(func.count()).where(*waiting)) or 0

    def _deliver_one(self, event: Event, attempts: int) -> bool:
        if _lane(event) in self._retry_at:
            return False
        try:
            self._bus.publish(event)
        except Exception as failure:  # noqa: BLE001 - whatever it is, it is tried again
            self._put_off(event, attempts + 1, failure)
            return False
        return True

    def _put_off(self, event: Event, attempts: int, failure: Exception) -> None:
        """Try again later, unless it was tried often enough."""
        is_given_up = attempts >= MAX_ATTEMPTS
        wait_s = retry_wait_s(attempts)
        log.error(
            "event.given_up" if is_given_up else "event.undelivered",
            exc_info=failure,
            event_id=event.id,
            type=event.type,
            attempts=attempts,
            retry_in_s=None if is_given_up else wait_s,
        )
        if not is_given_up:
            self._retry_at[_lane(event)] = self._clock() + wait_s
        with self._database.transaction() as db:
            row = update(OutboxEvent).where(OutboxEvent.id == event.id)
            db.execute(row.values(attempts=attempts))


def retry_wait_s(attempts: int) -> float:
    """Seconds to wait after so many failed attempts: doubling from the first, up to the longest."""
    return min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** (attempts - 1))


def _lane(event: Event) -> Lane:
    return event.type, event.site_id or ""


def hold_relay_lock(db: Session) -> None:
    """Keep other relays out until this transaction ends."""
    if db.get_bind().dialect.name == "postgresql":
        db.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": RELAY_LOCK})


def as_event(row: OutboxEvent) -> Event:
    """The published form of a numbered row."""
    return Event(
        id=row.id,
        sequence=row.sequence or 0,
        type=row.type,
        site_id=row.site_id,
        session_id=row.session_id,
        data=row.data,
        occurred_at=row.occurred_at,
    )


def events_after(
    db: Session, sequence: int, *, site_id: str | None = None, session_id: str | None = None
) -> list[Event]:
    """Published events of a site or a session after a number, in order."""
    query = select(OutboxEvent).where(OutboxEvent.sequence > sequence)
    if site_id is not None:
        query = query.where(OutboxEvent.site_id == site_id)
    if session_id is not None:
        query = query.where(OutboxEvent.session_id == session_id)
    return [as_event(row) for row in db.scalars(query.order_by(OutboxEvent.sequence).limit(BATCH))]
