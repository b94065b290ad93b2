"""The roles by the log: what no owner, guardian or relayer can have done is told."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.audit.chain.roles import NOBODY, Roles
from contracts.ledger.client import Event

CREATED = [
    ("OwnershipTransferred", {"previous_owner": NOBODY, "new_owner": "0xO"}),
    ("GuardianSet", {"guardian": "0xG"}),
    ("RelayerSet", {"relayer": "0xR", "allowed": True}),
]


def roles(*events: tuple[str, dict[str, Any]]) -> Roles:
    made = Roles()
    for name, args in (*CREATED, *events):
        made.take(Event(name, args, 1, 1, "0x1"))
    return made


def test_roles_follow_from_the_log() -> None:
    """A change of owner in two steps, a pause, a relayer who was dismissed; votes change nothing."""
    made = roles(
        ("OwnershipTransferStarted", {"previous_owner": "0xO", "new_owner": "0xP"}),
        ("OwnershipTransferred", {"previous_owner": "0xO", "new_owner": "0xP"}),
        ("PauseSet", {"by": "0xG", "paused": True}),
        ("RelayerSet", {"relayer": "0xR", "allowed": False}),
        ("VotesRecorded", {}),
    )
    assert made.problems == []
    assert (made.owner, made.pending_owner, made.guardian, made.paused) == ("0xP", NOBODY, "0xG", True)
    assert made.relayers == {"0xR": False}


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (("OwnershipTransferStarted", {"previous_owner": "0xX", "new_owner": "0xP"}), "was started by 0xX"),
        (("OwnershipTransferred", {"previous_owner": "0xO", "new_owner": "0xP"}), "without having been offered"),
        (("PauseSet", {"by": "0xG", "paused": False}), "unpaused twice"),
        (("PauseSet", {"by": "0xX", "paused": True}), "not theirs to change"),
    ],
)
def test_what_cannot_be_is_told(event: tuple[str, dict[str, Any]], words: str) -> None:
    """In a sentence."""
    assert any(words in problem for problem in roles(event).problems)
