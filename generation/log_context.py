"""The subject of each line in the log: one id follows a prompt through every process.

Code that works for a video says so once, with `about`; every line logged meanwhile, by any code, carries the id.
The logging set-up decides how that looks. Imports nothing of ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

_about: ContextVar[Mapping[str, str]] = ContextVar("flock_about", default={})  # noqa: B039  # never changed in place


def now_about() -> Mapping[str, str]:
    """Return the subject of the running task: `video` is a video's id, `round` a round's."""
    return _about.get()


@contextmanager
def about(**facts: object) -> Iterator[None]:
    """Set the subject of the running task, and of those that it begins, within the block; nested subjects add up."""
    token = _about.set({**_about.get(), **{name: str(value) for name, value in facts.items()}})
    try:
        yield
    finally:
        _about.reset(token)
