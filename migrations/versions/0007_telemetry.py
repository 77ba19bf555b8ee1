"""telemetry."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from backend.database import UtcDateTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "vehicle_telemetry",
        sa.Column("vehicle_did", sa.String(length=255), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("is_plugged_in", sa.Boolean(), nullable=False),
        sa.Column("soc_percent", sa.Double(), nullable=True),
        sa.Column("power_kw", sa.Double(), nullable=True),
        sa.Column("available_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["vehicle_did"],
            ["vehicles.did"],
            name=op.f("fk_vehicle_telemetry_vehicle_did"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("vehicle_did", "at", name=op.f("pk_vehicle_telemetry")),
    )
    values = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    op.create_table(
        "vehicle_forecasts",
        sa.Column("vehicle_did", sa.String(length=255), nullable=False),
        sa.Column("issued_at", UtcDateTime(), nullable=False),
        sa.Column("lead_min", values, nullable=False),
        sa.Column("plug_probability", values, nullable=True),
        sa.Column("to_full_percent", values, nullable=True),
        sa.ForeignKeyConstraint(
            ["vehicle_did"],
            ["vehicles.did"],
            name=op.f("fk_vehicle_forecasts_vehicle_did"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("vehicle_did", name=op.f("pk_vehicle_forecasts")),
    )


def downgrade() -> None:
    op.drop_table("vehicle_forecasts")
    op.drop_table("vehicle_telemetry")
