"""Tables of the learning loop: candidates, releases, the files of their adapters, and models whose loop is paused."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
)

from migrations.schema.base import RowId, metadata

# Adapters (LoRA) that were tuned on votes, from the beginning of their training on.
candidates = Table(
    "candidates",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("model_id", Text, nullable=False),
    Column("base_revision", Text, nullable=False),  # of the model without any release
    Column("parent", Integer),  # the number of the release that it continues; None: the base model
    Column("data_root", Text, nullable=False),  # root of the data set, 64 hex digits
    Column("data_votes", Integer),  # the number of votes in the data set, and of rounds that they were cast in
    Column("data_rounds", Integer),
    Column("recipe", JSON, nullable=False),  # all that repeats the tuning, beside data set and seed
    Column("seed", BigInteger, nullable=False),
    Column("adapter_sha256", Text),  # of the adapter's file, hex, once it is made
    Column("size_bytes", BigInteger),
    Column("machine", Text),  # the machine that made the file
    Column("state", Text, nullable=False),  # CandidateState
    Column("reason", Text),  # the reason for the state, as a sentence for moderators
    Column("registration", Text),  # SHA-256 of the registration of its battle round
    Column("battle_round_id", RowId, ForeignKey("rounds.id")),
    Column("verdict", JSON(none_as_null=True)),  # of the release gate on the battle
    Column("begun_at_ms", BigInteger, nullable=False),
    Column("made_at_ms", BigInteger),
    Column("decided_at_ms", BigInteger),  # when it was released, lost, rejected or withdrawn
    Index(None, "model_id", "state"),
    Index(None, "adapter_sha256"),
)

# Candidates that won their battle and were released. Rows are never deleted: videos name their releases by number.
releases = Table(
    "releases",
    metadata,
    Column("model_id", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),  # 1, 2, 3 ... of the model
    Column("candidate_id", RowId, ForeignKey("candidates.id"), nullable=False),
    Column("adapter_sha256", Text, nullable=False),
    Column("parent", Integer),  # the release that was live before it; None: the base model
    Column("registration", Text),  # SHA-256 of the registration of its battle round
    Column("battle_round_id", RowId, ForeignKey("rounds.id")),
    Column("manifest_sha256", Text),  # root of its commitment on the ledger, once its manifest is entered
    Column("state", Text, nullable=False),  # ReleaseState
    Column("made_at_ms", BigInteger, nullable=False),
    Column("rolled_back_at_ms", BigInteger),
    Column("rolled_back_by", BigInteger),  # the moderator
    UniqueConstraint("candidate_id"),
    Index(None, "model_id", "state"),
)

# An adapter's file on its way: from the bot to workers that render with it, or from the worker that made it to the bot.
# So goes the list of examples that a training learns from, until the training is over.
# Parts may be written while the row exists; the parts are deleted together with the row.
adapters = Table(
    "adapters",
    metadata,
    Column("sha256", Text, primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("offered_at_ms", BigInteger, nullable=False),
)

adapter_parts = Table(
    "adapter_parts",
    metadata,
    Column("sha256", Text, primary_key=True),
    Column("part", Integer, primary_key=True, autoincrement=False),  # 0, 1, 2 ...; each of 1 MiB but the last
    Column("data", LargeBinary, nullable=False),
    ForeignKeyConstraint(["sha256"], ["adapters.sha256"], ondelete="CASCADE"),
    CheckConstraint("part BETWEEN 0 AND 1023", name="part"),
    CheckConstraint("length(data) <= 1048576", name="data"),
)

# The models of which nothing is trained, battled or released by itself for now.
learning_pauses = Table(
    "learning_pauses",
    metadata,
    Column("model_id", Text, primary_key=True),
    Column("paused_by", BigInteger, nullable=False),
    Column("paused_at_ms", BigInteger, nullable=False),
)
