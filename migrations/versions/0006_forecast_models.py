"""forecast models: what makes a version, quantiles as issued, closures, regressors, drift."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from backend.database import UtcDateTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    with op.batch_alter_table("model_versions", schema=None) as batch_op:
        batch_op.add_column(sa.Column("content_hash", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("feature_schema_hash", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("data_fingerprint", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("library_versions", JSON, nullable=True))
        batch_op.add_column(sa.Column("conformal", JSON, nullable=True))
        batch_op.add_column(sa.Column("decision", JSON, nullable=True))
        batch_op.add_column(sa.Column("retired_at", UtcDateTime(), nullable=True))
    with op.batch_alter_table("site_forecasts", schema=None) as batch_op:
        batch_op.add_column(sa.Column("sessions_started", JSON, nullable=True))
        batch_op.add_column(sa.Column("quantiles_kwh", JSON, nullable=True))
    op.create_table(
        "site_closures",
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("reason", sa.String(length=120), nullable=False),
        sa.ForeignKeyConstraint(
            ["site_id"], ["sites.id"], name=op.f("fk_site_closures_site_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("site_id", "day", name=op.f("pk_site_closures")),
    )
    op.create_table(
        "site_regressors",
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=24), nullable=False),
        sa.Column("valid_at", UtcDateTime(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("source", sa.String(length=60), nullable=False),
        sa.Column("is_simulated", sa.Boolean(), nullable=False),
        sa.Column("available_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["site_id"], ["sites.id"], name=op.f("fk_site_regressors_site_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("site_id", "name", "valid_at", name=op.f("pk_site_regressors")),
    )
    op.create_table(
        "drift_alarms",
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("signal", sa.String(length=12), nullable=False),
        sa.Column("is_sure", sa.Boolean(), nullable=False),
        sa.Column("noticed_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["site_id"], ["sites.id"], name=op.f("fk_drift_alarms_site_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint(
            "site_id", "day", "signal", "is_sure", name=op.f("pk_drift_alarms")
        ),
    )


def downgrade() -> None:
    for table in ("drift_alarms", "site_regressors", "site_closures"):
        op.drop_table(table)
    with op.batch_alter_table("site_forecasts", schema=None) as batch_op:
        for name in ("quantiles_kwh", "sessions_started"):
            batch_op.drop_column(name)
    with op.batch_alter_table("model_versions", schema=None) as batch_op:
        for name in (
            "retired_at",
            "decision",
            "conformal",
            "library_versions",
            "data_fingerprint",
            "feature_schema_hash",
            "content_hash",
        ):
            batch_op.drop_column(name)
