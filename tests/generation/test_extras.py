"""What only some processes need: the table agrees with pyproject.toml, and the sentence says how to install it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from generation import extras
from generation.extras import EXTRAS, MissingExtraError, missing, require

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


def packages(extra: str) -> set[str]:
    """What pyproject.toml writes for an extra, with what it takes from others of ours."""
    found: set[str] = set()
    for text in PROJECT["optional-dependencies"][extra]:
        [name] = re.findall(r"^[\w.-]+", text)
        ours = re.findall(r"^flock\[([\w,-]+)\]", text)
        found |= {package for other in ours[0].split(",") for package in packages(other)} if ours else {name}
    return found


def test_the_table_is_that_of_the_project() -> None:
    """Every extra but our own tools', and every package of it: none is asked for that pip would not install."""
    assert {extra: set(table) for extra, table in EXTRAS.items()} == {
        extra: packages(extra) for extra in PROJECT["optional-dependencies"] if extra != "dev"
    }


@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_nothing_is_missing_where_all_is_installed(extra: str) -> None:
    """Each package is found under the name by which it is imported."""
    assert missing(extra) == []
    require(extra, "Nobody")


@pytest.mark.parametrize(
    ("packages", "words"),
    [
        (["one"], "needs one, which is not"),
        (["one", "two"], "needs one and two, which are not"),
        (["one", "two", "three", "four"], "needs one, two, three and four, which are not"),
        (["one", "two", "three", "four", "five"], "needs one, two, three and 2 more packages, which are not"),
    ],
)
def test_what_is_missing_is_one_sentence(monkeypatch: pytest.MonkeyPatch, packages: list[str], words: str) -> None:
    """Which packages, as far as they fit, and the command; also for a package within one that is not there."""
    table = {package: f"nowhere.{package}" if package == "two" else f"nowhere_{package}" for package in packages}
    monkeypatch.setitem(extras.EXTRAS, "s3", {"boto3": "boto3", **table})
    assert missing("s3") == packages
    with pytest.raises(MissingExtraError) as caught:
        require("s3", "The bucket")
    assert str(caught.value) == f"The bucket {words} installed. Run: pip install 'flock[s3]'"
