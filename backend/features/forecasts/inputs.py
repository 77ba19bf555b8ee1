"""What is known in advance: days on which a site is closed, weather and prices ahead."""

import csv
import json
from datetime import datetime
from pathlib import Path

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import Session

from backend.features.credentials.audit import note
from backend.features.credentials.holder import Holder
from backend.features.forecasts.models import SiteClosure, SiteRegressor
from backend.features.forecasts.schemas import ClosuresNew, RegressorsNew

MOST_AT_ONCE = 500


def set_closures(
    db: Session, site_id: str, new: ClosuresNew, *, holder: Holder, now: datetime
) -> None:
    """Replace the days on which a site is closed."""
    db.execute(delete(SiteClosure).where(SiteClosure.site_id == site_id))
    by_day = {one.day: one.reason for one in new.closures}
    db.add_all(
        SiteClosure(site_id=site_id, day=day, reason=reason) for day, reason in by_day.items()
    )
    db.flush()
    facts = {"days": len(by_day)}
    note(
        db,
        now=now,
        actor=holder.did,
        action="site.closures_changed",
        object_id=site_id,
        facts=facts,
    )


def add_regressors(db: Session, site_id: str, new: RegressorsNew, *, now: datetime) -> int:
    """Store values by hour, the newest word on an hour wins; gives how many."""
    rows = {
        one.valid_at.replace(minute=0, second=0, microsecond=0): one.value for one in new.values
    }
    dialect = db.get_bind().dialect.name
    insert = sqlite_insert if dialect == "sqlite" else postgresql_insert
    ordered = sorted(rows.items())
    for first in range(0, len(ordered), MOST_AT_ONCE):
        statement = insert(SiteRegressor).values(
            [
                {
                    "site_id": site_id,
                    "name": new.name,
                    "valid_at": valid_at,
                    "value": value,
                    "source": new.source,
                    "is_simulated": new.is_simulated,
                    "available_at": now,
                }
                for valid_at, value in ordered[first : first + MOST_AT_ONCE]
            ]
        )
        changed = ("value", "source", "is_simulated", "available_at")
        db.execute(
            statement.on_conflict_do_update(
                index_elements=["site_id", "name", "valid_at"],
                set_={name: statement.excluded[name] for name in changed},
            )
        )
    return len(rows)


def read_regressors(file: Path, *, name: str, source: str) -> RegressorsNew:
    """Values from a CSV file with the columns `valid_at` and `value`.

    Raises:
        ValueError: If a row is not what it has to be (pydantic's ValidationError is one).
        KeyError: If a column is missing.
    """
    with file.open(encoding="utf-8", newline="") as lines:
        values = [
            {"valid_at": row["valid_at"], "value": float(row["value"])}
            for row in csv.DictReader(lines)
        ]
    text = json.dumps({"name": name, "source": source, "values": values})
    return RegressorsNew.model_validate_json(text)
