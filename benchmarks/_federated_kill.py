"""Federated rounds killed with SIGKILL at ten points and taken up again: is the model the same?

Prints one JSON line: the model's hash without a kill and after each one, how many events told of
closed rounds, and whether all are as they should be.
"""

import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from sqlalchemy import create_engine, func, select, text

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from backend.adapters.artifacts.files import ArtifactFiles
from backend.adapters.events.outbox import OutboxEvent
from backend.adapters.federation import client_app, thread_grid
from backend.clock import SystemClock
from backend.components import embedded_exchange, migrate
from backend.database import Database
from backend.features.federated import service
from backend.features.federated.conductor import Chair, conduct
from backend.features.federated.models import EMBEDDED, FederatedExperiment
from backend.features.federated.schemas import RoundsNew
from backend.federation.demand import Examples, hourly_examples

ROUNDS, SITES, HOURS = 3, 5, 24 * 42
WORK_DAYS = 5
START = datetime(2026, 1, 5, tzinfo=UTC)
POINTS = (
    ("started", 1),
    ("opened", 1),
    ("collecting", 2),
    ("asked", 1),
    ("stored", 2),
    ("validating", 3),
    ("scored", 1),
    ("aggregating", 2),
    ("closed", 2),
    ("written", 1),
)
"""Where the conductor dies: the n-th time it passes a point."""

PRELOADED = (client_app, thread_grid)  # so that no child imports Flower again


def examples() -> dict[str, Examples]:
    """Sites with a daily and a weekly rhythm of their own, and noise."""
    found = {}
    for number in range(SITES):
        rng = np.random.default_rng(number)
        hour = np.arange(HOURS)
        daily = np.clip(np.sin((hour % 24 - 6 - number / 2) * np.pi / 12), 0, None)
        weekly = np.where(hour // 24 % 7 < WORK_DAYS, 1.0, 0.3)
        energy = 20 * daily * weekly + rng.gamma(1.0, 2.0, HOURS)
        found[f"site_{number}"] = hourly_examples(energy, START, timezone="Europe/Helsinki")
    return found


def prepare(url: str) -> None:
    """An experiment that is written down and not begun."""
    migrate(url)
    database = Database(url)
    with database.transaction() as db:
        new = RoundsNew(num_rounds=ROUNDS, experiment_id="drill")
        service.write_down(db, new, engine=EMBEDDED, now=START)
    database.close()


def take_on(
    url: str, folder: Path, sites: dict[str, Examples], passed: Callable[[str], None]
) -> None:
    """Conduct the experiment to its end, as a process that has just started would."""
    database = Database(url)
    exchange = embedded_exchange(sites)
    chair = Chair(
        database,
        exchange,
        SystemClock(),
        lambda _share, _stage: None,
        ArtifactFiles(folder / "artifacts"),
        passed=passed,
    )
    try:
        conduct(chair, "drill")
    finally:
        exchange.close()
        database.close()


class Trap:
    """Kills this process the n-th time a point is passed."""

    def __init__(self, point: str, times: int) -> None:
        self._point, self._left = point, times

    def __call__(self, point: str) -> None:
        """Count, and kill."""
        self._left -= point == self._point
        if point == self._point and not self._left:
            os.kill(os.getpid(), signal.SIGKILL)


def in_child(work: Callable[[], None]) -> int:
    """Run something in a process of its own; gives how it ended."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def found(url: str) -> tuple[str | None, dict[str, int]]:
    """The model's hash and how many events of each type there are."""
    database = Database(url)
    with database.reading() as db:
        sha256 = db.get_one(FederatedExperiment, "drill").model_sha256
        count = select(OutboxEvent.type, func.count()).group_by(OutboxEvent.type)
        events = {str(row[0]): int(row[1]) for row in db.execute(count)}
    database.close()
    return sha256, events


def free_lease(url: str) -> None:
    """What thirty seconds would do: nobody holds the lease of a process that is gone."""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE federated_experiments SET lease_holder = NULL"))
    engine.dispose()


def drill(folder: Path, points: tuple[tuple[str, int], ...] = POINTS) -> dict[str, Any]:
    """Run straight, then killed and resumed at each point."""
    sites, template = examples(), folder / "template.db"
    prepare(f"sqlite:///{template}")
    straight = live(template, folder / "straight", sites, None)
    killed = {f"{name} {times}": (name, times) for name, times in points}
    outcomes = {said: live(template, folder / said, sites, one) for said, one in killed.items()}
    hashes = [straight["sha256"], *(one["sha256"] for one in outcomes.values())]
    return {
        "points": len(points),
        "hashes": hashes,
        "resume_hashes_equal": len(set(hashes)) == 1 and None not in hashes,
        "all_died": all(one["has_died"] for one in outcomes.values()),
        "told_once": all(
            (one["rounds_told"], one["models_told"]) == (ROUNDS, 1)
            for one in (straight, *outcomes.values())
        ),
        "outcomes": outcomes,
    }


def live(
    template: Path, place: Path, sites: dict[str, Examples], point: tuple[str, int] | None
) -> dict[str, Any]:
    """One experiment on a database of its own, killed at a point and resumed if there is one."""
    url, has_died = f"sqlite:///{place / 'drill.db'}", False
    place.mkdir()
    shutil.copy(template, place / "drill.db")
    if point is not None:
        has_died = in_child(lambda: take_on(url, place, sites, Trap(*point))) == -signal.SIGKILL
        free_lease(url)
    in_child(lambda: take_on(url, place, sites, lambda _point: None))
    sha256, events = found(url)
    return {
        "has_died": has_died,
        "sha256": sha256,
        "rounds_told": events.get("federated.round.closed", 0),
        "models_told": events.get("model.registered", 0),
    }


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with tempfile.TemporaryDirectory() as temporary:
        print(json.dumps(drill(Path(temporary))))
