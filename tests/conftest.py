"""Applications on real databases made by the migrations, and requests against them."""

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from backend.components import Parts, migrate
from backend.features.credentials.service_key import write_new_key
from backend.features.sessions.examples import start_body
from backend.main import create_app
from backend.planning.mpc import warm_up
from backend.settings import Settings

# The same examples in every run: a failure is a change's, and comes again when it is looked at.
hypothesis.settings.register_profile("repeatable", derandomize=True)
hypothesis.settings.load_profile("repeatable")

POSTGRES_URL = os.environ.get("TASCO_TEST_POSTGRES_URL", "")
NOON = datetime(2026, 3, 10, 10, 0, tzinfo=UTC)  # a Tuesday, 12:00 in Helsinki
ADDRESS = "http://testserver"
DATA = Path(os.environ.get("TASCO_DATA", "../shared/data"))
# They take a minute or more, and a file is one worker's: were they begun last, the others would be
# idle. Of two workers the second is given what needs the SuperLink, one file after the other.
LONG_FILES = (
    "tests/test_schemathesis.py",
    "tests/features/test_federated_flower.py",
    "tests/real/test_kill.py",
    "tests/adapters/federation/test_superlink.py",
    "tests/adapters/federation/test_tree_exchange.py",
    "tests/real/test_concurrency.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long files; all else stays in its order."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    file = item.nodeid.split("::")[0]
    return LONG_FILES.index(file) if file in LONG_FILES else len(LONG_FILES)


def _nothing() -> None:
    """Nothing is under way."""


@dataclass
class TestClock:
    """A clock that stands still until it is told otherwise.

    What is under way when it is moved ends before: a listener that has read the time would else do
    today what belongs to yesterday.
    """

    __test__ = False
    shown: datetime = NOON
    speed: float = 1.0
    settle: Callable[[], object] = _nothing

    def now(self) -> datetime:
        """The time it was told."""
        return self.shown

    def reset(self) -> None:
        """Back to noon."""
        self.shown = NOON

    def advance(self, **span: float) -> None:
        """Move on, such as `advance(hours=2)`."""
        self.settle()
        self.shown += timedelta(**span)

    def change(self, *, set_to: datetime | None, advance_s: float, speed: float | None) -> None:
        """As the demonstration's clock."""
        self.shown = (set_to or self.shown) + timedelta(seconds=advance_s)
        self.speed = self.speed if speed is None else speed


@dataclass
class House:
    """A running application, its parts and ways to ask it for things."""

    app: FastAPI
    client: TestClient
    clock: TestClock
    settings: Settings
    made: list[str] = field(default_factory=list)

    @property
    def parts(self) -> Parts:
        """What the application is made of."""
        parts: Parts = self.app.state.parts
        return parts

    def get(self, path: str, **kwargs: Any) -> Any:
        """GET under the API's prefix."""
        return self.client.get(f"/api/v1{path}", **kwargs)

    def post(self, path: str, body: Any = None, **kwargs: Any) -> Any:
        """POST JSON under the API's prefix."""
        return self.client.post(f"/api/v1{path}", json=body, **kwargs)

    def site(self, site_id: str = "site_hq", *, chargers: int = 4, **values: Any) -> str:
        """A site with chargers of 150 kW; its id."""
        new = {"name": "Test site", "kind": "workplace", "timezone": "Europe/Helsinki"}
        body = {"site_id": site_id, "grid_limit_kw": 600, **new, **values}
        assert self.post("/sites", body).status_code == 201
        for number in range(1, chargers + 1):
            did = f"did:denso:charger:{site_id}_chr{number:02d}"
            charger = {"did": did, "site_id": site_id, "max_power_kw": 150}
            assert self.post("/chargers", charger).status_code == 201
        return site_id

    def start_body(self, *, hours: float = 6, **values: Any) -> dict[str, Any]:
        """A valid start request whose departure lies that many hours ahead."""
        departure = self.clock.now() + timedelta(hours=hours)
        values.setdefault("number", 1)
        return start_body(departure=f"{departure:%Y-%m-%dT%H:%M:%SZ}", **values)

    def start(self, *, hours: float = 6, **values: Any) -> dict[str, Any]:
        """Start a session and give its answer."""
        answer = self.post("/sessions/start", self.start_body(hours=hours, **values))
        assert answer.status_code == 200, answer.text
        started: dict[str, Any] = answer.json()
        return started

    def settle(self) -> None:
        """Publish every event that was recorded and let the listeners act."""
        self.parts.relay.drain()


@contextmanager
def house_on(url: str, folder: Path, **settings: Any) -> Iterator[House]:
    """An application on a database; computing in place and background work by hand."""
    chosen = {
        "profile": "demo",
        "database_url": url,
        "artifacts_dir": folder / "artifacts",
        "token_key_file": folder / "token_key.json",
        "issuer_key_file": folder / "issuer_key.json",
        "compute_workers": 0,
        "verifier": "pure",
        "relay_interval_s": 3600.0,
        "sweep_interval_s": 3600.0,
        "replan_interval_s": 3600.0,
        "anchor_interval_s": 3600.0,
        "log_level": "error",
        **settings,
    }
    clock = TestClock()
    made = Settings(**chosen, _env_file=None)
    app = create_app(made, clock=clock)
    warm_up()  # once in a process: the first plan would else wait seconds for its imports
    with TestClient(app, raise_server_exceptions=False) as client:
        clock.settle = app.state.parts.relay.drain
        yield House(app, client, clock, made)
        clock.settle = _nothing


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("template") / "template.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def migrated_postgresql() -> Iterator[str]:
    """Name of a migrated PostgreSQL database to copy."""
    name = f"template_{uuid.uuid4().hex[:12]}"
    _administer(f"CREATE DATABASE {name}")
    migrate(_url_of(name))
    yield name
    _administer(f"DROP DATABASE {name}")


def _administer(statement: str) -> None:
    engine = create_engine(POSTGRES_URL, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


def _url_of(database: str) -> str:
    url = make_url(POSTGRES_URL).set(database=database)
    return url.render_as_string(hide_password=False)


Copies = Callable[[], str]


@pytest.fixture
def sqlite_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    """A fresh, migrated SQLite database."""
    shutil.copy(migrated_sqlite, tmp_path / "tasco.db")
    return f"sqlite:///{tmp_path / 'tasco.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh, migrated database: SQLite, and PostgreSQL where one is running."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_url")
        return
    if not POSTGRES_URL:
        pytest.skip("no PostgreSQL: run `python3 run.py services postgres`")
    template = request.getfixturevalue("migrated_postgresql")
    name = f"test_{uuid.uuid4().hex[:12]}"
    _administer(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield _url_of(name)
    _administer(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def house(database_url: str, tmp_path: Path) -> Iterator[House]:
    """An application in the demo profile on each kind of database."""
    with house_on(database_url, tmp_path) as house:
        yield house


@pytest.fixture
def closed_house(sqlite_url: str, tmp_path: Path) -> Iterator[House]:
    """An application in the production profile."""
    write_new_key(tmp_path / "token_key.json")
    with house_on(sqlite_url, tmp_path, profile="production", public_url=ADDRESS) as house:
        yield house
