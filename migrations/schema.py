"""Every table of FLock, as SQLAlchemy Core. Times are integer milliseconds since the Unix epoch (UTC).

Discord ids are snowflakes (64 bits). A video's id is the id of the `/prompt` interaction that asked for it,
as text: it is also the id of its durable workflow, so the same interaction can never make two videos.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    false,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows only where the key is exactly INTEGER; PostgreSQL then needs the wide kind.
RowId = BigInteger().with_variant(Integer, "sqlite")

# --------------------------------------------------------------------------- the community

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
    Column("task", Text, nullable=False),
    Column("opened_by", BigInteger, nullable=False),
    Column("channel_id", BigInteger, nullable=False),
    Column("thread_id", BigInteger),
    Column("announcement_id", BigInteger),  # the message that announced the round, edited with its result
    # opening | open | closed. Earlier versions wrote `closing` between the deadline and the post of the result
    Column("status", Text, nullable=False),
    # Why it could not be opened, or why its result is not where it should be; None when nothing is in the way.
    Column("trouble", Text),
    Column("opens_at_ms", BigInteger, nullable=False),
    Column("closes_at_ms", BigInteger, nullable=False),  # moved to "now" by /round close
    Column("winner_video_id", Text),
    Column("result_message_id", BigInteger),
    Column("chain_key", Text, nullable=False, unique=True),  # 32 bytes, hex: names the round on the ledger
    Column("chain_id", BigInteger),  # the ledger's number of the round, once it is recorded
    Column("finalized_tx", Text),
    UniqueConstraint("guild_id", "number"),
    Index(None, "guild_id", "status"),
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
    # queued | rendering | uploading | hosting | posting | published | failed | cancelled | removed
    Column("status", Text, nullable=False),
    Column("reason", Text),  # why it failed, as a sentence for the member
    Column("created_at_ms", BigInteger, nullable=False),
    Column("finished_at_ms", BigInteger),
    Column("cancel_requested", Boolean, nullable=False, default=False),
    # what was rendered
    Column("seed", BigInteger, nullable=False),
    Column("model_id", Text, nullable=False),
    Column("model_revision", Text),
    Column("video_path", Text),
    Column("poster_path", Text),
    Column("sha256", Text),
    Column("size_bytes", BigInteger),
    Column("width", Integer),
    Column("height", Integer),
    Column("fps", Float),
    Column("frames", Integer),
    Column("provenance", JSON(none_as_null=True)),  # its card, see docs/provenance.md
    # where it is hosted
    Column("asset_id", Text),
    Column("playback_id", Text),
    Column("playback_url", Text),  # mp4 or HLS, from the host's playback endpoint
    Column("page_url", Text),  # the watch page
    # where it was posted
    Column("progress_channel_id", BigInteger),
    Column("progress_message_id", BigInteger),
    Column("thread_id", BigInteger),
    Column("message_id", BigInteger),
    # where it is recorded
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
    # button | reaction | wallet: a reaction's removal withdraws only its own vote
    Column("source", Text, nullable=False),
    Column("cast_at_ms", BigInteger, nullable=False),
    CheckConstraint("choice BETWEEN 0 AND 2", name="choice"),
    Index(None, "member_id"),
)

# The 👍 and 👎 that we have seen on cards. What stands on Discord at start and is not here was done while the bot
# was away, and what is here and no longer stands was taken back; a button pressed meanwhile changes neither.
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

# What waits for a moderator, or did: prompts that a rule named, videos that a classifier flagged.
reviews = Table(
    "reviews",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("kind", Text, nullable=False),  # prompt | video
    Column("video_id", Text, nullable=False),  # of a prompt, the id that its video gets when it is approved
    Column("guild_id", BigInteger, nullable=False),
    Column("round_id", RowId, ForeignKey("rounds.id"), nullable=False),
    Column("member_id", BigInteger, nullable=False),
    Column("member_name", Text, nullable=False),
    Column("prompt", Text, nullable=False),
    Column("finding", Text, nullable=False),  # what was found, for moderators
    # blocked (nobody was asked yet) -> waiting -> approved | rejected | over (nobody wants it any more)
    Column("state", Text, nullable=False),
    Column("channel_id", BigInteger),  # where the member asked, and is told
    Column("created_at_ms", BigInteger, nullable=False),
    Column("decided_by", BigInteger),
    Column("decided_at_ms", BigInteger),
    Column("reason", Text),
    UniqueConstraint("kind", "video_id"),
    Index(None, "guild_id", "state"),
    Index(None, "guild_id", "member_id", "state"),
)

# --------------------------------------------------------------------------- generation

render_progress = Table(
    "render_progress",
    metadata,
    Column("video_id", Text, primary_key=True),
    Column("phase", Text, nullable=False),  # loading | denoising | encoding | uploading
    Column("step", Integer, nullable=False),
    Column("steps", Integer, nullable=False),
    Column("eta_s", Float),
    Column("worker_id", Text, nullable=False),
    Column("updated_at_ms", BigInteger, nullable=False),
)

render_timings = Table(
    "render_timings",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("model_id", Text, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("finished_at_ms", BigInteger, nullable=False),
    Index(None, "model_id", "finished_at_ms"),
)

upload_urls = Table(
    "upload_urls",
    metadata,
    Column("asset_id", Text, primary_key=True),
    Column("url", Text, nullable=False),  # the TUS Location: a secret of its own, never logged
    Column("created_at_ms", BigInteger, nullable=False),
)

# A file that the bot waits for, from a worker elsewhere: while its row stands its parts may come, and with it they go.
originals = Table(
    "originals",
    metadata,
    Column("video_id", Text, primary_key=True),
    Column("sha256", Text, primary_key=True),
    Column("created_at_ms", BigInteger, nullable=False),
)

original_parts = Table(
    "original_parts",
    metadata,
    Column("video_id", Text, primary_key=True),
    Column("sha256", Text, primary_key=True),
    Column("part", Integer, primary_key=True, autoincrement=False),  # 0, 1, 2 ...; each of 1 MiB but the last
    Column("data", LargeBinary, nullable=False),
    ForeignKeyConstraint(["video_id", "sha256"], ["originals.video_id", "originals.sha256"], ondelete="CASCADE"),
    CheckConstraint("part BETWEEN 0 AND 99", name="part"),
    CheckConstraint("length(data) <= 1048576", name="data"),
)

executor_leases = Table(
    "executor_leases",
    metadata,
    Column("executor_id", Text, primary_key=True),
    Column("role", Text, nullable=False),  # bot | worker
    Column("queues", JSON, nullable=False),  # the names of those that it serves
    Column("beat_at_ms", BigInteger, nullable=False),  # by the database's clock
)

workers = Table(  # what each worker tells of itself; who is alive is told by executor_leases
    "workers",
    metadata,
    Column("executor_id", Text, primary_key=True),
    Column("machine", Text, nullable=False),
    Column("model_class", Text, nullable=False),
    Column("model_id", Text, nullable=False),
    Column("model_revision", Text, nullable=False),
    Column("device", Text, nullable=False),
    Column("gpu_mib", Integer),
    Column("memory_mode", Text, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
)

workflow_attempts = Table(
    "workflow_attempts",
    metadata,
    Column("workflow_id", Text, primary_key=True),
    Column("attempts", Integer, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),  # reaper | relayer
    Column("owner", Text, nullable=False),
    Column("until_ms", BigInteger, nullable=False),  # by the database's clock
)

# --------------------------------------------------------------------------- the ledger

voters = Table(
    "voters",
    metadata,
    Column("voter_id", Text, primary_key=True),  # HMAC of guild and member under the pepper, 32 bytes, hex
    Column("voter_index", BigInteger),  # the ledger's number, once registered
    Index(None, "voter_index"),
)

seats = Table(
    "seats",
    metadata,
    Column("round_id", RowId, ForeignKey("rounds.id"), primary_key=True),
    Column("voter_id", Text, primary_key=True),
    Column("seat", BigInteger, nullable=False),  # the ledger's number within the round, from 0
    Column("transaction_id", RowId),  # the batch that gave it, where it was ours
    Column("claimed", Boolean, nullable=False, default=False, server_default=false()),  # only the wallet writes it now
    UniqueConstraint("round_id", "seat"),
)

# A member's wallet. How far it is follows from the entries: linked once `link_entry` is final, until `unlink_entry` is.
wallets = Table(
    "wallets",
    metadata,
    Column("guild_id", BigInteger, primary_key=True, autoincrement=False),
    Column("member_id", BigInteger, primary_key=True, autoincrement=False),
    Column("voter_id", Text, nullable=False),
    Column("address", Text, nullable=False),  # checksummed
    Column("link_entry", RowId, nullable=False),  # of the outbox
    Column("unlink_entry", RowId),
    Index(None, "voter_id"),
    Index(None, "address"),
)

# What a member was asked to sign. The token is the only secret of the page on which they do.
signing_requests = Table(
    "signing_requests",
    metadata,
    Column("token", Text, primary_key=True),
    Column("guild_id", BigInteger, nullable=False),
    Column("member_id", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),  # link | unlink | ballot
    Column("wallet", Text, nullable=False),  # who has to sign, checksummed
    Column("round_id", RowId),  # kind ballot
    Column("content", JSON, nullable=False),  # nonce, deadline; of a ballot the choices
    Column("entry", RowId),  # of the outbox, once it is signed
    Column("created_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
    Index("ix_signing_requests_member_id", "member_id", "guild_id"),
    Index(None, "entry"),
)

# What a member with a wallet has chosen and not signed yet: it counts nowhere.
unsigned_choices = Table(
    "unsigned_choices",
    metadata,
    Column("video_id", Text, ForeignKey("videos.id"), primary_key=True),
    Column("member_id", BigInteger, primary_key=True, autoincrement=False),
    Column("choice", SmallInteger, nullable=False),  # 0 withdrawn | 1 up | 2 down
    Column("source", Text, nullable=False),  # button | reaction
    Column("chosen_at_ms", BigInteger, nullable=False),
    CheckConstraint("choice BETWEEN 0 AND 2", name="choice"),
    Index(None, "member_id"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    # round | video | vote | close | link | unlink | ballot (a signed one) | signed (a choice of a ballot)
    Column("kind", Text, nullable=False),
    Column("round_id", RowId),  # none for link and unlink
    Column("video_id", Text),  # kinds video, vote and signed
    Column("voter_id", Text),  # all kinds but round, video and close
    Column("choice", SmallInteger),  # kinds vote and signed: 0 withdrawn | 1 up | 2 down
    Column("payload", JSON, nullable=False),  # what is recorded; of kind signed, whose ballot it is part of
    # pending -> batched -> final; a vote that a later one of the same voter overtook is superseded;
    # an entry that the contract refuses is rejected, with its reason
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("transaction_id", RowId),
    Column("created_at_ms", BigInteger, nullable=False),
    Index(None, "state", "kind"),
    Index(None, "video_id", "voter_id"),
    Index(None, "round_id", "state"),
    Index(None, "transaction_id"),
    # The oldest that waits, of a kind: PostgreSQL would walk the key of the table over all that is final. SQLite's
    # index of state and kind is in the order of the id anyway.
    Index(None, "state", "kind", "id", info={"only": "postgresql"}).ddl_if(dialect="postgresql"),
)

chain_transactions = Table(
    "chain_transactions",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    # round | video | voters | votes | close | finalize | link | unlink | claim | ballot
    Column("kind", Text, nullable=False),
    Column("round_id", RowId),
    Column("seq", BigInteger),  # kind votes: the batch's place in the ledger's strict order
    Column("sender", Text, nullable=False),  # the account whose nonce it is
    Column("nonce", BigInteger, nullable=False),
    Column("raw", LargeBinary, nullable=False),  # the signed bytes, stored before they are first sent
    Column("hashes", JSON, nullable=False),  # every hash that this nonce was ever sent under
    Column("state", Text, nullable=False),  # signed | sent | final | reverted
    Column("block_number", BigInteger),
    Column("block_hash", Text),
    Column("gas_used", BigInteger),
    Column("digest", Text),  # kind votes: the ledger's rolling digest after this batch
    Column("created_at_ms", BigInteger, nullable=False),
    Column("final_at_ms", BigInteger),
    UniqueConstraint("sender", "nonce"),
    UniqueConstraint("seq"),
    Index(None, "state"),
    Index(None, "kind", "round_id"),
)

chain_attempts = Table(
    "chain_attempts",
    metadata,
    Column("tx", Text, primary_key=True),  # its hash
    Column("transaction_id", RowId, nullable=False),  # the row of its nonce: one of its attempts may be mined
    Column("raw", LargeBinary, nullable=False),  # the signed bytes, stored before they are first sent
    Column("created_at_ms", BigInteger, nullable=False),
    Index(None, "transaction_id"),
)

# Whom a transaction that was mined and did nothing was for (`relayer.reverts`): an entry, a voter, a seat, a close.
reverts = Table(
    "reverts",
    metadata,
    Column("transaction_id", RowId, primary_key=True, autoincrement=False),
    Column("subject", Text, primary_key=True),
    Column("shared", Integer, nullable=False),  # how many subjects the transaction had
    Index(None, "subject"),
)
