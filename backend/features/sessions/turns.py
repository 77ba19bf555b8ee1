"""Whose turn it is to plan a site: a queue outside of any transaction."""

import asyncio
import threading
import time
import zlib
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from anyio import to_thread
from sqlalchemy import Connection, text

from backend.compute import Compute
from backend.database import LOCKS, Database
from backend.features.sessions.problems import SiteBusy

POLL_S = 0.01
_NAMESPACE = 0x7A5C02


class Turns:
    """One planner at a time for each site, in order of arrival.

    In this process a queue; between processes on PostgreSQL an advisory lock. Several processes on
    SQLite meet at the site's plan version instead, and the later one plans again.
    """

    def __init__(self, database: Database, *, patience_s: float) -> None:
        self._database, self._patience_s = database, patience_s
        self._guard = threading.Lock()
        self._queues: dict[str, deque[Future[None]]] = defaultdict(deque)  # first: whose turn it is
        self._lock_slots = asyncio.Semaphore(LOCKS - 2)  # the others are for replanning

    @contextmanager
    def of(self, site_id: str) -> Iterator[None]:
        """Wait for the site's turn in this thread.

        Raises:
            SiteBusy: If it does not come within the patience.
        """
        until = time.monotonic() + self._patience_s
        ticket = self._join(site_id)
        try:
            _await_in_thread(ticket, self._patience_s)
            if self._database.is_sqlite:
                yield
                return
            with self._database.locks.connect() as connection:
                while not _locks(connection, site_id):
                    _check_patience(until)
                    time.sleep(POLL_S)
                yield
        finally:
            self._leave(site_id, ticket)

    @asynccontextmanager
    async def awaited(self, site_id: str) -> AsyncIterator[None]:
        """Wait for the site's turn without holding a thread.

        Raises:
            SiteBusy: If it does not come within the patience.
        """
        until = time.monotonic() + self._patience_s
        ticket = self._join(site_id)
        try:
            if not ticket.done():
                await _await_in_loop(ticket, self._patience_s)
            if self._database.is_sqlite:
                yield
                return
            async with self._lock_slots:
                connection = await to_thread.run_sync(self._database.locks.connect)
                try:
                    while not await to_thread.run_sync(_locks, connection, site_id):
                        _check_patience(until)
                        await asyncio.sleep(POLL_S)
                    yield
                finally:
                    await to_thread.run_sync(connection.close)
        finally:
            self._leave(site_id, ticket)

    def _join(self, site_id: str) -> Future[None]:
        """Stand in the site's queue; the ticket is done when the turn has come."""
        ticket: Future[None] = Future()
        with self._guard:
            queue = self._queues[site_id]
            queue.append(ticket)
            if queue[0] is ticket:
                ticket.set_result(None)
        return ticket

    def _leave(self, site_id: str, ticket: Future[None]) -> None:
        """Leave the queue, from its head or from the middle; the next one's turn may have come."""
        with self._guard:
            queue = self._queues[site_id]
            queue.remove(ticket)
            if queue and not queue[0].done():
                queue[0].set_result(None)


def _await_in_thread(ticket: Future[None], patience_s: float) -> None:
    try:
        ticket.result(patience_s)
    except TimeoutError:
        raise SiteBusy from None


async def _await_in_loop(ticket: Future[None], patience_s: float) -> None:
    turn = asyncio.wrap_future(ticket)
    try:
        await asyncio.wait_for(asyncio.shield(turn), patience_s)
    except TimeoutError:
        raise SiteBusy from None


def _check_patience(until: float) -> None:
    if time.monotonic() > until:
        raise SiteBusy


def _locks(connection: Connection, site_id: str) -> bool:
    """Try to take the lock all processes know; it is held until the connection is given back."""
    key = {"a": _NAMESPACE, "b": zlib.crc32(site_id.encode()) - 2**31}
    attempt = text("SELECT pg_try_advisory_xact_lock(:a, :b)")
    return bool(connection.execute(attempt, key).scalar())


@dataclass(frozen=True, slots=True)
class Desk:
    """What planning needs beside the database.

    Attributes:
        is_demo: Unsigned payloads are accepted, unknown DIDs registered, old departures moved.
    """

    compute: Compute
    turns: Turns
    plan_timeout_s: float
    is_demo: bool
