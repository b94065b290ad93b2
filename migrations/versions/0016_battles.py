"""Battle rounds: a candidate against the live model, with their pairs, videos, ballots and voters"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

RowId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    with op.batch_alter_table("rounds", schema=None) as batch_op:
        batch_op.add_column(sa.Column("kind", sa.Text(), server_default="videos", nullable=False))
    for column in ("status", "number"):
        op.create_index(op.f(f"ix_rounds_guild_id_kind_{column}"), "rounds", ["guild_id", "kind", column])
    _create_rounds()
    op.create_table(
        "battle_pairs",
        sa.Column("id", RowId, autoincrement=True, nullable=False),
        sa.Column("round_id", RowId, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("decoy", sa.Text(), nullable=True),
        sa.Column("first_is_a", sa.Boolean(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["round_id"], ["rounds.id"], name=op.f("fk_battle_pairs_round_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_battle_pairs")),
        sa.UniqueConstraint("round_id", "number", name=op.f("uq_battle_pairs_round_id_number")),
    )
    op.create_index(op.f("ix_battle_pairs_round_id_state"), "battle_pairs", ["round_id", "state"])
    op.create_table(
        "battle_videos",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("pair_id", RowId, nullable=False),
        sa.Column("is_first", sa.Boolean(), nullable=False),
        sa.Column("video_path", sa.Text(), nullable=True),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("shown_sha256", sa.Text(), nullable=True),
        sa.Column("provenance", sa.JSON(none_as_null=True), nullable=True),
        sa.ForeignKeyConstraint(["pair_id"], ["battle_pairs.id"], name=op.f("fk_battle_videos_pair_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_battle_videos")),
        sa.UniqueConstraint("pair_id", "is_first", name=op.f("uq_battle_videos_pair_id_is_first")),
    )
    _create_ballots()


def _create_rounds() -> None:
    op.create_table(
        "battle_rounds",
        sa.Column("round_id", RowId, nullable=False),
        sa.Column("candidate", sa.Text(), nullable=False),
        sa.Column("live", sa.Text(), nullable=True),
        sa.Column("candidate_model", sa.Text(), nullable=False),
        sa.Column("live_model", sa.Text(), nullable=False),
        sa.Column("registration", sa.LargeBinary(), nullable=False),
        sa.Column("salt", sa.Text(), nullable=False),
        sa.Column("ballot_battles", sa.Integer(), nullable=False),
        sa.Column("ballot_catches", sa.Integer(), nullable=False),
        sa.Column("at_close", sa.Integer(), nullable=False),
        sa.Column("catch_one_in", sa.Integer(), nullable=False),
        sa.Column("member_days", sa.Integer(), nullable=False),
        sa.Column("votes_before", sa.Integer(), nullable=False),
        sa.Column("interim", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("verdict", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("handed_on", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["round_id"], ["rounds.id"], name=op.f("fk_battle_rounds_round_id")),
        sa.PrimaryKeyConstraint("round_id", name=op.f("pk_battle_rounds")),
    )


def _create_ballots() -> None:
    op.create_table(
        "battle_ballots",
        sa.Column("pair_id", RowId, nullable=False),
        sa.Column("member_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("shown_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("choice", sa.Text(), nullable=True),
        sa.Column("cast_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("place", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["pair_id"], ["battle_pairs.id"], name=op.f("fk_battle_ballots_pair_id")),
        sa.PrimaryKeyConstraint("pair_id", "member_id", name=op.f("pk_battle_ballots")),
    )
    op.create_index(op.f("ix_battle_ballots_member_id"), "battle_ballots", ["member_id"])
    op.create_table(
        "battle_voters",
        sa.Column("round_id", RowId, nullable=False),
        sa.Column("member_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("eligible", sa.Boolean(), nullable=False),
        sa.Column("entered_at_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["round_id"], ["rounds.id"], name=op.f("fk_battle_voters_round_id")),
        sa.PrimaryKeyConstraint("round_id", "member_id", name=op.f("pk_battle_voters")),
    )


def downgrade() -> None:
    for table in ("battle_voters", "battle_ballots", "battle_videos", "battle_pairs", "battle_rounds"):
        op.drop_table(table)
    for column in ("status", "number"):
        op.drop_index(op.f(f"ix_rounds_guild_id_kind_{column}"), "rounds")
    with op.batch_alter_table("rounds", schema=None) as batch_op:
        batch_op.drop_column("kind")
