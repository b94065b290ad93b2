"""The plan of an upload to an S3-compatible store: the addresses that the holder of its key has signed, as plain JSON.

The bot makes it (`s3`), the worker follows it (`s3_upload`). Each address is a credential of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from generation.hosting.http_errors import check_url

VIDEO, STREAM, PLAYLIST, POSTER = "video.mp4", "stream.mp4", "index.m3u8", "poster.jpg"
IN_PARTS = (VIDEO, STREAM)


@dataclass(frozen=True)
class MultipartObject:
    """An object that is uploaded in parts of `part_bytes`, each to its own address."""

    name: str
    part_bytes: int
    list_url: str = field(repr=False)
    complete_url: str = field(repr=False)
    head_url: str = field(repr=False)
    part_urls: tuple[str, ...] = field(repr=False)

    def to_json(self) -> dict[str, object]:
        """Return plain JSON types."""
        return {
            "name": self.name,
            "part_bytes": self.part_bytes,
            "list": self.list_url,
            "complete": self.complete_url,
            "head": self.head_url,
            "parts": list(self.part_urls),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> Self:
        """Return the object of `to_json`. Raises KeyError, TypeError or ValueError for other data."""
        parts, part_bytes = data["parts"], int(str(data["part_bytes"]))
        if not isinstance(parts, list) or not parts or part_bytes < 1:
            raise ValueError("An object in parts has at least one part, of at least one byte.")
        return cls(
            name=str(data["name"]),
            part_bytes=part_bytes,
            list_url=_address(data["list"]),
            complete_url=_address(data["complete"]),
            head_url=_address(data["head"]),
            part_urls=tuple(_address(url) for url in parts),
        )


@dataclass(frozen=True)
class SingleObject:
    """A small object that is uploaded by one PUT, with these headers."""

    name: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """Return plain JSON types."""
        return {"name": self.name, "url": self.url, "headers": dict(self.headers)}

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> Self:
        """Return the object of `to_json`. Raises KeyError, TypeError or ValueError for other data."""
        headers = data.get("headers") or {}
        if not isinstance(headers, Mapping):
            raise TypeError("Headers are a table.")
        return cls(str(data["name"]), _address(data["url"]), {str(name): str(value) for name, value in headers.items()})


@dataclass(frozen=True)
class UploadPlan:
    """The objects of one video. After `expires_at` (seconds since the epoch) the addresses are no longer good."""

    expires_at: int
    video: MultipartObject
    stream: MultipartObject
    poster: SingleObject
    playlist: SingleObject

    def to_json(self) -> dict[str, object]:
        """Return plain JSON types, the signed addresses included."""
        objects = (self.video, self.stream, self.poster, self.playlist)
        return {"expires_at": self.expires_at, "objects": [each.to_json() for each in objects]}

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> Self:
        """Return the plan of `to_json`. Raises ValueError for other data and for addresses that are not http(s)."""
        try:
            entries = data["objects"]
            if not isinstance(entries, list):
                raise TypeError("Objects are a list.")
            objects = {str(entry["name"]): entry for entry in entries}
            return cls(
                expires_at=int(str(data.get("expires_at", 0))),
                video=MultipartObject.from_json(objects[VIDEO]),
                stream=MultipartObject.from_json(objects[STREAM]),
                poster=SingleObject.from_json(objects[POSTER]),
                playlist=SingleObject.from_json(objects[PLAYLIST]),
            )
        except (KeyError, TypeError, ValueError):
            raise ValueError(
                "The plan of the upload cannot be read; it may be of another release than the bot."
            ) from None


def _address(url: object) -> str:
    return check_url(str(url), "The upload's address")
