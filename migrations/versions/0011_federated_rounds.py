"""federated rounds: experiments, rounds, updates, validations, refusals, participants, weights."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from backend.database import UtcDateTime

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def _json() -> sa.JSON:
    return sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def _of_round(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["round_id"],
        ["federated_rounds.id"],
        name=op.f(f"fk_{table}_round_id"),
        ondelete="CASCADE",
    )


def upgrade() -> None:
    op.create_table(
        "federated_weights",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_federated_weights")),
    )
    op.create_table(
        "federated_participants",
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("engine", sa.String(length=12), nullable=False),
        sa.Column("did", sa.String(length=512), nullable=False),
        sa.Column("assurance", sa.String(length=12), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("strikes", sa.Integer(), nullable=False),
        sa.Column("standing", _json(), nullable=False),
        sa.Column("enrolled_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("site_id", "engine", name=op.f("pk_federated_participants")),
    )
    op.create_table(
        "federated_experiments",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("engine", sa.String(length=12), nullable=False),
        sa.Column("terms", _json(), nullable=False),
        sa.Column("initial_sha256", sa.String(length=64), nullable=False),
        sa.Column("model_sha256", sa.String(length=64), nullable=True),
        sa.Column("model_id", sa.String(length=40), nullable=True),
        sa.Column("job_id", sa.String(length=40), nullable=True),
        sa.Column("lease_holder", sa.String(length=40), nullable=True),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("ledger", _json(), nullable=True),
        sa.Column("summary", _json(), nullable=True),
        sa.Column("reason", sa.String(length=300), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_federated_experiments")),
    )
    op.create_index(op.f("ix_federated_experiments_state"), "federated_experiments", ["state"])
    op.create_table(
        "federated_rounds",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("experiment_id", sa.String(length=40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("parent_sha256", sa.String(length=64), nullable=False),
        sa.Column("model_sha256", sa.String(length=64), nullable=True),
        sa.Column("selected", _json(), nullable=False),
        sa.Column("committee", _json(), nullable=False),
        sa.Column("quorum", sa.Integer(), nullable=False),
        sa.Column("opened_at", UtcDateTime(), nullable=False),
        sa.Column("deadline_at", UtcDateTime(), nullable=True),
        sa.Column("closed_at", UtcDateTime(), nullable=True),
        sa.Column("phases", _json(), nullable=False),
        sa.Column("protocol", _json(), nullable=True),
        sa.Column("metrics", _json(), nullable=True),
        sa.Column("reason", sa.String(length=300), nullable=True),
        sa.ForeignKeyConstraint(
            ["experiment_id"],
            ["federated_experiments.id"],
            name=op.f("fk_federated_rounds_experiment_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_federated_rounds")),
        sa.UniqueConstraint(
            "experiment_id", "number", name=op.f("uq_federated_rounds_experiment_id_number")
        ),
    )
    op.create_index(op.f("ix_federated_rounds_state"), "federated_rounds", ["state"])
    op.create_table(
        "federated_updates",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("round_id", sa.String(length=40), nullable=False),
        sa.Column("participant", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("num_examples", sa.BigInteger(), nullable=False),
        sa.Column("metrics", _json(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("norm", sa.Double(), nullable=True),
        sa.Column("clip_factor", sa.Double(), nullable=True),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("verdict", sa.String(length=24), nullable=True),
        sa.Column("reason", sa.String(length=300), nullable=True),
        sa.Column("received_at", UtcDateTime(), nullable=False),
        _of_round("federated_updates"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_federated_updates")),
        sa.UniqueConstraint(
            "round_id", "participant", name=op.f("uq_federated_updates_round_id_participant")
        ),
    )
    op.create_table(
        "federated_validations",
        sa.Column("round_id", sa.String(length=40), nullable=False),
        sa.Column("participant", sa.String(length=64), nullable=False),
        sa.Column("gains", _json(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("received_at", UtcDateTime(), nullable=False),
        _of_round("federated_validations"),
        sa.PrimaryKeyConstraint("round_id", "participant", name=op.f("pk_federated_validations")),
    )
    op.create_table(
        "federated_refusals",
        sa.Column("round_id", sa.String(length=40), nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        _of_round("federated_refusals"),
        sa.PrimaryKeyConstraint("round_id", "reason", name=op.f("pk_federated_refusals")),
    )


def downgrade() -> None:
    for table in (
        "federated_refusals",
        "federated_validations",
        "federated_updates",
        "federated_rounds",
        "federated_experiments",
        "federated_participants",
        "federated_weights",
    ):
        op.drop_table(table)
