"""Sessions as CSV: safe to open in a spreadsheet, sums equal to the bills."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from backend.features.credentials.holder import Holder
from backend.features.sessions import queries
from backend.features.sessions.models import ChargeDetailRecord, ChargingSession
from backend.features.sessions.queries import SessionFilter
from backend.features.sites.models import Site

BATCH = 500
COLUMNS = (
    "session_id",
    "site_id",
    "driver_did",
    "vehicle_did",
    "charger_did",
    "status",
    "start_time_utc",
    "end_time_utc",
    "start_time_local",
    "end_time_local",
    "timezone",
    "energy_delivered_kwh",
    "final_cost_eur",
    "billing_party",
    "cost_center",
    "energy_discharged_kwh",
    "v2g_credit_eur",
)
NUMBER = re.compile(r"-?\d+\.\d+")
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def csv_of(db: Session, which: SessionFilter, *, holder: Holder) -> str:
    """Every matching session the holder may see, newest first."""
    zones = {site.id: ZoneInfo(site.timezone) for site in db.query(Site)}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for session, bill in _all(db, which, holder):
        writer.writerow([_harmless(cell) for cell in _row(session, bill, zones)])
    return text.getvalue()


def _all(
    db: Session, which: SessionFilter, holder: Holder
) -> Iterator[tuple[ChargingSession, ChargeDetailRecord | None]]:
    after: str | None = None
    while True:
        rows = queries.sessions_page(db, which, holder=holder, after=after, limit=BATCH)
        yield from rows[:BATCH]
        if len(rows) <= BATCH:
            return
        after = rows[BATCH - 1][0].id


def _row(
    session: ChargingSession, bill: ChargeDetailRecord | None, zones: dict[str, ZoneInfo]
) -> Sequence[str]:
    zone = zones[session.site_id]
    ended = session.ended_at
    return (
        session.id,
        session.site_id,
        session.driver_did,
        session.vehicle_did,
        session.charger_did,
        session.status,
        session.started_at.isoformat(timespec="seconds"),
        ended.isoformat(timespec="seconds") if ended else "",
        session.started_at.astimezone(zone).isoformat(timespec="seconds"),
        ended.astimezone(zone).isoformat(timespec="seconds") if ended else "",
        zone.key,
        f"{session.energy_delivered_kwh:.4f}",
        f"{bill.total_eur:.2f}" if bill else "",
        session.billing_party or "",
        session.cost_center or "",
        f"{session.energy_discharged_kwh:.4f}",
        f"{bill.v2g_credit_eur:.2f}" if bill else "",
    )


def _harmless(cell: str) -> str:
    """Keep a spreadsheet from running a cell as a formula; a bill below zero is a number."""
    is_formula = cell.startswith(FORMULA_STARTS) and not NUMBER.fullmatch(cell)
    return f"'{cell}" if is_formula else cell
