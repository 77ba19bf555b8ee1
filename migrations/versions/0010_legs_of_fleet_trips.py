"""legs of fleet trips."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    legs = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    with op.batch_alter_table("fleet_trips", schema=None) as batch_op:
        batch_op.add_column(sa.Column("legs", legs, nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("fleet_trips", schema=None) as batch_op:
        batch_op.drop_column("legs")
