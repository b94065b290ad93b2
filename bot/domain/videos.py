"""A video: what a member asked for, from the queue to the voting thread."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

Status = Literal[
    "queued", "rendering", "uploading", "hosting", "posting", "published", "failed", "cancelled", "removed"
]

CANCELLABLE: tuple[Status, ...] = ("queued", "rendering", "uploading", "hosting")
UNDER_WAY: tuple[Status, ...] = (*CANCELLABLE, "posting")
OVER: tuple[Status, ...] = ("published", "failed", "cancelled", "removed")


@dataclass(frozen=True)
class Video:
    """A row of `videos`; see migrations/schema.py for what each field means."""

    id: str
    guild_id: int
    round_id: int
    member_id: int
    member_name: str
    prompt: str
    status: Status
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

    @classmethod
    def from_row(cls, row: Any) -> Self:
        """From a row that has all columns of `videos`."""
        return cls(**{field.name: getattr(row, field.name) for field in fields(cls)})

    @property
    def cancellable(self) -> bool:
        """True while a cancel button makes sense."""
        return self.status in CANCELLABLE and not self.cancel_requested

    @property
    def link(self) -> str | None:
        """Where the video is watched outside of Discord: its page, or where nobody keeps one, its file."""
        return self.page_url or self.playback_url

    @property
    def asset_name(self) -> str:
        """What the video is called at the host: its prompt, for whoever watches it there, and an id.

        It is unique, so that a repeated request finds the first one's asset.
        """
        return f"{self.prompt[:80]} · flock-{self.id}"


def chain_key(kind: Literal["round", "video"], *parts: object) -> str:
    """32 bytes, as hex, that name a round or a video on the ledger for good."""
    return hashlib.sha256(":".join(["flock", kind, *map(str, parts)]).encode()).hexdigest()


def seed_of(video_id: str) -> int:
    """The seed of a video: fixed by its id, so that a repeated render gives the same pictures. 31 bits."""
    return int.from_bytes(hashlib.sha256(video_id.encode()).digest()[:4]) >> 1
