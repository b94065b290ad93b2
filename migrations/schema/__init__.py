"""Every table of FLock, as SQLAlchemy Core. Times are integer milliseconds since the Unix epoch (UTC).

Discord ids are snowflakes (64 bits). The id of a video is the id of the `/prompt` interaction that asked for it, as
text. It is also the id of the video's durable workflow, so that the same interaction can never make two videos.
"""

from __future__ import annotations

from migrations.schema.base import metadata
from migrations.schema.battles import battle_ballots, battle_pairs, battle_rounds, battle_videos, battle_voters
from migrations.schema.community import (
    feedback,
    guilds,
    reactions,
    reports,
    reviews,
    rounds,
    training_choices,
    videos,
    votes,
)
from migrations.schema.generation import (
    executor_leases,
    leases,
    original_parts,
    originals,
    render_progress,
    render_timings,
    upload_urls,
    workers,
    workflow_attempts,
)
from migrations.schema.learning import adapter_parts, adapters, candidates, learning_pauses, releases
from migrations.schema.ledger import (
    battles,
    chain_attempts,
    chain_transactions,
    commitments,
    ledger_documents,
    outbox,
    reverts,
    seats,
    signing_requests,
    unsigned_choices,
    voters,
    wallets,
)

__all__ = [
    "adapter_parts",
    "adapters",
    "battle_ballots",
    "battle_pairs",
    "battle_rounds",
    "battle_videos",
    "battle_voters",
    "battles",
    "candidates",
    "chain_attempts",
    "chain_transactions",
    "commitments",
    "executor_leases",
    "feedback",
    "guilds",
    "learning_pauses",
    "leases",
    "ledger_documents",
    "metadata",
    "original_parts",
    "originals",
    "outbox",
    "reactions",
    "releases",
    "render_progress",
    "render_timings",
    "reports",
    "reverts",
    "reviews",
    "rounds",
    "seats",
    "signing_requests",
    "training_choices",
    "unsigned_choices",
    "upload_urls",
    "videos",
    "voters",
    "votes",
    "wallets",
    "workers",
    "workflow_attempts",
]
