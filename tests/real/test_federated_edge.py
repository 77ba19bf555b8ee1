"""Five gateways as processes against a real server: the command, loopback, the same models."""

import json
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
from backend.federation.signing import did_of
from tests.real.server import BYTECODE, ROOT, Server, launch_app, serving

HOURS, SITES = 24 * 28, 5
WAIT_S = 90.0
MODES = ("validated", "secure")
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
    server: Server,
    folder: Path,
    number: int,
    lines: list[str],
    keys: dict[str, Ed25519PrivateKey],
) -> subprocess.Popen[bytes]:
    """`python -m backend edge train …` with a key and files of its own."""
    place, name = folder / f"gateway_{number}", f"site_{number}"
    place.mkdir()
    (place / "hours.csv").write_text("\n".join(lines))
    others = {other: did_of(key) for other, key in keys.items() if other != name}
    (place / "peers.json").write_text(json.dumps(others))
    key = keys[name]
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (place / "key.pem").touch(mode=0o600)
    (place / "key.pem").write_bytes(pem)
    words = ("--url", server.address, "--site", name, "--key", "key.pem")
    more = ("--data", "hours.csv", "--timezone", "Europe/Helsinki", "--peers", "peers.json")
    times = ("--poll-s", "0.1", "--idle-s", "60")
    return subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "backend", "edge", "train", *words, *more, *times],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(BYTECODE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def _trained(server: Server, engine: str, mode: str) -> Json:
    """An experiment to its end."""
    name = f"{engine}_{mode}"
    body = {"num_rounds": 2, "engine": engine, "mode": mode, "experiment_id": name}
    with server.client(timeout_s=WAIT_S) as client:
        answer = client.post("/federated/rounds?wait=true", json=body)
        assert answer.status_code == 200, answer.text
        found: Json = client.get(f"/federated/experiments/{name}").json()
        return found


def _await_enrolment(server: Server) -> None:
    until = time.monotonic() + WAIT_S
    with server.client() as client:
        while time.monotonic() < until:
            if len(client.get("/federated/participants").json()["participants"]) == SITES:
                return
            time.sleep(0.1)
    raise AssertionError("the gateways did not enrol")


def test_five_gateway_processes_come_to_the_models_of_the_embedded_engine(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'tasco.db'}"
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    with serving(launch_app(folder=tmp_path, database_url=url)) as server:
        database = Database(url)
        files = [_add_site(server, database, number, end=end) for number in range(SITES)]
        database.close()
        keys = {f"site_{number}": Ed25519PrivateKey.generate() for number in range(SITES)}
        gateways = [_gateway(server, tmp_path, n, lines, keys) for n, lines in enumerate(files)]
        try:
            _await_enrolment(server)
            there = [_trained(server, "edge", mode) for mode in MODES]
        finally:
            for one in gateways:
                one.terminate()
                one.communicate(timeout=10)
        here = [_trained(server, "embedded", mode) for mode in MODES]

    assert [one["state"] for one in there] == ["closed", "closed"]
    assert [one["participation"] for made in there for one in made["rounds"]] == [1.0] * 4
    assert [one["model_sha256"] for one in there] == [one["model_sha256"] for one in here]
    assert (tmp_path / "gateway_0" / "masking.json").stat().st_mode & 0o777 == 0o600
