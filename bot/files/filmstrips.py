"""The filmstrips of releases on the bot's disk: a PNG for each, as a worker drew it. Its bytes are checked a little."""

from __future__ import annotations

import base64
import binascii
import logging
from pathlib import Path

from migrations.files import write_private

log = logging.getLogger(__name__)

FOLDER = "filmstrips"  # in the data folder
MOST_BYTES = 1 << 20
_PNG = b"\x89PNG\r\n\x1a\n"


def filmstrip_path(data_dir: Path, model_id: str, number: int) -> Path:
    """Return the path of the filmstrip that a release closed."""
    return data_dir / FOLDER / f"{model_id}-{number}.png"


def keep_filmstrip(data_dir: Path, model_id: str, number: int, encoded: str) -> bool:
    """Write a filmstrip that came in base64; return False where it is no PNG, or a large one. Raises OSError."""
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not data.startswith(_PNG) or len(data) > MOST_BYTES:
        log.warning("The filmstrip of release %d of %s is no small PNG, and is not kept.", number, model_id)
        return False
    path = filmstrip_path(data_dir, model_id, number)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(path, data)
    return True


def read_filmstrip(data_dir: Path, model_id: str, number: int) -> bytes | None:
    """Return the filmstrip of a release; None where there is none."""
    try:
        return filmstrip_path(data_dir, model_id, number).read_bytes()
    except OSError:
        return None
