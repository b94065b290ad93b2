"""The rows in the answers of Livepeer's API, read with care: a host is another party."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence

from generation.hosting.host import PHASES, HostedAsset
from generation.hosting.http_errors import check_url

log = logging.getLogger(__name__)

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


def asset_of(data: object) -> HostedAsset:
    """Return an asset, without unknown keys; missing optional ones are None. Raises KeyError, TypeError, ValueError."""
    row = object_of(data)
    status, specification = object_of(row.get("status") or {}), object_of(row.get("videoSpec") or {})
    phase = next((each for each in PHASES if each == status.get("phase", "waiting")), None)
    if phase is None:
        log.warning("The video host names an unknown phase; it is treated as processing.")
        phase = "processing"
    playback_id = row.get("playbackId")
    size = number_of(row.get("size"))
    return HostedAsset(
        asset_id=checked_id(row["id"]),
        name=str(row.get("name", "")),
        phase=phase,
        playback_id=checked_id(playback_id) if playback_id else None,
        progress=number_of(status.get("progress")),
        error=str(status["errorMessage"]) if status.get("errorMessage") else None,
        size_bytes=int(size) if size is not None else None,
        duration_s=number_of(specification.get("duration")),
    )


def object_of(value: object) -> Mapping[str, object]:
    """Return a value that is a JSON object. Raises TypeError."""
    if not isinstance(value, dict):
        raise TypeError("This is no JSON object.")
    return value


def checked_id(value: object) -> str:
    """Return an id that may stand in a path. Raises ValueError."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise ValueError("An id of the video host has letters, digits, - and _ only.")
    return value


def number_of(value: object) -> float | None:
    """Return a number; None for anything else."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def url_of(source: Mapping[str, object]) -> str | None:
    """Return the address of a source; None for one that is no web address."""
    try:
        return check_url(str(source.get("url", "")), "A file's address")
    except ValueError:
        return None


def first_url(sources: Sequence[Mapping[str, object]], *kinds: str) -> str | None:
    """Return the first address of a source of these kinds; None where there is none."""
    return next((url for s in sources if s.get("type") in kinds and (url := url_of(s))), None)
