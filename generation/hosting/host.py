"""The interface of every video host: upload tickets, assets, playback, and the errors.

    HostError                 anything below; str() is a sentence that holds no key and no secret address
    ├── HostUnreachable       no answer, a 5xx, or a page instead of JSON: ask again later
    ├── HostBusy              429: ask again after `retry_after` seconds (None: the host names no time)
    ├── HostRejected          4xx, with the host's own `sentences`: another try changes nothing
    │   ├── AssetMissing      the host knows no such asset (404)
    │   └── AlreadyUploaded   the asset has its bytes already (422)
    ├── UploadGone            the host no longer knows the upload's address: ask for a new ticket
    ├── AssetFailed           the host gave up on the video, with its `reason`
    └── NotReady              not playable within the time allowed, in this `phase`

A failure of the local file is an OSError, as everywhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import ClassVar, Literal, Protocol, Self, get_args

Phase = Literal["uploading", "waiting", "processing", "ready", "failed", "deleting", "deleted"]
PHASES: tuple[Phase, ...] = get_args(Phase)


# Errors of this process's life by their kind, for its metrics; what a host is asked on the chance is none (404, 422).
HOST_ERRORS: Counter[str] = Counter(unreachable=0, busy=0, rejected=0)
ANSWERS = frozenset({404, 422})


class HostError(Exception):
    """The video host did not do as asked."""

    retryable: ClassVar[bool] = False


class HostUnreachable(HostError):  # noqa: N818 - named after the event, like its siblings
    """The video host cannot be reached, or is out of order."""

    retryable = True

    def __init__(self, message: str) -> None:
        super().__init__(message)
        HOST_ERRORS["unreachable"] += 1


class HostBusy(HostError):  # noqa: N818 - as above
    """The video host has too much to do."""

    retryable = True

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        HOST_ERRORS["busy"] += 1


class HostRejected(HostError):  # noqa: N818 - as above
    """The video host refuses the request."""

    def __init__(self, message: str, *, status: int, sentences: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.sentences = tuple(sentences)
        if status not in ANSWERS:
            HOST_ERRORS["rejected"] += 1


class AssetMissing(HostRejected):
    """The video host knows no such asset."""


class AlreadyUploaded(HostRejected):
    """The asset has its bytes already; its phase tells how far it got."""


class UploadGone(HostError):  # noqa: N818 - as above
    """The host no longer knows the upload; it begins again with a new ticket.

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
    """Permission to upload one asset: by TUS, or by a plan of presigned addresses (see `upload_plan`).

    Either is a credential of its own: store it, never log it.

    `to_json()` is the opaque state from which an upload resumes; a caller persists it before the first byte is sent.
    """

    asset_id: str
    playback_id: str | None  # None with hosts that give one only later
    tus_endpoint: str = field(default="", repr=False)
    presigned: dict[str, object] | None = field(default=None, repr=False)

    def to_json(self) -> dict[str, object]:
        """Return plain JSON types, the secret addresses included."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> Self:
        """Return the ticket of `to_json`. Raises TypeError when the data is no ticket."""
        return cls(**dict(data))  # type: ignore[arg-type]  # of the types that `to_json` wrote


@dataclass(frozen=True)
class HostedAsset:
    """A video as its host describes it."""

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
    """The addresses at which a video is watched. Hosts move their files: resolve again instead of keeping these."""

    playback_id: str
    page_url: str | None  # None if there is no page for it
    mp4_url: str | None = None
    hls_url: str | None = None
    poster_url: str | None = None
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True)
class Polling:
    """The pace and the limits of the questions to a host while a video is prepared. All in seconds."""

    first_s: float = 5.0
    longest_s: float = 30.0
    deadline_s: float = 900.0
    mp4_every_s: float = 2.0
    mp4_grace_s: float = 15.0  # a ready asset without an mp4 is given this long before HLS alone will do
    missing_grace_s: float = 130.0  # Livepeer caches for 120 s that it does not know a playback id


OnPhase = Callable[[HostedAsset], Awaitable[None]]


class VideoHost(Protocol):
    """The interface that FLock needs. Every method may raise HostUnreachable, HostBusy and HostRejected."""

    shortest_s: float  # seconds that a video must last; 0 if it accepts any length

    async def request_upload(self, name: str, *, creator: str, size_bytes: int = 0) -> UploadTicket:
        """Make an asset and permission to upload it. Not idempotent: call `find_asset` first.

        `size_bytes` is the size of the upload, if it is known.
        """

    async def find_asset(self, name: str) -> HostedAsset | None:
        """Return the newest asset that bears exactly this name, without the deleted ones."""

    async def asset(self, asset_id: str) -> HostedAsset:
        """Return an asset. Raises AssetMissing."""

    async def playback(self, playback_id: str) -> Playback:
        """Return the addresses of a video. Raises NotReady while there is nothing to play."""

    async def wait_until_playable(
        self, asset_id: str, *, polling: Polling | None = None, on_phase: OnPhase | None = None
    ) -> Playback:
        """Wait for a video to play. Raises AssetFailed, AssetMissing, or NotReady at the deadline."""

    def nudge(self, asset_id: str) -> None:
        """End the pause of whoever waits for an asset, since there may be news of it."""

    async def check(self) -> None:
        """Return if the host answers and accepts our key, and raise otherwise; nothing is made."""

    async def aclose(self) -> None:
        """Close the connections."""

    async def delete(self, asset_id: str) -> None:
        """Delete an asset; one that is deleted already or unknown is no error."""

    async def views(self, playback_id: str) -> int | None:
        """Return the number of plays, a weak signal: only those in the host's own player. None if it counts none."""


async def claim_upload(host: VideoHost, name: str, *, creator: str, size_bytes: int = 0) -> UploadTicket | HostedAsset:
    """Return a fresh ticket, or the asset of that name if it has its bytes already.

    This is for the step of a durable workflow, which may run again before its result was stored: an asset of that name
    which still waits for bytes is an orphan, since nobody got its address, so it is deleted, as is a failed one. Names
    must be unique to a video. Livepeer lists from a replica, so that an asset of a moment ago may be missing: then the
    second one counts, and the first stays empty.
    """
    existing = await host.find_asset(name)
    if existing is not None:
        if existing.phase not in {"uploading", "failed"}:
            return existing
        await host.delete(existing.asset_id)
    return await host.request_upload(name, creator=creator, size_bytes=size_bytes)
