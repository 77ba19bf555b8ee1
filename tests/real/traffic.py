"""Requests as drivers' apps send them, many at once."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import httpx2

from backend.features.sessions.examples import start_body

T = TypeVar("T")
CREATED = httpx2.codes.CREATED


def make_site(
    client: httpx2.Client, site_id: str, *, chargers: int, limit_kw: float = 600
) -> list[str]:
    """A site with chargers of 150 kW; gives their DIDs."""
    site = {
        "site_id": site_id,
        "name": site_id,
        "kind": "workplace",
        "timezone": "Europe/Helsinki",
        "grid_limit_kw": limit_kw,
    }
    assert client.post("/sites", json=site).status_code == CREATED
    dids = [f"did:denso:charger:{site_id}_chr{number:02d}" for number in range(1, chargers + 1)]
    for did in dids:
        charger = {"did": did, "site_id": site_id, "max_power_kw": 150}
        assert client.post("/chargers", json=charger).status_code == CREATED
    return dids


def start_request(
    site_id: str, charger: int, *, vehicle: int, hours: float = 4, cost_center: str | None = None
) -> dict[str, Any]:
    """The body of a start whose trip needs about 43 kWh."""
    departure = datetime.now(UTC) + timedelta(hours=hours)
    body = start_body(
        number=vehicle,
        site_id=site_id,
        charger=charger,
        soc_percent=20,
        distance_km=270,
        departure=f"{departure:%Y-%m-%dT%H:%M:%SZ}",
    )
    return {**body, "cost_center": cost_center}


def at_once(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Make every call in a thread of its own, all released at the same moment."""
    barrier = threading.Barrier(len(calls))

    def _released(call: Callable[[], T]) -> T:
        barrier.wait(30)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(_released, calls))


def starts(
    client: httpx2.Client, bodies: Sequence[dict[str, Any]], *, within_s: float = 0.0
) -> list[httpx2.Response]:
    """Start all these sessions at the same moment, or evenly over a short time."""

    def _start(place: int, body: dict[str, Any]) -> httpx2.Response:
        time.sleep(within_s * place / len(bodies))
        return client.post("/sessions/start", json=body)

    return at_once([partial(_start, place, body) for place, body in enumerate(bodies)])
