"""What starting a session costs beside a bare endpoint of the same application.

`start_x_hello` is the CPU time of a start over that of a bare endpoint, `get_x_hello` the same for
reading a session with its plan. CPU time is that of the whole process tree: the server, its compute
workers and, on PostgreSQL, its backends and background processes; what the server does about a
start after answering (numbering and publishing its event) counts too.

- The bare endpoints are plain `def` routes in the same application behind the same middleware: a
  POST that takes the same body as a start, and a GET; both answer with one small model.
- The measured start is the 24th at a site with 23 open sessions whose site limit binds, so that the
  linear programme is solved (its solver is read back from the stored plans). Afterwards the session
  is cancelled and its site planned again, which is not measured.
- Rounds interleave the four kinds; each round gives its own ratios, the result is their median.
- Everything stays on the loopback interface and ends after a fixed number of requests.
"""

import argparse
import http.client
import json
import platform
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, create_engine, text

from tests.real.server import Server, launch_app, serving
from tests.real.traffic import start_request

SITES = 16
OTHERS = 23
SITE_LIMIT_KW = 300.0
CHEAP_AT_NIGHT = [0.08] * 7 + [0.14] * 10 + [0.22] * 4 + [0.11] * 3  # EUR/kWh by hour
BARE_REQUESTS = 1_000
GET_REQUESTS = 400
QUIET_S, QUIET_CPU_S, SETTLES_WITHIN_S = 0.3, 0.02, 30.0
OK = (200, 201)


@dataclass
class Caller:
    """One kept-alive connection."""

    port: int
    errors: int = 0
    connection: http.client.HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        """Prepare to connect."""
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def ask(self, method: str, path: str, body: Any = None) -> Any:  # noqa: ANN401 - JSON
        """Send one request and count it when it is refused."""
        content = None if body is None else json.dumps(body).encode()
        self.connection.request(method, path, content, {"Content-Type": "application/json"})
        response = self.connection.getresponse()
        answer = response.read()
        self.errors += response.status not in OK
        return json.loads(answer)


@dataclass
class Meter:
    """CPU seconds of everything that works for the server."""

    server: Server
    database: Engine

    def cpu_s(self) -> float:
        """Seconds used so far, ended children included."""
        root = psutil.Process(self.server.process.pid)
        tree = [root, *root.children(recursive=True), *self._database_processes()]
        return sum(_cpu_s(process) for process in tree)

    def _database_processes(self) -> list[psutil.Process]:
        if self.database.dialect.name == "sqlite":
            return []
        ours = "datname IS NULL OR datname = current_database()"
        with self.database.connect() as connection:
            pids = connection.scalars(text(f"SELECT pid FROM pg_stat_activity WHERE {ours}")).all()  # noqa: S608
        return [psutil.Process(pid) for pid in pids]

    def settled_cpu_s(self) -> float:
        """Wait until background work is done; gives the seconds used by then."""
        until = time.monotonic() + SETTLES_WITHIN_S
        before = self.cpu_s()
        while time.monotonic() < until:
            time.sleep(QUIET_S)
            after = self.cpu_s()
            if after - before <= QUIET_CPU_S:
                return after
            before = after
        return before

    def each_us(self, requests: Sequence[Callable[[], object]]) -> float:
        """CPU microseconds per request."""
        before = self.settled_cpu_s()
        for request in requests:
            request()
        return (self.settled_cpu_s() - before) / len(requests) * 1e6


def _cpu_s(process: psutil.Process) -> float:
    try:
        used: tuple[float, ...] = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return sum(used[:4])  # user, system, and those of ended children


@dataclass
class Measured:
    """One value per round, and every latency."""

    bare_start_us: list[float] = field(default_factory=list)
    bare_get_us: list[float] = field(default_factory=list)
    get_us: list[float] = field(default_factory=list)
    start_us: list[float] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    plans: list[tuple[str, int]] = field(default_factory=list)  # site and version of each start

    @property
    def start_x_hello(self) -> float:
        """Median over rounds."""
        pairs = zip(self.start_us, self.bare_start_us, strict=True)
        return statistics.median(start / bare for start, bare in pairs)

    @property
    def get_x_hello(self) -> float:
        """Median over rounds."""
        pairs = zip(self.get_us, self.bare_get_us, strict=True)
        return statistics.median(get / bare for get, bare in pairs)


def prepare(caller: Caller, prefix: str) -> tuple[list[str], str]:
    """Sites with 23 open sessions each; gives them and one of the sessions."""
    sites = [f"{prefix}_{number}" for number in range(SITES)]
    session_id = ""
    for place, site_id in enumerate(sites):
        _make_site(caller, site_id)
        for number in range(1, OTHERS + 1):
            body = _start_body(site_id, place, number)
            session_id = caller.ask("POST", "/api/v1/sessions/start", body)["session_id"]
    return sites, session_id


def _make_site(caller: Caller, site_id: str) -> None:
    new = {"name": site_id, "kind": "depot", "timezone": "Europe/Helsinki"}
    site = {"site_id": site_id, "grid_limit_kw": SITE_LIMIT_KW, **new}
    caller.ask("POST", "/api/v1/sites", site)
    prices = {"kind": "purchase", "eur_per_kwh_by_hour": CHEAP_AT_NIGHT}
    caller.ask("POST", f"/api/v1/sites/{site_id}/tariffs", prices)
    for number in range(1, OTHERS + 2):
        did = f"did:denso:charger:{site_id}_chr{number:02d}"
        charger = {"did": did, "site_id": site_id, "max_power_kw": 150}
        caller.ask("POST", "/api/v1/chargers", charger)


def _start_body(site_id: str, place: int, number: int) -> dict[str, Any]:
    vehicle = 1_000 + 100 * place + number
    return start_request(site_id, number, vehicle=vehicle, hours=4 + number % 6)


def measure(caller: Caller, meter: Meter, *, prefix: str, rounds: int) -> Measured:
    """Prepare and measure; the first round only warms up."""
    sites, session_id = prepare(caller, prefix)
    measured = Measured()
    for round_ in range(rounds + 1):
        if round_ == 1:
            measured = Measured()
        _one_round(caller, meter, measured, sites, session_id)
    return measured


def _one_round(
    caller: Caller, meter: Meter, measured: Measured, sites: list[str], session_id: str
) -> None:
    body = _start_body(sites[0], 0, OTHERS + 1)
    started: list[str] = []

    def _start(place: int, site_id: str) -> None:
        request = _start_body(site_id, place, OTHERS + 1)
        began = time.perf_counter()
        answer = caller.ask("POST", "/api/v1/sessions/start", request)
        measured.latencies_ms.append((time.perf_counter() - began) * 1e3)
        if "session_id" in answer:
            started.append(answer["session_id"])
            measured.plans.append((site_id, answer["plan"]["version"]))

    bare_starts = [lambda: caller.ask("POST", "/bare", body)] * BARE_REQUESTS
    bare_gets = [lambda: caller.ask("GET", "/bare")] * BARE_REQUESTS
    gets = [lambda: caller.ask("GET", f"/api/v1/sessions/{session_id}")] * GET_REQUESTS
    starts = [
        lambda place=place, site_id=site_id: _start(place, site_id)
        for place, site_id in enumerate(sites)
    ]
    measured.bare_start_us.append(meter.each_us(bare_starts))
    measured.start_us.append(meter.each_us(starts))
    measured.bare_get_us.append(meter.each_us(bare_gets))
    measured.get_us.append(meter.each_us(gets))
    for one in started:
        caller.ask("POST", f"/api/v1/sessions/{one}/cancel")


def how_planned(database: Engine, plans: Sequence[tuple[str, int]]) -> dict[str, Any]:
    """Which solver and method made the measured plans, how long it took and for how many."""
    query = text(
        "SELECT solver, method, solve_ms, (SELECT count(*) FROM session_plans AS one"
        " WHERE one.site_id = site_plans.site_id AND one.version = site_plans.version)"
        " FROM site_plans WHERE site_id = :site AND version = :version"
    )
    with database.connect() as connection:
        rows = [
            connection.execute(query, {"site": site, "version": version}).one()
            for site, version in plans
        ]
    return {
        "solver": dict(Counter(row[0] for row in rows)),
        "method": dict(Counter(row[1] for row in rows)),
        "solve_p50_ms": round(statistics.median(row[2] for row in rows), 2),
        "vehicles": max(row[3] for row in rows),
    }


def report(measured: Measured, database: Engine, *, errors: int, rounds: int) -> dict[str, Any]:
    """The figures, as they are printed."""
    percentiles = statistics.quantiles(measured.latencies_ms, n=100, method="inclusive")
    return {
        "get_x_hello": round(measured.get_x_hello, 2),
        "start_x_hello": round(measured.start_x_hello, 2),
        "start_p50_ms": round(percentiles[49], 2),
        "start_p99_ms": round(percentiles[98], 2),
        "errors": errors,
        "bare_get_cpu_us": round(statistics.median(measured.bare_get_us)),
        "bare_start_cpu_us": round(statistics.median(measured.bare_start_us)),
        "get_cpu_us": round(statistics.median(measured.get_us)),
        "start_cpu_us": round(statistics.median(measured.start_us)),
        **how_planned(database, measured.plans),
        "starts": len(measured.latencies_ms),
        "rounds": rounds,
        "database": database.dialect.name,
        "python": platform.python_version(),
    }


@contextmanager
def _connected(url: str) -> Any:  # noqa: ANN401 - a generator's own type
    engine = create_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


def run(url: str | None, *, rounds: int) -> dict[str, Any]:
    """Serve the application on a database and measure it."""
    with tempfile.TemporaryDirectory() as folder:
        chosen = url or f"sqlite:///{folder}/bench.db"
        server = launch_app(
            folder=Path(folder),
            database_url=chosen,
            module="benchmarks._served:app",
            replan_interval_s="3600",  # the regular replan would fall into one kind or another
        )
        with serving(server), _connected(chosen) as database:
            caller = Caller(server.port)
            prefix = f"bench{int(time.time())}"
            measured = measure(caller, Meter(server, database), prefix=prefix, rounds=rounds)
            return report(measured, database, errors=caller.errors, rounds=rounds)


def main() -> None:
    """Read the options, run, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--database", help="URL of a database; a new SQLite file without it")
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds, 1 to 50")
    options = parser.parse_args()
    figures = run(options.database, rounds=min(max(options.rounds, 1), 50))
    if options.json:
        print(json.dumps(figures))
    else:
        table = Table("figure", "value", title="Starting a session")
        for name, value in figures.items():
            table.add_row(name, str(value))
        Console().print(table)
    sys.exit(1 if figures["errors"] else 0)


if __name__ == "__main__":
    main()
