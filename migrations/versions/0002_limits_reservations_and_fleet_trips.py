"""limits reservations and fleet trips."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from backend.database import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "fleet_trips",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("external_id", sa.String(length=80), nullable=True),
        sa.Column("vehicle_did", sa.String(length=255), nullable=False),
        sa.Column("departure_at", UtcDateTime(), nullable=False),
        sa.Column("distance_km", sa.Double(), nullable=False),
        sa.Column("created_by", sa.String(length=255), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["vehicle_did"],
            ["vehicles.did"],
            name=op.f("fk_fleet_trips_vehicle_did"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fleet_trips")),
        sa.UniqueConstraint(
            "created_by", "external_id", name=op.f("uq_fleet_trips_created_by_external_id")
        ),
    )
    with op.batch_alter_table("fleet_trips", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_fleet_trips_departure_at"), ["departure_at"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_fleet_trips_vehicle_did"), ["vehicle_did"], unique=False
        )

    op.create_table(
        "site_limits",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("starts_at", UtcDateTime(), nullable=False),
        sa.Column("ends_at", UtcDateTime(), nullable=True),
        sa.Column("limit_kw", sa.Double(), nullable=False),
        sa.Column("reason", sa.String(length=300), nullable=False),
        sa.Column("created_by", sa.String(length=255), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["site_id"], ["sites.id"], name=op.f("fk_site_limits_site_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_site_limits")),
    )
    with op.batch_alter_table("site_limits", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_site_limits_site_id"), ["site_id"], unique=False)

    op.create_table(
        "reservations",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("charger_did", sa.String(length=255), nullable=False),
        sa.Column("driver_did", sa.String(length=255), nullable=False),
        sa.Column("vehicle_did", sa.String(length=255), nullable=True),
        sa.Column("starts_at", UtcDateTime(), nullable=False),
        sa.Column("ends_at", UtcDateTime(), nullable=False),
        sa.Column("distance_km", sa.Double(), nullable=True),
        sa.Column("status", sa.String(length=12), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["charger_did"],
            ["chargers.did"],
            name=op.f("fk_reservations_charger_did"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["site_id"], ["sites.id"], name=op.f("fk_reservations_site_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reservations")),
    )
    with op.batch_alter_table("reservations", schema=None) as batch_op:
        batch_op.create_index(
            "ix_reservations_charger_did_status", ["charger_did", "status"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_reservations_driver_did"), ["driver_did"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_reservations_site_id"), ["site_id"], unique=False)

    with op.batch_alter_table("charging_sessions", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "stay_quantiles_h",
                sa.JSON().with_variant(postgresql.JSONB(), "postgresql"),
                nullable=True,
            )
        )

    with op.batch_alter_table("site_plans", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "limit_kw",
                sa.JSON().with_variant(postgresql.JSONB(), "postgresql"),
                server_default="[]",
                nullable=False,
            )
        )
        batch_op.add_column(
            sa.Column(
                "base_load_kw",
                sa.JSON().with_variant(postgresql.JSONB(), "postgresql"),
                server_default="[]",
                nullable=False,
            )
        )
        batch_op.add_column(
            sa.Column(
                "pv_kw",
                sa.JSON().with_variant(postgresql.JSONB(), "postgresql"),
                server_default="[]",
                nullable=False,
            )
        )
        batch_op.add_column(
            sa.Column(
                "uncontrolled_kw",
                sa.JSON().with_variant(postgresql.JSONB(), "postgresql"),
                server_default="[]",
                nullable=False,
            )
        )

    with op.batch_alter_table("sites", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "base_load_kw_by_hour",
                sa.JSON().with_variant(postgresql.JSONB(), "postgresql"),
                nullable=True,
            )
        )
        batch_op.add_column(
            sa.Column("pv_peak_kw", sa.Double(), server_default="0", nullable=False)
        )
        batch_op.add_column(
            sa.Column("export_eur_per_kwh", sa.Double(), server_default="0", nullable=False)
        )
        batch_op.add_column(
            sa.Column("fairness", sa.String(length=16), server_default="few_short", nullable=False)
        )


def downgrade() -> None:
    with op.batch_alter_table("sites", schema=None) as batch_op:
        batch_op.drop_column("fairness")
        batch_op.drop_column("export_eur_per_kwh")
        batch_op.drop_column("pv_peak_kw")
        batch_op.drop_column("base_load_kw_by_hour")

    with op.batch_alter_table("site_plans", schema=None) as batch_op:
        batch_op.drop_column("uncontrolled_kw")
        batch_op.drop_column("pv_kw")
        batch_op.drop_column("base_load_kw")
        batch_op.drop_column("limit_kw")

    with op.batch_alter_table("charging_sessions", schema=None) as batch_op:
        batch_op.drop_column("stay_quantiles_h")

    with op.batch_alter_table("reservations", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_reservations_site_id"))
        batch_op.drop_index(batch_op.f("ix_reservations_driver_did"))
        batch_op.drop_index("ix_reservations_charger_did_status")

    op.drop_table("reservations")
    with op.batch_alter_table("site_limits", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_site_limits_site_id"))

    op.drop_table("site_limits")
    with op.batch_alter_table("fleet_trips", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_fleet_trips_vehicle_did"))
        batch_op.drop_index(batch_op.f("ix_fleet_trips_departure_at"))

    op.drop_table("fleet_trips")
