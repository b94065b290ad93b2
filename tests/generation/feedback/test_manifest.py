"""RELEASE.json: one text for one release, and its hash is what the ledger knows."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from generation.feedback.manifest import Manifest, ManifestError, read_manifest

MANIFEST = Manifest(
    base_model="tiny@r1",
    adapter="ad" * 32,
    dataset="da" * 32,
    dataset_number=3,
    registration="ee" * 32,
    round_key="cc" * 32,
    round_number=5,
    recipe={"seed": 7, "method": "nft", "β": 0.05},
)


def test_a_manifest_is_read_as_it_was_written() -> None:
    """Its hash never changes: `contracts/manifests.py` gave this one for the same release."""
    data = MANIFEST.canonical_bytes()
    assert read_manifest(data) == MANIFEST
    assert (MANIFEST.base, MANIFEST.seed) == (("tiny", "r1"), 7)
    assert MANIFEST.hash() == "3e1e5403688f108546a0088b4b47fd1a3825aa53e7a3b85a651a579757f6db12"
    second = replace(MANIFEST, parent=MANIFEST.hash())
    assert read_manifest(second.canonical_bytes()) == second
    assert second.hash() != MANIFEST.hash()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": "flock release 2"}, "format is not"),
        ({"more": 1}, "no field 'more'"),
        ({"adapter": "AD" * 32}, "adapter is no hash"),
        ({"parent": "0x" + "ad" * 32}, "parent is no hash"),
        ({"dataset_number": 0}, "no number on the ledger"),
        ({"round_number": "5"}, "wrong type"),
        ({"base_model": "tiny"}, "no revision"),
        ({"recipe": {"method": "nft"}}, "no seed"),
        ({"recipe": {"seed": True}}, "no seed"),
    ],
)
def test_a_manifest_that_cannot_be_right_is_named(changes: dict[str, Any], says: str) -> None:
    value = {**json.loads(MANIFEST.canonical_bytes()), **changes}
    with pytest.raises(ManifestError, match=says):
        read_manifest(json.dumps(value).encode())


def test_other_bytes_of_the_same_facts_are_no_manifest() -> None:
    """Their hash would be another one."""
    value = json.loads(MANIFEST.canonical_bytes())
    for data in (json.dumps(value).encode(), MANIFEST.canonical_bytes() + b"\n"):
        with pytest.raises(ManifestError, match="canonical form"):
            read_manifest(data)
    for data in (b"", b"[]", b"{", MANIFEST.canonical_bytes().replace(b"0.05", b"NaN")):
        with pytest.raises(ManifestError):
            read_manifest(data)
