"""A stack of real processes for the stories: one for all tests of a file, with every fault switched off between them.

A file that needs other settings of the bot names them in SETTINGS; one that needs another stack has a fixture
`shared_scenario` of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.builders.stack import Scenario, open_scenario


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_scenario(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Scenario]:
    """Open the stack of a file, with an open round."""
    settings: dict[str, str] = getattr(request.module, "SETTINGS", {})
    folder = tmp_path_factory.mktemp(request.module.__name__.rpartition(".")[2])
    async with open_scenario(folder / "state", **settings) as scenario:
        await scenario.open_round()
        yield scenario


@pytest_asyncio.fixture(loop_scope="module")
async def scenario(shared_scenario: Scenario) -> AsyncIterator[Scenario]:
    """Lend the file's stack to one test, in order before and after it."""
    await shared_scenario.clear_faults()
    yield shared_scenario
    await shared_scenario.clear_faults()
