"""Checks of what Discord refuses and simcord lets pass."""

from __future__ import annotations

from typing import Any

import pytest
from simcord.backend.errors import BackendError

from bot.demo.discord.validation import check_components, check_thread_edit

TEXT = {"type": 10, "content": "words"}
CONTAINER = 17


def container(*components: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"type": CONTAINER, "components": list(components)}]


@pytest.mark.parametrize(
    ("good", "bad", "words"),
    [
        ([TEXT] * 40, [TEXT] * 41, "at most 40"),
        (container(*[TEXT] * 39), container(*[TEXT] * 40), "at most 40"),
        ([{"type": 10, "content": "x" * 4000}], [{"type": 10, "content": "x" * 4001}], "4000 or fewer"),
        ([{"type": 10, "content": "🦊" * 2000}], [{"type": 10, "content": "🦊" * 2001}], "4000 or fewer"),
        ([{"type": 2, "label": "x" * 80}], [{"type": 2, "label": "x" * 81}], "label must be 80"),
        ([{"type": 2, "emoji": {"name": "👍"}}], [{"type": 2}], "a label or an emoji"),
        (container(TEXT), container(), "between 1 and 40"),
        (
            [{"type": 12, "items": [{"description": "x" * 1024}]}],
            [{"type": 12, "items": [{"description": "x" * 1025}]}],
            "description must be 1024",
        ),
    ],
)
def test_components_at_their_limit_pass_and_beyond_it_do_not(
    good: list[dict[str, Any]], bad: list[dict[str, Any]], words: str
) -> None:
    """Each limit of Discord's is met exactly, in UTF-16 units; nested components count."""
    check_components(good)
    with pytest.raises(BackendError, match=words):
        check_components(bad)


def test_a_thread_takes_its_own_fields_only() -> None:
    """A known change comes back as it was; an unknown field or duration is refused, and so is what is no object."""
    edit = {"archived": True, "auto_archive_duration": 60, "name": "Round 1"}
    assert check_thread_edit(edit) == edit
    for bad in ({"topic": "x"}, {"auto_archive_duration": 61}, {"name": ""}, ["archived"]):
        with pytest.raises(BackendError):
            check_thread_edit(bad)
