"""Five gateways as processes against a real server: the command, loopback, and the same model."""

import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy import insert

from backend.database import Database
from backend.features.forecasts.models import DemandInterval, DemandSeries
from backend.features.sites.models import Site
from tests.real.server import BYTECODE, ROOT, Server, launch_app, serving

HOURS, SITES = 24 * 28, 5
WAIT_S = 90.0
Json = dict[str, Any]


def _add_site(server: Server, database: Database, number: int, *, end: datetime) -> list[str]:
    """A site with four weeks of demand; the same hours as lines of a gateway's file."""
    name, start = f"site_{number}", end - timedelta(hours=HOURS)
    with server.client() as client:
        site = {"site_id": name, "name": name, "kind": "workplace", "grid_limit_kw": 600}
        made = client.post("/sites", json={**site, "timezone": "Europe/Helsinki"})
        assert made.status_code == 201, made.text
    rng, hour = np.random.default_rng(number), np.arange(HOURS)
    energy = 20 * np.clip(np.sin((hour % 24 - 5 - number) * np.pi / 12), 0, None)
    energy = np.round(energy + rng.gamma(1, 2, HOURS), 3)
    times = [start + timedelta(hours=int(at)) for at in hour]
    rows = [
        {
            "site_id": name,
            "start_at": at,
            "energy_kwh": float(value),
            "occupancy": 1.0,
            "sessions_started": 1,
            "available_at": at + timedelta(hours=1),
        }
        for at, value in zip(times, energy, strict=True)
    ]
    with database.transaction() as db:
        site_id = db.get_one(Site, name).id
        db.add(DemandSeries(site_id=site_id, observed_from=start, observed_to=end))
        db.flush()
        db.execute(insert(DemandInterval), rows)
    pairs = zip(times, energy, strict=True)
    return ["timestamp,energy_kwh", *(f"{at.isoformat()},{value}" for at, value in pairs)]


def _gateway(
    server: Server, folder: Path, number: int, lines: list[str]
) -> subprocess.Popen[bytes]:
    """`python -m backend edge train …` with a key and a file of its own."""
    place = folder / f"gateway_{number}"
    place.mkdir()
    (place / "hours.csv").write_text("\n".join(lines))
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (place / "key.pem").touch(mode=0o600)
    (place / "key.pem").write_bytes(pem)
    words = ("--url", server.address, "--site", f"site_{number}", "--key", "key.pem")
    more = ("--data", "hours.csv", "--timezone", "Europe/Helsinki")
    times = ("--poll-s", "0.1", "--idle-s", "60")
    return subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "backend", "edge", "train", *words, *more, *times],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(BYTECODE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def _trained(server: Server, engine: str) -> Json:
    """An experiment to its end."""
    body = {"num_rounds": 2, "engine": engine, "experiment_id": engine}
    with server.client(timeout_s=WAIT_S) as client:
        answer = client.post("/federated/rounds?wait=true", json=body)
        assert answer.status_code == 200, answer.text
        found: Json = client.get(f"/federated/experiments/{engine}").json()
        return found


def _await_enrolment(server: Server) -> None:
    until = time.monotonic() + WAIT_S
    with server.client() as client:
        while time.monotonic() < until:
            if len(client.get("/federated/participants").json()["participants"]) == SITES:
                return
            time.sleep(0.1)
    raise AssertionError("the gateways did not enrol")


def test_five_gateway_processes_come_to_the_model_of_the_embedded_engine(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'tasco.db'}"
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    with serving(launch_app(folder=tmp_path, database_url=url)) as server:
        database = Database(url)
        files = [_add_site(server, database, number, end=end) for number in range(SITES)]
        database.close()
        gateways = [_gateway(server, tmp_path, n, lines) for n, lines in enumerate(files)]
        try:
            _await_enrolment(server)
            there = _trained(server, "edge")
        finally:
            for one in gateways:
                one.terminate()
                one.communicate(timeout=10)
        here = _trained(server, "embedded")

    assert there["state"] == "closed"
    assert [one["participation"] for one in there["rounds"]] == [1.0, 1.0]
    assert there["model_sha256"] == here["model_sha256"]
