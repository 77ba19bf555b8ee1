"""What has to be true of a database after any load, read with plain SQL."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, create_engine, text

TWICE_OPEN = """
    SELECT {column} FROM charging_sessions WHERE status IN ('active', 'suspended')
    GROUP BY {column} HAVING count(*) > 1"""
WITHOUT_EVENT = """
    SELECT id FROM charging_sessions
    WHERE 1 <> (SELECT count(*) FROM outbox
                WHERE outbox.session_id = charging_sessions.id AND type = 'session.started')"""
ENDED_WITHOUT_EVENT = """
    SELECT id FROM charging_sessions WHERE status = 'completed'
    AND 1 <> (SELECT count(*) FROM outbox
              WHERE outbox.session_id = charging_sessions.id AND type = 'session.completed')"""
ENDED_WITHOUT_BILL = """
    SELECT id FROM charging_sessions WHERE status = 'completed'
    AND 1 <> (SELECT count(*) FROM charge_detail_records AS bill
              WHERE bill.session_id = charging_sessions.id)"""
NEWEST_PLAN = """
    SELECT session_plans.session_id, session_plans.setpoint_kw, session_plans.planned_at
    FROM session_plans JOIN sites ON sites.id = session_plans.site_id
    AND sites.plan_version = session_plans.version WHERE sites.id = :site"""
ROUNDING_KW = 1e-3


@contextmanager
def connected(database_url: str) -> Iterator[Connection]:
    """A connection of its own to the database under test."""
    engine = create_engine(database_url)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def column(connection: Connection, query: str, **values: str) -> list[Any]:
    """The first column of a query."""
    return list(connection.execute(text(query), values).scalars())


def assert_whole(connection: Connection) -> None:
    """The file is sound, and each session has its event and each ended one its bill, once."""
    if connection.dialect.name == "sqlite":
        assert column(connection, "PRAGMA integrity_check") == ["ok"]
        assert column(connection, "PRAGMA foreign_key_check") == []
    assert column(connection, WITHOUT_EVENT) == []
    assert column(connection, ENDED_WITHOUT_EVENT) == []
    assert column(connection, ENDED_WITHOUT_BILL) == []
    assert_one_session_each(connection)


def assert_one_session_each(connection: Connection) -> None:
    """No charger and no vehicle is in two open sessions."""
    for name in ("charger_did", "vehicle_did"):
        assert column(connection, TWICE_OPEN.format(column=name)) == [], name


def assert_numbered_without_gap(connection: Connection) -> None:
    """Every event has a number, each number is given once, and none is left out."""
    numbers = column(connection, "SELECT sequence FROM outbox ORDER BY sequence")
    assert None not in numbers
    assert numbers == list(range(1, len(numbers) + 1))


def assert_newest_plan_keeps_limit(connection: Connection, site_id: str) -> None:
    """Every open session is in the newest plan, and in no step do all together exceed the site."""
    limit_kw = column(connection, "SELECT grid_limit_kw FROM sites WHERE id = :site", site=site_id)
    rows = connection.execute(text(NEWEST_PLAN), {"site": site_id}).all()
    open_now = column(
        connection,
        "SELECT id FROM charging_sessions WHERE site_id = :site AND status = 'active'",
        site=site_id,
    )
    load_kw: dict[int, float] = {}
    for _, stored, _ in rows:
        setpoints = json.loads(stored) if isinstance(stored, str) else stored
        for step, power_kw in enumerate(setpoints):
            load_kw[step] = load_kw.get(step, 0.0) + power_kw

    assert {row[0] for row in rows} >= set(open_now)
    assert len({row[2] for row in rows}) <= 1, "one plan begins at one moment"
    assert all(power_kw <= limit_kw[0] + ROUNDING_KW for power_kw in load_kw.values())
