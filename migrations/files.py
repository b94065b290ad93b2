"""Files on disk: their hash, and writing them for their owner alone, whole or not at all. Imports nothing of ours."""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
from io import BufferedReader
from pathlib import Path

_HERE = -100  # AT_FDCWD of Linux: relative paths begin at the working folder
_EXCHANGE = 2  # RENAME_EXCHANGE of Linux's renameat2, and RENAME_SWAP of macOS's renamex_np


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file in hex. Raises OSError."""
    with path.open("rb") as file:
        return sha256_stream(file)


def sha256_stream(file: BufferedReader) -> str:
    """Return the SHA-256 of all of an open file in hex, from wherever it was read; the file is at its end afterwards.

    A caller that reads on from the same open file is safe from another file that takes over the name meanwhile.
    """
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()


def draft_path(path: Path) -> Path:
    """Return the name of this process's draft of a file: hidden, in the same folder, with the same ending."""
    return path.with_name(f".{path.name}.{os.getpid()}{path.suffix}")


def create_draft(path: Path) -> None:
    """Create an empty file with mode 0600, or empty the one that is there. Raises OSError.

    A program that opens the file later to write it keeps this mode, so that no byte is ever readable by others.
    """
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))


def write_private(path: Path, data: bytes) -> None:
    """Write a file with mode 0600 in place of an older one: by a draft, so that it appears whole or not at all.

    The bytes are on the disk before the file has its name. Raises OSError; no draft is left behind.
    """
    draft = draft_path(path)
    try:
        _write_draft(draft, data)
        draft.replace(path)
    finally:  # on a full disk a half draft would only make it worse
        draft.unlink(missing_ok=True)


def create_private(path: Path, data: bytes) -> None:
    """Write a file with mode 0600 that must not exist yet: at once with its contents, never over an older one.

    Raises FileExistsError where another process was quicker, and OSError; no draft is left behind. Needs hard links.
    """
    draft = draft_path(path)
    try:
        _write_draft(draft, data)
        path.hardlink_to(draft)
    finally:
        draft.unlink(missing_ok=True)


def commit_draft(draft: Path, path: Path) -> None:
    """Rename a finished draft to its final name, with mode 0600. Both bytes and name then survive a power cut."""
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.chmod(0o600)
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def exchange_names(first: Path, second: Path) -> bool:
    """Let two files or folders exchange their names in one step, so that whoever is killed leaves both names in use.

    Return False where the system or its file system cannot do that; nothing is changed then.
    """
    names = os.fsencode(first), os.fsencode(second)
    try:
        system = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "darwin":
            return bool(system.renamex_np(*names, _EXCHANGE) == 0)
        return bool(system.renameat2(_HERE, names[0], _HERE, names[1], _EXCHANGE) == 0)
    except (AttributeError, OSError):
        return False


def _write_draft(draft: Path, data: bytes) -> None:
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
