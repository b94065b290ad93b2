"""Reverts: whom transactions were for that a block holds and that did nothing"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

RowId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "reverts",
        sa.Column("transaction_id", RowId, autoincrement=False, nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("shared", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("transaction_id", "subject", name=op.f("pk_reverts")),
    )
    op.create_index(op.f("ix_reverts_subject"), "reverts", ["subject"])


def downgrade() -> None:
    op.drop_table("reverts")
