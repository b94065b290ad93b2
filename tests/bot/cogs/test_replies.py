"""An answer that takes long says "thinking…" first; whatever comes of it, the member reads it, and nobody else does."""

from __future__ import annotations

import pytest

from bot.cogs import replies
from bot.demo.discord.people import wait_for
from bot.store.learning import releases
from tests.builders.live_bot import Town

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(autouse=True)
def _slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every piece of work takes longer than the patience of Discord."""
    monkeypatch.setattr(replies, "PATIENCE_S", 0.0)


async def test_a_late_answer_takes_the_place_of_thinking(town: Town) -> None:
    """One message, for the member alone."""
    told = await town.community.person("ben").command("model")
    assert told.ephemeral
    assert "No release is live" in told.text


async def test_a_late_refusal_takes_the_place_of_thinking(town: Town) -> None:
    """The member reads the sentence, and not that the application still thinks."""
    told = await town.mira.command("admin model rollback", release=9)
    assert told.ephemeral
    assert "Release 9 is not live" in told.text
    assert replies.NOT_DONE not in told.text


async def until_alone(town: Town, name: str, **options: str) -> str:
    """The text that the member alone sees after `/prompt`, once nobody sees anything else of it."""
    person = town.community.person(name)
    asked = await person.command("prompt", **options)

    async def look() -> str | None:
        now = await person.look(asked)
        return now.text if now.messages and all(message.ephemeral for message in now.messages) else None

    return await wait_for("an answer for the member alone", look, seconds=60, every=0.1)


async def test_a_late_refusal_of_a_public_command_is_for_the_member_alone(town: Town) -> None:
    """Their text comes back to them; nothing of it stays in the channel."""
    told = await until_alone(town, "ana", text="a red ball by night")
    assert "There is no open round" in told
    assert "a red ball by night" in told
    texts = [message.text for message in await town.shown(town.channel)]
    assert not [text for text in texts if replies.NOT_DONE in text or "a red ball by night" in text]


async def test_a_long_text_comes_back_too(town: Town) -> None:
    """Whole, beside the sentence."""
    told = await until_alone(town, "ana", text="ball " * 90)
    assert "There is no open round" in told
    assert "ball ball" in told


async def test_an_unforeseen_late_error_has_a_reference(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """And its trace is in the log."""

    async def broken(*_arguments: object, **_more: object) -> None:
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr(releases, "history", broken)
    told = await town.community.person("ben").command("model")
    assert told.ephemeral
    assert "give the operator this reference" in told.text
