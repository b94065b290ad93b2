"""Wallets: members who sign their own ballots, what they still have to sign, and seats that only wallets may write"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "wallets",
        sa.Column("guild_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("member_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("voter_id", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("link_entry", ROW_ID, nullable=False),
        sa.Column("unlink_entry", ROW_ID, nullable=True),
        sa.PrimaryKeyConstraint("guild_id", "member_id", name=op.f("pk_wallets")),
    )
    with op.batch_alter_table("wallets", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_wallets_voter_id"), ["voter_id"], unique=False)
    op.create_table(
        "signing_requests",
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("guild_id", sa.BigInteger(), nullable=False),
        sa.Column("member_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("wallet", sa.Text(), nullable=False),
        sa.Column("round_id", ROW_ID, nullable=True),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("entry", ROW_ID, nullable=True),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("token", name=op.f("pk_signing_requests")),
    )
    with op.batch_alter_table("signing_requests", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_signing_requests_member_id"), ["member_id", "guild_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_signing_requests_entry"), ["entry"], unique=False)
    op.create_table(
        "unsigned_choices",
        sa.Column("video_id", sa.Text(), nullable=False),
        sa.Column("member_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("choice", sa.SmallInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("chosen_at_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("choice BETWEEN 0 AND 2", name=op.f("ck_unsigned_choices_choice")),
        sa.ForeignKeyConstraint(["video_id"], ["videos.id"], name=op.f("fk_unsigned_choices_video_id")),
        sa.PrimaryKeyConstraint("video_id", "member_id", name=op.f("pk_unsigned_choices")),
    )
    with op.batch_alter_table("unsigned_choices", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_unsigned_choices_member_id"), ["member_id"], unique=False)
    with op.batch_alter_table("seats", schema=None) as batch_op:
        batch_op.add_column(sa.Column("claimed", sa.Boolean(), nullable=False, server_default=sa.false()))
    with op.batch_alter_table("outbox", schema=None) as batch_op:  # a link belongs to no round
        batch_op.alter_column("round_id", existing_type=ROW_ID, nullable=True)


def downgrade() -> None:
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.alter_column("round_id", existing_type=ROW_ID, nullable=False)
    with op.batch_alter_table("seats", schema=None) as batch_op:
        batch_op.drop_column("claimed")
    op.drop_table("unsigned_choices")
    op.drop_table("signing_requests")
    op.drop_table("wallets")
