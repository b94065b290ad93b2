"""The tiny pipeline, which comes with this package, is copied to where a worker looks for it. No torch here."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from generation.models.registry import REVISION_FILE, folder_revision

WEIGHTS = Path(__file__).parent / "weights"  # in standard diffusers format, made by `python -m generation.tiny train`


def make_tiny_pipeline(folder: Path) -> str:
    """Copy the pipeline to `folder`, once, and return its revision: SHA-256 over its files, 64 hex digits.

    The folder appears whole or not at all, also when several processes make it at the same time. It replaces an older
    tiny pipeline. Raises FileExistsError if the folder holds anything else.
    """
    marker = folder / REVISION_FILE
    revision = folder_revision(WEIGHTS)
    if marker.is_file() and marker.read_text().strip() == revision:
        return revision
    if folder.exists() and not marker.is_file():  # looked at again: another process may have been quicker just now
        raise FileExistsError(f"{folder} exists and holds no tiny pipeline; name a new folder, or remove it.")
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(WEIGHTS, draft, copy_function=shutil.copyfile)
    (draft / REVISION_FILE).write_text(revision + "\n")
    older = folder.with_name(f".{folder.name}.old.{os.getpid()}")
    try:
        if marker.is_file() and marker.read_text().strip() != revision:
            folder.rename(older)
        draft.rename(folder)
    except OSError:  # another process was quicker; its folder is the same
        shutil.rmtree(draft, ignore_errors=True)
    shutil.rmtree(older, ignore_errors=True)
    return marker.read_text().strip()
