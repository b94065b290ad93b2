"""The revision of a model, one word: a commit, or a hash over a folder's files; adapters and components add a hash."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path

from migrations.files import sha256_file, write_private

REVISION_FILE = "REVISION"  # in a model's folder: the revision of what the folder holds
LONGEST_MEMORY = 20_000  # files

Stamp = list[int]


def folder_revision(folder: Path, memory: Path | None = None) -> str:
    """Return the SHA-256 over a folder's files and their names, 64 hex digits. Raises OSError.

    `memory` is a file that keeps each file's hash with its size, time and inode: only what changed is read again, so
    that 30 GB of weights are hashed once and not at every start.
    """
    remembered = _recall(memory)
    now: dict[str, tuple[Stamp, str]] = {}
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != REVISION_FILE:
            stamp = _stamp(path)
            key = str(path.resolve())
            entry = remembered.get(key)
            file_hash = entry[1] if entry is not None and entry[0] == stamp else sha256_file(path)
            now[key] = (stamp, file_hash)
            digest.update(f"{path.relative_to(folder).as_posix()}\0".encode())
            digest.update(bytes.fromhex(file_hash))
    if memory is not None and any(remembered.get(key) != entry for key, entry in now.items()):
        _remember(memory, {**remembered, **now})
    return digest.hexdigest()


def with_parts(base: str, parts: object) -> str:
    """Return the revision of a model with adapters or components of other sources: `base+`, 16 hex digits over them.

    `parts` are plain JSON types; without any, the revision is `base`.
    """
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
        return {str(key): (list(stamp), bytes.fromhex(file_hash).hex()) for key, (stamp, file_hash) in data.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # everything is hashed anew: the memory only spares work


def _remember(memory: Path, entries: dict[str, tuple[Stamp, str]]) -> None:
    latest = dict(list(entries.items())[-LONGEST_MEMORY:])
    with contextlib.suppress(OSError):  # the memory only spares work
        memory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(memory, json.dumps(latest).encode())
