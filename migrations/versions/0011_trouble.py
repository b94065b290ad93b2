"""Trouble: why a round could not be opened, or why its result is not posted"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    with op.batch_alter_table("rounds", schema=None) as batch_op:
        batch_op.add_column(sa.Column("trouble", sa.Text(), nullable=True))
    # Rounds that close soon, and those that closed lately with something left to do, are looked for all the time.
    op.create_index(op.f("ix_rounds_status_closes_at_ms"), "rounds", ["status", "closes_at_ms"])
    op.create_index(op.f("ix_rounds_closes_at_ms"), "rounds", ["closes_at_ms"])


def downgrade() -> None:
    op.drop_index(op.f("ix_rounds_closes_at_ms"), "rounds")
    op.drop_index(op.f("ix_rounds_status_closes_at_ms"), "rounds")
    with op.batch_alter_table("rounds", schema=None) as batch_op:
        batch_op.drop_column("trouble")
