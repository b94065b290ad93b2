"""The README's own install commands, run word for word: each in a clean environment, from a clean clone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INSTALL_S = 1200.0  # some packages are large, and a busy machine is slow
PROBE = "homoglyphs-fork"  # small, and nothing that a machine has lying about
HERE = Path(sys.executable).parent
ON_WORKERS = ("flock worker", "flock models", "flock rerender", "flock doctor --worker")


@dataclass(frozen=True)
class Installed:
    """Where the programs of the bot's machine and of a worker's are; `why_not` they are ours, if they are."""

    bot: Path
    worker: Path
    why_not: str | None = None

    def programs(self, command: str) -> Path:
        """The folder from which somebody runs a command of the README: on a machine of workers, or on the bot's."""
        return self.worker if command.startswith(ON_WORKERS) else self.bot


def clone_into(folder: Path) -> Path:
    """Lays down what a newcomer has after `git clone`: the files of the repository and nothing else."""
    run = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, cwd=ROOT)
    if run.returncode:
        pytest.skip("This is no git checkout, so that a fresh clone cannot be told from what lies about.")
    for name in filter(None, run.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def install(folder: Path, commands: Sequence[str]) -> Installed:
    """Runs the two install commands, each in an environment of its own. Without a registry ours serves, as it says."""
    for_bot, for_worker = commands
    if not registry_answers(folder):
        return Installed(HERE, HERE, "no package registry can be reached from here")
    return Installed(_install(folder / "bot", for_bot), _install(folder / "worker", for_worker))


def registry_answers(folder: Path) -> bool:
    """Whether pip gets a package from where it gets packages."""
    [wanted] = re.findall(rf"^{PROBE}==\S+$", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    options = ["--quiet", "--no-deps", "--no-cache-dir", "--retries", "1", "--timeout", "20", "--dest", str(folder)]
    command = [sys.executable, "-m", "pip", "download", *options, wanted]
    return subprocess.run(command, capture_output=True, timeout=INSTALL_S, env=_environment(HERE)).returncode == 0


def _install(folder: Path, command: str) -> Path:
    venv.create(folder / "venv", with_pip=True, symlinks=True)
    programs = folder / "venv" / "bin"
    run = subprocess.run(
        ["bash", "-c", command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=INSTALL_S,
        cwd=clone_into(folder / "flock"),
        env=_environment(programs),
    )
    assert run.returncode == 0, f"{command}\n{run.stdout[-4000:]}"
    return programs


def _environment(programs: Path) -> dict[str, str]:
    """Whatever pip is set up by on this machine, and nothing of the environment in which the tests run."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FLOCK_", "PYTHON", "VIRTUAL"))}
    return {**kept, "PATH": f"{programs}:{os.environ['PATH']}"}
