"""Seats: where a round's voters sit on the ledger"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "seats",
        sa.Column("round_id", ROW_ID, nullable=False),
        sa.Column("voter_id", sa.Text(), nullable=False),
        sa.Column("seat", sa.BigInteger(), nullable=False),
        sa.Column("transaction_id", ROW_ID, nullable=True),
        sa.ForeignKeyConstraint(["round_id"], ["rounds.id"], name=op.f("fk_seats_round_id")),
        sa.PrimaryKeyConstraint("round_id", "voter_id", name=op.f("pk_seats")),
        sa.UniqueConstraint("round_id", "seat", name=op.f("uq_seats_round_id_seat")),
    )


def downgrade() -> None:
    op.drop_table("seats")
