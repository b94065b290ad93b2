"""The machine: the files that hold secrets, the data folder, and the room that is left. Nothing is changed."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy.engine import make_url

from bot.doctor.check import Check, Look, in_thread
from bot.prompt_filter.rules_file import open_rules
from bot.settings import Settings

ENV_FILE = Path(".env")
LEAST_FREE = 1 << 30  # bytes


def _open_to_others(path: Path) -> str | None:
    """The mode, if anybody but the owner may do anything with it."""
    mode = stat.S_IMODE(path.stat().st_mode)
    return f"{mode:04o}" if mode & 0o077 else None


async def env_file(_settings: Settings) -> Sequence[Check]:
    """`.env` holds tokens: only its owner reads it."""
    if not ENV_FILE.exists():
        return [Check(True, ".env", "there is none here; settings come from the environment")]
    mode = _open_to_others(ENV_FILE)
    if mode:
        return [Check(False, ".env", f"others may read it (mode {mode})", "Run: chmod 600 .env")]
    return [Check(True, ".env", "only its owner may read it")]


async def data_folder(settings: Settings) -> Sequence[Check]:
    """Videos and models are written there."""
    folder = settings.data_dir
    if not folder.exists():
        above = next(parent for parent in folder.resolve().parents if parent.exists())
        if os.access(above, os.W_OK | os.X_OK):
            return [Check(True, "data folder", f"{folder} is made at the first start")]
        return [Check(False, "data folder", f"{folder} cannot be made", f"Make it, or give us {above}.")]

    def write() -> None:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"x")

    try:
        await in_thread(write)
    except OSError as error:
        problem = os.strerror(error.errno or 0)
        remedy = f"Free the disk, or run: chown {os.getuid()} {folder}"
        return [Check(False, "data folder", f"{folder} cannot be written to ({problem})", remedy)]
    mode = _open_to_others(folder)
    if mode:
        return [Check(False, "data folder", f"others may enter {folder} (mode {mode})", f"Run: chmod 700 {folder}")]
    return [Check(True, "data folder", f"{folder} can be written to, by its owner alone")]


async def disk(settings: Settings) -> Sequence[Check]:
    """Room for videos, and for the database where it is a file."""
    places = {settings.data_dir}
    url = make_url(settings.database_url)
    if url.get_backend_name() == "sqlite" and url.database:
        places.add(Path(url.database).parent)
    free = {}
    for place in sorted(places):
        resolved = place.resolve()
        there = next(path for path in (resolved, *resolved.parents) if path.exists())
        free[place] = shutil.disk_usage(there).free
    fullest = min(free, key=lambda place: free[place])
    detail, least = f"{free[fullest] / (1 << 30):.1f} GiB are free for {fullest}", free[fullest]
    if least < LEAST_FREE:
        return [Check(False, "disk", detail, "Free at least 1 GiB: without room neither a vote nor a video is kept.")]
    return [Check(True, "disk", detail)]


async def prompt_rules(settings: Settings) -> Sequence[Check]:
    """The operator's rules for prompts can be read; without a file there are none."""
    if settings.prompt_rules is None:
        return [Check(True, "prompt rules", "none: prompts are not filtered (see docs/safety.md)")]
    rules = await in_thread(lambda: open_rules(settings.prompt_rules))
    return [Check(True, "prompt rules", f"{rules.words} words and {rules.patterns} patterns")]


BOT_LOOKS = (Look("prompt rules", prompt_rules, "Mend the file, or leave FLOCK_PROMPT_RULES out."),)
LOOKS = (
    Look(".env", env_file, "Look at the file's mode and owner."),
    Look("data folder", data_folder, "Check FLOCK_DATA_DIR, and that its disk answers."),
    Look("disk", disk, "Check FLOCK_DATA_DIR and FLOCK_DATABASE_URL."),
)
