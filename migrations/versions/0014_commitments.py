"""Commitments: battles, data sets and releases on their way to the ledger, and the texts that it names by their hash"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

RowId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "battles",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("round_id", RowId, nullable=False),
        sa.Column("chain_key", sa.Text(), nullable=False),
        sa.Column("chain_id", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["round_id"], ["rounds.id"], name=op.f("fk_battles_round_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_battles")),
        sa.UniqueConstraint("chain_key", name=op.f("uq_battles_chain_key")),
    )
    op.create_index(op.f("ix_battles_round_id"), "battles", ["round_id"])
    op.create_table(
        "commitments",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("root", sa.Text(), nullable=False),
        sa.Column("parent", sa.Text(), nullable=True),
        sa.Column("meta", sa.Text(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=True),
        sa.Column("round_id", RowId, nullable=True),
        sa.Column("entry", RowId, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["round_id"], ["rounds.id"], name=op.f("fk_commitments_round_id")),
        sa.PrimaryKeyConstraint("kind", "root", name=op.f("pk_commitments")),
    )
    op.create_index(op.f("ix_commitments_entry"), "commitments", ["entry"])
    op.create_table(
        "ledger_documents",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_ledger_documents")),
    )


def downgrade() -> None:
    op.drop_table("ledger_documents")
    op.drop_table("commitments")
    op.drop_table("battles")
