"""Prompts as a data set groups them: near duplicates are one prompt, and a prompt is in one split for good."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import Literal

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")
TEST_SHARE = 0.1  # of the prompts

_ARTICLES = {"a", "an", "the"}
_MEMBER = re.compile(r"<@[!&]?\d+>")  # a mention of a member or a role, as Discord writes it


def normalised(prompt: str) -> str:
    """Return a prompt as it is compared with others: its words in small letters, without articles and punctuation.

    Letters are compared in Unicode's form NFKC. A prompt without any letter or digit, such as one of emoji, is
    compared as it stands.
    """
    text = unicodedata.normalize("NFKC", prompt).casefold()
    # Marks belong to their letters: without them, words of several Indian scripts would fall together.
    letters = "".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in text)
    words = letters.split()
    kept = [word for word in words if word not in _ARTICLES] or words
    return " ".join(kept) or " ".join(text.split())


def prompt_id(prompt: str) -> str:
    """Return the id that near duplicates of a prompt share: 16 hex digits of a hash."""
    return hashlib.sha256(normalised(prompt).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def split_of(prompt: str) -> Split:
    """Return the split of a prompt. A hash alone decides, so that it is the same in every data set ever made."""
    digest = hashlib.sha256(f"flock split 1\0{normalised(prompt)}".encode("utf-8", "surrogatepass")).digest()
    return "test" if int.from_bytes(digest[:8]) < TEST_SHARE * 2**64 else "train"


def names_member(text: str) -> bool:
    """Return True for a text that mentions a member or a role by their number on Discord."""
    return _MEMBER.search(text) is not None


def without_members(text: str) -> str:
    """Return a text with a neutral word in place of each mention of a member or a role."""
    return _MEMBER.sub("[member]", text)
