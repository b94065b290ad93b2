"""The lists that images install from name a version and hashes of everything, and leave nothing to the network."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.supply.closure import closure

ROOT = Path(__file__).parents[2]
LISTS = ROOT / "requirements"
IMAGES = {
    "bot": ("flock[s3,kms-aws,kms-gcp,export]", "setuptools"),
    "worker": ("flock[train]", "setuptools"),
    "chain": ("flock", "py-evm", "setuptools"),
    "demo": ("flock[demo]", "setuptools"),
}


def read(text: str) -> dict[str, tuple[str, int]]:
    """The version of each package of a list, and the number of its hashes. Raises ValueError where one is missing."""
    found = {}
    for entry in re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*\n", "", text)).splitlines():
        requirement, *hashes = re.split(r"\s+--hash=", entry.strip())
        if not hashes or not all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes):
            raise ValueError(f"{requirement} has no hash.")
        [pin] = Requirement(requirement).specifier
        if pin.operator != "==":
            raise ValueError(f"{requirement} has no version.")
        found[canonicalize_name(Requirement(requirement).name)] = (pin.version, len(hashes))
    return found


def locked() -> dict[str, str]:
    lines = re.findall(r"^(\S+)==(\S+)$", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in lines}


@pytest.mark.parametrize("image", IMAGES)
def test_all_that_an_image_needs_has_a_version_and_hashes(image: str) -> None:
    """With what builds FLock itself; after a change of the dependencies: `make hashes`."""
    listed = read((LISTS / f"{image}.txt").read_text())
    assert closure(*IMAGES[image]) - set(listed) == set()
    lock = locked()
    assert {name: version for name, (version, _) in listed.items() if lock.get(name, version) != version} == {}


@pytest.mark.parametrize("text", ["a==1\n", "a==1 \\\n    --hash=md5:00\n", f"a>=1 \\\n    --hash=sha256:{'0' * 64}\n"])
def test_a_package_without_a_hash_or_a_version_is_found(text: str) -> None:
    """One is enough for pip to install whatever it is handed."""
    with pytest.raises(ValueError, match="has no"):
        read(text)


def test_images_install_by_these_lists_alone() -> None:
    """The second step brings FLock itself: no dependency, and no build tool from elsewhere."""
    stages = re.split(r"^FROM ", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)[2:]
    for stage in stages:
        image = stage.splitlines()[0].split(" AS ")[1]
        [line] = re.findall(r"^RUN (.*pip install.*)$", stage, re.MULTILINE)
        wanted, ours = line.split(" && ")
        assert wanted == f"pip install --require-hashes -r requirements/{image}.txt"
        assert ours.startswith("pip install --no-deps --no-build-isolation ")
    assert len(stages) == len(IMAGES)


DOCKER = """#!/bin/sh
test "$2" = imagetools || exit 1
case "$4" in python:*) echo sha256:{python} ;; *) echo {postgres} ;; esac
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("Makefile", "Dockerfile", "compose.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def digests(folder: Path, python: str, postgres: str) -> subprocess.CompletedProcess[str]:
    (folder / "docker").write_text(DOCKER.format(python=python, postgres=postgres))
    (folder / "docker").chmod(0o755)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.run(
        ["make", "digests"], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_base_images_are_pinned_by_their_digests(folder: Path) -> None:
    """As the registry names them, also over older ones."""
    for digit in "ab":
        assert digests(folder, digit * 64, "sha256:" + digit * 64).returncode == 0
        assert f"FROM python:3.11-slim@sha256:{digit * 64} AS base\n" in (folder / "Dockerfile").read_text()
        assert f"image: postgres:18@sha256:{digit * 64}\n" in (folder / "compose.yaml").read_text()


def test_what_is_no_digest_is_not_written(folder: Path) -> None:
    """A registry that does not answer leaves the image as it is, and says which."""
    refused = digests(folder, "c" * 64, "unauthorized")
    assert refused.returncode != 0
    assert "No digest of postgres:18" in refused.stderr
    assert "image: postgres:18\n" in (folder / "compose.yaml").read_text()
