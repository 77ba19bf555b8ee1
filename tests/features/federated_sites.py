"""Sites with weeks of hourly demand, and gateways that train on it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import insert

from backend.edge.asking import Headers, Reply
from backend.edge.learning import Gateway, take_part
from backend.features.federated import embedded
from backend.features.forecasts.models import DemandInterval, DemandSeries
from backend.federation.demand import Examples
from tests.conftest import House

DAYS = 28
HOUR = timedelta(hours=1)
ROUNDS = "/federated/rounds"
# For tests in which the kind of database plays no part.
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def add_sites(house: House, count: int = 5, *, days: int = DAYS) -> list[str]:
    """Sites with a daily and a weekly rhythm of their own up to now; their ids."""
    names = [f"site_{number}" for number in range(count)]
    end = house.clock.now().replace(minute=0, second=0, microsecond=0)
    for number, name in enumerate(names):
        house.site(name, chargers=1)
        start = end - timedelta(days=days)
        rng = np.random.default_rng(number)
        hour = np.arange(24 * days)
        daily = np.clip(np.sin((hour % 24 - 5 - number / 2) * np.pi / 12), 0, None)
        energy = 20 * daily * np.where(hour // 24 % 7 < 5, 1.0, 0.3) + rng.gamma(1, 2, hour.size)
        rows = [
            {
                "site_id": name,
                "start_at": start + int(at) * HOUR,
                "energy_kwh": float(value),
                "occupancy": 1.0,
                "sessions_started": 1,
                "available_at": start + (int(at) + 1) * HOUR,
            }
            for at, value in zip(hour, energy, strict=True)
        ]
        with house.parts.database.transaction() as db:
            db.add(DemandSeries(site_id=name, observed_from=start, observed_to=end))
            db.flush()
            db.execute(insert(DemandInterval), rows)
    return names


def examples(house: House) -> dict[str, Examples]:
    """What each site has to learn from."""
    return embedded.examples_by_site(house.parts.database, now=house.clock.now())


def gateway(house: House, site_id: str, data: Examples, **values: Any) -> Gateway:
    """A site's gateway that asks the application directly; enrolled."""

    def _ask(method: str, url: str, body: bytes | None, headers: Headers) -> Reply:
        answer = house.client.request(method, url, content=body, headers=dict(headers))
        return Reply(answer.status_code, answer.content)

    key = values.pop("key", None) or Ed25519PrivateKey.generate()
    made = Gateway("http://testserver", site_id, key, data, ask=_ask, **values)
    made.enrol()
    return made


@contextmanager
def at_work(gateways: list[Gateway]) -> Iterator[list[str]]:
    """Gateways that take part in threads of their own until the block ends; their complaints."""
    complaints: list[str] = []
    is_over = threading.Event()

    class _Over(Exception):
        pass

    def _sleep(seconds: float) -> None:
        if is_over.wait(seconds):
            raise _Over

    def _run(one: Gateway) -> None:
        try:
            take_part(one, idle_s=0, poll_s=0.02, told_of=complaints.append, sleep=_sleep)
        except _Over:
            return

    threads = [threading.Thread(target=_run, args=(one,)) for one in gateways]
    for thread in threads:
        thread.start()
    try:
        yield complaints
    finally:
        is_over.set()
        for thread in threads:
            thread.join(10)


def train(house: House, **body: Any) -> dict[str, Any]:
    """Conduct an experiment to its end; its summary."""
    answer = house.post(f"{ROUNDS}?wait=true", {"num_rounds": 2, **body})
    assert answer.status_code == 200, answer.text
    summary: dict[str, Any] = answer.json()
    return summary


def experiment(house: House, summary: dict[str, Any]) -> dict[str, Any]:
    """An experiment as callers see it."""
    found: dict[str, Any] = house.get(f"/federated/experiments/{summary['experiment_id']}").json()
    return found
