"""Releases: candidates and releases of a model, their adapters' files, and the release that rendered a video"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

RowId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "candidates",
        sa.Column("id", RowId, autoincrement=True, nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("base_revision", sa.Text(), nullable=False),
        sa.Column("parent", sa.Integer(), nullable=True),
        sa.Column("data_root", sa.Text(), nullable=False),
        sa.Column("data_votes", sa.Integer(), nullable=True),
        sa.Column("data_rounds", sa.Integer(), nullable=True),
        sa.Column("recipe", sa.JSON(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("adapter_sha256", sa.Text(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("machine", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("registration", sa.Text(), nullable=True),
        sa.Column("battle_round_id", RowId, nullable=True),
        sa.Column("verdict", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("begun_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("made_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("decided_at_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["battle_round_id"], ["rounds.id"], name=op.f("fk_candidates_battle_round_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_candidates")),
    )
    op.create_index(op.f("ix_candidates_model_id_state"), "candidates", ["model_id", "state"])
    op.create_index(op.f("ix_candidates_adapter_sha256"), "candidates", ["adapter_sha256"])
    op.create_table(
        "releases",
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("candidate_id", RowId, nullable=False),
        sa.Column("adapter_sha256", sa.Text(), nullable=False),
        sa.Column("parent", sa.Integer(), nullable=True),
        sa.Column("registration", sa.Text(), nullable=True),
        sa.Column("battle_round_id", RowId, nullable=True),
        sa.Column("manifest_sha256", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("made_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("rolled_back_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("rolled_back_by", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["battle_round_id"], ["rounds.id"], name=op.f("fk_releases_battle_round_id")),
        sa.ForeignKeyConstraint(["candidate_id"], ["candidates.id"], name=op.f("fk_releases_candidate_id")),
        sa.PrimaryKeyConstraint("model_id", "number", name=op.f("pk_releases")),
        sa.UniqueConstraint("candidate_id", name=op.f("uq_releases_candidate_id")),
    )
    op.create_index(op.f("ix_releases_model_id_state"), "releases", ["model_id", "state"])
    op.create_table(
        "adapters",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("offered_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_adapters")),
    )
    op.create_table(
        "adapter_parts",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("part", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("part BETWEEN 0 AND 1023", name=op.f("ck_adapter_parts_part")),
        sa.CheckConstraint("length(data) <= 1048576", name=op.f("ck_adapter_parts_data")),
        sa.ForeignKeyConstraint(
            ["sha256"], ["adapters.sha256"], name=op.f("fk_adapter_parts_sha256"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("sha256", "part", name=op.f("pk_adapter_parts")),
    )
    op.create_table(
        "learning_pauses",
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("paused_by", sa.BigInteger(), nullable=False),
        sa.Column("paused_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("model_id", name=op.f("pk_learning_pauses")),
    )
    with op.batch_alter_table("videos", schema=None) as batch_op:
        batch_op.add_column(sa.Column("release", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("adapter_sha256", sa.Text(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("videos", schema=None) as batch_op:
        batch_op.drop_column("adapter_sha256")
        batch_op.drop_column("release")
    for table in ("learning_pauses", "adapter_parts", "adapters", "releases", "candidates"):
        op.drop_table(table)
