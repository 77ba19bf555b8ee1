"""What the tables of an application hold, once its relay has delivered what was committed."""

import threading
import time
from typing import Any

from sqlalchemy import func, select

from backend.adapters.events.outbox import OutboxEvent
from backend.database import Base, Database

PATIENCE_S = 1.0


def row_counts(database: Database) -> dict[str, int]:
    """Rows of every table."""
    _let_the_relay_finish(database)
    with database.reading() as db:
        return {
            table.name: db.scalar(select(func.count()).select_from(table)) or 0
            for table in Base.metadata.sorted_tables
        }


def rows_of(database: Database, table: str) -> list[dict[str, Any]]:
    """The rows of one table, by its key."""
    model = Base.metadata.tables[table]
    _let_the_relay_finish(database)
    with database.reading() as db:
        rows = db.execute(select(model).order_by(*model.primary_key.columns)).mappings()
        return [dict(row) for row in rows]


def _let_the_relay_finish(database: Database) -> None:
    """Wait for a running relay: its listeners write beside the test, whenever they come to it."""
    waiting = select(OutboxEvent.id).where(OutboxEvent.delivered_at.is_(None)).limit(1)
    until = time.monotonic() + PATIENCE_S
    while any(thread.name == "relay" for thread in threading.enumerate()):
        with database.reading() as db:
            is_done = db.scalar(waiting) is None
        if is_done or time.monotonic() > until:
            return
        time.sleep(0.005)
