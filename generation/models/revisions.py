"""What exactly a model is, in one word: a commit, or a hash over a folder's files; with adapters, both hashed on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

REVISION_FILE = "REVISION"  # in a model's folder: what the folder holds, in one word
LONGEST_MEMORY = 20_000  # files

Stamp = list[int]


def folder_revision(folder: Path, memory: Path | None = None) -> str:
    """Sha-256 over a folder's files and their names, 64 hex digits.

    `memory` is a file that keeps each file's hash with its size, time and inode: only what changed is read again, so
    that 30 GB of weights are hashed once and not at every start.
    """
    known = _recall(memory)
    now: dict[str, tuple[Stamp, str]] = {}
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != REVISION_FILE:
            stamp = _stamp(path)
            key = str(path.resolve())
            seen = known.get(key)
            hexed = seen[1] if seen is not None and seen[0] == stamp else file_revision(path)
            now[key] = (stamp, hexed)
            digest.update(f"{path.relative_to(folder).as_posix()}\0".encode())
            digest.update(bytes.fromhex(hexed))
    if memory is not None and any(known.get(key) != entry for key, entry in now.items()):
        _remember(memory, {**known, **now})
    return digest.hexdigest()


def file_revision(path: Path) -> str:
    """Sha-256 of one file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def with_parts(base: str, parts: Any) -> str:
    """The revision of a model with adapters or components of other sources: `base+`, 16 hex digits over the parts."""
    if not parts:
        return base
    return f"{base}+{hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]}"


def _stamp(path: Path) -> Stamp:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def _recall(memory: Path | None) -> dict[str, tuple[Stamp, str]]:
    if memory is None:
        return {}
    try:
        data = json.loads(memory.read_text())
        return {str(key): (list(stamp), bytes.fromhex(hexed).hex()) for key, (stamp, hexed) in data.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # hashed anew: it only spares work


def _remember(memory: Path, entries: dict[str, tuple[Stamp, str]]) -> None:
    draft = memory.with_name(f".{memory.name}.{os.getpid()}")
    kept = dict(list(entries.items())[-LONGEST_MEMORY:])
    with contextlib.suppress(OSError):  # as above
        memory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft.write_text(json.dumps(kept))
        draft.replace(memory)
