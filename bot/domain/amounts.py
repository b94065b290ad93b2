"""Amounts in words: a number with its noun, in the singular or the plural."""

from __future__ import annotations


def amount(count: int, noun: str, plural: str | None = None) -> str:
    """Return the number with its noun, such as `1 video` or `1,200 videos`; `plural` is for a plural without an s."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"
