"""Houses with demonstration data in them, generated once and copied for each test."""

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.features.credentials.service_key import write_new_key
from tests.conftest import ADDRESS, POSTGRES_URL, House, _administer, _url_of, house_on
from tests.features.town import Town


def _generate(url: str, folder: Path) -> None:
    with house_on(url, folder) as house:
        answer = house.post("/demo/generate-data")
        assert answer.status_code == 200, answer.text
        house.settle()


@pytest.fixture(scope="session")
def generated_sqlite(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with thirty days of demonstration data that end at noon."""
    folder = tmp_path_factory.mktemp("generated")
    path = folder / "tasco.db"
    shutil.copy(migrated_sqlite, path)
    _generate(f"sqlite:///{path}", folder)
    return path


@pytest.fixture(scope="session")
def generated_postgresql(
    migrated_postgresql: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Name of a PostgreSQL database with the same data."""
    name = f"generated_{uuid.uuid4().hex[:12]}"
    _administer(f"CREATE DATABASE {name} TEMPLATE {migrated_postgresql}")
    _generate(_url_of(name), tmp_path_factory.mktemp("generated"))
    yield name
    _administer(f"DROP DATABASE {name}")


@pytest.fixture(params=["sqlite", "postgresql"])
def demo_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A copy of a database with demonstration data, of each kind."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("generated_sqlite"), tmp_path / "tasco.db")
        yield f"sqlite:///{tmp_path / 'tasco.db'}"
        return
    if not POSTGRES_URL:
        pytest.skip("no PostgreSQL: run `python3 run.py services postgres`")
    name = f"test_{uuid.uuid4().hex[:12]}"
    template = request.getfixturevalue("generated_postgresql")
    _administer(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield _url_of(name)
    _administer(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def demo_house(demo_url: str, tmp_path: Path) -> Iterator[House]:
    """An application on a database with demonstration data."""
    with house_on(demo_url, tmp_path) as house:
        yield house


@pytest.fixture
def sqlite_house(sqlite_url: str, tmp_path: Path) -> Iterator[House]:
    """An application on SQLite alone, for what is decided before any database is asked."""
    with house_on(sqlite_url, tmp_path) as house:
        yield house


@pytest.fixture
def town(sqlite_url: str, tmp_path: Path) -> Iterator[Town]:
    """A town in production."""
    write_new_key(tmp_path / "token_key.json")
    with house_on(sqlite_url, tmp_path, profile="production", public_url=ADDRESS) as house:
        yield Town(house)
