"""Where a name stands in the tables, and what takes its place."""

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

from sqlalchemy import (
    JSON,
    Column,
    Connection,
    LargeBinary,
    String,
    Table,
    Text,
    cast,
    delete,
    func,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import ColumnElement

from backend.database import Base
from backend.idempotency import StoredAnswer

# Long rows of numbers that name nobody, and the trail, which holds aliases and cannot be changed.
WITHOUT_NAMES = frozenset(
    {
        "aliases",
        "anchor_batches",
        "audit_events",
        "demand_intervals",
        "demand_series",
        "meter_values",
        "model_versions",
        "session_plans",
        "site_forecasts",
        "site_plans",
        "status_entries",
    }
)


def replace_everywhere(db: Session, name: str, alias: str) -> None:
    """Put an alias in the place of a name in every table; stored answers with it are deleted.

    A name ends where no further character could belong to it: erasing `did:x:ann` leaves
    `did:x:anna` alone.
    """
    connection = db.connection()
    _forget_answers(connection, name)
    whole = re.compile(rf"(?<![A-Za-z0-9._:%-]){re.escape(name)}(?![A-Za-z0-9._:%-])")
    for table in Base.metadata.sorted_tables:
        if table.name not in WITHOUT_NAMES and table.name != StoredAnswer.__tablename__:
            for column in _texts(table):
                _replace(connection, column, name, lambda said: _without(said, whole, alias))


def _texts(table: Table) -> Iterator[Column[Any]]:
    return (one for one in table.columns if isinstance(one.type, String | Text | JSON))


def _replace(
    connection: Connection, column: Column[Any], name: str, change: Callable[[Any], Any]
) -> None:
    table = column.table
    key = list(table.primary_key.columns)
    found = select(*key, column.label("said")).where(_holds(connection, column, name))
    for row in connection.execute(found).all():
        changed = change(row.said)
        if changed == row.said:
            continue
        mine = [one == value for one, value in zip(key, row, strict=False)]
        connection.execute(update(table).where(*mine).values({column.name: changed}))


def _without(said: Any, whole: re.Pattern[str], alias: str) -> Any:  # noqa: ANN401 - JSON
    if isinstance(said, str):
        return whole.sub(alias, said)
    if isinstance(said, dict):
        return {whole.sub(alias, k): _without(v, whole, alias) for k, v in said.items()}
    return [_without(one, whole, alias) for one in said] if isinstance(said, list) else said


def _holds(connection: Connection, column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """Whether a column contains a name, whatever else; LIKE would take its signs for patterns."""
    place = func.instr if connection.dialect.name == "sqlite" else func.strpos
    return place(cast(column, Text), name) > 0


def _forget_answers(connection: Connection, name: str) -> None:
    """Answers kept to be repeated: the person's own and those that show them."""
    table = StoredAnswer.__table__
    columns = table.c
    in_body: ColumnElement[Any]
    if connection.dialect.name == "sqlite":
        in_body = func.instr(columns.body, name.encode()) > 0
    else:
        in_body = func.position(literal(name.encode(), LargeBinary).op("IN")(columns.body)) > 0
    in_route = _holds(connection, columns.route, quote(name))
    is_own = columns.caller == name
    connection.execute(delete(table).where(or_(is_own, in_route, in_body)))  # type: ignore[arg-type]
