"""A video that a member asked for, from the queue to the voting thread."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal, Self

from migrations.states.community import VideoStatus

CANCELLABLE = (VideoStatus.QUEUED, VideoStatus.RENDERING, VideoStatus.UPLOADING, VideoStatus.HOSTING)
UNDER_WAY = (*CANCELLABLE, VideoStatus.POSTING)
OVER = (VideoStatus.PUBLISHED, VideoStatus.FAILED, VideoStatus.CANCELLED, VideoStatus.REMOVED)


@dataclass(frozen=True)
class QueuePlace:
    """The place of a video in the queue, and the seconds until it is likely to be rendered.

    No figure is given before the first render of a model has been timed: it would be a guess.
    """

    ahead: int
    estimate_s: float | None
    served: bool = True  # a worker renders with the video's model


@dataclass(frozen=True)
class Video:
    """A row of `videos`; migrations/schema/community.py explains the fields."""

    id: str
    guild_id: int
    round_id: int
    member_id: int
    member_name: str
    prompt: str
    status: VideoStatus
    reason: str | None
    created_at_ms: int
    finished_at_ms: int | None
    cancel_requested: bool
    seed: int
    model_id: str
    model_revision: str | None
    video_path: str | None
    poster_path: str | None
    sha256: str | None
    size_bytes: int | None
    width: int | None
    height: int | None
    fps: float | None
    frames: int | None
    asset_id: str | None
    playback_id: str | None
    playback_url: str | None
    page_url: str | None
    progress_channel_id: int | None
    progress_message_id: int | None
    thread_id: int | None
    message_id: int | None
    chain_key: str
    chain_id: int | None
    provenance: Mapping[str, object] | None = None

    @classmethod
    def from_row(cls, row: object) -> Self:
        """Return the video in a row that has all columns of `videos`."""
        values = {field.name: getattr(row, field.name) for field in fields(cls)}
        return cls(**{**values, "status": VideoStatus(values["status"])})

    @property
    def cancellable(self) -> bool:
        """True while a cancel button makes sense."""
        return self.status in CANCELLABLE and not self.cancel_requested

    @property
    def link(self) -> str | None:
        """The address for watching the video outside of Discord: its page, or its file at hosts without pages."""
        return self.page_url or self.playback_url

    @property
    def asset_name(self) -> str:
        """The name of the video at the host: its prompt, for whoever watches it there, and its id.

        The name is unique, so that a repeated request finds the asset of the first request.
        """
        return f"{self.prompt[:80]} · flock-{self.id}"


def chain_key(kind: Literal["round", "video"], *parts: object) -> str:
    """Return the 32 bytes, as hex, that name a round or a video on the ledger for good."""
    return hashlib.sha256(":".join(["flock", kind, *map(str, parts)]).encode()).hexdigest()


def seed_of(video_id: str) -> int:
    """Return the seed of a video, 31 bits. Its id fixes it, so that a repeated render gives the same pictures."""
    return int.from_bytes(hashlib.sha256(video_id.encode()).digest()[:4]) >> 1
