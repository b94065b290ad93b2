"""The checks of the machine: files with secrets, the data folder, and free space. Nothing is changed."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy.engine import make_url

from bot.doctor.check import Check, Look, in_thread
from bot.prompt_filter.rules_file import open_rules
from bot.setting_sources import look_at_sources
from bot.settings import Settings

ENV_FILE = Path(".env")
LEAST_FREE = 1 << 30  # bytes


def _open_to_others(path: Path) -> str | None:
    """Return the mode, if anybody but the owner has any right."""
    mode = stat.S_IMODE(path.stat().st_mode)
    return f"{mode:04o}" if mode & 0o077 else None


async def env_file(_settings: Settings) -> Sequence[Check]:
    """Check that only the owner may read `.env`, which holds tokens."""
    if not ENV_FILE.exists():
        return [Check(True, ".env", "not here; the settings come from the environment")]
    mode = _open_to_others(ENV_FILE)
    if mode:
        return [Check(False, ".env", f"other users can read it (mode {mode})", "Run: chmod 600 .env")]
    return [Check(True, ".env", "only its owner may read it")]


async def secret_files(_settings: Settings) -> Sequence[Check]:
    """Check that only its owner may read a file that holds a secret; none, where no setting names one."""
    files = look_at_sources(Settings).files
    checks = []
    for name, path in sorted(files.items()):
        if _is_mounted(path) or not path.stat().st_mode & 0o007:
            continue
        detail = f"every user can read the file of FLOCK_{name.upper()} (mode {stat.S_IMODE(path.stat().st_mode):04o})"
        checks.append(Check(False, "secret files", detail, f"Run: chmod 600 {shlex.quote(str(path))}"))
    if files and not checks:
        return [Check(True, "secret files", f"{len(files)}, and not every user can read them")]
    return checks


def _is_mounted(path: Path) -> bool:
    """Return True for a file that a container's engine or systemd has put there, with the mode that it gives to all."""
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    folders = [Path("/run/secrets"), *([Path(credentials)] if credentials else [])]
    return any(path.is_relative_to(folder) for folder in folders)


async def data_folder(settings: Settings) -> Sequence[Check]:
    """Check the folder into which videos and models are written."""
    folder = settings.data_dir
    if not folder.exists():
        above = next(parent for parent in folder.resolve().parents if parent.exists())
        if os.access(above, os.W_OK | os.X_OK):
            return [Check(True, "data folder", f"{folder} does not exist yet; it is made at the first start")]
        return [Check(False, "data folder", f"{folder} cannot be created", f"Create it, or make {above} writable.")]

    def write() -> None:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"x")

    try:
        await in_thread(write)
    except OSError as error:
        problem = os.strerror(error.errno or 0)
        remedy = f"Free some space, or run: chown {os.getuid()} {folder}"
        return [Check(False, "data folder", f"{folder} cannot be written to ({problem})", remedy)]
    mode = _open_to_others(folder)
    if mode:
        return [
            Check(False, "data folder", f"other users can enter {folder} (mode {mode})", f"Run: chmod 700 {folder}")
        ]
    return [Check(True, "data folder", f"{folder} can be written to, only by its owner")]


async def disk(settings: Settings) -> Sequence[Check]:
    """Check the space for videos, and for the database if it is a file."""
    places = {settings.data_dir}
    url = make_url(settings.database_url)
    if url.get_backend_name() == "sqlite" and url.database:
        places.add(Path(url.database).parent)
    free = {}
    for place in sorted(places):
        resolved = place.resolve()
        existing = next(path for path in (resolved, *resolved.parents) if path.exists())
        free[place] = shutil.disk_usage(existing).free
    fullest = min(free, key=lambda place: free[place])
    detail, least = f"{free[fullest] / (1 << 30):.1f} GiB free for {fullest}", free[fullest]
    if least < LEAST_FREE:
        return [
            Check(False, "disk", detail, "Free at least 1 GiB: without space neither a vote nor a video can be kept.")
        ]
    return [Check(True, "disk", detail)]


async def prompt_rules(settings: Settings) -> Sequence[Check]:
    """Check that the operator's rules for prompts can be read; without a file there are none."""
    if settings.prompt_rules is None:
        return [Check(True, "prompt rules", "none: prompts are not filtered (see docs/safety.md)")]
    rules = await in_thread(lambda: open_rules(settings.prompt_rules))
    return [Check(True, "prompt rules", f"{rules.words} words and {rules.patterns} patterns")]


BOT_LOOKS = (Look("prompt rules", prompt_rules, "Correct the file, or unset FLOCK_PROMPT_RULES."),)
LOOKS = (
    Look(".env", env_file, "Check the mode and the owner of the file."),
    Look("secret files", secret_files, "Check the settings whose names end in _FILE."),
    Look("data folder", data_folder, "Check FLOCK_DATA_DIR, and that its disk answers."),
    Look("disk", disk, "Check FLOCK_DATA_DIR and FLOCK_DATABASE_URL."),
)
