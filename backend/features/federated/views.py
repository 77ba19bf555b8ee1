"""Rows as callers see them, and the curves of an experiment."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from backend.features.federated import masked, queries
from backend.features.federated.gas import GAS_USED
from backend.features.federated.models import (
    EMBEDDED,
    FederatedExperiment,
    FederatedRound,
    FederatedUpdate,
)
from backend.features.federated.schemas import (
    CurvePoint,
    ExperimentView,
    RoundDetail,
    RoundView,
    UpdateView,
    ValidationView,
)
from backend.federation.privacy import PRIVACY_UNIT


def round_detail(db: Session, row: FederatedRound) -> RoundDetail:
    """A round with its updates, opinions, refusals and dropouts."""
    updates = queries.updates_of(db, row.id)
    sent = {one.participant for one in updates} | masked.members_of(row)
    is_over = row.state not in ("opened", "collecting")
    said = [ValidationView.model_validate(one) for one in queries.validations_of(db, row.id)]
    return RoundDetail(
        **RoundView.model_validate(row).model_dump(),
        updates=[_update(one) for one in updates],
        validations=said,
        refused=queries.refusals_of(db, row.id),
        dropouts=[name for name in row.selected if is_over and name not in sent],
    )


def _update(row: FederatedUpdate) -> UpdateView:
    names = set(UpdateView.model_fields) - {"is_signed"}
    return UpdateView(**{name: getattr(row, name) for name in names}, is_signed=bool(row.signature))


def experiment_view(db: Session, row: FederatedExperiment) -> ExperimentView:
    """An experiment and the curve of its rounds."""
    points = curve(db, row.id)
    return ExperimentView(
        id=row.id,
        state=row.state,
        engine=row.engine,
        keys_held_by="service" if row.engine == EMBEDDED else "participants",
        terms=row.terms,
        initial_sha256=row.initial_sha256,
        model_sha256=row.model_sha256,
        model_id=row.model_id,
        job_id=row.job_id,
        reason=row.reason,
        created_at=row.created_at,
        finished_at=row.finished_at,
        privacy_unit=PRIVACY_UNIT if row.terms.get("privacy") else None,
        summary=row.summary,
        gas_used=_gas(row, points),
        rounds=points,
    )


def _gas(row: FederatedExperiment, points: Sequence[CurvePoint]) -> int | None:
    """All that was paid so far; the rounds' alone while there is no summary, None if nothing."""
    if row.summary is not None:
        noted: int | None = row.summary.get(GAS_USED)
        return noted
    return sum(one.gas_used or 0 for one in points) or None


def curve(db: Session, experiment_id: str) -> list[CurvePoint]:
    """The figures of each round."""
    return [_point(one) for one in queries.rounds_of(db, experiment_id)]


def _point(row: FederatedRound) -> CurvePoint:
    figures: dict[str, Any] = row.metrics or {}
    return CurvePoint(
        round=row.number,
        state=row.state,
        duration_s=figures.get("duration_s"),
        participation=figures.get("participation"),
        accepted=figures.get("accepted"),
        loss=figures.get("received_loss"),
        r2=figures.get("received_r2"),
        wape=figures.get("wape"),
        usual_wape=figures.get("usual_wape"),
        cost_saved_eur_per_mwh=figures.get("cost_saved_eur_per_mwh"),
        trained_loss=figures.get("holdout_loss"),
        trained_r2=figures.get("holdout_r2"),
        bytes_moved=figures.get("bytes_moved"),
        cpu_s=figures.get("cpu_s"),
        rss_mb=figures.get("rss_mb"),
        epsilon=figures.get("epsilon"),
        noise_scale=figures.get("noise_scale"),
        gas_used=figures.get(GAS_USED),
        model_sha256=row.model_sha256,
    )
