"""Forecasts in the background: hourly forecasts, daily watching, training when it is time."""

from collections.abc import Callable

import structlog

from backend.clock import Ticker
from backend.components import Parts
from backend.features.forecasts import registry, vehicles_watching, watching
from backend.features.forecasts.outlooks import issue_all
from backend.features.forecasts.service import keep_observed
from backend.features.jobs.service import submit

log = structlog.get_logger("tasco.forecasts")
INTERVAL_S = 3600.0
WATCH_HOUR = 2  # UTC
SYSTEM = "system"


def start(parts: Parts) -> Callable[[], None]:
    """Tick; gives what stops it."""
    tickers = Ticker("forecasts", INTERVAL_S, lambda: tick(parts)), vehicles_watching.start(parts)

    def _stop() -> None:
        for one in tickers:
            one.stop()

    return _stop


def tick(parts: Parts) -> None:
    """What every hour asks for; what asks for it once a day comes in a quiet one."""
    issue_now(parts)
    if parts.clock.now().hour == WATCH_HOUR:
        watch_now(parts)


def issue_now(parts: Parts) -> None:
    """Note who is still observed, then forecast every site."""
    now = parts.clock.now()
    with parts.database.transaction() as db:
        keep_observed(db, now=now)
    issue_all(parts.database, parts.artifacts, compute=parts.compute, now=now)


def watch_now(parts: Parts) -> str | None:
    """Look for drift, judge the challenger, and train anew if something speaks for it.

    Returns:
        Id of the training's job, if one was started.
    """
    now = parts.clock.now()
    alarms = watching.watch(parts.database, compute=parts.compute, now=now)
    parts.metrics.drift_alarms.inc(alarms)
    registry.judge_challenger(parts.database, parts.artifacts, compute=parts.compute, now=now)
    with parts.database.reading() as db:
        reasons = watching.retrain_reasons(db, now=now)
        has_fresh = registry.has_fresh_challenger(db, now=now)
    if not reasons or has_fresh:
        return None
    log.info("forecasts.retraining", reasons=reasons)
    job_id, _ = submit(
        parts.database,
        "forecasts.train",
        lambda report: registry.train_model(
            parts.database, parts.artifacts, compute=parts.compute, now=now, report=report
        ),
        caller=SYSTEM,
        parameters={"reasons": list(reasons)},
        idempotency_key=f"forecasts.train {now.date()}",
    )
    return job_id
