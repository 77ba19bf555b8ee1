"""A newcomer's way through the demo, against the real command over HTTP."""

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.real.server import Server, free_port, launch, serving

READ_S = 30.0


def demo(folder: Path, port: int) -> Server:
    """`python -m backend demo` on a database of its own, as run.py starts it."""
    url = f"sqlite:///{folder / 'demo.db'}"
    return launch(
        ["backend", "demo", "--port", str(port)], port=port, folder=folder, database_url=url
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(demo(tmp_path_factory.mktemp("demo"), free_port())) as server:
        yield server


class Listener(threading.Thread):
    """Reads a stream of server-sent events until a certain one has come."""

    def __init__(self, client: httpx2.Client, path: str, *, until: str) -> None:
        super().__init__(daemon=True)
        self._client, self._path, self._until = client, path, until
        self.events: list[tuple[str, int, dict[str, Any]]] = []
        self.has_begun = threading.Event()

    def run(self) -> None:
        """Collect type, number and data of each event."""
        fields: dict[str, str] = {}
        with self._client.stream("GET", self._path, timeout=READ_S) as response:
            for line in response.iter_lines():
                name, _, value = line.partition(": ")
                fields[name] = value
                if not line and "data" in fields:
                    data = json.loads(fields["data"])
                    self.events.append((fields["event"], int(fields["id"]), data))
                    self.has_begun.set()
                    if fields["event"] == self._until:
                        return
                    fields = {}

    @property
    def types(self) -> list[str]:
        return [event[0] for event in self.events]


def test_the_tour_from_health_to_bill_with_every_event_seen(server: Server) -> None:
    with server.client(timeout_s=120) as api:
        health = api.get(f"{server.address}/health").json()
        generated = api.post("/demo/generate-data?days=30").json()
        trained = api.post("/forecasts/train").json()
        listener = Listener(api, "/sites/site_hq/events", until="session.completed")
        listener.start()
        assert listener.has_begun.wait(READ_S)
        started = api.post("/sessions/start", json=printed_example()).json()
        forecast = api.get("/forecasts/site/site_hq?hours_ahead=24").json()
        analytics = api.get("/sites/site_hq/analytics").json()
        spent = {"energy_delivered_kwh": 25.5, "final_soc_percent": 85.0}
        completed = api.post(f"/sessions/{started['session_id']}/complete", json=spent).json()
        session = api.get(f"/sessions/{started['session_id']}").json()
        listener.join(READ_S)

    assert health["status"] == "healthy"
    statistics = generated["statistics"]
    assert generated["status"] == "success"
    assert (statistics["sites_created"], statistics["chargers_created"]) == (5, 33)
    assert 1100 <= statistics["sessions_created"] <= 1300
    assert trained["status"] == "success"
    assert {"train_r2", "test_r2", "mae", "rmse"} <= trained["metrics"].keys()
    assert started["plan"]["plan_type"] == "GREEN"
    assert started["plan"]["effective_charge_power_kw"] == 127.5
    assert started["plan"]["extra_energy_needed_kwh"] == 0
    assert started["assurance"] == "simulated"
    assert len(forecast["forecasts"]) == 24
    assert all(
        one["confidence_lower"] <= one["predicted_total_kwh"] <= one["confidence_upper"]
        for one in forecast["forecasts"]
    )
    assert analytics["total_sessions"] > 0
    assert analytics["total_revenue_eur"] > 0
    assert completed["energy_delivered_kwh"] == 25.5
    assert session["status"] == "completed"
    assert session["final_cost_eur"] == completed["final_cost_eur"] == 8.93
    assert_stream_tells(listener, started["session_id"])


def printed_example() -> dict[str, Any]:
    """The request of the documentation, its departure tomorrow."""
    departure = datetime.now(UTC) + timedelta(days=1)
    place = {"lat": 60.1699, "lon": 24.9384}
    return {
        "driver": {
            "did": "did:denso:driver:driver001",
            "credentials": ["Employee:TechCorp"],
            "preferences": {"priority": "cost", "carbon_conscious": True},
            "allowed_sites": ["site_hq"],
        },
        "vehicle": {
            "did": "did:denso:vehicle:vehicle001",
            "battery_capacity_kwh": 75,
            "nominal_consumption_wh_per_km": 180,
            "max_charge_power_kw": 150,
            "current_soc_percent": 35,
        },
        "charger": {
            "did": "did:denso:charger:site_hq_chr01",
            "site_id": "site_hq",
            "max_power_kw": 150,
            "location": place,
            "current_availability": True,
            "current_tariff_eur_per_kwh": 0.35,
        },
        "trip": {"distance_km": 120, "departure_time": f"{departure:%Y-%m-%dT%H:%M:%SZ}"},
    }


def assert_stream_tells(listener: Listener, session_id: str) -> None:
    """A snapshot first, then what happened to the session, with rising numbers."""
    told = [kind for kind, _, data in listener.events if data.get("session_id") == session_id]
    numbers = [number for _, number, _ in listener.events]

    assert listener.types[0] == "snapshot"
    assert told[0] == "session.started"
    assert told[-1] == "session.completed"
    assert numbers == sorted(set(numbers))


def test_the_documentation_page_needs_nothing_from_elsewhere(server: Server) -> None:
    with httpx2.Client(base_url=server.address, trust_env=False, follow_redirects=True) as client:
        page = client.get("/")
        linked = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assets = [client.get(link).status_code for link in linked]

    assert page.status_code == 200
    assert "swagger" in page.text.lower()
    assert linked
    assert all(link.startswith("/") for link in linked), linked
    assert set(assets) == {200}


def test_ctrl_c_ends_with_status_0_and_nothing_in_the_output_frightens(tmp_path: Path) -> None:
    server = demo(tmp_path, free_port())
    with serving(server), server.client() as api:
        listener = Listener(api, "/sites/site_hq/events", until="never")
        listener.start()
        assert listener.has_begun.wait(READ_S)

        status = server.interrupt()

        printed = server.printed()
    assert status == 0
    assert f"http://127.0.0.1:{server.port}/docs" in printed
    for fright in ("Traceback", "Warning", "warning", "Error", "error"):
        assert fright not in printed, printed


def test_a_busy_port_gives_the_next_free_one_and_says_so(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = holder.getsockname()[1]
        server = demo(tmp_path, taken)
        try:
            announced = announced_port(server, taken)
            server.port = announced
            server.wait_until_ready()
        finally:
            server.kill()

    assert announced > taken
    assert f"Port {taken} is taken; using {announced}." in server.printed()


def announced_port(server: Server, taken: int) -> int:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        found = re.search(rf"Port {taken} is taken; using (\d+)\.", server.printed())
        if found:
            return int(found.group(1))
        time.sleep(0.1)
    raise AssertionError(server.printed())
