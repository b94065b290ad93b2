"""The ballots that may stand after a member's acts on one video.

An acknowledged act must stand exactly; one that was not acknowledged may have either outcome. The bot acknowledges a
press by its answer, and Discord a reaction, by showing it on the card.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

WITHDRAWN, UP, DOWN = 0, 1, 2
WORDS = {WITHDRAWN: "no vote", UP: "up", DOWN: "down"}

Ballot = tuple[int, str]  # a choice, and its origin: button or reaction
Key = tuple[str, str]  # a prompt and a member's name


class Expectation:
    """The ballots that one member may have on one video; a member has one reaction at a time on it, at most."""

    def __init__(self) -> None:
        self.ballots: set[Ballot] = {(WITHDRAWN, "button")}
        self._without_reaction: set[Ballot] = set(self.ballots)
        self.reaction: int | None = None

    @property
    def choices(self) -> frozenset[int]:
        return frozenset(choice for choice, _ in self.ballots)

    def answered(self, choice: int) -> None:
        """Note a choice that the bot has confirmed to the member."""
        self.ballots = {(choice, "button")}
        self._without_reaction = set(self.ballots)

    def unanswered(self, choice: int) -> None:
        """Note a press that the bot did not answer before it died: it may have recorded the press, or not."""
        self.ballots = self.ballots | {(choice, "button")}
        self._without_reaction = self._without_reaction | {(choice, "button")}

    def reacted(self, choice: int) -> None:
        """Note a reaction that stands on the card: it counts, however late the bot sees it."""
        self._without_reaction = self.ballots
        self.ballots = {(choice, "reaction")}
        self.reaction = choice

    def unreacted(self) -> None:
        """Note that the reaction was taken back, and its vote with it. A bot that was away may have seen neither."""
        mine = (self.reaction or WITHDRAWN, "reaction")
        taken_back: set[Ballot] = {(WITHDRAWN, "reaction") if ballot == mine else ballot for ballot in self.ballots}
        if mine in self.ballots:
            taken_back |= self._without_reaction
        self.ballots, self.reaction = taken_back, None


def differences(expected: Mapping[Key, frozenset[int]], recorded: Mapping[Key, int]) -> list[str]:
    """Return a sentence for every ballot that may not stand, and for every one that nobody cast."""
    return [
        f"{member} on “{prompt}”: {WORDS[recorded.get((prompt, member), WITHDRAWN)]} is recorded, "
        f"but it must be {' or '.join(WORDS[choice] for choice in sorted(choices))}."
        for (prompt, member), choices in _all(expected, recorded)
        if recorded.get((prompt, member), WITHDRAWN) not in choices
    ]


def _all(expected: Mapping[Key, frozenset[int]], recorded: Mapping[Key, int]) -> Iterable[tuple[Key, frozenset[int]]]:
    for key in sorted({*expected, *recorded}):
        yield key, expected.get(key, frozenset({WITHDRAWN}))
