"""Engines that write down what they are to run, for tests of what begins a workflow."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from generation.queue.engine import Engine


class RecordingEngine(Engine):
    """Writes down the ids of submitted workflows, in their order, and runs nothing."""

    def __init__(self) -> None:
        self.submitted: list[str] = []

    async def submit(
        self, connection: AsyncConnection, workflow: str, workflow_id: str, argument: Any, **options: Any
    ) -> None:
        self.submitted.append(workflow_id)
