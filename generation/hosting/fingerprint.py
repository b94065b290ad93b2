"""What a file is known by on its way to a video host."""

from __future__ import annotations

import hashlib
from io import BufferedReader


def sha256_of(file: BufferedReader) -> str:
    """The SHA-256 of all of an open file, in hex, wherever it was read up to; it is at its end afterwards."""
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()
