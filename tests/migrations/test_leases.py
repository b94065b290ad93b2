"""Leases: one holder at a time, on both databases."""

from __future__ import annotations

import asyncio

from sqlalchemy.ext.asyncio import AsyncEngine

from migrations.leases import release_lease, take_lease


async def test_a_lease_has_one_holder(database: AsyncEngine) -> None:
    """Of two that ask at once one gets it, and only that one can renew it."""
    answers = await asyncio.gather(*(take_lease(database, "relayer", owner, 60) for owner in ("a", "b")))
    assert sorted(answers) == [False, True]
    holder, other = ("a", "b") if answers[0] else ("b", "a")
    assert await take_lease(database, "relayer", holder, 60)
    assert not await take_lease(database, "relayer", other, 60)
    assert await take_lease(database, "reaper", other, 60), "another lease is another's"


async def test_a_lease_is_free_once_it_is_released_or_over(database: AsyncEngine) -> None:
    """Only its holder can release it; one that is not renewed goes to whoever asks next."""
    assert await take_lease(database, "relayer", "a", 60)
    await release_lease(database, "relayer", "b")
    assert not await take_lease(database, "relayer", "b", 60)
    await release_lease(database, "relayer", "a")
    assert await take_lease(database, "relayer", "b", 0.05)
    await asyncio.sleep(0.2)
    assert await take_lease(database, "relayer", "a", 60)
