"""site equipment."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from backend.database import MoneyColumn, UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def _json() -> sa.types.TypeEngine[object]:
    return sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    with op.batch_alter_table("sites", schema=None) as batch_op:
        batch_op.add_column(sa.Column("equipment", _json(), nullable=True))
        batch_op.add_column(sa.Column("battery_soc_percent", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("battery_soc_at", UtcDateTime(), nullable=True))

    with op.batch_alter_table("site_limits", schema=None) as batch_op:
        batch_op.add_column(sa.Column("node", sa.String(length=60), nullable=True))

    with op.batch_alter_table("chargers", schema=None) as batch_op:
        batch_op.add_column(sa.Column("equipment", _json(), nullable=True))

    with op.batch_alter_table("vehicles", schema=None) as batch_op:
        batch_op.add_column(sa.Column("equipment", _json(), nullable=True))

    with op.batch_alter_table("sales_tariffs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("v2g_credit_eur_per_kwh", MoneyColumn(), nullable=True))

    with op.batch_alter_table("charging_sessions", schema=None) as batch_op:
        batch_op.add_column(sa.Column("equipment", _json(), nullable=True))
        batch_op.add_column(
            sa.Column("energy_discharged_kwh", sa.Double(), server_default="0", nullable=False)
        )

    with op.batch_alter_table("site_plans", schema=None) as batch_op:
        batch_op.add_column(sa.Column("battery_kw", _json(), server_default="[]", nullable=False))
        batch_op.add_column(sa.Column("battery_kwh", _json(), server_default="[]", nullable=False))
        batch_op.add_column(sa.Column("binding", _json(), server_default="[]", nullable=False))

    with op.batch_alter_table("meter_values", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("discharged_kwh", sa.Double(), server_default="0", nullable=False)
        )

    with op.batch_alter_table("charge_detail_records", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("discharged_kwh", MoneyColumn(), server_default="0", nullable=False)
        )
        batch_op.add_column(
            sa.Column("v2g_credit_eur", MoneyColumn(), server_default="0", nullable=False)
        )


def downgrade() -> None:
    with op.batch_alter_table("charge_detail_records", schema=None) as batch_op:
        batch_op.drop_column("v2g_credit_eur")
        batch_op.drop_column("discharged_kwh")

    with op.batch_alter_table("meter_values", schema=None) as batch_op:
        batch_op.drop_column("discharged_kwh")

    with op.batch_alter_table("site_plans", schema=None) as batch_op:
        batch_op.drop_column("binding")
        batch_op.drop_column("battery_kwh")
        batch_op.drop_column("battery_kw")

    with op.batch_alter_table("charging_sessions", schema=None) as batch_op:
        batch_op.drop_column("energy_discharged_kwh")
        batch_op.drop_column("equipment")

    with op.batch_alter_table("sales_tariffs", schema=None) as batch_op:
        batch_op.drop_column("v2g_credit_eur_per_kwh")

    with op.batch_alter_table("vehicles", schema=None) as batch_op:
        batch_op.drop_column("equipment")

    with op.batch_alter_table("chargers", schema=None) as batch_op:
        batch_op.drop_column("equipment")

    with op.batch_alter_table("site_limits", schema=None) as batch_op:
        batch_op.drop_column("node")

    with op.batch_alter_table("sites", schema=None) as batch_op:
        batch_op.drop_column("battery_soc_at")
        batch_op.drop_column("battery_soc_percent")
        batch_op.drop_column("equipment")
