"""Videos as members see them in a blind battle: without what names their model, and both of one size.

The pictures stay as they are, byte by byte. Boxes with words of the file's maker (ISO 14496-12: `udta`, `meta`, and
`uuid`, in which a C2PA manifest lies) become free space, as do the times at which it was made; free space at the end
makes two files equally long. The original with its manifest is shown after the round.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from bot.domain.battles import BattleVideo
from migrations.files import write_private

FOLDER = "battles"  # in the data folder
_WORDS = frozenset({b"udta", b"meta", b"uuid"})
_FOLDERS = frozenset({b"moov", b"trak", b"mdia"})
_TIMES = frozenset({b"mvhd", b"tkhd", b"mdhd"})  # full boxes that begin with two times
_HEAD = 8  # the size and the kind of a box


class NotBlindError(ValueError):
    """A file that is no mp4 as workers make them."""


def blind_pair(first: bytes, second: bytes) -> tuple[bytes, bytes]:
    """Return both files without words, equally long. Raises NotBlindError for bytes that are no mp4."""
    if first[4:8] != b"ftyp" or second[4:8] != b"ftyp":
        raise NotBlindError("A video of the pair is no mp4.")
    size = max(len(first), len(second)) + _HEAD
    return _padded(_without_words(first), size), _padded(_without_words(second), size)


def _without_words(data: bytes) -> bytes:
    """Blank the boxes in their places: what points into the file stays right."""
    result = bytearray(data)
    for start, end, kind, body in _boxes(data, 0, len(data)):
        if kind in _WORDS:
            result[start + 4 : start + 8] = b"free"
            result[body:end] = bytes(end - body)
        elif kind in _TIMES:
            width = 16 if data[body] == 1 else 8  # two times, of 64 or 32 bits each
            result[body + 4 : body + 4 + width] = bytes(width)
    return bytes(result)


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, bytes, int]]:
    """Yield the boxes between two places, nested ones too: start, end, kind and the start of what is in it."""
    while at + _HEAD <= end:
        size, kind, body = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8], at + _HEAD
        if size == 1:  # 64 bits of size follow
            size, body = int.from_bytes(data[body : body + 8]), body + 8
        stop = end if size == 0 else at + size
        if stop < body or stop > end:
            raise NotBlindError("A box of the file does not end where it should.")
        yield at, stop, kind, body
        if kind in _FOLDERS:
            yield from _boxes(data, body, stop)
        at = stop


def _padded(data: bytes, size: int) -> bytes:
    """Return the file with free space after it, so long. `size` leaves room for the head of a box."""
    room = size - len(data)
    return data + room.to_bytes(4) + b"free" + bytes(room - _HEAD)


def shown_path(video_id: str, data_dir: Path) -> Path:
    """Return the path of a blind video. No worker chooses it."""
    if not re.fullmatch(r"[0-9]{1,20}", video_id):
        raise ValueError("A video id is a number.")
    return data_dir / FOLDER / f"{video_id}.mp4"


def keep_shown(video_id: str, data: bytes, data_dir: Path) -> str:
    """Write a blind video, which gets its name once it is whole. Return its SHA-256."""
    path = shown_path(video_id, data_dir)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(path, data)
    return hashlib.sha256(data).hexdigest()


def read_shown(video: BattleVideo, data_dir: Path) -> bytes | None:
    """Return the very bytes that were recorded as shown; None where they are not here."""
    try:
        data = shown_path(video.id, data_dir).read_bytes()
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == video.shown_sha256 else None


def delete_shown(video_id: str, data_dir: Path) -> None:
    """Delete a blind video, if it is here."""
    shown_path(video_id, data_dir).unlink(missing_ok=True)
