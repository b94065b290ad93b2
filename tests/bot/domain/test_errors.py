"""The sentences that members read: each is whole, and right in the singular and the plural."""

from __future__ import annotations

import string

import pytest

from bot.domain import errors
from bot.domain.errors import MemberError, TooManyBallotsError, TooManyChangesError, TooManyWaitingError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, MemberError)]
FACTS = {
    "number": 3, "thread_id": 7, "shortest": 3, "length": 612, "longest": 500, "say": "No.", "review_id": 1,
    "waiting": 1, "limit": 1, "hours": 1, "channel_id": 9, "permissions": "View Channel", "address": "0x" + "Ab" * 20,
    "state": "lost", "what": "battle round 3", "pairs": 100, "needed": 60, "here": 7,
    "trained": 40, "obstacle": "Run `/setup` first.", "reason": "The votes are on their way to the ledger.",
}  # fmt: skip


def facts_of(kind: type[MemberError]) -> dict[str, object]:
    """What a kind of error takes: the arguments of its own constructor, or the braces of its sentence."""
    own = kind.__dict__.get("__init__")
    if kind is not MemberError and own is not None:
        return {name: FACTS[name] for name in own.__kwdefaults__ or own.__annotations__ if name != "return"}
    return {name: FACTS[name] for _, name, _, _ in string.Formatter().parse(kind.__doc__ or "") if name}


@pytest.mark.parametrize("kind", KINDS)
def test_every_sentence_is_whole(kind: type[MemberError]) -> None:
    """It begins as a sentence does, ends as one, has every fact filled in, and stands on one line."""
    sentence = kind(**facts_of(kind)).sentence
    assert sentence[0].isupper() or sentence[0] == "`"
    assert sentence[-1] in ".?!"
    assert "{" not in sentence
    assert "\n" not in sentence
    assert "  " not in sentence


def test_the_tree_of_errors_names_every_kind() -> None:
    """The drawing at the top of the module is complete."""
    assert all(kind.__name__ in (errors.__doc__ or "") for kind in KINDS)


def test_one_is_one() -> None:
    """The singular, beside its twin."""
    assert "have 1 video in progress" in TooManyWaitingError(waiting=1).sentence
    assert "have 3 videos in progress" in TooManyWaitingError(waiting=3).sentence
    assert "signed 1 ballot in round 2" in TooManyBallotsError(limit=1, number=2).sentence
    assert (
        "1 time within a day, which is the limit. Try again in 1 hour."
        in TooManyChangesError(limit=1, hours=1).sentence
    )
    assert "again in 5 hours." in TooManyChangesError(limit=4, hours=5).sentence
