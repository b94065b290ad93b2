"""The words that every video host answers to: upload tickets, assets, playback, and what can go wrong.

    HostError                 anything below; str() is a sentence that holds no key and no secret address
    ├── HostUnreachable       no answer, a 5xx, or a page where JSON was due: ask again later
    ├── HostBusy              429: ask again after `retry_after` seconds (None: the host did not say)
    ├── HostRejected          4xx, with the host's own `sentences`: asking again changes nothing
    │   ├── AssetMissing      the host knows no such asset (404)
    │   └── AlreadyUploaded   the asset has its bytes already (422)
    ├── UploadGone            the upload's address is no longer known: ask for a new ticket
    ├── AssetFailed           the host gave up on the video, with its `reason`
    └── NotReady              not playable within the time allowed; `phase` says where it stands

A failure of the local file is an OSError, as everywhere.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal, Protocol, Self, get_args

Phase = Literal["uploading", "waiting", "processing", "ready", "failed", "deleting", "deleted"]
PHASES: tuple[Phase, ...] = get_args(Phase)


class HostError(Exception):
    """The video host did not do what it was asked to."""

    retryable: ClassVar[bool] = False


class HostUnreachable(HostError):  # noqa: N818 - named for what happened, as its siblings are
    """The video host cannot be reached, or is out of order."""

    retryable = True


class HostBusy(HostError):  # noqa: N818 - as above
    """The video host has too much to do."""

    retryable = True

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class HostRejected(HostError):  # noqa: N818 - as above
    """The video host refuses the request."""

    def __init__(self, message: str, *, status: int, sentences: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.sentences = tuple(sentences)


class AssetMissing(HostRejected):
    """The video host knows no such asset."""


class AlreadyUploaded(HostRejected):
    """The asset has its bytes already; its phase tells how far it got."""


class UploadGone(HostError):  # noqa: N818 - as above
    """The upload is no longer known to the host; it begins again with a new ticket.

    A host may also forget an upload that is complete: look at the asset's phase first.
    """


class AssetFailed(HostError):  # noqa: N818 - as above
    """The host could not make a playable video of the upload."""

    def __init__(self, asset_id: str, reason: str) -> None:
        super().__init__(f"The video host could not prepare asset {asset_id}: {reason}")
        self.asset_id = asset_id
        self.reason = reason


class NotReady(HostError):  # noqa: N818 - as above
    """The video is not playable yet."""

    retryable = True

    def __init__(self, message: str, phase: Phase | None = None) -> None:
        super().__init__(message)
        self.phase = phase


@dataclass(frozen=True)
class UploadTicket:
    """Permission to upload one asset: by TUS, or by addresses that are signed one by one (see `presigned`).

    Either is a credential of its own: store it, never log it.

    `to_json()` is the opaque resume state that a caller persists before the first byte is sent.
    """

    asset_id: str
    playback_id: str | None  # None with hosts that give one only later
    tus_endpoint: str = field(default="", repr=False)
    presigned: dict[str, Any] | None = field(default=None, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, secret endpoint included."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Raises TypeError when the data is not an upload ticket."""
        return cls(**data)


@dataclass(frozen=True)
class HostedAsset:
    """A video as its host sees it."""

    asset_id: str
    name: str
    phase: Phase
    playback_id: str | None = None
    progress: float | None = None  # 0..1, while processing
    error: str | None = None  # the host's sentence, where it failed
    size_bytes: int | None = None
    duration_s: float | None = None


@dataclass(frozen=True)
class Playback:
    """Where a video is watched. Hosts move their files: resolve again rather than keep these for long."""

    playback_id: str
    page_url: str | None  # None where nobody keeps a page for it
    mp4_url: str | None = None
    hls_url: str | None = None
    poster_url: str | None = None
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True)
class Polling:
    """How patiently a host is asked. All in seconds."""

    first_s: float = 5.0
    longest_s: float = 30.0
    deadline_s: float = 900.0
    mp4_every_s: float = 2.0
    mp4_grace_s: float = 15.0  # how long a ready asset is asked for its mp4 before HLS alone will do
    missing_grace_s: float = 130.0  # Livepeer remembers for 120 s that it did not know a playback id


OnPhase = Callable[[HostedAsset], Awaitable[None]]


class VideoHost(Protocol):
    """What FLock needs of a video host. Every method may raise HostUnreachable, HostBusy and HostRejected."""

    shortest_s: float  # seconds that a video must last; 0 where any length is welcome

    async def request_upload(self, name: str, *, creator: str, size_bytes: int = 0) -> UploadTicket:
        """Make an asset and permission to upload it. Not idempotent: look with `find_asset` first.

        `size_bytes` is what the upload will have, where it is known.
        """

    async def find_asset(self, name: str) -> HostedAsset | None:
        """The newest asset that bears exactly this name, deleted ones aside."""

    async def asset(self, asset_id: str) -> HostedAsset:
        """Raises AssetMissing."""

    async def playback(self, playback_id: str) -> Playback:
        """Raises NotReady while there is nothing to play."""

    async def wait_until_playable(
        self, asset_id: str, *, polling: Polling | None = None, on_phase: OnPhase | None = None
    ) -> Playback:
        """Raises AssetFailed, AssetMissing, or NotReady at the deadline."""

    def nudge(self, asset_id: str) -> None:
        """There may be news of an asset: whoever waits for it asks at once."""

    async def check(self) -> None:
        """Whether the host is there and takes our key; nothing is made."""

    async def aclose(self) -> None:
        """Lets go of connections."""

    async def delete(self, asset_id: str) -> None:
        """Deleting what is deleted or unknown is no error."""

    async def views(self, playback_id: str) -> int | None:
        """A weak signal: hosts count only the plays of their own players. None where the host counts none."""


async def claim_upload(host: VideoHost, name: str, *, creator: str, size_bytes: int = 0) -> UploadTicket | HostedAsset:
    """A fresh ticket, or the asset of that name which has its bytes already.

    For the step of a durable workflow that may run again before its answer was stored: an asset of that name
    which still waits for bytes is an orphan, since its address went to nobody, so it is deleted, as is one that
    failed. Names must be unique to a video. Livepeer lists from a replica, so an asset that was made a moment ago
    may not be found yet: the second one is then the one that counts, and the first stays empty.
    """
    existing = await host.find_asset(name)
    if existing is not None:
        if existing.phase not in {"uploading", "failed"}:
            return existing
        await host.delete(existing.asset_id)
    return await host.request_upload(name, creator=creator, size_bytes=size_bytes)
