"""identities and tokens."""

import sqlalchemy as sa
from alembic import op

from backend.database import UtcDateTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "did_registry",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("did", sa.String(length=255), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("controller", sa.String(length=255), nullable=False),
        sa.Column("valid_from", UtcDateTime(), nullable=False),
        sa.Column("valid_to", UtcDateTime(), nullable=True),
        sa.Column("revoked_at", UtcDateTime(), nullable=True),
        sa.Column("registered_by", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_did_registry")),
        sa.UniqueConstraint("did", "version", name=op.f("uq_did_registry_did_version")),
    )
    with op.batch_alter_table("did_registry", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_did_registry_controller"), ["controller"], unique=False
        )

    op.create_table(
        "auth_challenges",
        sa.Column("nonce_hash", sa.String(length=64), nullable=False),
        sa.Column("purpose", sa.String(length=300), nullable=False),
        sa.Column("body_hash", sa.String(length=64), nullable=True),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("used_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("nonce_hash", name=op.f("pk_auth_challenges")),
    )
    with op.batch_alter_table("auth_challenges", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_auth_challenges_expires_at"), ["expires_at"], unique=False
        )

    op.create_table(
        "seen_proofs",
        sa.Column("proof_hash", sa.String(length=64), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("proof_hash", name=op.f("pk_seen_proofs")),
    )
    with op.batch_alter_table("seen_proofs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_seen_proofs_expires_at"), ["expires_at"], unique=False)

    op.create_table(
        "token_epochs",
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_token_epochs")),
    )
    op.create_table(
        "fleet_vehicles",
        sa.Column("vehicle_did", sa.String(length=255), nullable=False),
        sa.Column("fleet_id", sa.String(length=64), nullable=False),
        sa.Column("assigned_at", UtcDateTime(), nullable=False),
        sa.Column("assigned_by", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("vehicle_did", name=op.f("pk_fleet_vehicles")),
    )
    with op.batch_alter_table("fleet_vehicles", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_fleet_vehicles_fleet_id"), ["fleet_id"], unique=False)

    with op.batch_alter_table("role_grants", schema=None) as batch_op:
        batch_op.add_column(sa.Column("fleet_id", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("granted_by", sa.String(length=255), nullable=True))
        batch_op.add_column(sa.Column("revoked_at", UtcDateTime(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("role_grants", schema=None) as batch_op:
        batch_op.drop_column("revoked_at")
        batch_op.drop_column("granted_by")
        batch_op.drop_column("fleet_id")

    with op.batch_alter_table("fleet_vehicles", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_fleet_vehicles_fleet_id"))

    op.drop_table("fleet_vehicles")
    op.drop_table("token_epochs")
    with op.batch_alter_table("seen_proofs", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_seen_proofs_expires_at"))

    op.drop_table("seen_proofs")
    with op.batch_alter_table("auth_challenges", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_auth_challenges_expires_at"))

    op.drop_table("auth_challenges")
    with op.batch_alter_table("did_registry", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_did_registry_controller"))

    op.drop_table("did_registry")
