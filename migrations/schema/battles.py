"""Tables of battle rounds: the candidate and its registration, the pairs with their videos, and who chose which."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
)

from migrations.schema.base import RowId, metadata

# Beside its row in `rounds`, of kind battle. All but the verdicts is fixed before the first vote.
battle_rounds = Table(
    "battle_rounds",
    metadata,
    Column("round_id", RowId, ForeignKey("rounds.id"), primary_key=True),
    Column("candidate", Text, nullable=False),  # hash of the candidate's adapter
    Column("live", Text),  # hash of the live release's adapter; None: the base model itself is live
    Column("candidate_model", Text, nullable=False),  # the name under which workers render with it
    Column("live_model", Text, nullable=False),
    Column("registration", LargeBinary, nullable=False),  # its hash is the round's meta on the ledger
    Column("salt", Text, nullable=False),  # hex; decides which side is which, shown after the round
    Column("ballot_battles", Integer, nullable=False),  # a member's first battles, which count together
    Column("ballot_catches", Integer, nullable=False),  # catch pairs among these
    Column("at_close", Integer, nullable=False),  # so many battles are enough once the round is closed
    Column("catch_one_in", Integer, nullable=False),  # of the pairs after those
    Column("member_days", Integer, nullable=False),  # in the server, and ...
    Column("votes_before", Integer, nullable=False),  # ... cast there before the registration: then votes count
    Column("interim", JSON(none_as_null=True)),  # the verdict on the votes so far, while the round is open
    Column("verdict", JSON(none_as_null=True)),  # the final one, once
    Column("handed_on", Boolean, nullable=False, default=False),  # the verdict, to whoever releases models
)

battle_pairs = Table(
    "battle_pairs",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("round_id", RowId, ForeignKey("rounds.id"), nullable=False),
    Column("number", Integer, nullable=False),  # 1, 2, 3 ... within the round
    Column("prompt", Text, nullable=False),
    Column("seed", BigInteger, nullable=False),  # of both videos
    # A catch pair has a right answer: one of its videos shows the prompt, the other one shows this.
    Column("decoy", Text),
    # The first side is the candidate's; of a catch pair, the video that shows the prompt.
    Column("first_is_a", Boolean, nullable=False),
    Column("state", Text, nullable=False),  # PairState
    Column("reason", Text),
    UniqueConstraint("round_id", "number"),
    Index(None, "round_id", "state"),
)

battle_videos = Table(
    "battle_videos",
    metadata,
    Column("id", Text, primary_key=True),  # digits, as of other videos: names the render job and the file
    Column("pair_id", RowId, ForeignKey("battle_pairs.id"), nullable=False),
    Column("is_first", Boolean, nullable=False),
    Column("video_path", Text),
    Column("sha256", Text),  # of the rendered file
    Column("size_bytes", BigInteger),
    Column("shown_sha256", Text),  # of what members see: the same pictures, without what names the model
    Column("provenance", JSON(none_as_null=True)),
    UniqueConstraint("pair_id", "is_first"),
)

# Who was shown what, and chose what. Only final ballots count; they are never changed.
battle_ballots = Table(
    "battle_ballots",
    metadata,
    Column("pair_id", RowId, ForeignKey("battle_pairs.id"), primary_key=True),
    Column("member_id", BigInteger, primary_key=True, autoincrement=False),
    Column("shown_at_ms", BigInteger, nullable=False),
    Column("choice", Text),  # BattleChoice; None: shown, and not answered yet
    Column("cast_at_ms", BigInteger),
    Column("place", Integer),  # of a final ballot: its place in the round's order, from 1
    Index(None, "member_id"),
)

battle_voters = Table(
    "battle_voters",
    metadata,
    Column("round_id", RowId, ForeignKey("rounds.id"), primary_key=True),
    Column("member_id", BigInteger, primary_key=True, autoincrement=False),
    Column("eligible", Boolean, nullable=False),  # as of the registration
    Column("entered_at_ms", BigInteger, nullable=False),
)
