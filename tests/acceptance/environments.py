"""Environments with what one install brings and nothing else, made of the packages that are here: nothing is fetched.

Each is a virtual environment of its own whose files are links to ours. What is not in it cannot be found by any means,
nor by what is started from it.
"""

from __future__ import annotations

import re
import tomllib
import venv
from collections.abc import Iterable
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions, packages_distributions
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


@cache
def project() -> dict[str, Any]:
    """The [project] table of pyproject.toml."""
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"])


def brought(*wanted: str) -> dict[str, Distribution]:
    """The packages that `pip install` of these requirements brings, by name; `flock` and `flock[…]` are ours.

    A package that is not here is left out: it is for another system, or for another Python.
    """
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    to_see = [Requirement(each) for each in wanted]
    while to_see:
        one = to_see.pop()
        name, extras = canonicalize_name(one.name), frozenset(one.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue
        to_see += _needs(found[name], name, extras)
    return found


def _needs(package: Distribution, name: str, extras: frozenset[str]) -> list[Requirement]:
    if name == "flock":  # what is written now, not what stood there when it was installed
        optional = project()["optional-dependencies"]
        texts = [*project()["dependencies"], *(text for extra in extras for text in optional[extra])]
        return [Requirement(text) for text in texts]
    needs = [Requirement(text) for text in package.requires or []]
    return [
        need
        for need in needs
        if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in extras | {""})
    ]


def modules_of(packages: Iterable[str]) -> set[str]:
    """The names under which these packages are imported."""
    names = set(packages)
    return {
        module
        for module, owners in packages_distributions().items()
        if any(canonicalize_name(owner) in names for owner in owners)
    }


def make(folder: Path, *wanted: str) -> Path:
    """An environment in `folder` as `pip install` of these requirements makes one; its python."""
    venv.create(folder, symlinks=True)
    [site] = folder.glob("lib/python*/site-packages")
    packages = brought(*wanted)
    for package in packages.values():
        for file in package.files or []:
            if ".." in file.parts:  # programs, which would start the environment that they come from
                continue
            # A folder that holds nothing of others is linked as it is: torch alone has ten thousand files.
            whole = len(file.parts) > 1 and owners()[file.parts[0]] <= set(packages)
            parts = file.parts[:1] if whole else file.parts
            there, link = Path(str(package.locate_file("/".join(parts)))), site.joinpath(*parts)
            if there.exists() and not link.is_symlink():  # some files come with more than one package
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(there)
    return folder / "bin" / "python"


@cache
def owners() -> dict[str, set[str]]:
    """What lies at the top of our environment, and the packages that have something in it."""
    found: dict[str, set[str]] = {}
    for package in distributions():
        for top in {file.parts[0] for file in package.files or []}:
            found.setdefault(top, set()).add(canonicalize_name(package.name))
    return found


def images() -> dict[str, list[str]]:
    """What each stage of the Dockerfile installs: `flock[s3]`, or another package of the lock."""
    found: dict[str, list[str]] = {}
    for stage in re.split(r"^FROM ", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)[1:]:
        name = stage.splitlines()[0].split(" AS ")[1]
        lines = "\n".join(re.findall(r"^RUN (.*pip install .*)$", stage, re.MULTILINE))
        ours = [f"flock{extras}" for extras in re.findall(r'(?<=[ "])\.(\[[\w,-]+\])?(?=[ "]|$)', lines, re.MULTILINE)]
        more = [ROOT / "requirements" / f"{list_}.in" for list_ in re.findall(r"-r requirements/(\w+)\.txt", lines)]
        beside = [line for path in more if path.exists() for line in path.read_text().splitlines() if line[:1] != "#"]
        found[name] = [*ours, *beside]
    return found
