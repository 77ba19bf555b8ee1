"""anchors: records and their batches, the sender's transactions, leases, where contracts stand."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from backend.database import UtcDateTime

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None
LIVE = sa.text("state IN ('signed', 'sent', 'included', 'final')")


def _json() -> sa.JSON:
    return sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "anchor_batches",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("purpose", sa.String(length=8), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("checkpoint", _json(), nullable=False),
        sa.Column("sealed_at", UtcDateTime(), nullable=False),
        sa.Column("previous_hash", sa.LargeBinary(), nullable=True),
        sa.Column("header_hash", sa.LargeBinary(), nullable=True),
        sa.Column("from_at", UtcDateTime(), nullable=True),
        sa.Column("to_at", UtcDateTime(), nullable=True),
        sa.Column("wh_in", sa.BigInteger(), nullable=True),
        sa.Column("wh_out", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_anchor_batches")),
        sa.UniqueConstraint("purpose", "number", name=op.f("uq_anchor_batches_purpose_number")),
        sa.UniqueConstraint("root", name=op.f("uq_anchor_batches_root")),
    )
    op.create_table(
        "anchor_items",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("record", _json(), nullable=True),
        sa.Column("salt", sa.LargeBinary(), nullable=True),
        sa.Column("item_hash", sa.LargeBinary(), nullable=False),
        sa.Column("session_id", sa.String(length=40), nullable=True),
        sa.Column("site_id", sa.String(length=64), nullable=True),
        sa.Column("wh_in", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("wh_out", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("from_at", UtcDateTime(), nullable=True),
        sa.Column("to_at", UtcDateTime(), nullable=True),
        sa.Column("batch_id", sa.String(length=40), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("erased_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["anchor_batches.id"], name=op.f("fk_anchor_items_batch_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_anchor_items")),
        sa.UniqueConstraint("kind", "name", name=op.f("uq_anchor_items_kind_name")),
    )
    op.create_index("ix_anchor_items_batch_id_id", "anchor_items", ["batch_id", "id"])
    op.create_index(op.f("ix_anchor_items_session_id"), "anchor_items", ["session_id"])

    op.create_table(
        "chain_txs",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("subject", sa.String(length=40), nullable=False),
        sa.Column("contract", sa.String(length=40), nullable=False),
        sa.Column("address", sa.String(length=42), nullable=False),
        sa.Column("expected", sa.LargeBinary(), nullable=False),
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("genesis_hash", sa.String(length=66), nullable=False),
        sa.Column("code_hash", sa.String(length=66), nullable=False),
        sa.Column("trust", sa.String(length=16), nullable=False),
        sa.Column("signer", sa.String(length=42), nullable=False),
        sa.Column("nonce", sa.BigInteger(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("calldata", sa.LargeBinary(), nullable=True),
        sa.Column("raw_tx", sa.LargeBinary(), nullable=True),
        sa.Column("tx_hash", sa.String(length=66), nullable=True),
        sa.Column("max_fee_wei", sa.BigInteger(), nullable=False),
        sa.Column("tip_wei", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("reason", sa.String(length=300), nullable=True),
        sa.Column("block_number", sa.BigInteger(), nullable=True),
        sa.Column("block_hash", sa.String(length=66), nullable=True),
        sa.Column("gas_used", sa.BigInteger(), nullable=True),
        sa.Column("gas_price_wei", sa.BigInteger(), nullable=True),
        sa.Column("reorgs", sa.Integer(), nullable=False),
        sa.Column("signed_at", UtcDateTime(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chain_txs")),
        sa.UniqueConstraint(
            "chain_id",
            "genesis_hash",
            "signer",
            "nonce",
            "attempt",
            name=op.f("uq_chain_txs_chain_id_genesis_hash_signer_nonce_attempt"),
        ),
    )
    op.create_index(
        "uq_chain_txs_live_subject",
        "chain_txs",
        ["subject", "genesis_hash"],
        unique=True,
        sqlite_where=LIVE,
        postgresql_where=LIVE,
    )
    op.create_index("ix_chain_txs_genesis_hash_state", "chain_txs", ["genesis_hash", "state"])
    op.create_index(op.f("ix_chain_txs_subject"), "chain_txs", ["subject"])
    op.create_index(op.f("ix_chain_txs_tx_hash"), "chain_txs", ["tx_hash"])

    op.create_table(
        "sender_leases",
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("signer", sa.String(length=42), nullable=False),
        sa.Column("holder", sa.String(length=40), nullable=False),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "signer", name=op.f("pk_sender_leases")),
    )
    op.create_table(
        "contract_places",
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("genesis_hash", sa.String(length=66), nullable=False),
        sa.Column("contract", sa.String(length=40), nullable=False),
        sa.Column("address", sa.String(length=42), nullable=False),
        sa.Column("recorded_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint(
            "chain_id", "genesis_hash", "contract", name=op.f("pk_contract_places")
        ),
    )


def downgrade() -> None:
    for table in (
        "contract_places",
        "sender_leases",
        "chain_txs",
        "anchor_items",
        "anchor_batches",
    ):
        op.drop_table(table)
