"""What a line of the log is about: one id follows a prompt through every process.

Whoever works for a video says so once, with `about`; every line that is logged meanwhile, by whomever, carries it.
How that looks is decided where logging is set up. Imports nothing of ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

_about: ContextVar[Mapping[str, str]] = ContextVar("flock_about", default={})  # noqa: B039  # never changed in place


def now_about() -> Mapping[str, str]:
    """What the running task works for: `video` is a video's id, `round` a round's."""
    return _about.get()


@contextmanager
def about(**facts: object) -> Iterator[None]:
    """Within it, the running task and those that it begins work for these; nested ones add up."""
    token = _about.set({**_about.get(), **{name: str(value) for name, value in facts.items()}})
    try:
        yield
    finally:
        _about.reset(token)
