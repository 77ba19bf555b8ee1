"""The database: who may write, how a transaction begins, and what comes back of what was stored."""

import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, Integer, MetaData, Table, func, insert, select
from sqlalchemy.exc import DBAPIError, StatementError

from backend.database import Database, MoneyColumn, UtcDateTime, insert_missing, new_id
from backend.features.credentials.models import Driver
from backend.features.sites.models import Charger

NOON = datetime(2026, 3, 10, 10, 0, tzinfo=UTC)
THINGS = Table(
    "things",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("at", UtcDateTime),
    Column("price", MoneyColumn),
)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    with database.writer.begin() as connection:
        THINGS.create(connection)
    yield database
    database.close()


@pytest.fixture
def sqlite(sqlite_url: str) -> Iterator[Database]:
    database = Database(sqlite_url)
    yield database
    database.close()


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("busy_timeout", 10_000)],
)
@pytest.mark.parametrize("pool", ["reader", "writer"])
def test_every_sqlite_connection_is_durable_and_strict(
    sqlite: Database, pool: str, pragma: str, value: object
) -> None:
    with getattr(sqlite, pool).connect() as connection:
        found = connection.exec_driver_sql(f"PRAGMA {pragma}").scalar()

    assert found == value


def test_the_reading_pool_refuses_to_write(database: Database) -> None:
    with database.reading() as db, pytest.raises(DBAPIError, match=r"readonly|read-only"):
        db.execute(insert(THINGS), [{"id": 1}])


def test_a_writing_transaction_takes_its_turn_when_it_begins(sqlite: Database) -> None:
    began = threading.Event()
    order = []

    def _second() -> None:
        began.set()
        with sqlite.transaction() as db:
            db.execute(select(1))
            order.append("second")

    thread = threading.Thread(target=_second)
    with sqlite.transaction() as db:
        db.execute(select(1))  # nothing is written, and yet the writer is taken
        thread.start()
        began.wait()
        thread.join(0.2)
        order.append("first")
    thread.join()

    assert order == ["first", "second"]


def test_two_processes_do_not_begin_to_write_at_once(sqlite: Database, sqlite_url: str) -> None:
    other = Database(sqlite_url)
    with other.writer.connect() as waiting:
        waiting.exec_driver_sql("PRAGMA busy_timeout=50")
        waiting.rollback()
        with sqlite.transaction() as db:
            db.execute(select(1))

            with pytest.raises(DBAPIError, match="locked"):
                waiting.execute(select(1))
    other.close()


def test_readers_go_on_while_a_transaction_writes(database: Database) -> None:
    with database.transaction() as writing:
        writing.execute(insert(THINGS), [{"id": 1}])
        with database.reading() as db:
            seen_before = db.scalar(select(func.count()).select_from(THINGS))

    with database.reading() as db:
        seen_after = db.scalar(select(func.count()).select_from(THINGS))
    assert (seen_before, seen_after) == (0, 1)


def test_a_failing_transaction_leaves_nothing(database: Database) -> None:
    with suppress(ZeroDivisionError), database.transaction() as db:
        db.execute(insert(THINGS), [{"id": 1}])
        raise ZeroDivisionError

    with database.reading() as db:
        assert db.scalar(select(func.count()).select_from(THINGS)) == 0


def test_a_row_cannot_point_to_nothing(database: Database) -> None:
    charger = Charger(
        did="did:x:1", site_id="nowhere", max_power_kw=11, status="available", updated_at=NOON
    )

    with pytest.raises(DBAPIError, match=r"(?i)foreign key"), database.transaction() as db:
        db.add(charger)


@pytest.mark.parametrize(
    "moment",
    [
        NOON,
        datetime(2026, 3, 10, 12, 0, tzinfo=timezone(timedelta(hours=2))),
        datetime(2026, 10, 25, 0, 59, 59, 999_999, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ],
)
def test_a_time_comes_back_as_the_same_instant_in_utc(database: Database, moment: datetime) -> None:
    with database.transaction() as db:
        db.execute(insert(THINGS), [{"id": 1, "at": moment}])

    with database.reading() as db:
        found = db.scalar(select(THINGS.c.at).where(THINGS.c.at == moment))
    assert found == moment
    assert found is not None
    assert found.tzinfo is UTC


def test_a_naive_time_is_not_stored(database: Database) -> None:
    naive = NOON.replace(tzinfo=None)

    with pytest.raises(StatementError, match="carries its zone"), database.transaction() as db:
        db.execute(insert(THINGS), [{"id": 1, "at": naive}])


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.decimals(min_value=-99_999_999, max_value=99_999_999, places=4), min_size=1, max_size=20
    )
)
def test_money_and_its_sums_come_back_exactly(database: Database, amounts: list[Decimal]) -> None:
    with database.transaction() as db:
        db.execute(THINGS.delete())
        rows = [{"id": number, "price": amount} for number, amount in enumerate(amounts)]
        db.execute(insert(THINGS), rows)

    with database.reading() as db:
        found = db.scalars(select(THINGS.c.price).order_by(THINGS.c.id)).all()
        total = db.scalar(select(func.sum(THINGS.c.price)))
        doubled = db.scalars(select(THINGS.c.price + THINGS.c.price).order_by(THINGS.c.id)).all()
    assert list(found) == amounts
    assert isinstance(total, Decimal)
    assert total == sum(amounts)
    assert list(doubled) == [2 * amount for amount in amounts]


def test_ten_thousand_hundredths_of_a_cent_are_one_euro(
    database: Database,
) -> None:
    with database.transaction() as db:
        rows = [{"id": number, "price": Decimal("0.0001")} for number in range(10_000)]
        db.execute(insert(THINGS), rows)

    with database.reading() as db:
        total = db.scalar(select(func.sum(THINGS.c.price)))
    assert total == Decimal("1.0000")


def test_inserting_what_is_missing_tells_how_many_rows_were_new(database: Database) -> None:
    rows = [{"did": f"did:x:{number}", "registered_at": NOON} for number in range(3)]

    with database.transaction() as db:
        first = insert_missing(db, Driver, rows[:2])
        second = insert_missing(db, Driver, rows)
        third = insert_missing(db, Driver, rows)

    assert (first, second, third) == (2, 1, 0)


def test_ids_sort_in_the_order_they_were_made() -> None:
    ids = [new_id("evt") for _ in range(5_000)]

    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert re.fullmatch(r"evt_[0-9A-HJKMNP-TV-Z]{26}", ids[0])


def test_an_id_made_for_a_moment_sorts_by_that_moment() -> None:
    earlier, later = new_id("ses", at=NOON), new_id("ses", at=NOON + timedelta(seconds=1))

    assert earlier < later < new_id("ses", at=NOON + timedelta(days=1))


def test_a_connection_in_use_is_closed_when_it_comes_back_late(database: Database) -> None:
    late = database.reader.connect()
    inner = late.connection.dbapi_connection

    database.close()
    late.execute(select(1))
    late.close()

    with pytest.raises(Exception, match="closed"):
        inner.cursor().execute("SELECT 1")  # type: ignore[union-attr]
