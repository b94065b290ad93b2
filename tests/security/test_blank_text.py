"""Words that show nothing, in every place where members type: each is answered as if nothing had been written."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import regex

from bot.demo.discord.people import Message, wait_for
from bot.domain.videos import Video
from bot.store import videos
from tests.builders.live_bot import Town, open_town, post_video

pytestmark = pytest.mark.asyncio(loop_scope="module")

BLANK = {
    "fillers": "\u3164\u115f\u1160\uffa0" * 5,
    "braille without dots": "\u2800" * 20,
    "variation selectors": "\ufe0f\U000e0100\ufe00\u180b",
    "tags": "\U000e0041\U000e0042\U000e0043\U000e007f",
    "marks on nothing": "\u0301\u20dd\u0903\u0301",
    "a grapheme joiner and inherent vowels": "\u034f\u17b4\u17b5\u034f",
    "signs without a picture": "\U0001d159\ufffc\U0001d159",
    "a letter among fillers": "\u3164a\u3164\u2800\u2800\u3164",
}
IGNORABLE = "".join(regex.findall(r"\p{Default_Ignorable_Code_Point}", "".join(map(chr, range(0x110000)))))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def town(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    async with open_town(tmp_path_factory.mktemp("blank"), answer_s=60.0) as town:
        yield town


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def video(town: Town) -> Video:
    assert "is open" in (await town.open()).text
    return await post_video(town, await town.latest(), "a storm")


async def card(town: Town, video: Video) -> Message:
    return await town.community.person("ben").message(str(video.thread_id), str(video.message_id))


async def test_a_blank_prompt_makes_no_card(town: Town, video: Video) -> None:
    """It is refused as an empty one, before a video is asked for."""
    for name, text in {**BLANK, "a hundred ignorable ones": IGNORABLE[:100]}.items():
        answer = await town.community.person("ben").command("prompt", text=text)
        assert answer.ephemeral, name
        assert "at least 3 visible characters" in answer.text, name


async def test_a_prompt_with_something_hidden_in_it_is_taken_without_it(town: Town, video: Video) -> None:
    """What shows stays: an emoji keeps its joiner and its variation selector."""
    answer = await town.community.person("ben").command("prompt", text="a \u3164red\u2060 ❤\ufe0f\ufe0f\u200d🔥 storm")
    assert "a red ❤️‍🔥 storm" in answer.text
    await town.community.person("ben").press(answer.message, "Cancel")


@pytest.mark.parametrize("button", ["Feedback", "Report"])
async def test_blank_feedback_and_reports_are_refused(town: Town, video: Video, button: str) -> None:
    """Nothing is kept of them; the same form with words in it is."""
    ana = town.community.person("ana")
    for name, text in BLANK.items():
        form = await ana.press(await card(town, video), button)
        assert ("Nothing was written" in (await ana.submit(form, text=text)).text) == (name != "a letter among fillers")


async def test_a_blank_task_opens_no_round(town: Town, video: Video) -> None:
    """The moderator reads what a task needs."""
    for name, text in BLANK.items():
        assert "3 to 200 visible characters" in (await town.open(task=text)).text, name


async def test_a_blank_reason_of_a_removal_reads_as_none(town: Town, video: Video) -> None:
    """Its author reads that no reason was given, and not an empty place."""
    gone = await post_video(town, await town.latest(), "a calm")
    await town.mira.command("video remove", video=gone.id, reason=BLANK["fillers"])

    async def removed() -> bool | None:
        return (await videos.get(town.database, gone.id)).reason == "no reason was given" or None

    await wait_for("the removal", removed, seconds=30)
