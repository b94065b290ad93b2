"""Tables of the community: guilds, rounds, videos, votes, what members write, and reviews."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)

from migrations.schema.base import RowId, metadata

guilds = Table(
    "guilds",
    metadata,
    Column("guild_id", BigInteger, primary_key=True, autoincrement=False),
    Column("rounds_channel_id", BigInteger, nullable=False),
    Column("set_up_by", BigInteger, nullable=False),
    Column("updated_at_ms", BigInteger, nullable=False),
)

rounds = Table(
    "rounds",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("guild_id", BigInteger, nullable=False),
    Column("number", Integer, nullable=False),  # 1, 2, 3 ... within the guild: what members read
    Column("kind", Text, nullable=False, server_default="videos"),  # RoundKind
    Column("task", Text, nullable=False),
    Column("opened_by", BigInteger, nullable=False),
    Column("channel_id", BigInteger, nullable=False),
    Column("thread_id", BigInteger),
    Column("announcement_id", BigInteger),  # the message that announced the round, edited with its result
    Column("status", Text, nullable=False),  # RoundStatus
    # The reason why the round could not be opened, or why its result is not where it should be; None without trouble.
    Column("trouble", Text),
    Column("opens_at_ms", BigInteger, nullable=False),
    Column("closes_at_ms", BigInteger, nullable=False),  # /round close moves it to "now"
    Column("winner_video_id", Text),
    Column("result_message_id", BigInteger),
    Column("chain_key", Text, nullable=False, unique=True),  # 32 bytes, hex: names the round on the ledger
    Column("chain_id", BigInteger),  # the ledger's number of the round, once it is recorded
    Column("finalized_tx", Text),
    UniqueConstraint("guild_id", "number"),
    Index(None, "guild_id", "status"),
    # For the open round and the latest one of a kind. Without the former, SQLite would use the latter for both.
    Index(None, "guild_id", "kind", "status"),
    Index(None, "guild_id", "kind", "number"),
    Index(None, "status"),
    Index(None, "status", "closes_at_ms"),
    Index(None, "closes_at_ms"),
    Index(None, "chain_id"),
    Index(None, "finalized_tx"),
)

videos = Table(
    "videos",
    metadata,
    Column("id", Text, primary_key=True),  # the interaction's id
    Column("guild_id", BigInteger, nullable=False),
    Column("round_id", RowId, ForeignKey("rounds.id"), nullable=False),
    Column("member_id", BigInteger, nullable=False),
    Column("member_name", Text, nullable=False),
    Column("prompt", Text, nullable=False),
    Column("status", Text, nullable=False),  # VideoStatus
    Column("reason", Text),  # the reason for a failure, as a sentence for the member
    Column("created_at_ms", BigInteger, nullable=False),
    Column("finished_at_ms", BigInteger),
    Column("cancel_requested", Boolean, nullable=False, default=False),
    # the rendered file
    Column("seed", BigInteger, nullable=False),
    Column("model_id", Text, nullable=False),
    Column("model_revision", Text),
    Column("release", Integer),  # the number of the release that rendered it; None: the base model alone
    Column("adapter_sha256", Text),  # of that release, hex
    Column("video_path", Text),
    Column("poster_path", Text),
    Column("sha256", Text),
    Column("size_bytes", BigInteger),
    Column("width", Integer),
    Column("height", Integer),
    Column("fps", Float),
    Column("frames", Integer),
    Column("provenance", JSON(none_as_null=True)),  # the provenance card, see docs/provenance.md
    # at the video host
    Column("asset_id", Text),
    Column("playback_id", Text),
    Column("playback_url", Text),  # mp4 or HLS, from the host's playback endpoint
    Column("page_url", Text),  # the watch page
    # on Discord
    Column("progress_channel_id", BigInteger),
    Column("progress_message_id", BigInteger),
    Column("thread_id", BigInteger),
    Column("message_id", BigInteger),
    # on the ledger
    Column("chain_key", Text, nullable=False, unique=True),
    Column("chain_id", BigInteger),
    Index(None, "round_id", "status"),
    Index(None, "member_id", "status"),
    Index(None, "message_id"),
    Index(None, "status"),
    Index(None, "guild_id", "created_at_ms"),
    Index(None, "guild_id", "member_id", "created_at_ms"),
)

votes = Table(
    "votes",
    metadata,
    Column("video_id", Text, ForeignKey("videos.id"), primary_key=True),
    Column("member_id", BigInteger, primary_key=True, autoincrement=False),
    Column("choice", SmallInteger, nullable=False),  # 0 withdrawn | 1 up | 2 down, as on the ledger
    Column("source", Text, nullable=False),  # VoteSource
    Column("cast_at_ms", BigInteger, nullable=False),
    CheckConstraint("choice BETWEEN 0 AND 2", name="choice"),
    Index(None, "member_id"),
)

# The 👍 and 👎 that the bot has seen on cards. At start, a reaction on Discord without a row here was added while the
# bot was away, and a row without a reaction on Discord was taken back. A button that was pressed meanwhile changes
# neither.
reactions = Table(
    "reactions",
    metadata,
    Column("video_id", Text, ForeignKey("videos.id"), primary_key=True),
    Column("member_id", BigInteger, primary_key=True, autoincrement=False),
    Column("choice", SmallInteger, primary_key=True, autoincrement=False),  # 1 up | 2 down
)

feedback = Table(
    "feedback",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("video_id", Text, ForeignKey("videos.id"), nullable=False),
    Column("member_id", BigInteger, nullable=False),
    Column("text", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    UniqueConstraint("video_id", "member_id"),
)

reports = Table(
    "reports",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("video_id", Text, ForeignKey("videos.id"), nullable=False),
    Column("member_id", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    UniqueConstraint("video_id", "member_id"),
)

# Members who have read what their prompts, votes and feedback train, and their choices about it.
training_choices = Table(
    "training_choices",
    metadata,
    Column("guild_id", BigInteger, primary_key=True, autoincrement=False),
    Column("member_id", BigInteger, primary_key=True, autoincrement=False),
    Column("notice_at_ms", BigInteger),  # when the notice was shown first; None for a member who has not read it
    Column("choice", Text),  # TrainingChoice; None for a member who has made none
    Column("changed_at_ms", BigInteger),
)

# Items that wait or waited for a moderator: prompts that a rule named, videos that a classifier flagged.
reviews = Table(
    "reviews",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("kind", Text, nullable=False),  # ReviewKind
    Column("video_id", Text, nullable=False),  # of a prompt: the id that its video gets once the prompt is approved
    Column("guild_id", BigInteger, nullable=False),
    Column("round_id", RowId, ForeignKey("rounds.id"), nullable=False),
    Column("member_id", BigInteger, nullable=False),
    Column("member_name", Text, nullable=False),
    Column("prompt", Text, nullable=False),
    Column("finding", Text, nullable=False),  # the reason for the review, for moderators
    Column("state", Text, nullable=False),  # ReviewState
    Column("channel_id", BigInteger),  # the channel of the prompt, in which the member is told of the decision
    Column("created_at_ms", BigInteger, nullable=False),
    Column("decided_by", BigInteger),
    Column("decided_at_ms", BigInteger),
    Column("reason", Text),
    UniqueConstraint("kind", "video_id"),
    Index(None, "guild_id", "state"),
    Index(None, "guild_id", "member_id", "state"),
)
