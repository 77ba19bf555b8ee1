"""chain notices: what contracts are told beside roots: statuses, rounds of models, verdicts."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from backend.database import UtcDateTime

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "chain_notices",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("contract", sa.String(length=40), nullable=False),
        sa.Column("action", sa.String(length=12), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column(
            "facts", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False
        ),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chain_notices")),
        sa.UniqueConstraint(
            "action", "name", "part", name=op.f("uq_chain_notices_action_name_part")
        ),
    )
    op.create_index(op.f("ix_chain_notices_name"), "chain_notices", ["name"])


def downgrade() -> None:
    op.drop_table("chain_notices")
