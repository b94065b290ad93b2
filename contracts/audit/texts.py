"""The folder of texts with which anybody audits releases: what may be published of them, written and read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from contracts.audit.registrations import Registration, RegistrationError, prompts_root_of
from contracts.audit.sides import master_salt
from contracts.manifests import document_hash
from contracts.outbox.documents import MOST_BYTES


def public_texts(documents: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the texts without the lists of prompts of rounds that are not over.

    Such a list tells voters which pairs are catch pairs. A round is over once its salt is among the texts.
    """
    hidden = set()
    for content in documents.values():
        try:
            registration = Registration.from_bytes(content)
        except RegistrationError:
            continue
        if registration.salt_commitment is not None and master_salt(documents, registration) is None:
            hidden.add(registration.prompts_root)
    return {name: content for name, content in documents.items() if prompts_root_of(content) not in hidden}


def write_folder(folder: Path, documents: Mapping[str, bytes]) -> None:
    """Write texts, by their hash, into a folder that `read_folder` reads. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in documents.items():
        (folder / f"{name}.json").write_bytes(content)


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return the texts in a folder, by their hash: manifests, registrations, prompts, descriptions.

    Raises OSError where the folder cannot be read. Files that no entry of the ledger names do no harm.
    """
    documents: dict[str, bytes] = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.stat().st_size <= MOST_BYTES:
            content = path.read_bytes()
            documents[document_hash(content)] = content
    return documents
