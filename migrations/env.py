"""Migrations run on the URL that the caller hands over, else on the settings' database."""

from importlib import import_module
from pkgutil import iter_modules
from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import JSON, Connection

import backend.features
from backend.adapters.events import outbox  # noqa: F401 - registers its tables
from backend.database import Base, Database, MoneyColumn, UtcDateTime
from backend.idempotency import StoredAnswer  # noqa: F401 - registers its table

for room in iter_modules(backend.features.__path__):
    try:
        import_module(f"backend.features.{room.name}.models")
    except ModuleNotFoundError as missing:
        if missing.name != f"backend.features.{room.name}.models":
            raise


def _url() -> str:
    given = context.config.attributes.get("url")
    if given:
        return str(given)
    from backend.settings import read_settings  # noqa: PLC0415 - only for the bare command

    return read_settings().database_url


def _render(kind: str, item: Any, autogen: AutogenContext) -> str | Literal[False]:  # noqa: ANN401
    """Write our own column types the short way into new revisions."""
    if kind == "type" and isinstance(item, UtcDateTime | MoneyColumn):
        name = type(item).__name__
        autogen.imports.add(f"from backend.database import {name}")
        return f"{name}()"
    if kind == "type" and isinstance(item, JSON):
        autogen.imports.add("from sqlalchemy.dialects import postgresql")
        return 'sa.JSON().with_variant(postgresql.JSONB(), "postgresql")'
    return False


def _require_whole(connection: Connection) -> None:
    """Refuse what SQLite was not asked to watch meanwhile.

    Raises:
        RuntimeError: If a row refers to one that is not there.
    """
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    if broken:
        raise RuntimeError(f"rows of {sorted({row[0] for row in broken})} refer to nothing")


def run() -> None:
    """Apply the migrations in one transaction."""
    database = Database(_url())
    with database.writer.connect() as connection:
        if database.is_sqlite:
            # A table is altered by dropping it for its copy, and that would take along every row
            # that refers to it. The switch works outside of transactions only.
            connection.connection.cursor().execute("PRAGMA foreign_keys=OFF")
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            render_as_batch=True,
            compare_type=True,
            render_item=_render,
        )
        with context.begin_transaction():
            context.run_migrations()
        if database.is_sqlite:
            _require_whole(connection)
        connection.commit()
    database.close()


run()
