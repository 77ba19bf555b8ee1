"""How long the answer to a start takes at a site where fifty vehicles charge already."""

import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.start import CHEAP_AT_NIGHT, Caller
from tests.real.server import launch_app, serving
from tests.real.traffic import make_site, start_request, starts

OPEN, MEASURED, WARM_UP = 50, 40, 5
SITE, SITE_LIMIT_KW = "crowded", 500.0


def start_with_50_open_p95_ms() -> float:
    """95th percentile of the time to answer, planning of all vehicles included, in ms.

    One caller over loopback; each measured session is cancelled before the next one starts.
    """
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/bench.db"
        server = launch_app(folder=Path(folder), database_url=url, replan_interval_s="3600")
        with serving(server):
            caller = Caller(server.port)
            _fill(caller)
            took_ms = [_one_more(caller) for _ in range(WARM_UP + MEASURED)][WARM_UP:]
    return statistics.quantiles(took_ms, n=20, method="inclusive")[18]


def burst_24_first_try() -> int:
    """How many of 24 drivers starting at 24 chargers within a second are answered at once."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/bench.db"
        server = launch_app(folder=Path(folder), database_url=url, replan_interval_s="3600")
        with serving(server), server.client(timeout_s=60) as client:
            make_site(client, SITE, chargers=24, limit_kw=300)
            bodies = [start_request(SITE, n, vehicle=n) for n in range(1, 25)]
            answers = starts(client, bodies, within_s=1.0)
    return sum(answer.is_success for answer in answers)


def _fill(caller: Caller) -> None:
    new = {"name": SITE, "kind": "depot", "timezone": "Europe/Helsinki"}
    caller.ask("POST", "/api/v1/sites", {"site_id": SITE, "grid_limit_kw": SITE_LIMIT_KW, **new})
    prices = {"kind": "purchase", "eur_per_kwh_by_hour": CHEAP_AT_NIGHT}
    caller.ask("POST", f"/api/v1/sites/{SITE}/tariffs", prices)
    for number in range(1, OPEN + 2):
        charger = {"did": f"did:denso:charger:{SITE}_chr{number:02d}", "site_id": SITE}
        caller.ask("POST", "/api/v1/chargers", {**charger, "max_power_kw": 150})
    for number in range(1, OPEN + 1):
        request = start_request(SITE, number, vehicle=number, hours=4 + number % 6)
        caller.ask("POST", "/api/v1/sessions/start", request)


def _one_more(caller: Caller) -> float:
    request = start_request(SITE, OPEN + 1, vehicle=OPEN + 1, hours=6)
    began = time.perf_counter()
    session_id = caller.ask("POST", "/api/v1/sessions/start", request)["session_id"]
    took_ms = (time.perf_counter() - began) * 1e3
    caller.ask("POST", f"/api/v1/sessions/{session_id}/cancel")
    time.sleep(0.3)  # the site is planned again without it
    return took_ms
