"""Every signed transaction of a nonce is kept, since any of them may be the one that is mined"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "chain_attempts",
        sa.Column("tx", sa.Text(), nullable=False),
        sa.Column("transaction_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tx", name=op.f("pk_chain_attempts")),
    )
    with op.batch_alter_table("chain_attempts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_chain_attempts_transaction_id"), ["transaction_id"], unique=False)
    # What is underway has one attempt: the bytes of its row.
    transactions = sa.table(
        "chain_transactions",
        sa.column("id", sa.BigInteger()),
        sa.column("raw", sa.LargeBinary()),
        sa.column("hashes", sa.JSON()),
        sa.column("state", sa.Text()),
        sa.column("created_at_ms", sa.BigInteger()),
    )
    attempts = sa.table(
        "chain_attempts",
        sa.column("tx", sa.Text()),
        sa.column("transaction_id", sa.BigInteger()),
        sa.column("raw", sa.LargeBinary()),
        sa.column("created_at_ms", sa.BigInteger()),
    )
    bind = op.get_bind()
    for row in bind.execute(sa.select(transactions).where(transactions.c.state.in_(("signed", "sent")))).all():
        kept = {"tx": row.hashes[-1], "transaction_id": row.id, "raw": row.raw, "created_at_ms": row.created_at_ms}
        bind.execute(attempts.insert().values(**kept))


def downgrade() -> None:
    op.drop_table("chain_attempts")
