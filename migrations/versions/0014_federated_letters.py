"""federated letters: what gateways say in the stage of a masked sum that is under way."""

import sqlalchemy as sa
from alembic import op

from backend.database import UtcDateTime

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "federated_letters",
        sa.Column("round_id", sa.String(length=40), nullable=False),
        sa.Column("stage", sa.String(length=8), nullable=False),
        sa.Column("participant", sa.String(length=64), nullable=False),
        sa.Column("group", sa.String(length=12), nullable=False),
        sa.Column("letter", sa.LargeBinary(), nullable=False),
        sa.Column("statement", sa.Text(), nullable=False),
        sa.Column("received_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["round_id"],
            ["federated_rounds.id"],
            name=op.f("fk_federated_letters_round_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "round_id", "stage", "participant", name=op.f("pk_federated_letters")
        ),
    )


def downgrade() -> None:
    op.drop_table("federated_letters")
