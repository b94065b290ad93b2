"""The texts with which anybody audits releases: what is published of them, and when."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from contracts.audit.texts import public_texts, read_folder, write_folder
from contracts.manifests import SALT_PREFIX, document_hash
from tests.builders.battles import prompts_root, prompts_text
from tests.builders.ledger_log import first_registration

SALT = SALT_PREFIX + b"s" * 32
CATCH = ("a trap",)
HIDDEN = first_registration(prompts_root=prompts_root(catch=CATCH), salt_commitment=hashlib.sha256(SALT).hexdigest())
OTHERS = [b"a release", b"[NaN]", b"[1]", b"\xff"]


def by_hash(*texts: bytes) -> dict[str, bytes]:
    return {document_hash(text): text for text in texts}


def test_the_prompts_of_a_round_follow_when_it_is_over() -> None:
    """They tell which pairs are catch pairs: voters must not read them before. Everything else is public."""
    texts = by_hash(HIDDEN, prompts_text(catch=CATCH), *OTHERS)
    assert public_texts(texts) == by_hash(HIDDEN, *OTHERS)
    over = {**texts, **by_hash(SALT)}
    assert public_texts(over) == over


def test_prompts_of_a_round_without_a_hidden_salt_are_public() -> None:
    """The twin: an older registration has no salt to wait for."""
    texts = by_hash(first_registration(), prompts_text())
    assert public_texts(texts) == texts


def test_the_texts_of_a_folder_are_known_by_their_hash(tmp_path: Path) -> None:
    """Whatever they are called; folders and very large files are left alone."""
    write_folder(tmp_path / "texts", by_hash(*OTHERS))
    next((tmp_path / "texts").iterdir()).rename(tmp_path / "texts" / "renamed")
    (tmp_path / "texts" / "folder").mkdir()
    (tmp_path / "texts" / "large").write_bytes(bytes(5 * 2**20))
    assert read_folder(tmp_path / "texts") == by_hash(*OTHERS)
    with pytest.raises(OSError, match="nowhere"):
        read_folder(tmp_path / "nowhere")
