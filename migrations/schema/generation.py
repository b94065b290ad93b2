"""Tables of generation: progress and timings of renders, uploads, workers and leases."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
)

from migrations.schema.base import RowId, metadata

render_progress = Table(
    "render_progress",
    metadata,
    Column("video_id", Text, primary_key=True),
    Column("phase", Text, nullable=False),  # loading, denoising, encoding or uploading
    Column("step", Integer, nullable=False),
    Column("steps", Integer, nullable=False),
    Column("eta_s", Float),
    Column("worker_id", Text, nullable=False),
    Column("updated_at_ms", BigInteger, nullable=False),
    # The prompt's words that the model knows, as generation/prompt_words.py has them; None where it does not tell.
    Column("words", JSON(none_as_null=True)),
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
    Column("url", Text, nullable=False),  # the TUS Location: a secret in itself, never logged
    Column("created_at_ms", BigInteger, nullable=False),
)

# A file that the bot expects from a worker on another machine. A worker may write parts of the file while the row
# exists; the parts are deleted together with the row.
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
    Column("role", Text, nullable=False),  # bot or worker
    Column("queues", JSON, nullable=False),  # the names of the queues that the process serves
    Column("beat_at_ms", BigInteger, nullable=False),  # by the database's clock
)

# The facts that each worker gives about itself. `executor_leases` tells which workers are alive.
workers = Table(
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
