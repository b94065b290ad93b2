"""The subject of a line in the log: it follows the task that set it, and nobody else."""

from __future__ import annotations

import asyncio

from generation.log_context import about, now_about


async def test_a_subject_follows_the_tasks_that_begin_within_it() -> None:
    """Nested subjects add up and end with their block; a task beside it has none."""
    subjects = {}

    async def note(name: str) -> None:
        await asyncio.sleep(0)
        subjects[name] = dict(now_about())

    beside = asyncio.create_task(note("beside"))
    with about(video=42):
        within = asyncio.create_task(note("within"))
        with about(round=7):
            await note("nested")
        await note("after")
    await asyncio.gather(beside, within)
    assert subjects == {
        "beside": {}, "within": {"video": "42"}, "nested": {"video": "42", "round": "7"}, "after": {"video": "42"}
    }  # fmt: skip
    assert now_about() == {}
