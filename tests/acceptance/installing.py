"""The install commands of docs/setup.md, run word for word: each in an environment of its own, from a clean clone.

The bot's environment is empty before. A worker's has two things already, because fetching and unpacking them again
would take minutes and show nothing new: the packages that the bot's command has brought, and torch, which `make` has
installed by that page's very words (`test_torch_is_installed_as_make_does`). pip finds them, and installs the rest.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tests.acceptance.environments import brought

ROOT = Path(__file__).parents[2]
INSTALL_S = 1200.0  # some packages are large, and a busy machine is slow
PROBE = "homoglyphs-fork"  # small, and nothing that a machine has lying about
HERE = Path(sys.executable).parent
ON_WORKERS = ("flock worker", "flock models", "flock rerender", "flock doctor --worker")


@dataclass(frozen=True)
class Installed:
    """The programs of the bot's machine and of a worker's. If they are ours, `why_not` gives the reason."""

    bot: Path
    worker: Path
    why_not: str | None = None

    def programs(self, command: str) -> Path:
        """Return the folder from which somebody runs a command of docs/setup.md, on the bot's machine or a worker's."""
        return self.worker if command.startswith(ON_WORKERS) else self.bot


def clone_into(folder: Path) -> Path:
    """Copy what a newcomer has after `git clone`: the files of the repository and nothing else."""
    run = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, cwd=ROOT)
    if run.returncode:
        pytest.skip("This is no git checkout, so that a fresh clone cannot be told from what lies about.")
    for name in filter(None, run.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def install(folder: Path, commands: Sequence[str]) -> Installed:
    """Run the two install commands, each in an environment of its own. Without a registry ours serves, as it says."""
    for_bot, for_worker = commands
    if not registry_answers(folder):
        return Installed(HERE, HERE, "no package registry can be reached from here")
    bot = _install(folder / "bot", for_bot)
    of_bot = [package for package in distributions(path=[str(_site(bot))]) if package.name not in {"flock", "pip"}]
    return Installed(bot, _install(folder / "worker", for_worker, [*of_bot, *_torch()]))


def registry_answers(folder: Path) -> bool:
    """Return true if pip gets a package from its registry."""
    [wanted] = re.findall(rf"^{PROBE}==\S+$", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    options = ["--quiet", "--no-deps", "--no-cache-dir", "--retries", "1", "--timeout", "20", "--dest", str(folder)]
    command = [sys.executable, "-m", "pip", "download", *options, wanted]
    return subprocess.run(command, capture_output=True, timeout=INSTALL_S, env=_environment(HERE)).returncode == 0


def _torch() -> list[Distribution]:
    """Return our torch and what it needs, or nothing if the lock has another version of one: pip would replace it."""
    lines = re.findall(r"^(\S+)==(\S+)$", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    locked = {canonicalize_name(name): version for name, version in lines}
    packages = {name: package for name, package in brought("torch").items() if name in locked}
    same = all(package.version.split("+")[0] == locked[name] for name, package in packages.items())
    return list(packages.values()) if same else []


def _site(programs: Path) -> Path:
    [site] = programs.parent.glob("lib/python*/site-packages")
    return site


def _lay_down(packages: Iterable[Distribution], site: Path) -> None:
    """Put packages that are here into an environment, as hard links: what pip does there cannot change ours."""
    for package in packages:
        for file in package.files or []:
            source, target = Path(str(package.locate_file(file))), site / file
            if ".." in file.parts or target.exists() or not source.is_file():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(source, target)
            except OSError:  # another file system
                shutil.copy2(source, target)


def _install(folder: Path, command: str, packages: Iterable[Distribution] = ()) -> Path:
    venv.create(folder / "venv", with_pip=True, symlinks=True)
    programs = folder / "venv" / "bin"
    _lay_down(packages, _site(programs))
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
    """Return the settings of pip on this machine, and nothing of the environment in which the tests run.

    Modules are compiled when they are first imported: compiling all that was installed would take longer than the rest.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FLOCK_", "PYTHON", "VIRTUAL"))}
    return {**kept, "PIP_COMPILE": "0", "PATH": f"{programs}:{os.environ['PATH']}"}
