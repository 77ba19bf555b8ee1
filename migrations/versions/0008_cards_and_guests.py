"""cards and guests: who a card stands for, guests' quotes and links, aliases instead of people."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from backend.database import UtcDateTime

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
IN_FORCE = sa.text("revoked_at IS NULL")


def upgrade() -> None:
    with op.batch_alter_table("sites", schema=None) as batch_op:
        batch_op.add_column(sa.Column("admission", JSON, nullable=True))
    with op.batch_alter_table("charging_sessions", schema=None) as batch_op:
        batch_op.add_column(sa.Column("proved", JSON, nullable=True))
        batch_op.add_column(sa.Column("priority_tier", sa.Integer(), nullable=True))
    _create_cards()
    _create_guests()
    op.create_table(
        "aliases",
        sa.Column("did", sa.String(length=255), nullable=False),
        sa.Column("alias", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("did", name=op.f("pk_aliases")),
        sa.UniqueConstraint("alias", name=op.f("uq_aliases_alias")),
    )
    op.create_table(
        "erasures",
        sa.Column("did_hash", sa.String(length=64), nullable=False),
        sa.Column("erased_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("did_hash", name=op.f("pk_erasures")),
    )


def _create_cards() -> None:
    op.create_table(
        "cards",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("driver_did", sa.String(length=255), nullable=False),
        sa.Column("vehicle_did", sa.String(length=255), nullable=True),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("card_hash", sa.String(length=64), nullable=False),
        sa.Column("last4", sa.String(length=4), nullable=False),
        sa.Column("rights", JSON, nullable=False),
        sa.Column("sites", JSON, nullable=True),
        sa.Column("rests_on", JSON, nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("registered_by", sa.String(length=255), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("revoked_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cards")),
    )
    op.create_index(op.f("ix_cards_driver_did"), "cards", ["driver_did"])
    op.create_index(
        "uq_cards_in_force",
        "cards",
        ["card_hash"],
        unique=True,
        sqlite_where=IN_FORCE,
        postgresql_where=IN_FORCE,
    )


def _create_guests() -> None:
    op.create_table(
        "guest_quotes",
        sa.Column("quote_hash", sa.String(length=64), nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("charger_did", sa.String(length=255), nullable=False),
        sa.Column("asked", JSON, nullable=False),
        sa.Column("tariff_id", sa.String(length=40), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("used_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["site_id"], ["sites.id"], name=op.f("fk_guest_quotes_site_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("quote_hash", name=op.f("pk_guest_quotes")),
    )
    op.create_index(op.f("ix_guest_quotes_expires_at"), "guest_quotes", ["expires_at"])
    op.create_table(
        "guest_passes",
        sa.Column("session_id", sa.String(length=40), nullable=False),
        sa.Column("link_hash", sa.String(length=64), nullable=False),
        sa.Column("link_expires_at", UtcDateTime(), nullable=False),
        sa.Column("link_used_at", UtcDateTime(), nullable=True),
        sa.Column("pass_hash", sa.String(length=64), nullable=True),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["charging_sessions.id"],
            name=op.f("fk_guest_passes_session_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_guest_passes")),
        sa.UniqueConstraint("link_hash", name=op.f("uq_guest_passes_link_hash")),
        sa.UniqueConstraint("pass_hash", name=op.f("uq_guest_passes_pass_hash")),
    )


def downgrade() -> None:
    op.drop_table("erasures")
    op.drop_table("aliases")
    op.drop_table("guest_passes")
    op.drop_index(op.f("ix_guest_quotes_expires_at"), table_name="guest_quotes")
    op.drop_table("guest_quotes")
    op.drop_index("uq_cards_in_force", table_name="cards")
    op.drop_index(op.f("ix_cards_driver_did"), table_name="cards")
    op.drop_table("cards")
    with op.batch_alter_table("charging_sessions", schema=None) as batch_op:
        batch_op.drop_column("priority_tier")
        batch_op.drop_column("proved")
    with op.batch_alter_table("sites", schema=None) as batch_op:
        batch_op.drop_column("admission")
