"""SIGKILL under load: nothing acknowledged is lost, nothing doubled, the database is whole.

Eight drivers start and complete sessions, each request with an Idempotency-Key. The process group
is killed at a random moment and started again on the same database; whatever was not acknowledged
is then sent twice at once with its key.
"""

import random
import threading
import time
import uuid
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import Connection, text

from tests.real import checks
from tests.real.server import Server, launch_app, serving
from tests.real.traffic import at_once, make_site, start_request

KILLS = 10
DRIVERS = 8
LOAD_S = (0.5, 1.2)  # the kill comes at a random moment between them
SURPRISED_S = 0.02  # before a driver who got an unexpected answer goes on
SEED = 7
SITES = ("site_a", "site_b")
HONEST, HASTY = "backend.main:app", "tests.real.hasty:app"


@dataclass(eq=False)
class Request:
    """One request with its key; sent again until it is acknowledged."""

    path: str
    body: dict[str, Any]
    key: str = field(default_factory=lambda: uuid.uuid4().hex)

    def send(self, client: httpx2.Client) -> httpx2.Response:
        return client.post(self.path, json=self.body, headers={"Idempotency-Key": self.key})


@dataclass(eq=False)
class Driver:
    """Starts and completes sessions at one charger, and remembers what was acknowledged."""

    number: int
    started: dict[str, str] = field(default_factory=dict)  # session id by key
    completed: dict[str, float] = field(default_factory=dict)  # bill in EUR by session id
    pending: Request | None = None
    session_id: str | None = None  # the one that is open, as far as the driver knows
    surprises: list[str] = field(default_factory=list)

    def drive(self, client: httpx2.Client, stop: threading.Event) -> None:
        """Start and complete until told to stop or until the server is gone."""
        while not stop.is_set():
            self.pending = self.pending or self.next_request()
            try:
                answer = self.pending.send(client)
            except httpx2.TransportError:
                return
            if answer.status_code != httpx2.codes.SERVICE_UNAVAILABLE:
                self.acknowledge(answer)

    def next_request(self) -> Request:
        if self.session_id is not None:
            body = {"energy_delivered_kwh": 0.0, "final_soc_percent": 50.0}
            return Request(f"/sessions/{self.session_id}/complete", body)
        site_id, charger = SITES[self.number % 2], self.number // 2 + 1
        request = Request("/sessions/start", {})
        request.body = start_request(
            site_id, charger, vehicle=self.number + 1, cost_center=request.key
        )
        return request

    def acknowledge(self, answer: httpx2.Response) -> None:
        """Note an answer: from here on the server has promised."""
        request, self.pending = self.pending, None
        assert request is not None
        if answer.status_code != httpx2.codes.OK:
            self.surprises.append(f"{request.path}: {answer.status_code} {answer.text}")
            time.sleep(SURPRISED_S)
        elif request.path == "/sessions/start":
            self.session_id = str(answer.json()["session_id"])
            self.started[request.key] = self.session_id
        else:
            self.completed[answer.json()["session_id"]] = answer.json()["final_cost_eur"]
            self.session_id = None

    def recover(self, client: httpx2.Client) -> None:
        """Send what was not acknowledged twice at once; both answers have to be the same."""
        request = self.pending
        if request is None:
            return
        first, second = at_once([partial(_patiently, request, client)] * 2)
        if (first.status_code, first.content) != (second.status_code, second.content):
            self.surprises.append(f"twins differ: {first.text} | {second.text}")
        self.acknowledge(first)


def _patiently(request: Request, client: httpx2.Client) -> httpx2.Response:
    until = time.monotonic() + 30
    while True:
        answer = request.send(client)
        if answer.status_code != httpx2.codes.SERVICE_UNAVAILABLE or time.monotonic() > until:
            return answer
        time.sleep(float(answer.headers["Retry-After"]))


@dataclass
class Ordeal:
    """What was promised while a server was killed again and again."""

    drivers: list[Driver]
    kills: int = 0
    retried: int = 0
    start_up_s: list[float] = field(default_factory=list)

    @property
    def started(self) -> dict[str, str]:
        return {key: sid for driver in self.drivers for key, sid in driver.started.items()}

    @property
    def completed(self) -> dict[str, float]:
        return {sid: eur for driver in self.drivers for sid, eur in driver.completed.items()}

    @property
    def surprises(self) -> list[str]:
        return [surprise for driver in self.drivers for surprise in driver.surprises]


def endure(database_url: str, folder: Path, *, kills: int, module: str = HONEST) -> Ordeal:
    """Start, load, kill and start again; at the end everything is answered and published."""
    make_places(database_url, folder)
    chance = random.Random(SEED)  # noqa: S311 - moments to kill at, no secrets
    ordeal = Ordeal([Driver(number) for number in range(DRIVERS)])
    for round_ in range(kills + 1):
        server = launch_app(folder=folder, database_url=database_url, module=module)
        try:
            ordeal.start_up_s.append(server.wait_until_ready())
            with server.client() as client:
                ordeal.retried += sum(driver.pending is not None for driver in ordeal.drivers)
                at_once([partial(one.recover, client) for one in ordeal.drivers])
                if round_ == kills:
                    wait_until_published(server)
                    break
                load_and_kill(server, client, ordeal, after_s=chance.uniform(*LOAD_S))
        finally:
            server.kill()
    return ordeal


def make_places(database_url: str, folder: Path) -> None:
    """Sites with a charger for each driver and less power than all want."""
    server = launch_app(folder=folder, database_url=database_url)
    with serving(server), server.client() as client:
        for site_id in SITES:
            make_site(client, site_id, chargers=DRIVERS // 2, limit_kw=150)


def load_and_kill(server: Server, client: httpx2.Client, ordeal: Ordeal, *, after_s: float) -> None:
    stop = threading.Event()
    threads = [
        threading.Thread(target=driver.drive, args=(client, stop)) for driver in ordeal.drivers
    ]
    for thread in threads:
        thread.start()
    time.sleep(after_s)
    server.kill()
    ordeal.kills += 1
    stop.set()
    for thread in threads:
        thread.join(60)


def wait_until_published(server: Server) -> None:
    until = time.monotonic() + 30
    with httpx2.Client(base_url=server.address, trust_env=False) as client:
        quiet = 0
        while quiet < 5 and time.monotonic() < until:
            quiet = quiet + 1 if client.get("/ready").json()["outbox_pending"] == 0 else 0
            time.sleep(0.2)


def lost(connection: Connection, ordeal: Ordeal) -> list[str]:
    """Acknowledged starts and bills that the database does not know."""
    kept = set(checks.column(connection, "SELECT id FROM charging_sessions"))
    ended = "SELECT id FROM charging_sessions WHERE status = 'completed'"
    kept_ended = set(checks.column(connection, ended))
    starts = [sid for sid in ordeal.started.values() if sid not in kept]
    return starts + [sid for sid in ordeal.completed if sid not in kept_ended]


def doubled(connection: Connection) -> list[str]:
    """Keys with more than one session: the key is also the session's cost center."""
    query = "SELECT cost_center FROM charging_sessions GROUP BY cost_center HAVING count(*) > 1"
    return checks.column(connection, query)


def assert_kept_its_promises(connection: Connection, ordeal: Ordeal) -> None:
    assert ordeal.surprises == []
    assert lost(connection, ordeal) == []
    assert doubled(connection) == []
    rows = connection.execute(text("SELECT cost_center, id FROM charging_sessions")).all()
    assert {row[0]: row[1] for row in rows} == ordeal.started, "a session nobody asked for"


@pytest.mark.timeout(300)
def test_ten_kills_under_load_lose_nothing_double_nothing_and_leave_the_database_whole(
    database_url: str, tmp_path: Path
) -> None:
    ordeal = endure(database_url, tmp_path, kills=KILLS)

    assert ordeal.kills == KILLS
    assert ordeal.retried >= KILLS, "the kills came when nothing was under way"
    assert len(ordeal.completed) >= KILLS * DRIVERS / 2, "there was hardly any load"
    with checks.connected(database_url) as connection:
        assert_kept_its_promises(connection, ordeal)
        checks.assert_whole(connection)
        checks.assert_numbered_without_gap(connection)
        for site_id in SITES:
            checks.assert_newest_plan_keeps_limit(connection, site_id)


@pytest.mark.timeout(120)
def test_the_same_kills_convict_a_server_that_answers_before_it_commits(
    database_url: str, tmp_path: Path
) -> None:
    ordeal = endure(database_url, tmp_path, kills=3, module=HASTY)

    with checks.connected(database_url) as connection:
        assert lost(connection, ordeal) != []
