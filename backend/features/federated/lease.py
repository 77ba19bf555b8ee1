"""Who conducts an experiment: one process at a time, and another if that one is gone."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import or_, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from backend.database import Database
from backend.features.federated.models import RUNNING, FederatedExperiment

log = structlog.get_logger("tasco.federated")
LEASE_S = 30.0
QUEUED, QUEUED_S = "queued", 60.0
"""Holder of an experiment whose job waits for a thread; anybody may take it from there."""


class LeaseLost(RuntimeError):
    """Somebody else conducts this experiment, or nobody does any more."""


def renew(db: Session, experiment_id: str, holder: str, *, lease_s: float = LEASE_S) -> None:
    """Take the lease or hold on to it, in the transaction of what it allows.

    Raises:
        LeaseLost: If another holds it, or the experiment has ended.
    """
    now = datetime.now(UTC)  # a demonstration's clock may jump; processes die in real time
    row = FederatedExperiment
    is_free = or_(
        row.lease_holder.is_(None),
        row.lease_holder.in_((holder, QUEUED)),
        row.lease_until < now,
    )
    mine = (
        update(row)
        .where(row.id == experiment_id, row.state == RUNNING, is_free)
        .values(lease_holder=holder, lease_until=now + timedelta(seconds=lease_s))
        .returning(row.id)
        .execution_options(synchronize_session=False)
    )
    if db.execute(mine).first() is None:
        raise LeaseLost(experiment_id)


def queue(db: Session, experiment_id: str) -> None:
    """Keep others from starting what waits for a thread here."""
    until = datetime.now(UTC) + timedelta(seconds=QUEUED_S)
    row = update(FederatedExperiment).where(FederatedExperiment.id == experiment_id)
    db.execute(row.values(lease_holder=QUEUED, lease_until=until))


def release(db: Session, experiment_id: str, holder: str) -> None:
    """Let others take over at once."""
    row = FederatedExperiment
    mine = update(row).where(row.id == experiment_id, row.lease_holder == holder)
    db.execute(mine.values(lease_holder=None, lease_until=None))


def orphans(db: Session) -> list[str]:
    """Experiments that nobody conducts, oldest first."""
    row, now = FederatedExperiment, datetime.now(UTC)
    is_free = or_(row.lease_holder.is_(None), row.lease_until < now)
    query = select(row.id).where(row.state == RUNNING, is_free).order_by(row.created_at, row.id)
    return list(db.scalars(query))


@contextmanager
def kept(
    database: Database, experiment_id: str, holder: str, *, lease_s: float = LEASE_S
) -> Iterator[None]:
    """Hold the lease; a thread renews it while participants are waited for.

    Raises:
        LeaseLost: If another holds it.
    """
    with database.transaction() as db:
        renew(db, experiment_id, holder, lease_s=lease_s)
    stop = threading.Event()
    arguments = (database, experiment_id, holder, lease_s, stop)
    thread = threading.Thread(target=_keep, args=arguments, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(5)
        with database.transaction() as db:
            release(db, experiment_id, holder)


def _keep(
    database: Database, experiment_id: str, holder: str, lease_s: float, stop: threading.Event
) -> None:
    while not stop.wait(lease_s / 3):
        try:
            with database.transaction() as db:
                renew(db, experiment_id, holder, lease_s=lease_s)
        except LeaseLost:
            return
        except SQLAlchemyError as error:  # the next look may find the database again
            log.warning("federated.lease_not_renewed", reason=type(error).__name__)
