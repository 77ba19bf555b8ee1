"""One challenge, used ten thousand times at once over the network."""

import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2

from backend.adapters.verifier.dids import did_key
from backend.adapters.verifier.issuing import sign_presentation_jwt
from backend.adapters.verifier.keys import generate_key
from tests.conftest import House
from tests.real.server import Server, launch_app, serving

USES, CONNECTIONS = 10_000, 64
EXPECTED = {200, 401}


def nonce_successes(_house: House | None = None, *, uses: int = USES) -> dict[str, int]:
    """How many of all logins with one nonce and one good presentation a server lets in.

    The server is a process of its own on a loopback port, in the demo profile, on SQLite.

    Raises:
        SystemExit: If it answers anything but a token or a refusal.
    """
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/tasco.db"
        with serving(launch_app(folder=Path(folder), database_url=url, verifier="pure")) as server:
            body = _login(server)
            share = [uses // CONNECTIONS + (n < uses % CONNECTIONS) for n in range(CONNECTIONS)]
            with ThreadPoolExecutor(CONNECTIONS) as pool:
                counts = pool.map(lambda times: _statuses(server, body, times), share)
                answered = sum(counts, Counter())
    if not set(answered) <= EXPECTED or answered.total() != uses:
        raise SystemExit(f"unexpected answers: {dict(answered)}")
    return {"nonce_successes": answered[200]}


def _login(server: Server) -> dict[str, Any]:
    """A presentation of somebody who has a role, and its challenge."""
    key = generate_key()
    with server.client() as client:
        grant = {"did": did_key(key), "role": "auditor"}
        client.post("/role-grants", json=grant).raise_for_status()
        given = client.post("/auth/challenge", json={}).raise_for_status().json()
    presentation = sign_presentation_jwt(
        [],
        key,
        holder=did_key(key),
        challenge=given["challenge"],
        domain=given["domain"],
        at=datetime.fromisoformat(given["issued_at"]),
    )
    return {"presentation": presentation, "challenge": given["challenge"]}


def _statuses(server: Server, body: dict[str, Any], times: int) -> Counter[int]:
    """Statuses of so many uses over one connection."""
    with server.client(timeout_s=120) as client:
        return Counter(_each(client, body, times))


def _each(client: httpx2.Client, body: dict[str, Any], times: int) -> Iterator[int]:
    for _ in range(times):
        yield client.post("/auth/token", json=body).status_code
