"""the first tables."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from backend.database import MoneyColumn, UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_events",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("actor", sa.String(length=255), nullable=False),
        sa.Column("action", sa.String(length=60), nullable=False),
        sa.Column("object_id", sa.String(length=255), nullable=False),
        sa.Column(
            "facts", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False
        ),
        sa.Column("sequence", sa.Integer(), nullable=True),
        sa.Column("previous_hash", sa.String(length=64), nullable=True),
        sa.Column("hash", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_events")),
        sa.UniqueConstraint("sequence", name=op.f("uq_audit_events_sequence")),
    )
    with op.batch_alter_table("audit_events", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_audit_events_object_id"), ["object_id"], unique=False)

    op.create_table(
        "drivers",
        sa.Column("did", sa.String(length=255), nullable=False),
        sa.Column("registered_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("did", name=op.f("pk_drivers")),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("caller", sa.String(length=255), nullable=False),
        sa.Column("route", sa.String(length=512), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("caller", "route", "key", name=op.f("pk_idempotency_keys")),
    )
    with op.batch_alter_table("idempotency_keys", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_idempotency_keys_created_at"), ["created_at"], unique=False
        )

    op.create_table(
        "inbox",
        sa.Column("listener", sa.String(length=60), nullable=False),
        sa.Column("event_id", sa.String(length=40), nullable=False),
        sa.Column("handled_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("listener", "event_id", name=op.f("pk_inbox")),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("progress", sa.Double(), nullable=False),
        sa.Column("stage", sa.String(length=200), nullable=False),
        sa.Column(
            "parameters", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False
        ),
        sa.Column(
            "result", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=True
        ),
        sa.Column("error", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=True),
        sa.Column("caller", sa.String(length=255), nullable=False),
        sa.Column("idempotency_key", sa.String(length=255), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("heartbeat_at", UtcDateTime(), nullable=False),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sa.UniqueConstraint(
            "caller", "idempotency_key", name=op.f("uq_jobs_caller_idempotency_key")
        ),
    )
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_jobs_state"), ["state"], unique=False)

    op.create_table(
        "model_versions",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("path", sa.String(length=255), nullable=False),
        sa.Column(
            "metrics", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False
        ),
        sa.Column("trained_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_versions")),
    )
    with op.batch_alter_table("model_versions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_model_versions_status"), ["status"], unique=False)

    op.create_table(
        "outbox",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("type", sa.String(length=60), nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=True),
        sa.Column("session_id", sa.String(length=40), nullable=True),
        sa.Column("data", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("occurred_at", UtcDateTime(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=True),
        sa.Column("delivered_at", UtcDateTime(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sa.UniqueConstraint("sequence", name=op.f("uq_outbox_sequence")),
    )
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_outbox_delivered_at"), ["delivered_at"], unique=False)
        batch_op.create_index(
            "ix_outbox_session_id_sequence", ["session_id", "sequence"], unique=False
        )
        batch_op.create_index("ix_outbox_site_id_sequence", ["site_id", "sequence"], unique=False)

    op.create_table(
        "role_grants",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("holder_did", sa.String(length=255), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=True),
        sa.Column("granted_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_role_grants")),
    )
    with op.batch_alter_table("role_grants", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_role_grants_holder_did"), ["holder_did"], unique=False)

    op.create_table(
        "sites",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("timezone", sa.String(length=64), nullable=False),
        sa.Column("country", sa.String(length=2), nullable=True),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("grid_limit_kw", sa.Double(), nullable=False),
        sa.Column("latitude", sa.Double(), nullable=True),
        sa.Column("longitude", sa.Double(), nullable=True),
        sa.Column("is_demo", sa.Boolean(), nullable=False),
        sa.Column("plan_version", sa.Integer(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sites")),
    )
    op.create_table(
        "vehicles",
        sa.Column("did", sa.String(length=255), nullable=False),
        sa.Column("battery_capacity_kwh", sa.Double(), nullable=False),
        sa.Column("consumption_wh_per_km", sa.Double(), nullable=False),
        sa.Column("max_charge_power_kw", sa.Double(), nullable=False),
        sa.Column("last_soc_percent", sa.Double(), nullable=True),
        sa.Column("last_soc_at", UtcDateTime(), nullable=True),
        sa.Column("registered_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("did", name=op.f("pk_vehicles")),
    )
    op.create_table(
        "chargers",
        sa.Column("did", sa.String(length=255), nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("max_power_kw", sa.Double(), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("latitude", sa.Double(), nullable=True),
        sa.Column("longitude", sa.Double(), nullable=True),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["site_id"], ["sites.id"], name=op.f("fk_chargers_site_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("did", name=op.f("pk_chargers")),
    )
    with op.batch_alter_table("chargers", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_chargers_site_id"), ["site_id"], unique=False)

    op.create_table(
        "demand_intervals",
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("start_at", UtcDateTime(), nullable=False),
        sa.Column("energy_kwh", sa.Double(), nullable=False),
        sa.Column("occupancy", sa.Double(), nullable=False),
        sa.Column("sessions_started", sa.Integer(), nullable=False),
        sa.Column("available_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["site_id"], ["sites.id"], name=op.f("fk_demand_intervals_site_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("site_id", "start_at", name=op.f("pk_demand_intervals")),
    )
    op.create_table(
        "demand_series",
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("observed_from", UtcDateTime(), nullable=False),
        sa.Column("observed_to", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["site_id"], ["sites.id"], name=op.f("fk_demand_series_site_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("site_id", name=op.f("pk_demand_series")),
    )
    op.create_table(
        "purchase_prices",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("valid_from", UtcDateTime(), nullable=False),
        sa.Column(
            "eur_per_kwh_by_hour",
            sa.JSON().with_variant(postgresql.JSONB(), "postgresql"),
            nullable=False,
        ),
        sa.Column("demand_charge_eur_per_kw", MoneyColumn(), nullable=False),
        sa.ForeignKeyConstraint(
            ["site_id"], ["sites.id"], name=op.f("fk_purchase_prices_site_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_purchase_prices")),
        sa.UniqueConstraint("site_id", "version", name=op.f("uq_purchase_prices_site_id_version")),
    )
    with op.batch_alter_table("purchase_prices", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_purchase_prices_site_id"), ["site_id"], unique=False)

    op.create_table(
        "site_forecasts",
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("issued_at", UtcDateTime(), nullable=False),
        sa.Column("source", sa.String(length=20), nullable=False),
        sa.Column("model_id", sa.String(length=40), nullable=True),
        sa.Column("first_hour_at", UtcDateTime(), nullable=False),
        sa.Column(
            "mean_kwh", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False
        ),
        sa.Column(
            "p10_kwh", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False
        ),
        sa.Column(
            "p90_kwh", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False
        ),
        sa.Column(
            "occupancy", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["model_id"], ["model_versions.id"], name=op.f("fk_site_forecasts_model_id")
        ),
        sa.ForeignKeyConstraint(
            ["site_id"], ["sites.id"], name=op.f("fk_site_forecasts_site_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("site_id", "issued_at", name=op.f("pk_site_forecasts")),
    )
    op.create_table(
        "site_plans",
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("planned_at", UtcDateTime(), nullable=False),
        sa.Column("cause", sa.String(length=40), nullable=False),
        sa.Column("method", sa.String(length=16), nullable=False),
        sa.Column("solver", sa.String(length=16), nullable=False),
        sa.Column("solve_ms", sa.Double(), nullable=False),
        sa.Column("cost_eur", sa.Double(), nullable=False),
        sa.Column(
            "price_eur_per_kwh",
            sa.JSON().with_variant(postgresql.JSONB(), "postgresql"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["site_id"], ["sites.id"], name=op.f("fk_site_plans_site_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("site_id", "version", name=op.f("pk_site_plans")),
    )
    op.create_table(
        "trips",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("vehicle_did", sa.String(length=255), nullable=False),
        sa.Column("distance_km", sa.Double(), nullable=True),
        sa.Column("energy_kwh", sa.Double(), nullable=True),
        sa.Column("target_soc_percent", sa.Double(), nullable=True),
        sa.Column("departure_at", UtcDateTime(), nullable=False),
        sa.Column("departure_source", sa.String(length=20), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["vehicle_did"], ["vehicles.did"], name=op.f("fk_trips_vehicle_did"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trips")),
    )
    with op.batch_alter_table("trips", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_trips_vehicle_did"), ["vehicle_did"], unique=False)

    op.create_table(
        "sales_tariffs",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("charger_did", sa.String(length=255), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("valid_from", UtcDateTime(), nullable=False),
        sa.Column("eur_per_kwh", MoneyColumn(), nullable=False),
        sa.Column("eur_per_session", MoneyColumn(), nullable=False),
        sa.Column("idle_eur_per_hour", MoneyColumn(), nullable=False),
        sa.Column("vat_percent", MoneyColumn(), nullable=False),
        sa.ForeignKeyConstraint(
            ["charger_did"],
            ["chargers.did"],
            name=op.f("fk_sales_tariffs_charger_did"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["site_id"], ["sites.id"], name=op.f("fk_sales_tariffs_site_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sales_tariffs")),
        sa.UniqueConstraint(
            "site_id",
            "charger_did",
            "version",
            name=op.f("uq_sales_tariffs_site_id_charger_did_version"),
        ),
    )
    with op.batch_alter_table("sales_tariffs", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_sales_tariffs_charger_did"), ["charger_did"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_sales_tariffs_site_id"), ["site_id"], unique=False)

    op.create_table(
        "charging_sessions",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("charger_did", sa.String(length=255), nullable=False),
        sa.Column("driver_did", sa.String(length=255), nullable=False),
        sa.Column("vehicle_did", sa.String(length=255), nullable=False),
        sa.Column("trip_id", sa.String(length=40), nullable=True),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("departure_at", UtcDateTime(), nullable=False),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("billing_party", sa.String(length=120), nullable=True),
        sa.Column("cost_center", sa.String(length=120), nullable=True),
        sa.Column("battery_capacity_kwh", sa.Double(), nullable=False),
        sa.Column("soc_percent_at_start", sa.Double(), nullable=True),
        sa.Column("soc_percent_at_end", sa.Double(), nullable=True),
        sa.Column("effective_power_kw", sa.Double(), nullable=False),
        sa.Column("rated_power_kw", sa.Double(), nullable=False),
        sa.Column("energy_target_kwh", sa.Double(), nullable=False),
        sa.Column("energy_delivered_kwh", sa.Double(), nullable=False),
        sa.Column("energy_metered_at", UtcDateTime(), nullable=False),
        sa.Column("not_before_at", UtcDateTime(), nullable=True),
        sa.Column("priority", sa.String(length=10), nullable=True),
        sa.Column("has_priority_slot", sa.Boolean(), nullable=False),
        sa.Column("tariff_id", sa.String(length=40), nullable=False),
        sa.Column("plan", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("assurance", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(
            ["charger_did"],
            ["chargers.did"],
            name=op.f("fk_charging_sessions_charger_did"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["driver_did"], ["drivers.did"], name=op.f("fk_charging_sessions_driver_did")
        ),
        sa.ForeignKeyConstraint(
            ["site_id"], ["sites.id"], name=op.f("fk_charging_sessions_site_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["tariff_id"], ["sales_tariffs.id"], name=op.f("fk_charging_sessions_tariff_id")
        ),
        sa.ForeignKeyConstraint(
            ["trip_id"], ["trips.id"], name=op.f("fk_charging_sessions_trip_id")
        ),
        sa.ForeignKeyConstraint(
            ["vehicle_did"], ["vehicles.did"], name=op.f("fk_charging_sessions_vehicle_did")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_charging_sessions")),
    )
    with op.batch_alter_table("charging_sessions", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_charging_sessions_driver_did"), ["driver_did"], unique=False
        )
        batch_op.create_index(
            "ix_charging_sessions_site_id_status", ["site_id", "status"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_charging_sessions_started_at"), ["started_at"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_charging_sessions_vehicle_did"), ["vehicle_did"], unique=False
        )
        batch_op.create_index(
            "uq_charging_sessions_open_charger",
            ["charger_did"],
            unique=True,
            sqlite_where=sa.text("status IN ('active', 'suspended')"),
            postgresql_where=sa.text("status IN ('active', 'suspended')"),
        )
        batch_op.create_index(
            "uq_charging_sessions_open_vehicle",
            ["vehicle_did"],
            unique=True,
            sqlite_where=sa.text("status IN ('active', 'suspended')"),
            postgresql_where=sa.text("status IN ('active', 'suspended')"),
        )

    op.create_table(
        "charge_detail_records",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("session_id", sa.String(length=40), nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("tariff_id", sa.String(length=40), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("ended_at", UtcDateTime(), nullable=False),
        sa.Column("energy_kwh", MoneyColumn(), nullable=False),
        sa.Column("shortfall_kwh", MoneyColumn(), nullable=False),
        sa.Column("energy_eur", MoneyColumn(), nullable=False),
        sa.Column("session_eur", MoneyColumn(), nullable=False),
        sa.Column("idle_eur", MoneyColumn(), nullable=False),
        sa.Column("discount_eur", MoneyColumn(), nullable=False),
        sa.Column("total_eur", MoneyColumn(), nullable=False),
        sa.Column("vat_eur", MoneyColumn(), nullable=False),
        sa.Column("purchase_eur", MoneyColumn(), nullable=False),
        sa.Column("uncontrolled_purchase_eur", MoneyColumn(), nullable=False),
        sa.Column("billing_party", sa.String(length=120), nullable=True),
        sa.Column("cost_center", sa.String(length=120), nullable=True),
        sa.Column("energy_source", sa.String(length=12), nullable=False),
        sa.Column("plausibility", sa.String(length=12), nullable=False),
        sa.Column("plausibility_reason", sa.String(length=300), nullable=True),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["charging_sessions.id"],
            name=op.f("fk_charge_detail_records_session_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["site_id"],
            ["sites.id"],
            name=op.f("fk_charge_detail_records_site_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tariff_id"], ["sales_tariffs.id"], name=op.f("fk_charge_detail_records_tariff_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_charge_detail_records")),
        sa.UniqueConstraint("session_id", name=op.f("uq_charge_detail_records_session_id")),
    )
    with op.batch_alter_table("charge_detail_records", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_charge_detail_records_ended_at"), ["ended_at"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_charge_detail_records_site_id"), ["site_id"], unique=False
        )

    op.create_table(
        "incentive_offers",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("session_id", sa.String(length=40), nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("type", sa.String(length=20), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("reason", sa.String(length=300), nullable=False),
        sa.Column("slot_start_at", UtcDateTime(), nullable=True),
        sa.Column("slot_end_at", UtcDateTime(), nullable=True),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("offered_at", UtcDateTime(), nullable=False),
        sa.Column("decided_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["charging_sessions.id"],
            name=op.f("fk_incentive_offers_session_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["site_id"], ["sites.id"], name=op.f("fk_incentive_offers_site_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_incentive_offers")),
    )
    with op.batch_alter_table("incentive_offers", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_incentive_offers_session_id"), ["session_id"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_incentive_offers_site_id"), ["site_id"], unique=False)

    op.create_table(
        "meter_values",
        sa.Column("session_id", sa.String(length=40), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("energy_kwh", sa.Double(), nullable=False),
        sa.Column("power_kw", sa.Double(), nullable=True),
        sa.Column("soc_percent", sa.Double(), nullable=True),
        sa.Column("is_plausible", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["charging_sessions.id"],
            name=op.f("fk_meter_values_session_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("session_id", "at", name=op.f("pk_meter_values")),
    )
    op.create_table(
        "reward_entries",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("driver_did", sa.String(length=255), nullable=False),
        sa.Column("session_id", sa.String(length=40), nullable=False),
        sa.Column("points", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(length=300), nullable=False),
        sa.Column("credited_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["driver_did"], ["drivers.did"], name=op.f("fk_reward_entries_driver_did")
        ),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["charging_sessions.id"],
            name=op.f("fk_reward_entries_session_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reward_entries")),
    )
    with op.batch_alter_table("reward_entries", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_reward_entries_driver_did"), ["driver_did"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_reward_entries_session_id"), ["session_id"], unique=False
        )

    op.create_table(
        "session_plans",
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("session_id", sa.String(length=40), nullable=False),
        sa.Column("planned_at", UtcDateTime(), nullable=False),
        sa.Column("departure_at", UtcDateTime(), nullable=False),
        sa.Column(
            "setpoint_kw", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False
        ),
        sa.Column("energy_kwh", sa.Double(), nullable=False),
        sa.Column("shortfall_kwh", sa.Double(), nullable=False),
        sa.Column("purchase_cost_eur", sa.Double(), nullable=False),
        sa.Column("uncontrolled_cost_eur", sa.Double(), nullable=False),
        sa.Column("method", sa.String(length=16), nullable=False),
        sa.Column(
            "reasons", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["charging_sessions.id"],
            name=op.f("fk_session_plans_session_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["site_id", "version"],
            ["site_plans.site_id", "site_plans.version"],
            name=op.f("fk_session_plans_site_id_version"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("site_id", "version", "session_id", name=op.f("pk_session_plans")),
    )
    with op.batch_alter_table("session_plans", schema=None) as batch_op:
        batch_op.create_index(
            "ix_session_plans_session_id_version", ["session_id", "version"], unique=False
        )


def downgrade() -> None:
    with op.batch_alter_table("session_plans", schema=None) as batch_op:
        batch_op.drop_index("ix_session_plans_session_id_version")

    op.drop_table("session_plans")
    with op.batch_alter_table("reward_entries", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_reward_entries_session_id"))
        batch_op.drop_index(batch_op.f("ix_reward_entries_driver_did"))

    op.drop_table("reward_entries")
    op.drop_table("meter_values")
    with op.batch_alter_table("incentive_offers", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_incentive_offers_site_id"))
        batch_op.drop_index(batch_op.f("ix_incentive_offers_session_id"))

    op.drop_table("incentive_offers")
    with op.batch_alter_table("charge_detail_records", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_charge_detail_records_site_id"))
        batch_op.drop_index(batch_op.f("ix_charge_detail_records_ended_at"))

    op.drop_table("charge_detail_records")
    with op.batch_alter_table("charging_sessions", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_charging_sessions_open_vehicle",
            sqlite_where=sa.text("status IN ('active', 'suspended')"),
            postgresql_where=sa.text("status IN ('active', 'suspended')"),
        )
        batch_op.drop_index(
            "uq_charging_sessions_open_charger",
            sqlite_where=sa.text("status IN ('active', 'suspended')"),
            postgresql_where=sa.text("status IN ('active', 'suspended')"),
        )
        batch_op.drop_index(batch_op.f("ix_charging_sessions_vehicle_did"))
        batch_op.drop_index(batch_op.f("ix_charging_sessions_started_at"))
        batch_op.drop_index("ix_charging_sessions_site_id_status")
        batch_op.drop_index(batch_op.f("ix_charging_sessions_driver_did"))

    op.drop_table("charging_sessions")
    with op.batch_alter_table("sales_tariffs", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_sales_tariffs_site_id"))
        batch_op.drop_index(batch_op.f("ix_sales_tariffs_charger_did"))

    op.drop_table("sales_tariffs")
    with op.batch_alter_table("trips", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_trips_vehicle_did"))

    op.drop_table("trips")
    op.drop_table("site_plans")
    op.drop_table("site_forecasts")
    with op.batch_alter_table("purchase_prices", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_purchase_prices_site_id"))

    op.drop_table("purchase_prices")
    op.drop_table("demand_series")
    op.drop_table("demand_intervals")
    with op.batch_alter_table("chargers", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_chargers_site_id"))

    op.drop_table("chargers")
    op.drop_table("vehicles")
    op.drop_table("sites")
    with op.batch_alter_table("role_grants", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_role_grants_holder_did"))

    op.drop_table("role_grants")
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.drop_index("ix_outbox_site_id_sequence")
        batch_op.drop_index("ix_outbox_session_id_sequence")
        batch_op.drop_index(batch_op.f("ix_outbox_delivered_at"))

    op.drop_table("outbox")
    with op.batch_alter_table("model_versions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_model_versions_status"))

    op.drop_table("model_versions")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_jobs_state"))

    op.drop_table("jobs")
    op.drop_table("inbox")
    with op.batch_alter_table("idempotency_keys", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_idempotency_keys_created_at"))

    op.drop_table("idempotency_keys")
    op.drop_table("drivers")
    with op.batch_alter_table("audit_events", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_audit_events_object_id"))

    op.drop_table("audit_events")
