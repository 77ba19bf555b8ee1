"""Experiments that end before their last round: stopped by an operator, or given up.

A deadline may be a day away, and an engine does one at a time.
"""

from datetime import datetime

from sqlalchemy.orm import Session

from backend.adapters.events.outbox import record
from backend.database import Database
from backend.features.credentials.audit import note
from backend.features.credentials.holder import Holder
from backend.features.federated import masked, queries
from backend.features.federated.models import CLOSED, FAILED, RUNNING, FederatedExperiment
from backend.features.federated.problems import ExperimentNotFound

STOPPED = "stopped by an operator"
LONGEST_REASON = 300


def stop(db: Session, experiment_id: str, *, holder: Holder, now: datetime) -> FederatedExperiment:
    """End an experiment and the round it is in; one that has ended stays as it is.

    Its conductor finds its lease gone with the next arrow. Closed rounds keep their models.

    Raises:
        ExperimentNotFound: If there is none.
    """
    row = db.get(FederatedExperiment, experiment_id, with_for_update=True)
    if row is None:
        raise ExperimentNotFound
    if row.state != RUNNING:
        return row
    end(db, row, STOPPED, now=now)
    action = "federated.stopped"
    note(db, now=now, actor=holder.did, action=action, object_id=row.id, facts={})
    return row


def give_up(database: Database, experiment_id: str, error: Exception, *, now: datetime) -> None:
    """End an experiment that would fail again and again; one that has ended stays as it is."""
    with database.transaction() as db:
        row = db.get_one(FederatedExperiment, experiment_id, with_for_update=True)
        if row.state == RUNNING:
            end(db, row, f"{type(error).__name__}: {error}"[:LONGEST_REASON], now=now)


def end(db: Session, row: FederatedExperiment, reason: str, *, now: datetime) -> None:
    """Fail an experiment and the round it is in, and erase what was said for sums."""
    for current in queries.rounds_of(db, row.id):
        if current.state not in (CLOSED, FAILED):
            current.state, current.closed_at, current.reason = FAILED, now, reason
            masked.forget(db, current)
            facts = {"round_id": current.id, "number": current.number, "state": FAILED}
            facts |= {"experiment_id": row.id, "parent_sha256": current.parent_sha256}
            record(db, f"federated.round.{FAILED}", facts | {"reason": reason}, now=now)
    row.state, row.finished_at, row.reason = FAILED, now, reason
    facts = {"experiment_id": row.id, "reason": reason}
    record(db, f"federated.experiment.{FAILED}", facts, now=now)
