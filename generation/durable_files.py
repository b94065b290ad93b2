"""Files that appear under their name whole or not at all, and survive a power cut. Imports nothing of ours."""

from __future__ import annotations

import os
from pathlib import Path


def publish(draft: Path, path: Path) -> None:
    """Give a whole file its name, for its owner alone, once its bytes are on the disk; then its name is, too."""
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.chmod(0o600)
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
