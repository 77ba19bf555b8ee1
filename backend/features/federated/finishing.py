"""The end of an experiment: its summary, its model in the registry, who may not train again."""

from collections.abc import Callable
from typing import Any

from sqlalchemy.orm import Session

from backend.adapters.events.outbox import record
from backend.features.federated import queries
from backend.features.federated.arrows import Ledge
from backend.features.federated.models import CLOSED, FAILED, FederatedExperiment
from backend.features.federated.terms import Terms


def barred(db: Session, terms: Terms) -> frozenset[str]:
    """Participants who may not be asked in this experiment."""
    found = queries.participants(db, terms.engine)
    return frozenset(one.site_id for one in found if one.state != queries.ACTIVE)


def finish(at: Ledge, *, passed: Callable[[str], None]) -> dict[str, Any]:
    """Close the experiment, or fail it if no round gave a model; gives its summary."""
    with at.database.reading() as db:
        rounds = queries.rounds_of(db, at.terms.experiment_id)
    closed = [one for one in rounds if one.state == CLOSED]
    passed("finishing")
    with at.step() as (db, now):
        experiment = db.get_one(FederatedExperiment, at.terms.experiment_id)
        experiment.state = CLOSED if closed else FAILED
        experiment.reason = None if closed else (rounds[-1].reason if rounds else "no round")
        experiment.finished_at = now
        summary = {"experiment_id": experiment.id, "model_sha256": experiment.model_sha256}
        experiment.summary = summary
        record(db, f"federated.experiment.{experiment.state}", summary, now=now)
    passed("finished")
    return summary
