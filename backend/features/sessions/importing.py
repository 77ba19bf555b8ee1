"""Import of charging sessions from a CSV: one transaction, repeatable, refusals with reasons."""

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from sqlalchemy.exc import IntegrityError, OperationalError

from backend.database import Database
from backend.features.sessions.records.outcome import Outcome
from backend.features.sessions.records.reading import (
    ImportRefused,
    Record,
    RecordTable,
    RowRefused,
    record_of,
)
from backend.features.sessions.records.storing import Books, NewSites
from backend.features.sites.schemas import SiteKind, TimeZone

BATCH = 500
Report = Callable[[float, str], None]


def import_file(
    database: Database,
    file: Path,
    *,
    columns: Mapping[str, str],
    timezone: str,
    kind: SiteKind = "workplace",
    salt: str = "",
    now: datetime,
    report: Report,
) -> Outcome:
    """Store the sessions of a CSV in one transaction; what was stored before is left as it is.

    Args:
        database: Where to.
        file: The CSV.
        columns: Names of columns by field, where they differ from the field's.
        timezone: IANA zone of the sites that are new.
        kind: Kind of the sites that are new.
        salt: Goes into the pseudonyms of users; the same for every file of the same users.
        now: When all this is registered; what departs later has not ended.
        report: Told the share of the file that was read, and the stage.

    Raises:
        ImportRefused: If the file, the zone or the database does not serve; nothing is stored.
    """
    began = time.perf_counter()
    _require_zone(timezone)
    outcome = Outcome(file.name)
    progress = _Progress(report)
    size = max(1, file.stat().st_size)
    with file.open("rb") as raw:
        table = RecordTable(raw, columns)
        try:
            with database.transaction() as db:
                books = Books(db, database, outcome, NewSites(kind, timezone), salt=salt, now=now)
                for batch in _batches(table, outcome, now=now):
                    books.add(batch)
                    progress(min(1.0, raw.tell() / size), outcome.read)
                report(0.95, "storing demand history")
                books.close()
        except (IntegrityError, OperationalError) as error:
            raise ImportRefused(
                f"The database was busy or changed meanwhile; nothing was stored: {error.orig}"
            ) from error
    outcome.duration_s = time.perf_counter() - began
    report(1.0, "done")
    return outcome


class _Progress:
    """Reports each step, and names a new stage with every tenth of the file."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._tenth, self._stage = -1, ""

    def __call__(self, share: float, rows: int) -> None:
        if int(10 * share) > self._tenth:
            self._tenth, self._stage = int(10 * share), f"importing, {rows:,} rows read"
        self._report(0.9 * share, self._stage)


def _require_zone(timezone: str) -> None:
    try:
        TypeAdapter(TimeZone).validate_python(timezone)
    except ValidationError as error:
        raise ImportRefused(
            f"{timezone!r} is not an IANA time zone such as Europe/Helsinki."
        ) from error


def _batches(table: RecordTable, outcome: Outcome, *, now: datetime) -> Iterator[list[Record]]:
    """The rows that are sessions, in batches; the others are counted with their reason."""
    batch: list[Record] = []
    for row in table:
        outcome.read += 1
        try:
            batch.append(record_of(row, has_decimal_comma=table.separator != ",", now=now))
        except RowRefused as reason:
            outcome.refuse(str(reason), f"line {row.lines}")
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
