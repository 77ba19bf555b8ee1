"""issued credentials and trust."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from backend.database import UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def _json() -> sa.JSON:
    return sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "accreditations",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("issuer_did", sa.String(length=255), nullable=False),
        sa.Column("credential_types", _json(), nullable=False),
        sa.Column("sites", _json(), nullable=True),
        sa.Column("fleets", _json(), nullable=True),
        sa.Column("wmis", _json(), nullable=True),
        sa.Column("may_accredit", sa.Boolean(), nullable=False),
        sa.Column("parent_id", sa.String(length=40), nullable=True),
        sa.Column("accredited_by", sa.String(length=255), nullable=False),
        sa.Column("credential", sa.Text(), nullable=True),
        sa.Column("credential_hash", sa.String(length=64), nullable=True),
        sa.Column("valid_from", UtcDateTime(), nullable=False),
        sa.Column("valid_until", UtcDateTime(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("revoked_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["accreditations.id"], name=op.f("fk_accreditations_parent_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accreditations")),
        sa.UniqueConstraint("credential_hash", name=op.f("uq_accreditations_credential_hash")),
    )
    op.create_index(op.f("ix_accreditations_issuer_did"), "accreditations", ["issuer_did"])
    op.create_index(op.f("ix_accreditations_parent_id"), "accreditations", ["parent_id"])

    op.create_table(
        "registry_epochs",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_registry_epochs")),
    )

    op.create_table(
        "issued_credentials",
        sa.Column("id", sa.String(length=60), nullable=False),
        sa.Column("credential_type", sa.String(length=80), nullable=False),
        sa.Column("issuer_did", sa.String(length=255), nullable=False),
        sa.Column("subject_did", sa.String(length=255), nullable=True),
        sa.Column("site_id", sa.String(length=64), nullable=True),
        sa.Column("issued_by", sa.String(length=255), nullable=False),
        sa.Column("issued_at", UtcDateTime(), nullable=False),
        sa.Column("valid_from", UtcDateTime(), nullable=False),
        sa.Column("valid_until", UtcDateTime(), nullable=False),
        sa.Column("credential_hash", sa.String(length=64), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=True),
        sa.Column("commitment", sa.String(length=64), nullable=False),
        sa.Column("is_demo", sa.Boolean(), nullable=False),
        sa.Column("revoked_at", UtcDateTime(), nullable=True),
        sa.Column("suspended_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_issued_credentials")),
        sa.UniqueConstraint("credential_hash", name=op.f("uq_issued_credentials_credential_hash")),
    )
    op.create_index(op.f("ix_issued_credentials_site_id"), "issued_credentials", ["site_id"])
    op.create_index(
        op.f("ix_issued_credentials_subject_did"), "issued_credentials", ["subject_did"]
    )

    op.create_table(
        "status_lists",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("url", sa.String(length=500), nullable=False),
        sa.Column("purpose", sa.String(length=12), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("assigned", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_status_lists")),
        sa.UniqueConstraint("purpose", "number", name=op.f("uq_status_lists_purpose_number")),
        sa.UniqueConstraint("url", name=op.f("uq_status_lists_url")),
    )

    op.create_table(
        "status_entries",
        sa.Column("list_id", sa.String(length=40), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("credential_id", sa.String(length=60), nullable=False),
        sa.Column("is_set", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["list_id"], ["status_lists.id"], name=op.f("fk_status_entries_list_id")
        ),
        sa.PrimaryKeyConstraint("list_id", "position", name=op.f("pk_status_entries")),
    )
    op.create_index(op.f("ix_status_entries_credential_id"), "status_entries", ["credential_id"])


def downgrade() -> None:
    op.drop_table("status_entries")
    op.drop_table("status_lists")
    op.drop_table("issued_credentials")
    op.drop_table("registry_epochs")
    op.drop_table("accreditations")
