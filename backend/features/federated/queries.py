"""Reading experiments, rounds and what was sent in them."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.features.federated.models import (
    CLOSED,
    COLLECTING,
    OPENED,
    RUNNING,
    VALIDATING,
    FederatedExperiment,
    FederatedParticipant,
    FederatedRefusal,
    FederatedRound,
    FederatedUpdate,
    FederatedValidation,
)

ACTIVE = "active"
JUDGED = "judged"


def running_on(db: Session, engine: str) -> str | None:
    """The experiment that an engine is busy with."""
    query = select(FederatedExperiment.id).where(
        FederatedExperiment.state == RUNNING, FederatedExperiment.engine == engine
    )
    return db.scalar(query.limit(1))


def newest_model(db: Session, *, sha256: str | None = None) -> FederatedExperiment | None:
    """The experiment that was finished last and has a model, or the one of this hash."""
    query = select(FederatedExperiment).where(
        FederatedExperiment.state == CLOSED, FederatedExperiment.model_sha256.is_not(None)
    )
    if sha256 is not None:
        query = query.where(FederatedExperiment.model_sha256 == sha256)
    newest = FederatedExperiment.finished_at.desc(), FederatedExperiment.id.desc()
    return db.scalar(query.order_by(*newest).limit(1))


def rounds_of(db: Session, experiment_id: str) -> Sequence[FederatedRound]:
    """The rounds of an experiment in their order."""
    query = select(FederatedRound).where(FederatedRound.experiment_id == experiment_id)
    return db.scalars(query.order_by(FederatedRound.number)).all()


def updates_of(db: Session, round_id: str) -> Sequence[FederatedUpdate]:
    """The updates of a round in the order of their senders."""
    query = select(FederatedUpdate).where(FederatedUpdate.round_id == round_id)
    return db.scalars(query.order_by(FederatedUpdate.participant)).all()


def validations_of(db: Session, round_id: str) -> Sequence[FederatedValidation]:
    """What the committee said, in the order of its members."""
    query = select(FederatedValidation).where(FederatedValidation.round_id == round_id)
    return db.scalars(query.order_by(FederatedValidation.participant)).all()


def refusals_of(db: Session, round_id: str) -> dict[str, int]:
    """What was refused at the door, by reason."""
    query = select(FederatedRefusal).where(FederatedRefusal.round_id == round_id)
    return {one.reason: one.count for one in db.scalars(query.order_by(FederatedRefusal.reason))}


def open_round(db: Session, engine: str) -> FederatedRound | None:
    """The round that an engine's participants can do something for."""
    query = (
        select(FederatedRound)
        .join(FederatedExperiment, FederatedExperiment.id == FederatedRound.experiment_id)
        .where(FederatedRound.state.in_((OPENED, COLLECTING, VALIDATING)))
        .where(FederatedExperiment.engine == engine, FederatedExperiment.state == RUNNING)
    )
    return db.scalar(query.order_by(FederatedRound.id.desc()).limit(1))


def judged_in(current: FederatedRound) -> dict[str, dict[str, float]] | None:
    """What sites say of the model that an experiment ends with; None while nobody is asked."""
    found: dict[str, dict[str, float]] | None = (current.protocol or {}).get(JUDGED)
    return found


def last_round(db: Session, experiment_id: str) -> FederatedRound | None:
    """The round of an experiment with the highest number."""
    query = select(FederatedRound).where(FederatedRound.experiment_id == experiment_id)
    return db.scalar(query.order_by(FederatedRound.number.desc()).limit(1))


def participants(db: Session, engine: str | None = None) -> Sequence[FederatedParticipant]:
    """Everybody who takes part, or those of an engine, in the order of their sites."""
    query = select(FederatedParticipant)
    if engine is not None:
        query = query.where(FederatedParticipant.engine == engine)
    by_site = FederatedParticipant.site_id, FederatedParticipant.engine
    return db.scalars(query.order_by(*by_site)).all()


def active_names(db: Session, engine: str) -> list[str]:
    """Who of an engine may be asked."""
    return [one.site_id for one in participants(db, engine) if one.state == ACTIVE]
