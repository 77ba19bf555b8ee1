"""The arrows of a round: each one transaction, and safe to repeat.

`opened → collecting → validating → aggregating → closed | failed`. Whoever takes an arrow holds the
experiment's lease in the same transaction, so that of two conductors only one gets on.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy.orm import Session

from backend.adapters.events.outbox import record
from backend.clock import Clock
from backend.database import Database, insert_missing, new_id
from backend.features.federated import lease, queries, receiving, standings, storing
from backend.features.federated.models import (
    CLOSED,
    COLLECTING,
    FAILED,
    OPENED,
    FederatedExperiment,
    FederatedRound,
    FederatedUpdate,
    FederatedValidation,
)
from backend.features.federated.terms import Terms
from backend.federation.privacy import BudgetExhausted
from backend.federation.statements import is_figure
from backend.federation.tasks import ScoreAnswer, TrainAnswer
from backend.federation.weights import Weights, to_npz

log = structlog.get_logger("tasco.federated")
BUDGET_SPENT = "privacy_budget_spent"


@dataclass(frozen=True, slots=True)
class Ledge:
    """Where a conductor stands when it takes an arrow."""

    database: Database
    clock: Clock
    terms: Terms
    holder: str

    @contextmanager
    def step(self) -> Iterator[tuple[Session, datetime]]:
        """One transaction under the lease.

        Raises:
            LeaseLost: If another conducts this experiment.
        """
        with self.database.transaction() as db:
            lease.renew(db, self.terms.experiment_id, self.holder)
            yield db, self.clock.now()


@dataclass(frozen=True, slots=True)
class Ending:
    """How a round ends.

    Attributes:
        weights: The accepted model; None if the round failed.
        verdicts: What is stored of each update, by participant.
        metrics: Figures of the round.
        reason: Why it failed.
    """

    weights: Weights | None
    verdicts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None


def open_round(
    at: Ledge,
    number: int,
    *,
    parent_sha256: str,
    selected: Sequence[str],
    committee: Sequence[str],
) -> str:
    """Write down who was drawn; gives the round's id."""
    with at.step() as (db, now):
        opened = FederatedRound(
            id=new_id("frd"),
            experiment_id=at.terms.experiment_id,
            number=number,
            state=OPENED,
            parent_sha256=parent_sha256,
            selected=list(selected),
            committee=list(committee),
            quorum=at.terms.quorum_of(len(selected)),
            opened_at=now,
            phases={},
        )
        db.add(opened)
        db.flush()
        _tell(db, opened, now)
        return opened.id


def move(at: Ledge, round_id: str, state: str, *, took_s: float) -> None:
    """Take the arrow to the next state."""
    with at.step() as (db, now):
        current = db.get_one(FederatedRound, round_id)
        current.phases = {**current.phases, current.state: round(took_s, 6)}
        current.state = state
        if state == COLLECTING:
            current.deadline_at = now + timedelta(seconds=at.terms.deadline_s)
        _tell(db, current, now)


def begin_deadline(at: Ledge, round_id: str) -> None:
    """Give those who were asked their whole time again."""
    with at.step() as (db, now):
        current = db.get_one(FederatedRound, round_id)
        current.deadline_at = now + timedelta(seconds=at.terms.deadline_s)


def store_updates(at: Ledge, round_id: str, answers: Sequence[TrainAnswer]) -> None:
    """Keep what came; an update that is there already stays as it is."""
    with at.step() as (db, now):
        for answer in answers:
            try:
                keep_update(db, at.terms, round_id, answer, now=now)
            except BudgetExhausted as spent:
                receiving.count(db, round_id, BUDGET_SPENT)
                log.info("federated.refused", round_id=round_id, reason=str(spent))


def keep_update(
    db: Session, terms: Terms, round_id: str, answer: TrainAnswer, *, now: datetime
) -> bool:
    """Keep one checked update and what it cost; False if its sender had sent one before.

    Raises:
        BudgetExhausted: If its site has no privacy left to spend.
    """
    digest, size = storing.put(db, answer.delta, now=now)
    row = {
        "id": new_id("fup"),
        "round_id": round_id,
        "participant": answer.participant,
        "sha256": digest,
        "size_bytes": size,
        "num_examples": answer.num_examples,
        "metrics": {n: one for n, one in answer.metrics.items() if is_figure(n, one)},
        "signature": answer.signature,
        "received_at": now,
    }
    with db.begin_nested():
        if insert_missing(db, FederatedUpdate, row) == 0:
            return False
        standings.spend(db, terms, answer.participant, answer.num_examples)
    return True


def store_scores(
    at: Ledge, round_id: str, answers: Sequence[ScoreAnswer], hashes: Mapping[str, str]
) -> None:
    """Keep what the committee said, by the hash of each update."""
    with at.step() as (db, now):
        for answer in answers:
            gains = {hashes[name]: gain for name, gain in answer.gains.items() if name in hashes}
            keep_scores(db, round_id, answer.participant, gains, answer.signature, now=now)


def keep_scores(
    db: Session,
    round_id: str,
    participant: str,
    gains: Mapping[str, float],
    signature: str,
    *,
    now: datetime,
) -> bool:
    """Keep one member's scores; False if it had sent some before."""
    row = {
        "round_id": round_id,
        "participant": participant,
        "gains": {name: one for name, one in gains.items() if math.isfinite(one)},
        "signature": signature,
        "received_at": now,
    }
    return insert_missing(db, FederatedValidation, row) == 1


def end_round(at: Ledge, round_id: str, ending: Ending, *, took_s: float) -> None:
    """Close the round with its model, or fail it with a reason; the model stays then."""
    with at.step() as (db, now):
        current = db.get_one(FederatedRound, round_id)
        current.phases = {**current.phases, current.state: round(took_s, 6)}
        current.state = FAILED if ending.weights is None else CLOSED
        current.closed_at, current.reason = now, (ending.reason or None)
        current.metrics = {**ending.metrics, "duration_s": round(sum(current.phases.values()), 6)}
        _note_verdicts(db, at.terms, current, ending)
        private = standings.privacy_figures(db, at.terms, current.selected)
        current.metrics = {**current.metrics, **private}
        if ending.weights is not None:
            current.model_sha256, size = storing.put(db, ending.weights, now=now)
            current.metrics = {**current.metrics, "model_bytes": size}
            experiment = db.get_one(FederatedExperiment, at.terms.experiment_id)
            experiment.model_sha256 = current.model_sha256
        _tell(db, current, now)
    log.info("federated.round", round_id=round_id, number=current.number, state=current.state)


def _note_verdicts(db: Session, terms: Terms, current: FederatedRound, ending: Ending) -> None:
    for update in queries.updates_of(db, current.id):
        for name, value in ending.verdicts.get(update.participant, {}).items():
            setattr(update, name, value)
    verdicts = {name: one["verdict"] for name, one in ending.verdicts.items()}
    judges = [one.participant for one in queries.validations_of(db, current.id)]
    standings.note_verdicts(db, terms, verdicts, judges)


def _tell(db: Session, current: FederatedRound, now: datetime) -> None:
    """Report the state; what is anchored of a closed round names no participant."""
    facts: dict[str, Any] = {
        "round_id": current.id,
        "experiment_id": current.experiment_id,
        "number": current.number,
        "state": current.state,
        "parent_sha256": current.parent_sha256,
    }
    if current.state == CLOSED:
        db.flush()
        facts |= {"model_sha256": current.model_sha256, "updates": _outcomes(db, current.id)}
    if current.state == FAILED:
        facts["reason"] = current.reason
    record(db, f"federated.round.{current.state}", facts, now=now)


def _outcomes(db: Session, round_id: str) -> list[dict[str, Any]]:
    """Hash, verdict and score of every update, in the order of the hashes."""
    found = [
        {"sha256": one.sha256, "verdict": one.verdict, "score": one.score, "norm": one.norm}
        for one in queries.updates_of(db, round_id)
    ]
    return sorted(found, key=lambda one: str(one["sha256"]))


def bytes_of(weights: Weights) -> int:
    """What weights weigh on the way."""
    return len(to_npz(weights))
