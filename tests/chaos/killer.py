"""SIGKILL at random: bot, worker, render child and video host, alone and together, at moments that a seed decides."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.demo.supervisor import Supervisor
from bot.domain.videos import UNDER_WAY
from migrations.database import now_ms
from migrations.schema import executor_leases, render_progress, videos, workflow_attempts

MOMENTS = ("while it starts", "at work", "in the middle", "in the middle")
SOON_S = (0.0, 3.0)  # after the kill before
LATER_S = {"bot": (0.5, 11.0), "worker": (0.5, 11.0), "child": (0.5, 5.0), "host": (0.5, 5.0)}  # once it is at work
MIDDLE_S = (0.0, 0.3)  # after it has begun something
LONGEST_WAIT_S = 20.0  # for something to begin
JUST_MS = 500
SERVING = ("bot", "worker")  # these take leases
MOST_LOSSES = 2  # a job that loses its third worker is given up as poison, by design (generation/queue/reaper.py)


@dataclass
class Killer:
    """Kills as often as planned, and then ends. `killed` counts the kills by process."""

    supervisor: Supervisor
    database: AsyncEngine
    rng: random.Random
    victims: dict[str, int]
    killed: Counter[str] = field(default_factory=Counter)
    _known: set[str] = field(default_factory=set)  # executors that we have killed, or found dead
    _spared: set[str] = field(default_factory=set)  # videos whose render lost a child: the second is its end, by design

    async def run(self) -> None:
        order = [name for name, times in sorted(self.victims.items()) for _ in range(times)]
        self.rng.shuffle(order)
        for name in order:
            moment = self.rng.choice(MOMENTS)
            if moment == "while it starts":
                await asyncio.sleep(self.rng.uniform(*SOON_S))
            else:
                await self._wait_until_at_work(name)
                await asyncio.sleep(self.rng.uniform(*LATER_S[name]))
            if moment == "in the middle":
                await self._wait_for_the_middle(name)
                await asyncio.sleep(self.rng.uniform(*MIDDLE_S))
            await self._kill(name)
            self._known |= await self._executors(name)
            self.killed[name] += 1

    async def _executors(self, name: str) -> set[str]:
        """Return all executors that ever served: each process takes its own lease when it begins to work."""
        async with self.database.connect() as connection:
            query = select(executor_leases.c.executor_id).where(executor_leases.c.role == name)
            return set(await connection.scalars(query))

    async def _wait_until_at_work(self, name: str) -> None:
        while name in SERVING and not await self._executors(name) - self._known:
            await asyncio.sleep(0.1)

    async def _wait_for_the_middle(self, name: str) -> None:
        """Wait for a render, a video at the host, or one about to be posted: moments at which a death hurts most."""
        until = time.monotonic() + LONGEST_WAIT_S
        status = {"bot": ("posting",), "host": ("uploading", "hosting")}.get(name)
        while time.monotonic() < until:
            if await self._rendering() if status is None else await self._any(status):
                return
            await asyncio.sleep(0.02)

    async def _any(self, status: tuple[str, ...]) -> bool:
        async with self.database.connect() as connection:
            query = select(videos.c.id).where(videos.c.status.in_(status)).limit(1)
            return (await connection.execute(query)).first() is not None

    async def _rendering(self) -> bool:
        """Return True if the worker has just reported the progress of a render."""
        just = select(render_progress.c.video_id).where(render_progress.c.updated_at_ms > now_ms() - JUST_MS).limit(1)
        async with self.database.connect() as connection:
            return (await connection.execute(just)).first() is not None

    async def _in_render(self) -> set[str]:
        """Return the videos that a worker has reported on, and that are not rendered yet."""
        query = select(videos.c.id).where(
            videos.c.status.in_(("queued", "rendering")), videos.c.id.in_(select(render_progress.c.video_id))
        )
        async with self.database.connect() as connection:
            return set(await connection.scalars(query))

    async def taken_over(self) -> Counter[str]:
        """Count the jobs of workers and the other workflows that a living process took over from a dead one."""
        async with self.database.connect() as connection:
            rows = await connection.execute(select(workflow_attempts))
            counted: Counter[str] = Counter()
            for row in rows:
                counted["jobs" if row.workflow_id.count("-") > 1 else "workflows"] += row.attempts
        return counted

    async def _kill(self, name: str) -> None:
        """Kill a process as soon as there is one to kill."""
        while True:
            spare = {"worker": self._has_a_last_attempt, "child": self._has_lost_a_child}.get(name)
            if spare is None or not await spare():
                try:
                    await self._strike(name)
                except ProcessLookupError:
                    pass  # dead from the kill before, and not yet started again
                else:
                    return
            await asyncio.sleep(0.05)

    async def _strike(self, name: str) -> None:
        if name != "child":
            self.supervisor.kill(name)
            return
        worker = self.supervisor.pid("worker")
        try:
            children = Path(f"/proc/{worker}/task/{worker}/children").read_text().split()
        except FileNotFoundError:
            raise ProcessLookupError from None
        if not children:
            raise ProcessLookupError
        self._spared |= await self._in_render()
        for child in children:
            os.kill(int(child), signal.SIGKILL)

    async def _has_lost_a_child(self) -> bool:
        """Return True if a video that is being rendered has lost a child before, and would be given up."""
        return bool(self._spared & await self._in_render())

    async def _has_a_last_attempt(self) -> bool:
        """Return True if a job under which two workers died is still to be done: a third death would end it."""
        async with self.database.connect() as connection:
            often = await connection.scalars(
                select(workflow_attempts.c.workflow_id).where(workflow_attempts.c.attempts >= MOST_LOSSES)
            )
            # video-ID-render-1, video-ID-upload-1-1; the workflows of videos and rounds are never given up.
            ids = [name.split("-")[1] for name in often if name.count("-") > 1]
            query = select(videos.c.id).where(videos.c.id.in_(ids), videos.c.status.in_(UNDER_WAY)).limit(1)
            return (await connection.execute(query)).first() is not None
