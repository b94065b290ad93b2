"""The hashes of sides and manifests: one text for one meaning, and nothing else is taken for it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from contracts.manifests import ManifestError, ReleaseManifest, document_hash, is_manifest, sides_hash

HASH = "ab" * 32
MANIFEST = ReleaseManifest("tiny@1", HASH, HASH, 1, HASH, HASH, 2, None, {"seed": 5, "steps": [1, 2]})


def test_sides_are_hidden_by_a_salt_of_32_bytes() -> None:
    """Another salt gives another hash; a short one, which could be guessed, is refused."""
    model_a, model_b = b"a" * 32, b"b" * 32
    hashes = {sides_hash(model_a, model_b, bytes([salt]) * 32) for salt in range(3)}
    assert len(hashes | {sides_hash(model_b, model_a, bytes(32))}) == 4
    with pytest.raises(ValueError, match="32 bytes"):
        sides_hash(model_a, model_b, b"salt")


def test_a_manifest_is_read_back_from_the_text_that_its_root_is_of() -> None:
    """Its root is the SHA-256 of that text, which anybody can compute; another recipe has another root."""
    text = MANIFEST.to_bytes()
    assert ReleaseManifest.from_bytes(text) == MANIFEST
    assert MANIFEST.root == document_hash(text)
    assert replace(MANIFEST, recipe={"seed": 6}).root != MANIFEST.root
    assert is_manifest(text)
    assert not is_manifest(b'{"attempt":1}')
    assert not is_manifest(b"no JSON")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"adapter": "AB" * 32}, "lower case"),
        ({"registration": "ab"}, "registration must be 64 hex digits"),
        ({"parent": 3}, "parent must be 64 hex digits"),
        ({"dataset_number": 0}, "dataset_number"),
        ({"base_model": ""}, "base_model"),
        ({"recipe": []}, "recipe"),
        ({"format": "another"}, "format"),
        ({"more": 1}, "other fields"),
    ],
)
def test_a_text_that_is_no_manifest_is_refused_with_its_field(change: dict[str, Any], words: str) -> None:
    """A field that is missing, unknown or of another shape is named."""
    fields = {**json.loads(MANIFEST.to_bytes()), **change}
    with pytest.raises(ManifestError, match=words):
        ReleaseManifest.from_bytes(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode())


@pytest.mark.parametrize("text", [b"[]", b"{", b"\xff", json.dumps(json.loads(MANIFEST.to_bytes())).encode()])
def test_another_text_of_the_same_meaning_is_no_manifest(text: bytes) -> None:
    """A root is of one text: spaces would make another."""
    with pytest.raises(ManifestError):
        ReleaseManifest.from_bytes(text)
