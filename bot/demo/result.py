"""The result of the demo's story, as `flock demo --json` prints it. Its keys are an interface and never change."""

from __future__ import annotations

from typing import TypedDict


class Votes(TypedDict):
    """The votes for and against one video."""

    up: int
    down: int


class RecordedVotes(TypedDict):
    """The votes on one video as the ledger has them, with the video's number there and its transactions."""

    video: int | None
    up: int
    down: int
    tx: list[str]


class VideoResult(TypedDict):
    """One video: its file, its host, its card, and its votes."""

    prompt: str
    video_path: str
    sha256: str | None
    playback_id: str | None
    playback_url: str | None
    page_url: str | None
    message_id: str
    thread_id: str
    votes: Votes
    chain: RecordedVotes


class RecordedRound(TypedDict):
    """The number of the round on the ledger, and the transaction that recorded its result."""

    round: int | None
    finalized_tx: str | None


class RoundResult(TypedDict):
    """The round, and the prompt and card of its winner."""

    number: int
    task: str
    status: str
    thread_id: str
    winner: str | None
    winner_message_id: str | None
    chain: RecordedRound


class AuditResult(TypedDict):
    """The audit's report: `votes` are those of the round that still count, `entries` all that it recomputed."""

    ok: bool
    votes: int
    batches: int
    entries: int
    digest: str
    chain_id: int
    ledger: str


class _Chapters(TypedDict, total=False):
    seconds: dict[str, float]  # by chapter; once the story is told to its end


class StoryResult(_Chapters):
    """The whole result."""

    round: RoundResult
    videos: list[VideoResult]
    audit: AuditResult
