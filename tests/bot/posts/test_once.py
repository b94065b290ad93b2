"""Refusals of Discord: those that are about the size of a file, and all others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import discord
import pytest

from bot.posts.once import is_too_large

PAGE = "<html><head><title>413</title></head><body><h1>413 Request Entity Too Large</h1>nginx</body></html>"


def refused(status: int, message: str | dict[str, Any]) -> discord.HTTPException:
    """What discord.py raises for such an answer."""
    return discord.HTTPException(SimpleNamespace(status=status, reason="no"), message)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (413, {"message": "Request entity too large", "code": 40005}),
        (413, PAGE),
        (413, ""),
        (400, {"message": "Request entity too large", "code": 0}),
        (400, {"message": "Request entity too large", "code": 40005}),
        (400, {"message": "File uploaded exceeds the maximum size", "code": 50045}),
    ],
)
def test_a_file_that_is_too_large_is_known_by_what_discord_says(status: int, message: str | dict[str, Any]) -> None:
    """By the status, by the code, or by the words; as JSON or as a proxy's page."""
    assert is_too_large(refused(status, message))


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, {"message": "Invalid Form Body", "code": 50035}),
        (400, {"message": "Cannot send an empty message", "code": 50006}),
        (403, {"message": "Missing Permissions", "code": 50013}),
        (404, {"message": "Unknown Channel", "code": 10003}),
        (403, "<html><h1>403 Forbidden</h1></html>"),
        (429, {"message": "You are being rate limited.", "code": 0}),
    ],
)
def test_other_refusals_are_not_about_size(status: int, message: str | dict[str, Any]) -> None:
    """A smaller message would be refused just so."""
    assert not is_too_large(refused(status, message))
