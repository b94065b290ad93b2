"""A named lease: one holder at a time."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine

from migrations.leases import release_lease, take_lease


async def test_a_lease_has_one_holder(database: AsyncEngine) -> None:
    """Its holder renews it; another gets it once it was released, and another name is another lease."""
    assert await take_lease(database, "relayer", "a", 60)
    assert await take_lease(database, "relayer", "a", 60)
    assert not await take_lease(database, "relayer", "b", 60)
    assert await take_lease(database, "reaper", "b", 60)
    await release_lease(database, "relayer", "b")  # not theirs to release
    assert not await take_lease(database, "relayer", "b", 60)
    await release_lease(database, "relayer", "a")
    assert await take_lease(database, "relayer", "b", 60)


async def test_a_lease_that_ran_out_is_free(database: AsyncEngine) -> None:
    assert await take_lease(database, "relayer", "a", -1)
    assert await take_lease(database, "relayer", "b", 60)
