"""A prompt that is refused is given back to its member, and to nobody else."""

from __future__ import annotations

import pytest

from bot.demo.discord.people import CannotDoError
from bot.domain.policy import LONGEST_PROMPT
from tests.builders.live_bot import Town

pytestmark = pytest.mark.asyncio(loop_scope="module")

COPY = "Your text, to copy:"


@pytest.mark.parametrize(("name", "letter"), [("ana", "x"), ("emi", "💥")])
async def test_discord_itself_sends_no_prompt_that_is_too_long(town: Town, name: str, letter: str) -> None:
    """The command declares the limit that the bot enforces, so that the text stays in its member's client."""
    await town.open()
    member = town.community.person(name)
    with pytest.raises(CannotDoError, match="at most 500 characters, got 501"):
        await member.command("prompt", text=letter * (LONGEST_PROMPT + 1))
    taken = await member.command("prompt", text=letter * LONGEST_PROMPT)
    assert not taken.ephemeral, taken.text


async def test_a_prompt_that_is_too_long_can_be_copied(town: Town) -> None:
    """The whole text stands in a block, in which its markup has no effect."""
    await town.open()
    text = "**a** red ``` ball <@1> rolls " * 20
    refused = await town.community.person("ben").command("prompt", outdated=True, text=text)
    assert refused.ephemeral
    assert "characters; the limit is 500" in refused.text
    assert len(refused.text) <= 2000
    block = refused.text.partition(f"{COPY}\n```\n")[2].removesuffix("\n```")
    assert block.replace("\u200b", "") == text.strip()
    assert refused.text.count("```") == 2


async def test_a_text_that_is_too_long_for_a_message_comes_as_a_file(town: Town) -> None:
    await town.open()
    text = "a red ball 💥 " * 200
    refused = await town.community.person("ben").command("prompt", outdated=True, text=text)
    assert refused.ephemeral
    assert refused.text.endswith("Your text is in the file below.")
    [attached] = refused.message.attachments
    assert (await town.community.fetch(attached)).text == f"{text}\n"


async def test_every_refusal_gives_the_text_back(town: Town) -> None:
    """Also where no round is open; but there is nothing to give back of what nobody can see."""
    ben = town.community.person("ben")
    assert f"{COPY}\n```\na red ball\n```" in (await ben.command("prompt", text="a red ball")).text
    await town.open()
    assert f"{COPY}\n```\nab\n```" in (await ben.command("prompt", text="ab")).text
    invisible = await ben.command("prompt", text="\u200b\u200b\u200b")
    assert "at least 3" in invisible.text
    assert COPY not in invisible.text


async def test_what_is_taken_is_not_repeated_to_its_member(town: Town) -> None:
    """A prompt has its progress message; another command's refusal repeats nothing."""
    await town.open()
    ben = town.community.person("ben")
    taken = await ben.command("prompt", text="a red ball")
    assert not taken.ephemeral
    assert COPY not in taken.text
    assert COPY not in (await ben.command("receipt")).text
    assert COPY not in (await ben.command("wallet link", address="not an address")).text
