"""Migrations on filled databases: up, down, up again, and equal to the models."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, MetaData, Table, func, insert, inspect, select
from sqlalchemy.types import JSON

from backend.components import ROOT, migrate
from backend.database import Base, Database, MoneyColumn, UtcDateTime

LONG_AGO = datetime(2026, 3, 10, 10, 0, tzinfo=UTC)


def _alembic(url: str) -> Config:
    config = Config(ROOT / "alembic.ini")
    config.attributes["url"] = url
    return config


def _value(column: Any) -> object:
    """Something that fits the column; text is the same everywhere so that keys agree."""
    if isinstance(column.type, UtcDateTime):
        return LONG_AGO
    if isinstance(column.type, MoneyColumn):
        return Decimal("1.2345")
    if isinstance(column.type, JSON):
        return {"a": [1, None, "ä"]}
    kind: type = column.type.python_type
    return {
        str: "x",
        int: 1,
        float: 1.5,
        bool: True,
        bytes: b"\x00\xff",
        date: LONG_AGO.date(),
    }[kind]


def _fill(engine: Engine) -> None:
    """One row in every table, parents first."""
    with engine.begin() as connection:
        for table in Base.metadata.sorted_tables:
            row = {column.name: _value(column) for column in table.columns}
            connection.execute(insert(table), [row])


def _rows(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    with engine.connect() as connection:
        return {
            table.name: [dict(row) for row in connection.execute(select(table)).mappings()]
            for table in Base.metadata.sorted_tables
        }


def _tables(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names()) - {"alembic_version"}


def test_migrations_go_down_and_up_again_on_filled_tables(database_url: str) -> None:
    database = Database(database_url)
    _fill(database.writer)
    filled = _rows(database.reader)
    database.close()

    command.downgrade(_alembic(database_url), "base")
    tables_below = _tables(database.writer)
    database.close()
    command.upgrade(_alembic(database_url), "head")
    _fill(database.writer)

    assert all(len(rows) == 1 for rows in filled.values())
    assert tables_below == set()
    assert _rows(database.reader) == filled
    database.close()


REVISIONS = sorted(file.name[:4] for file in (ROOT / "migrations" / "versions").glob("0*.py"))


def _contents(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table there is, as the database's own types."""
    tables = MetaData()
    tables.reflect(engine)
    with engine.connect() as connection:
        return {
            table.name: [dict(row) for row in connection.execute(select(table)).mappings()]
            for table in tables.sorted_tables
            if table.name != "alembic_version"
        }


def _unique_while_open(engine: Engine) -> set[str]:
    indexes = inspect(engine).get_indexes("charging_sessions")
    return {
        str(one["column_names"])
        for one in indexes
        if one["unique"] and any("where" in option for option in one["dialect_options"])
    }


@pytest.mark.parametrize("revision", REVISIONS)
def test_every_step_down_and_up_keeps_the_rows_it_does_not_take(
    database_url: str, revision: str
) -> None:
    database = Database(database_url)
    _fill(database.writer)
    before = _contents(database.reader)
    database.close()

    command.downgrade(_alembic(database_url), revision)
    below = _contents(database.reader)
    open_below = _unique_while_open(database.reader)
    database.close()
    command.upgrade(_alembic(database_url), "head")
    after = _contents(database.reader)
    open_after = _unique_while_open(database.reader)
    database.close()

    assert set(below) == {name for name in before if name in below}
    for table, rows in below.items():
        kept = [{name: row[name] for name in rows[0]} for row in before[table]]
        assert rows == kept, table
        again = [{name: row[name] for name in rows[0]} for row in after[table]]
        assert again == kept, table
    assert open_below == open_after == {"['charger_did']", "['vehicle_did']"}


def test_models_and_migrations_describe_the_same_tables(database_url: str) -> None:
    command.check(_alembic(database_url))


def test_an_upgrade_of_a_filled_database_at_head_changes_nothing(database_url: str) -> None:
    database = Database(database_url)
    _fill(database.writer)
    before = _rows(database.reader)
    database.reader.dispose()

    migrate(database_url)

    assert _rows(database.reader) == before
    database.close()


def test_every_constraint_has_a_name(database_url: str) -> None:
    database = Database(database_url)
    found = MetaData()

    found.reflect(database.reader)

    unnamed = [(table.name, one) for table in found.sorted_tables for one in _unnamed(table)]
    assert unnamed == []
    database.close()


def _unnamed(table: Table) -> list[object]:
    return [one for one in table.constraints if not one.name]


def test_a_database_folder_is_made_when_it_is_missing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new/folder/tasco.db"

    migrate(url)

    database = Database(url)
    with database.reading() as db:
        count = db.scalar(select(func.count()).select_from(Base.metadata.tables["sites"]))
    assert count == 0
    database.close()


@pytest.mark.parametrize("column", ["charger_did", "vehicle_did"])
def test_the_database_itself_allows_one_open_session(database_url: str, column: str) -> None:
    database = Database(database_url)
    indexes = inspect(database.reader).get_indexes("charging_sessions")
    database.close()

    open_indexes = [one for one in indexes if one["unique"] and one["column_names"] == [column]]

    assert len(open_indexes) == 1
