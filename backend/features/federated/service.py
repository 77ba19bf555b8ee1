"""Experiments: started as a job, conducted round by round, taken up again after a crash."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from backend.components import Parts, embedded_exchange
from backend.database import new_id
from backend.features.credentials.audit import note
from backend.features.credentials.holder import Holder
from backend.features.credentials.issuer import service_issuer
from backend.features.federated import embedded, flower, lease, masked, queries, stopping, storing
from backend.features.federated.conductor import Chair, conduct
from backend.features.federated.database_exchange import DatabaseExchange
from backend.features.federated.lease import LeaseLost
from backend.features.federated.models import (
    EDGE,
    EMBEDDED,
    FAILED,
    FLOWER,
    RUNNING,
    FederatedExperiment,
)
from backend.features.federated.problems import (
    EngineAway,
    ExperimentFailed,
    ExperimentKnown,
    ExperimentNotFound,
    ExperimentUnderWay,
    ModeNotSupported,
    TooFewParticipants,
)
from backend.features.federated.schemas import RoundsNew
from backend.features.federated.signatures import Checked
from backend.features.federated.terms import LEAST_QUORUM
from backend.features.jobs.models import Job
from backend.features.jobs.service import Report, submit
from backend.federation.cells import FEWEST_CELLS, SMALLEST
from backend.federation.networks import initial_weights
from backend.federation.strategies import VALIDATED

log = structlog.get_logger("tasco.federated")
KIND = "federated.rounds"
SYSTEM = "system"


def start(db: Session, parts: Parts, new: RoundsNew, *, holder: Holder) -> str:
    """Write an experiment down, ready to be conducted; gives its id.

    Raises:
        EngineAway: If the engine is not set up.
        TooFewParticipants: If there are fewer than the rounds need.
        ExperimentUnderWay: If the engine is busy.
        ExperimentKnown: If the name is taken.
    """
    engine, now = _engine(parts, new), parts.clock.now()
    _require_mode(new)
    _lock(db)
    _require_participants(db, new, engine)
    busy = queries.running_on(db, engine)
    if busy is not None:
        raise ExperimentUnderWay(f"Experiment {busy} is under way.")
    experiment_id = write_down(db, new, engine=engine, now=now)
    facts = {"engine": engine, "mode": new.mode, "strategy": new.strategy, "seed": new.seed}
    action = "federated.started"
    note(db, now=now, actor=holder.did, action=action, object_id=experiment_id, facts=facts)
    return experiment_id


def _lock(db: Session) -> None:
    """Let starts come one by one, or two would find an engine idle; SQLite has one writer."""
    if db.get_bind().dialect.name == "postgresql":
        db.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('federated', 0))"))


def write_down(db: Session, new: RoundsNew, *, engine: str, now: datetime) -> str:
    """Store the terms and the first weights of an experiment; gives its id.

    Raises:
        ExperimentKnown: If the name is taken.
    """
    experiment_id = new.experiment_id or new_id("fex")
    if db.get(FederatedExperiment, experiment_id) is not None:
        raise ExperimentKnown
    initial, _ = storing.put(db, initial_weights(new.family, new.seed), now=now)
    db.add(
        FederatedExperiment(
            id=experiment_id,
            state=RUNNING,
            engine=engine,
            terms=new.model_dump(mode="json", exclude={"experiment_id", "engine"}),
            initial_sha256=initial,
            created_at=now,
        )
    )
    db.flush()
    lease.queue(db, experiment_id)
    return experiment_id


def _engine(parts: Parts, new: RoundsNew) -> str:
    """The engine that was asked for, else the one that is set."""
    usual = {"memory": EMBEDDED, "http": EDGE, "https": EDGE, "flower": FLOWER}
    engine = new.engine or usual[parts.settings.federation_url.partition(":")[0]]
    if engine == FLOWER and not flower.is_set_up(parts):
        raise EngineAway
    return engine


def _require_mode(new: RoundsNew) -> None:
    if new.mode not in masked.MODES:
        return
    if new.strategy != VALIDATED:
        raise ModeNotSupported(f"Mode {new.mode} has a strategy of its own; leave strategy out.")
    if new.privacy is not None:  # a budget is kept by examples, which a masked update does not tell
        raise ModeNotSupported(f"Budgets of privacy cannot be kept in mode {new.mode}.")


def _require_participants(db: Session, new: RoundsNew, engine: str) -> None:
    least = FEWEST_CELLS * SMALLEST if new.mode == masked.CELLS else LEAST_QUORUM
    needed = max(new.min_available_clients, new.min_fit_clients, least)
    there = len(available(db, engine))
    if there < needed:
        raise TooFewParticipants(f"There are {there} participants; {needed} are needed.")


def available(db: Session, engine: str) -> Sequence[str]:
    """Who could take part now."""
    if engine != EMBEDDED:
        return queries.active_names(db, engine)
    known = {one.site_id: one.state for one in queries.participants(db, EMBEDDED)}
    names = [site.id for site in embedded.sites_with_history(db)]
    return [name for name in names if known.get(name, queries.ACTIVE) == queries.ACTIVE]


def work_on(parts: Parts, experiment_id: str, report: Report) -> dict[str, Any]:
    """Conduct an experiment to its end; gives its summary."""
    with parts.database.transaction() as db:
        experiment = require_experiment(db, experiment_id)
        experiment.job_id = _job_of(db, experiment_id)
        db.flush()
        db.expunge(experiment)
    if experiment.engine == FLOWER:
        return flower.follow(parts, experiment_id, report)
    try:
        summary = _conducted(parts, experiment, report)
    except LeaseLost:
        return _without_lease(parts, experiment_id)
    except SQLAlchemyError:
        raise  # taken up again when the database is back
    except Exception as error:
        stopping.give_up(parts.database, experiment_id, error, now=parts.clock.now())
        raise
    finally:
        parts.relay.wake()
    if summary.get("state") == FAILED:
        raise ExperimentFailed(str(summary["reason"]))
    return summary


def _without_lease(parts: Parts, experiment_id: str) -> dict[str, Any]:
    """What to say of an experiment that somebody stopped, or that another conducts."""
    with parts.database.reading() as db:
        row = require_experiment(db, experiment_id)
    if row.state == FAILED:
        raise ExperimentFailed(str(row.reason))
    return {"experiment_id": experiment_id, "is_conducted_elsewhere": True}


def _conducted(parts: Parts, experiment: FederatedExperiment, report: Report) -> dict[str, Any]:
    chair = _chair(parts, experiment, report)
    try:
        return conduct(chair, experiment.id)
    finally:
        chair.exchange.close()


def _chair(parts: Parts, experiment: FederatedExperiment, report: Report) -> Chair:
    if experiment.engine == EDGE:
        waiting = DatabaseExchange(parts.database, engine=EDGE)
        return Chair(parts.database, waiting, parts.clock, report, parts.artifacts)
    # Histories end where they did when the experiment began: who resumes it sees the same.
    examples = embedded.examples_by_site(parts.database, now=experiment.created_at)
    keys = embedded.Keys(service_issuer(parts).key)
    with parts.database.transaction() as db:
        embedded.enrol(db, sorted(examples), keys, now=parts.clock.now())
    noise = {name: keys.noise_of(name) for name in examples}
    signers = {name: keys.signer_of(name) for name in examples}
    threads = embedded_exchange(examples, noise, signers)
    exchange = Checked(threads, parts.database, engine=EMBEDDED, clock=parts.clock)
    return Chair(parts.database, exchange, parts.clock, report, parts.artifacts)


def known_experiment(parts: Parts, holder: Holder, key: str) -> str | None:
    """The experiment that a caller's Idempotency-Key started."""
    query = select(Job.parameters).where(Job.caller == holder.did, Job.idempotency_key == key)
    with parts.database.reading() as db:
        parameters = db.scalar(query) or {}
    found = parameters.get("experiment_id")
    return None if found is None else str(found)


def resume_orphans(parts: Parts) -> list[str]:
    """Take up experiments whose conductor is gone; gives the ids of their new jobs."""
    with parts.database.reading() as db:
        waiting = lease.orphans(db)
    return [_resume(parts, one) for one in waiting]


def _resume(parts: Parts, experiment_id: str) -> str:
    with parts.database.transaction() as db:
        lease.queue(db, experiment_id)
    job_id, _ = submit(
        parts.database,
        KIND,
        lambda report: work_on(parts, experiment_id, report),
        caller=SYSTEM,
        parameters={"experiment_id": experiment_id, "is_resumed": True},
        is_patient=True,
    )
    log.info("federated.resumed", experiment_id=experiment_id, job_id=job_id)
    return job_id


def _job_of(db: Session, experiment_id: str) -> str | None:
    """The newest job that works on an experiment."""
    query = select(Job.id, Job.parameters).where(
        Job.kind == KIND, Job.state.in_(("queued", "running"))
    )
    for job_id, parameters in db.execute(query.order_by(Job.id.desc())):
        if parameters.get("experiment_id") == experiment_id:
            return str(job_id)
    return None


def require_experiment(db: Session, experiment_id: str) -> FederatedExperiment:
    """An experiment by its id.

    Raises:
        ExperimentNotFound: If there is none.
    """
    found = db.get(FederatedExperiment, experiment_id)
    if found is None:
        raise ExperimentNotFound
    return found
