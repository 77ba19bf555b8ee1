"""Engines, sessions and column types: SQLite by default, PostgreSQL by URL."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

from sqlalchemy import (
    JSON,
    Connection,
    CursorResult,
    DateTime,
    Dialect,
    Engine,
    MetaData,
    Numeric,
    TypeDecorator,
    create_engine,
    event,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import URL, make_url
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.pool import ConnectionPoolEntry
from ulid import ULID

BUSY_TIMEOUT_MS = 10_000
POOL_TIMEOUT_S = 10.0
READERS, WRITERS, LOCKS = 14, 10, 8  # connections of one process; SQLite has one writer
BACKGROUND = 4  # readers and writers that no request may take


class UtcDateTime(TypeDecorator[datetime]):
    """A timezone-aware UTC time; SQLite, which knows no zones, stores it naive."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times, store UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a stored time carries its zone")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give back UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


class MoneyColumn(TypeDecorator[Decimal]):
    """Numeric(12, 4); SQLite, which would turn it into a float, stores ten-thousandths."""

    impl = Numeric(12, 4)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:  # noqa: ANN401 - as the base class
        """Integer on SQLite, exact numeric elsewhere."""
        from sqlalchemy import BigInteger  # noqa: PLC0415 - used by one dialect

        kind = BigInteger() if dialect.name == "sqlite" else Numeric(12, 4)
        return dialect.type_descriptor(cast("Any", kind))

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:  # noqa: ANN401
        """Store exactly."""
        if value is None or dialect.name != "sqlite":
            return value
        return int((value * 10_000).to_integral_value())

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:  # noqa: ANN401
        """Give back a Decimal."""
        if value is None or dialect.name != "sqlite":
            return cast("Decimal | None", value)
        return Decimal(value) / 10_000


class Base(DeclarativeBase):
    """Common parent of all tables; constraints are named so that migrations can alter them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it as it is
        datetime: UtcDateTime(),
        Decimal: MoneyColumn(),
        dict[str, Any]: JSON().with_variant(JSONB(), "postgresql"),
        list[Any]: JSON().with_variant(JSONB(), "postgresql"),
    }


def new_id(prefix: str, *, at: datetime | None = None) -> str:
    """An id that sorts by time, such as `ses_01J…`."""
    return f"{prefix}_{ULID() if at is None else ULID.from_datetime(at)}"


class Database:
    """One database: a pool that only reads and a pool that writes.

    Requests wait for a slot before they take a thread: were every thread waiting for a
    connection, those that hold one would find no thread to finish in.
    """

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        make = _sqlite_engine if self.is_sqlite else _postgresql_engine
        self.writer = make(self.url, WRITERS, read_only=False)
        self.reader = make(self.url, READERS, read_only=True)
        self.locks = make(self.url, LOCKS, read_only=True)  # of what no transaction may wait for
        self.read_slots = asyncio.Semaphore(READERS - BACKGROUND)
        self.write_slots = asyncio.Semaphore(WRITERS - BACKGROUND)

    def reading(self) -> Session:
        """A session for queries; it begins with its first one."""
        return Session(self.reader, autoflush=False, expire_on_commit=False)

    def writing(self) -> Session:
        """A session for changes; it begins, and waits for its turn, with its first statement."""
        return Session(self.writer, expire_on_commit=False)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """One transaction for work that no request carries."""
        with self.writing() as db, db.begin():
            yield db

    def close(self) -> None:
        """Close every connection: idle ones now, those in use when they are given back."""
        for engine in (self.reader, self.writer, self.locks):
            event.listen(engine.pool, "checkin", _close_late)
            engine.dispose()


def _close_late(_connection: object, record: ConnectionPoolEntry) -> None:
    """Close what comes back to a pool that nobody asks any more."""
    record.invalidate()


def _sqlite_engine(url: URL, connections: int, *, read_only: bool) -> Engine:
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        url,
        hide_parameters=True,  # errors are logged, and rows name people
        pool_size=connections if read_only else 1,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_S,
        connect_args={"check_same_thread": False, "cached_statements": 512},
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: object) -> None:  # noqa: ANN401 - a driver's own type
        connection.isolation_level = None  # we begin ourselves, see below
        for pragma in (
            f"busy_timeout={BUSY_TIMEOUT_MS}",
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            f"query_only={'ON' if read_only else 'OFF'}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:  # noqa: ANN401 - a driver's own type
        # A deferred transaction that reads, then writes, fails at once if another wrote between.
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def _postgresql_engine(url: URL, connections: int, *, read_only: bool) -> Engine:
    return create_engine(
        url,
        hide_parameters=True,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_S,
        pool_pre_ping=False,
        execution_options={"postgresql_readonly": read_only},
        connect_args={"connect_timeout": 5, "options": "-c timezone=UTC -c lock_timeout=10s"},
    )


def insert_missing(
    db: Session | Connection,
    table: type[Base],
    rows: Sequence[Mapping[str, Any]] | Mapping[str, Any],
) -> int:
    """Insert rows whose key is not taken yet; gives how many were inserted."""
    dialect = (db if isinstance(db, Connection) else db.get_bind()).dialect.name
    insert = sqlite_insert if dialect == "sqlite" else postgresql_insert
    statement = insert(table).values(rows).on_conflict_do_nothing()
    statement = statement.execution_options(preserve_rowcount=True)
    return cast("CursorResult[Any]", db.execute(statement)).rowcount
