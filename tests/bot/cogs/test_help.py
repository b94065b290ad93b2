"""`/help` is answered to its member alone, with the state of their server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.builders.live_bot import Town, open_town


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    async with open_town(tmp_path) as town:
        yield town


async def test_help_tells_what_to_do_now(town: Town) -> None:
    """Before a round, while it is open, and after it; a moderator reads of more commands than a member."""
    ben = town.community.person("ben")
    before = await ben.command("help")
    assert before.ephemeral
    assert "There has been no round yet. A moderator opens the next one." in before.text
    assert "Open one with `/round open`." in (await town.mira.command("help")).text
    await town.open("shapes")
    round_ = await town.latest()
    during = await ben.command("help", in_channel=str(round_.thread_id))
    assert "Round 1 is open: **\u2068shapes\u2069**." in during.text
    assert f"<#{round_.thread_id}>" in during.text
    assert "`/prompt text:" in during.text
    assert "For moderators" not in during.text
    assert "For moderators" in (await town.mira.command("help")).text
    await town.close()
    round_ = await town.latest()
    after = await ben.command("help")
    assert "No round is open." in after.text
    assert f"/{round_.channel_id}/{round_.result_message_id}) of round 1." in after.text
