"""The document about licences is what the installed packages state, and says what a worker's image holds."""

from __future__ import annotations

from email.message import Message
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, cast

import pytest

from tests.supply.closure import closure
from tests.supply.licences import document, licence_of, table

ROOT = Path(__file__).parents[2]


def test_the_document_is_up_to_date() -> None:
    """After a change of the dependencies: `make sbom`."""
    assert (ROOT / "docs/licences.md").read_text(encoding="utf-8") == document()


def test_every_package_states_its_licence() -> None:
    """One that says nothing is not brought along."""
    assert [name for name, (licence, _) in table().items() if not licence] == []


def test_no_package_asks_more_of_the_bot_than_is_said() -> None:
    """Of licences with conditions on derived works there are those that the document names, and no others."""
    bound = {name for name, (licence, _) in table().items() if "GPL" in licence}
    assert bound <= {"psycopg", "psycopg-binary"}
    assert all("LGPL" in table()[name][0] for name in bound)


def test_the_codecs_of_the_wheel_are_named() -> None:
    """What the wheel's metadata does not say: the libraries in it are under the GPL, and the document says so."""
    assert licence_of(distribution("av").metadata) == "BSD-3-Clause"
    libraries = {file.name: Path(str(file.locate())) for file in distribution("av").files or [] if ".so" in file.name}
    assert any(name.startswith("libx264") for name in libraries)
    [codecs] = [path for name, path in libraries.items() if name.startswith("libavcodec")]
    assert b"libavcodec license: LGPL version 3 or later" in codecs.read_bytes()
    for words in ("GPL-2.0-or-later", "LGPL-3.0-or-later", "under GPL-3.0-or-later"):
        assert words in document()


def test_the_bot_has_no_codec() -> None:
    """Its image can be handed on as it is."""
    assert not {"av", "torch"} & closure("flock[s3,kms-aws,kms-gcp,export]")
    assert {"av", "torch"} <= closure("flock[train]")


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ({"License-Expression": "MIT", "License": "see below"}, "MIT"),
        ({"Classifier": "License :: OSI Approved :: MIT License"}, "MIT"),
        ({"License": "Apache 2.0\nand a long text"}, "Apache-2.0"),
        ({}, ""),
    ],
)
def test_a_licence_is_read_as_packages_state_it(fields: dict[str, str], licence: str) -> None:
    metadata = Message()
    for name, value in fields.items():
        metadata.add_header(name, value)
    assert licence_of(cast(Any, metadata)) == licence
