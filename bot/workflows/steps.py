"""The durable steps of workflows, and the end of a hosting as JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, ParamSpec, TypedDict, TypeVar

from bot.retry import patiently
from generation.queue.engine import Engine

P = ParamSpec("P")
T = TypeVar("T")


class HostingEnd(TypedDict):
    """The outcome of a hosting workflow, and the reason as a sentence for the member.

    "late" is no end of a hosting: the video is posted while its hosting goes on.
    """

    outcome: Literal["hosted", "file_missing", "failed", "cancelled", "late"]
    reason: str


async def step(name: str, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a durable step that waits out what passes. Its result must be plain JSON.

    An exception that leaves a step is recorded and comes back after a restart as another type. Therefore a step
    returns what its workflow decides upon.
    """
    return await Engine.step(name, lambda: patiently(name, lambda: function(*args, **kwargs)))
