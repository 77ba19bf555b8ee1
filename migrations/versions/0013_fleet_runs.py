"""fleet runs: simulated fleets that learned together, and their models."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from backend.database import UtcDateTime

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    op.create_table(
        "fleet_runs",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("terms", json, nullable=False),
        sa.Column("result", json, nullable=False),
        sa.Column("model_sha256", sa.String(length=64), nullable=False),
        sa.Column("low_eur_per_kwh", sa.Double(), nullable=False),
        sa.Column("high_eur_per_kwh", sa.Double(), nullable=False),
        sa.Column("started_by", sa.String(length=512), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_sha256"], ["federated_weights.sha256"], name=op.f("fk_fleet_runs_model_sha256")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fleet_runs")),
    )


def downgrade() -> None:
    op.drop_table("fleet_runs")
