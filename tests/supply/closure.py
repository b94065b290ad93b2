"""The packages that an installation of FLock brings along, from the metadata of those that are installed here."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def closure(*wanted: str) -> set[str]:
    """The packages behind some requirements, such as `flock[train]`, by their canonical names; FLock is none."""
    found: set[tuple[str, str]] = set()
    waiting = [Requirement(text) for text in wanted]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras}:
            if (name, extra) in found:
                continue
            found.add((name, extra))
            try:
                requires = distribution(name).requires or []
            except PackageNotFoundError:  # it is for another system
                found.discard((name, extra))
                continue
            inner = [Requirement(text) for text in requires]
            waiting += [each for each in inner if each.marker is None or each.marker.evaluate({"extra": extra})]
    return {name for name, _ in found} - {"flock"}
