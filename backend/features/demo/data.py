"""Demonstration data with signed credentials and forecasts on it."""

from typing import Any

from backend.components import Parts
from backend.features.credentials.issuer import public_url, service_issuer
from backend.features.demo import service
from backend.features.demo.credentials import renew
from backend.features.demo.schemas import DemoData
from backend.features.forecasts.outlooks import issue_all
from backend.features.jobs.service import Report


def make_data(parts: Parts, *, days: int, report: Report) -> dict[str, Any]:
    """Make demonstration data and forecasts on it; gives the answer's content."""
    now = parts.clock.now()
    statistics = service.generate(
        parts.database, days=days, now=now, report=lambda share, stage: report(0.9 * share, stage)
    )
    report(0.9, "signing credentials")
    with parts.database.transaction() as db:
        renew(db, service=service_issuer(parts), public_url=public_url(parts), now=now)
    report(0.92, "issuing forecasts")
    issue_all(parts.database, parts.artifacts, compute=parts.compute, now=now)
    message = (
        f"{statistics.sessions_created} simulated sessions of {days} days at "
        f"{statistics.sites_created} sites; every charger is free."
    )
    return DemoData(message=message, statistics=statistics).model_dump(mode="json")
