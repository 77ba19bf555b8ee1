"""Rows as callers see them, and the curves of an experiment."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy.orm import Session

from backend.features.federated import masked, queries
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

GAS_OF = "gas_of"
GasOf = Callable[[Session, Sequence[str]], int]


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


def experiment_view(
    db: Session, row: FederatedExperiment, *, gas_of: GasOf | None = None
) -> ExperimentView:
    """An experiment and the curve of its rounds.

    Args:
        db: To read from.
        row: The experiment.
        gas_of: Tells what the chain has cost for names; handed over, for that room is above.
    """
    rounds = [one.id for one in queries.rounds_of(db, row.id)]
    names = [*rounds, *([row.model_id] if row.model_id else [])]
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
        gas_used=gas_of(db, names) if gas_of else None,
        rounds=curve(db, row.id),
    )


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
        trained_loss=figures.get("holdout_loss"),
        trained_r2=figures.get("holdout_r2"),
        bytes_moved=figures.get("bytes_moved"),
        epsilon=figures.get("epsilon"),
        model_sha256=row.model_sha256,
    )
