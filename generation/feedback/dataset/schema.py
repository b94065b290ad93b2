"""The tables of a data set: each column with its type, and its meaning, unit and source in a sentence.

docs/dataset.md shows the same words; its test compares them. A column is never renamed: a new one is added.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FORMAT = "flock-dataset/1"

ColumnType = Literal["string", "int32", "int64", "float64", "list<string>"]


@dataclass(frozen=True)
class Column:
    """One column. It may be empty (null) where its meaning says so."""

    name: str
    type: ColumnType
    meaning: str


@dataclass(frozen=True)
class Table:
    """One table. A table with splits is a file for each; one without is a single file, of the split `train`."""

    name: str
    meaning: str
    sort: tuple[str, ...]
    columns: tuple[Column, ...]
    has_splits: bool = True


VIDEO = Column("video", "string", "The video's key on the ledger: 64 hex digits.")
ROUND = Column("round", "string", "The key of its round on the ledger: 64 hex digits.")
PROMPT = Column("prompt", "string", "The member's words, as the model received them.")
PROMPT_ID = Column("prompt_id", "string", "16 hex digits that near duplicates of a prompt share.")
VOTER = Column("voter", "string", "The voter's pseudonym in this data set alone: 16 hex digits.")

VIDEOS = Table(
    "videos",
    "One row for each video.",
    ("video",),
    (
        VIDEO,
        ROUND,
        Column("round_number", "int32", "The number of the round, as members read it."),
        PROMPT,
        PROMPT_ID,
        Column("seed", "int64", "The seed of the noise. It fixes the noise, with the settings and the revision."),
        Column("model", "string", "The id of the model in the community's settings."),
        Column("model_source", "string", "The model's repository; null for one in a folder."),
        Column("model_revision", "string", "The exact weights: the model's revision, adapters included."),
        Column("model_license", "string", "The licence of the model that made the video; null where nobody wrote it."),
        Column("release", "string", "The community's release that rendered; null for the base model."),
        Column("settings", "string", "Everything that changes pixels, as JSON: see docs/provenance.md."),
        Column("card", "string", "The provenance card as JSON, for `flock rerender`; null from the oldest workers."),
        Column("mp4_sha256", "string", "SHA-256 of the mp4 that was rendered, as on the ledger."),
        Column("frames_sha256", "string", "SHA-256 of the frames as the model gave them; null without a card."),
        Column("latents_sha256", "string", "SHA-256 of the kept final latents; null where none were kept."),
        Column("motion", "float64", "Mean change of brightness from frame to frame, 0 to 1; null if not measured."),
        Column("motion_source", "string", "`frames` (by the worker, before encoding) or `file` (from the mp4)."),
        Column("up", "int32", "Votes up, of the voters in this data set."),
        Column("down", "int32", "Votes down, of the voters in this data set."),
        Column("share", "float64", "The shrunk share of ups: (up + 2 m) / (up + down + 2), m that of the round."),
        Column("raw_score", "float64", "2 (share - m), from -2 to 2."),
        Column("score", "float64", "raw_score less the mean of its prompt; of a lone video, less the mean of all."),
        Column("weighted_score", "float64", "As score, each vote weighted by its voter's reliability (0 if negative)."),
        Column("prompt_videos", "int32", "The number of videos of the same prompt_id in this data set."),
    ),
)
PAIRS = Table(
    "pairs",
    "One row for two videos of one prompt that can be compared.",
    ("video_a", "video_b", "source"),
    (
        PROMPT_ID,
        PROMPT,
        ROUND,
        Column("video_a", "string", "The first video's key; the smaller of the two."),
        Column("video_b", "string", "The second video's key."),
        Column("source", "string", "`thumbs` (votes on each, in one round) or `battle` (the two side by side)."),
        Column("label", "float64", "The probability that video_a is preferred, 0 to 1."),
        Column("a", "int32", "Of thumbs: votes up of video_a. Of battles: those that it won."),
        Column("b", "int32", "The same of video_b."),
        Column("a_down", "int32", "Of thumbs: votes down of video_a. Of battles: 0."),
        Column("b_down", "int32", "The same of video_b."),
        Column("ties", "int32", "Battles that ended in a tie."),
        Column("both_bad", "int32", "Battles of which the voter found both videos bad."),
    ),
)
VOTES = Table(
    "votes",
    "One row for each voter and video: a vote, feedback, or both.",
    ("video", "voter"),
    (
        VOTER,
        VIDEO,
        Column("choice", "string", "`up` or `down`; null for feedback without a vote."),
        Column("reasons", "list<string>", "The reasons that the voter chose from those offered; empty without any."),
        Column("feedback", "string", "The voter's words, written after they had read the notice; null without any."),
    ),
)
VOTERS = Table(
    "voters",
    "One row for each voter, estimated from the votes of the training split alone.",
    ("voter",),
    (
        VOTER,
        Column("votes", "int32", "Votes of the voter in the training split."),
        Column("ups", "int32", "Those of them that are up."),
        Column("up_of_good", "float64", "The estimated probability that the voter says up of a good video."),
        Column("up_of_bad", "float64", "The estimated probability that the voter says up of a bad video."),
        Column("reliability", "float64", "up_of_good - up_of_bad, from -1 to 1; 0 is as good as a coin."),
    ),
    has_splits=False,
)
TABLES = (VIDEOS, PAIRS, VOTES, VOTERS)
