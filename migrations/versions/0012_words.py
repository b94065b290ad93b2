"""Words: which of a prompt's words the model knows"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    with op.batch_alter_table("render_progress", schema=None) as batch_op:
        batch_op.add_column(sa.Column("words", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("render_progress", schema=None) as batch_op:
        batch_op.drop_column("words")
