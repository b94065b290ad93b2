"""The root of the prompts is RFC 6962's, and a registration is read as its round was opened with it."""

from __future__ import annotations

import hashlib

from contracts.audit.registrations import RegisteredPrompt, Registration, merkle_root, prompts_of
from contracts.manifests import base_model_hash
from tests.builders.battles import CANDIDATE, LIVE, prompts_root, prompts_text, registration


def test_the_root_is_that_of_the_standard() -> None:
    """Leaves and nodes are told apart by their first byte, and an odd leaf goes up as it is."""
    leaves = [hashlib.sha256(b"\0" + entry).digest() for entry in (b"a", b"b", b"c")]
    left = hashlib.sha256(b"\1" + leaves[0] + leaves[1]).digest()
    assert merkle_root([b"a", b"b", b"c"]) == hashlib.sha256(b"\1" + left + leaves[2]).digest()
    assert merkle_root([b"a"]) == leaves[0]
    assert merkle_root([]) == hashlib.sha256(b"").digest()


def test_prompts_are_found_by_their_root_alone() -> None:
    """Among whatever texts there are; other prompts have another root."""
    texts = {"1": b"no JSON", "2": b"{}", "3": prompts_text(), "4": b"[1]"}
    assert prompts_of(texts, prompts_root()) == [
        RegisteredPrompt("p0", "a cat", False),
        RegisteredPrompt("p1", "a dog", False),
    ]
    assert prompts_of(texts, prompts_root(("a cow",))) is None


def test_the_sides_are_those_of_the_registration() -> None:
    """Without a release in use the base model is the other side."""
    assert Registration.from_bytes(registration()).models == {CANDIDATE, LIVE}
    first = Registration.from_bytes(registration(live_release=None))
    assert first.models == {CANDIDATE, base_model_hash("tiny@1")}
