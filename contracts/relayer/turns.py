"""Fair turns: whoever has waited longest since it was last served goes next, so that nobody starves another.

Knows nothing of the ledger or of the database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
Path = tuple[object, ...]  # such as guild, round, member: each level has turns of its own

MOST_KNOWN = 10_000  # paths; those that wait for nothing are forgotten from here on


class Turns:
    """The turns of whatever paths name.

    A newcomer comes after all that wait already, and before what was served just now. So whoever waits is served after
    at most as many others as waited when it came.
    """

    def __init__(self) -> None:
        self._since: dict[Path, float] = {}  # when a path was last served, or came; counted in servings
        self._now = 0

    def order(self, waiting: Iterable[T], path: Callable[[T], Path]) -> list[T]:
        """Return what waits in the order of its turns: by the first part of the path, then by the second, and so on.

        Items that have waited equally long keep their order.
        """
        items = list(waiting)
        waiting_keys = {key for item in items for key in _levels(path(item))}
        if len(self._since) > MOST_KNOWN:
            self._since = {key: since for key, since in self._since.items() if key in waiting_keys}
        for key in waiting_keys:
            self._since.setdefault(key, self._now - 0.5)  # before the path that was served just now
        return sorted(items, key=lambda item: [self._since[key] for key in _levels(path(item))])

    def serve(self, path: Path) -> None:
        """Note that this path was served: its levels go behind all others of theirs."""
        self._now += 1
        for key in _levels(path):
            self._since[key] = self._now

    def leave(self, path: Path) -> None:
        """Note that this path has nothing to wait for: if it comes again, it is a newcomer."""
        self._since.pop(path, None)


def _levels(path: Path) -> Iterator[Path]:
    return (path[:length] for length in range(1, len(path) + 1))
