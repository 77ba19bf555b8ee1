"""Experiments, their rounds, and all that participants sent."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from backend.database import Base
from backend.features.federated import fleet_models  # noqa: F401 - its table

EMBEDDED, EDGE, FLOWER = "embedded", "edge", "flower"
OPENED, COLLECTING, VALIDATING, AGGREGATING = "opened", "collecting", "validating", "aggregating"
CLOSED, FAILED, RUNNING = "closed", "failed", "running"


class FederatedWeights(Base):
    """Weights by the hash of their content, as npz."""

    __tablename__ = "federated_weights"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    data: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]


class FederatedParticipant(Base):
    """A site that trains: where its key is, and how often its updates were not accepted.

    A site has one voice in each engine, so a participant is named by its site.
    """

    __tablename__ = "federated_participants"

    site_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    engine: Mapped[str] = mapped_column(String(12), primary_key=True)
    did: Mapped[str] = mapped_column(String(512))
    assurance: Mapped[str] = mapped_column(String(12))
    state: Mapped[str] = mapped_column(String(12))
    strikes: Mapped[int]
    standing: Mapped[dict[str, Any]]  # what the strikes follow from
    enrolled_at: Mapped[datetime]


class FederatedExperiment(Base):
    """A run of rounds: `running → closed | failed`.

    Whoever conducts it holds its lease and renews it; a lease that has run out is taken over.
    """

    __tablename__ = "federated_experiments"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    state: Mapped[str] = mapped_column(String(12), index=True)
    engine: Mapped[str] = mapped_column(String(12))
    terms: Mapped[dict[str, Any]]
    initial_sha256: Mapped[str] = mapped_column(String(64))
    model_sha256: Mapped[str | None] = mapped_column(String(64))
    model_id: Mapped[str | None] = mapped_column(String(40))
    job_id: Mapped[str | None] = mapped_column(String(40))
    lease_holder: Mapped[str | None] = mapped_column(String(40))
    lease_until: Mapped[datetime | None]
    ledger: Mapped[dict[str, Any] | None]  # of privacy, by participant
    summary: Mapped[dict[str, Any] | None]
    reason: Mapped[str | None] = mapped_column(String(300))
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class FederatedRound(Base):
    """One round: `opened → collecting → validating → aggregating → closed | failed`."""

    __tablename__ = "federated_rounds"
    __table_args__ = (UniqueConstraint("experiment_id", "number"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    experiment_id: Mapped[str] = mapped_column(
        ForeignKey("federated_experiments.id", ondelete="CASCADE")
    )
    number: Mapped[int]
    state: Mapped[str] = mapped_column(String(12), index=True)
    parent_sha256: Mapped[str] = mapped_column(String(64))
    model_sha256: Mapped[str | None] = mapped_column(String(64))
    selected: Mapped[list[Any]]
    committee: Mapped[list[Any]]
    quorum: Mapped[int]
    opened_at: Mapped[datetime]
    deadline_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    phases: Mapped[dict[str, Any]]  # seconds that each state took
    protocol: Mapped[dict[str, Any] | None]  # what the mode itself keeps between steps
    metrics: Mapped[dict[str, Any] | None]
    reason: Mapped[str | None] = mapped_column(String(300))


class FederatedUpdate(Base):
    """An update as it was received, and what became of it; its bytes lie by their hash."""

    __tablename__ = "federated_updates"
    __table_args__ = (UniqueConstraint("round_id", "participant"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    round_id: Mapped[str] = mapped_column(ForeignKey("federated_rounds.id", ondelete="CASCADE"))
    participant: Mapped[str] = mapped_column(String(64))
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int]
    num_examples: Mapped[int] = mapped_column(BigInteger)
    metrics: Mapped[dict[str, Any]]
    signature: Mapped[str] = mapped_column(Text)
    norm: Mapped[float | None]
    clip_factor: Mapped[float | None]
    score: Mapped[float | None]
    verdict: Mapped[str | None] = mapped_column(String(24))
    reason: Mapped[str | None] = mapped_column(String(300))
    received_at: Mapped[datetime]


class FederatedValidation(Base):
    """What a committee member says of the candidates: gains by the hash of the update."""

    __tablename__ = "federated_validations"

    round_id: Mapped[str] = mapped_column(
        ForeignKey("federated_rounds.id", ondelete="CASCADE"), primary_key=True
    )
    participant: Mapped[str] = mapped_column(String(64), primary_key=True)
    gains: Mapped[dict[str, Any]]
    signature: Mapped[str] = mapped_column(Text)
    received_at: Mapped[datetime]


class FederatedLetter(Base):
    """What a gateway says in the stage of a masked sum that is under way."""

    __tablename__ = "federated_letters"

    round_id: Mapped[str] = mapped_column(
        ForeignKey("federated_rounds.id", ondelete="CASCADE"), primary_key=True
    )
    stage: Mapped[str] = mapped_column(String(8), primary_key=True)
    participant: Mapped[str] = mapped_column(String(64), primary_key=True)
    group: Mapped[str] = mapped_column(String(12))
    letter: Mapped[bytes] = mapped_column(LargeBinary)
    statement: Mapped[str] = mapped_column(Text)
    received_at: Mapped[datetime]


class FederatedRefusal(Base):
    """How often something was refused in a round, by reason."""

    __tablename__ = "federated_refusals"

    round_id: Mapped[str] = mapped_column(
        ForeignKey("federated_rounds.id", ondelete="CASCADE"), primary_key=True
    )
    reason: Mapped[str] = mapped_column(String(40), primary_key=True)
    count: Mapped[int]
