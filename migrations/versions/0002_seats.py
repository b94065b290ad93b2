"""Seats: where a round's voters sit on the ledger, from its version 2 on"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from migrations.database import OldDatabaseError

revision = "0002"
down_revision = "0001"

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    # Its numbers, and the transactions that it counts on, are those of another contract.
    if op.get_bind().execute(sa.text("SELECT 1 FROM rounds WHERE chain_id IS NOT NULL LIMIT 1")).first() is not None:
        raise OldDatabaseError(
            "The database holds rounds of version 1 of the ledger, and this FLock writes version 2. Nothing was "
            "changed: keep it with the FLock that made it, and give this one a new database (FLOCK_DATABASE_URL) and, "
            "by `flock deploy`, a new ledger (FLOCK_LEDGER_ADDRESS)."
        )
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
