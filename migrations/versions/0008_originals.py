"""Originals: rendered files on their way from a worker on another machine to the bot"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "originals",
        sa.Column("video_id", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("video_id", "sha256", name=op.f("pk_originals")),
    )
    op.create_table(
        "original_parts",
        sa.Column("video_id", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("part", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("part BETWEEN 0 AND 99", name=op.f("ck_original_parts_part")),
        sa.CheckConstraint("length(data) <= 1048576", name=op.f("ck_original_parts_data")),
        sa.ForeignKeyConstraint(
            ["video_id", "sha256"],
            ["originals.video_id", "originals.sha256"],
            name=op.f("fk_original_parts_video_id_sha256"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("video_id", "sha256", "part", name=op.f("pk_original_parts")),
    )


def downgrade() -> None:
    op.drop_table("original_parts")
    op.drop_table("originals")
