"""Model versions: trained, stored with their hash, put in service when they have proved better."""

import json
from dataclasses import asdict
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

import numpy as np
import structlog
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backend.adapters.artifacts.files import ArtifactFiles
from backend.adapters.events.outbox import record
from backend.compute import Compute, Overdue, WorkerLost
from backend.database import Database, new_id
from backend.features.forecasts import queries
from backend.features.forecasts.models import ModelVersion
from backend.features.forecasts.outlooks import KIND, SCORES_FILE, issue_all, model_files
from backend.features.jobs.service import Report
from backend.features.sites.models import Site
from backend.forecasting.backtest import judge
from backend.forecasting.comparison import FEWEST_DAYS
from backend.forecasting.conformal import rolling_levels
from backend.forecasting.history import SiteHistory
from backend.forecasting.models import (
    TrainedModel,
    content_hash,
    feature_schema_hash,
    train,
)
from backend.forecasting.samples import TooLittleHistory
from backend.problems import Problem

log = structlog.get_logger("tasco.forecasts")
TRAINING_TIMEOUT_S = 900.0
JUDGING_TIMEOUT_S = 120.0
WATCHED_DAYS = 7


class NotEnoughHistory(Problem):
    """There is not enough demand history to train on."""

    status = HTTPStatus.CONFLICT
    fix = "Collect at least two days of sessions, or POST /demo/generate-data."


def train_model(
    database: Database,
    artifacts: ArtifactFiles,
    *,
    compute: Compute,
    now: datetime,
    report: Report,
) -> dict[str, Any]:
    """Train on every site's history and store the model.

    The first model goes into service if it beats like-day means on hours it had not seen. Later
    ones wait as challengers until they have beaten the champion on days that neither has seen.

    Raises:
        NotEnoughHistory: If no site has two days of history, or too much of it is unknown.
    """
    report(0.05, "reading history")
    histories = read_histories(database, now=now)
    report(0.2, f"training on {len(histories)} sites")
    try:
        model = compute.run(train, TRAINING_TIMEOUT_S, histories)
    except TooLittleHistory as error:
        raise NotEnoughHistory(str(error)) from error
    report(0.85, "storing the model")
    version = _store(database, artifacts, model, now=now)
    report(0.9, "issuing forecasts")
    issue_all(database, artifacts, compute=compute, now=now)
    reason = (version.decision or {}).get("reason", "")
    sites = len(histories) - len(model.refused)
    return {
        "status": "success",
        "message": f"Trained on {model.metrics['rows_train']:.0f} rows of {sites} sites; {reason}.",
        "model_id": version.id,
        "metrics": version.metrics,
    }


def read_histories(database: Database, *, now: datetime) -> list[SiteHistory]:
    """The history of every site that has one."""
    with database.reading() as db:
        sites = db.scalars(select(Site).order_by(Site.id)).all()
        histories = [queries.history_of(db, site, until=now) for site in sites]
    return [one for one in histories if one.hours]


def judge_challenger(
    database: Database, artifacts: ArtifactFiles, *, compute: Compute, now: datetime
) -> str | None:
    """Put the newest challenger in service if it beat the champion since it was trained.

    Returns:
        What was decided and why; None if there is nothing to decide yet.
    """
    with database.reading() as db:
        champion = queries.champion(db, KIND)
        challenger = _challenger(db)
    if champion is None or challenger is None or champion.trained_at > challenger.trained_at:
        return None
    if now - challenger.trained_at < timedelta(days=FEWEST_DAYS):
        return None
    files = [model_files(artifacts, one) for one in (champion, challenger)]
    if files[0] is None or files[1] is None:
        return None
    try:
        verdict = compute.run(
            judge,
            JUDGING_TIMEOUT_S,
            files[0].texts,
            files[1].texts,
            read_histories(database, now=now),
            since=challenger.trained_at,
        )
    except (Overdue, WorkerLost, ValueError) as error:
        log.warning("model.not_judged", model_id=challenger.id, reason=repr(error))
        return None
    decision = json.loads(json.dumps(asdict(verdict)))
    with database.transaction() as db:
        row = db.get_one(ModelVersion, challenger.id)
        row.decision = decision
        if verdict.is_better:
            _retire_champion(db, now=now)
            row.status = "champion"
            facts = {"model_id": row.id, "sha256": row.sha256, "content_hash": row.content_hash}
            record(db, "model.promoted", facts, now=now)
    log.info("model.judged", model_id=challenger.id, is_better=verdict.is_better)
    return verdict.reason


def has_fresh_challenger(db: Session, *, now: datetime) -> bool:
    """Whether a challenger is still being watched, so that another need not be trained."""
    challenger = _challenger(db)
    return challenger is not None and now - challenger.trained_at < timedelta(days=WATCHED_DAYS)


def _challenger(db: Session) -> ModelVersion | None:
    query = select(ModelVersion).where(
        ModelVersion.kind == KIND, ModelVersion.status == "challenger"
    )
    return db.scalar(query.order_by(ModelVersion.id.desc()).limit(1))


def _store(
    database: Database, artifacts: ArtifactFiles, model: TrainedModel, *, now: datetime
) -> ModelVersion:
    """Store the files and the version, or find the same model stored before."""
    whole = content_hash(model)
    with database.reading() as db:
        champion = queries.champion(db, KIND)
        if champion is not None and model_files(artifacts, champion) is None:
            champion = None  # what cannot be read or used any more defends no place
    if champion is not None and champion.content_hash == whole:
        champion.decision = {"reason": "the same model is in service already"}
        return champion
    decision = _first_decision(model, champion)
    version = ModelVersion(
        id=new_id("mdl"),
        kind=KIND,
        status=decision["status"],
        metrics=json.loads(json.dumps(dict(model.metrics) | {"refused": dict(model.refused)})),
        trained_at=now,
        content_hash=whole,
        feature_schema_hash=feature_schema_hash(model.feature_names),
        data_fingerprint=model.data_fingerprint,
        library_versions=dict(model.library_versions),
        conformal=_levels_now(model, now),
        decision={"reason": decision["reason"]},
        retired_at=None,
    )
    version.path = version.id
    version.sha256 = artifacts.write(version.id, _files(model), _manifest(version, model))
    with database.transaction() as db:
        if version.status == "champion":
            _retire_champion(db, now=now)
        db.add(version)
        facts = {"model_id": version.id, "sha256": version.sha256, "content_hash": whole}
        record(db, "model.registered", facts | {"status": version.status}, now=now)
        db.flush()
        db.expunge(version)
    log.info("model.trained", model_id=version.id, test_r2=model.metrics["test_r2"])
    return version


def _first_decision(model: TrainedModel, champion: ModelVersion | None) -> dict[str, str]:
    # A mean is judged by squared error.
    if model.metrics["test_r2"] <= model.metrics["like_day_r2"]:
        reason = "it does worse than like-day means, so it stays a challenger"
        return {"status": "challenger", "reason": reason}
    if champion is None:
        return {"status": "champion", "reason": "the model is in service"}
    reason = "a challenger until it has beaten the champion on five days to come"
    return {"status": "challenger", "reason": reason}


def _retire_champion(db: Session, *, now: datetime) -> None:
    former = update(ModelVersion).where(
        ModelVersion.kind == KIND, ModelVersion.status == "champion"
    )
    db.execute(former.values(status="retired", retired_at=now))


def _files(model: TrainedModel) -> dict[str, str]:
    scores = {site_id: one.to_lists() for site_id, one in sorted(model.scores.items())}
    return {
        **{f"{target}.lightgbm.txt": text for target, text in model.texts.items()},
        SCORES_FILE: json.dumps(scores, sort_keys=True),
    }


def _manifest(version: ModelVersion, model: TrainedModel) -> dict[str, Any]:
    return {
        "id": version.id,
        "kind": KIND,
        "trained_at": version.trained_at.isoformat(),
        "features": list(model.feature_names),
        "metrics": version.metrics,
        "seed": model.seed,
        "library_versions": version.library_versions,
        "content_hash": version.content_hash,
        "feature_schema_hash": version.feature_schema_hash,
        "data_fingerprint": version.data_fingerprint,
    }


def _levels_now(model: TrainedModel, now: datetime) -> dict[str, Any]:
    """The level of each site's 80 % band by part of day, work days first."""
    at_h = np.array([int(now.timestamp()) // 3600])
    return {
        site_id: [round(float(level), 4) for level in rolling_levels(one, at_h=at_h)[0]]
        for site_id, one in sorted(model.scores.items())
    }
