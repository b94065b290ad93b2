"""The bot as in production, in storms of its services: nothing is lost, nothing is twice, and people are told."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import shlex
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from bot.demo.discord.people import Answer, Message, wait_for
from bot.domain.videos import Video
from tests.builders.stack import SETTLED_S, Trouble, open_trouble

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALLBACK = "/interactions/*/callback"
POSTS = {"method": "POST", "path": "/channels/*/messages"}
UP, DOWN = 1, 2
_numbers = itertools.count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Trouble]:
    """One house for all of these tests, with an open round."""
    async with open_trouble(tmp_path_factory.mktemp("storms") / "state") as trouble:
        await trouble.open_round()
        yield trouble


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def card(house: Trouble) -> Message:
    """A card that was posted without any trouble; each test votes on it as somebody else."""
    await house.put_in_order()
    return await house.a_card(fresh_prompt())


@pytest_asyncio.fixture(loop_scope="module")
async def trouble(house: Trouble) -> AsyncIterator[Trouble]:
    """In order before a test and after it."""
    await house.put_in_order()
    yield house
    await house.put_in_order()


def fresh_prompt() -> str:
    return f"weather number {next(_numbers)}."


async def is_posted_once(trouble: Trouble, asked: Answer, prompt: str) -> Video:
    """The video, whose card stands once in the thread; the message that answered the prompt leads there."""
    video = await trouble.published(asked.interaction_id)
    assert sum(prompt in text for text in await trouble.cards(str(video.thread_id))) == 1

    async def linked() -> bool | None:
        return True if f"/{video.message_id}" in (await trouble.ana.look(asked)).text else None

    await wait_for("the progress message to lead to the card", linked, seconds=SETTLED_S)
    return video


@pytest.mark.parametrize(
    "wanted",
    [{}, {"fault": "error", "status": 502, "after": True}, {"fault": "cut"}],
    ids=["in order", "done and 502", "cut"],
)
async def test_a_prompt_whose_answer_is_disturbed(trouble: Trouble, wanted: dict[str, Any]) -> None:
    """The prompt is taken once, the member reads it, and the same message leads them to the card in the end."""
    logged, prompt = len(trouble.log("bot")), fresh_prompt()
    if wanted:
        await trouble.switch("discord", **wanted, path=CALLBACK)
    asked = await trouble.ana.command("prompt", text=prompt)
    assert not asked.ephemeral, asked.text
    await is_posted_once(trouble, asked, prompt)
    assert "Unforeseen" not in trouble.log("bot")[logged:]


@pytest.mark.parametrize(
    ("who", "wanted"),
    [
        ("ana", {}),
        ("ben", {"fault": "cut", "after": True, "path": CALLBACK}),
        ("chloé", {"fault": "cut", "path": CALLBACK}),
        ("dmitri", {"fault": "duplicate", "event": "INTERACTION_CREATE"}),
    ],
    ids=["in order", "done and cut", "cut", "told twice"],
)
async def test_a_vote_whose_answer_is_disturbed(
    trouble: Trouble, card: Message, who: str, wanted: dict[str, Any]
) -> None:
    """The vote counts, and the member reads that it does: no word of something that went wrong."""
    logged = len(trouble.log("bot"))
    if wanted:
        await trouble.switch("discord", **wanted)
    answer = await trouble.community.person(who).press(card, "Up")
    assert "is **up**" in answer.text, answer.text
    assert (await trouble.choices((await trouble.on_card(card)).id))[who] == UP
    assert "Unforeseen" not in trouble.log("bot")[logged:]
    if wanted:
        await trouble.struck("discord")


async def test_a_modal_whose_showing_is_disturbed(trouble: Trouble, card: Message) -> None:
    """A modal is shown again where the connection broke."""
    await trouble.switch("discord", fault="cut", path=CALLBACK)
    shown = await trouble.ben.press(card, "Feedback")
    assert shown.kind == "modal"
    assert "is kept" in (await trouble.ben.submit(shown, text="windy")).text


@pytest.mark.parametrize(
    "wanted",
    [{"fault": "error", "status": 503, "after": True}, {"fault": "cut", "after": True}],
    ids=["posted and 503", "posted and cut"],
)
async def test_a_card_is_posted_once(trouble: Trouble, wanted: dict[str, Any]) -> None:
    """Whatever becomes of the answer to its posting, the card of a video stands in the thread once."""
    prompt = fresh_prompt()
    await trouble.switch("discord", **wanted, **POSTS)
    await is_posted_once(trouble, await trouble.insist(trouble.ana, "prompt", text=prompt), prompt)
    await trouble.struck("discord")


async def test_a_card_is_posted_once_after_a_long_outage(trouble: Trouble) -> None:
    """Discord forgets a nonce after minutes: a card whose posting was not confirmed is looked for then."""
    prompt = fresh_prompt()
    await trouble.switch("discord", fault="cut", after=True, **POSTS)
    await trouble.switch("discord", fault="error", status=503, **{**POSTS, "method": "*"}, count=3)
    asked = await trouble.insist(trouble.ana, "prompt", text=prompt)

    async def cut() -> bool | None:
        return True if (await trouble.switch("discord"))["faults"][0]["spent"] else None

    await wait_for("the posting to be cut", cut, seconds=SETTLED_S, every=0.02)
    await trouble.switch("discord", clock_s=600)
    await is_posted_once(trouble, asked, prompt)


@pytest.mark.parametrize(
    ("who", "also"), [("ana", {"fault": "cut"}), ("emi", {"fault": "error", "status": 503})], ids=["cut", "503"]
)
async def test_a_reaction_that_is_lost_with_the_session(
    trouble: Trouble, card: Message, who: str, also: dict[str, Any]
) -> None:
    """A reaction whose event the bot was never told counts all the same: the bot looks when it is back."""
    video = await trouble.on_card(card)
    await trouble.switch("discord", **also, method="GET", path="/channels/*/messages/*", count=2)
    await trouble.switch("discord", fault="invalidate", event="MESSAGE_REACTION_ADD")
    await trouble.community.person(who).react(card, "👎")
    await trouble.chosen(video.id, **{who: DOWN})


async def test_who_reacts_while_the_bot_looks_hides_nobody(trouble: Trouble) -> None:
    """Discord lists members in the order of their ids: one who comes meanwhile stands before one who was there."""
    early, late = trouble.community.person("emi"), trouble.community.person("ben")
    assert early.name > late.name, "ids are in the order of names"
    card = await trouble.a_card(fresh_prompt())
    video = await trouble.on_card(card)
    look = {"method": "GET", "path": f"/channels/*/messages/{card.id}/reactions/*"}
    slow = await trouble.switch("discord", fault="slow", seconds=3, **look)
    await trouble.switch("discord", fault="invalidate", event="MESSAGE_REACTION_ADD")
    await early.react(card, "👎")
    await trouble.struck("discord")
    assert (await trouble.choices(video.id)).get(early.name) is None, (slow, "the bot is still looking")
    await late.react(card, "👎")
    await trouble.chosen(video.id, emi=DOWN, ben=DOWN)


async def test_a_reaction_told_twice_counts_once(trouble: Trouble, card: Message) -> None:
    """Told twice, a reaction is one vote, and taken back it is none."""
    video = await trouble.on_card(card)
    mira = trouble.mira
    await trouble.switch("discord", fault="duplicate", event="MESSAGE_REACTION_*", count=2)
    await mira.react(card, "👍")
    await trouble.chosen(video.id, **{mira.name: UP})
    await mira.unreact(card, "👍")
    await trouble.chosen(video.id, **{mira.name: 0})


@pytest.mark.parametrize(
    "wanted",
    [
        {"fault": "fail", "message": "the encoder is on fire", "count": 2},
        {"fault": "cut", "after": True, "path": "/api/asset/request-upload"},
        {"fault": "cut_upload", "bytes": 500},
        {"fault": "stick", "phase": "uploading", "seconds": 2.0},
    ],
    ids=["fails twice", "asset not told of", "upload cut", "sticks"],
)
async def test_a_video_comes_through_a_storm_at_the_host(trouble: Trouble, wanted: dict[str, Any]) -> None:
    """The video is posted once, and plays."""
    prompt = fresh_prompt()
    await trouble.switch("host", **wanted)
    video = await is_posted_once(trouble, await trouble.insist(trouble.ana, "prompt", text=prompt), prompt)
    assert (await trouble.community.fetch(video.playback_url or "")).status_code == 200
    await trouble.struck("host")


@pytest.mark.parametrize(("shift", "choice"), [(86_400.0, "Down"), (-86_400.0, "Up")], ids=["fast", "slow"])
async def test_votes_while_discords_clock_is_wrong(trouble: Trouble, card: Message, shift: float, choice: str) -> None:
    """A day fast or a day slow: votes and their answers, by button and by reaction, go on as if nothing were."""
    await trouble.switch("discord", clock_s=shift)
    assert f"is **{choice.lower()}**" in (await trouble.ben.press(card, choice)).text
    video = await trouble.on_card(card)
    await trouble.chosen(video.id, ben=DOWN if choice == "Down" else UP)
    emoji = "👎" if choice == "Down" else "👍"
    await trouble.mira.react(card, emoji)
    await trouble.chosen(video.id, **{trouble.mira.name: DOWN if choice == "Down" else UP})
    await trouble.mira.unreact(card, emoji)
    await trouble.chosen(video.id, **{trouble.mira.name: 0})


async def test_the_round_closes_rightly_in_the_end(trouble: Trouble, card: Message) -> None:
    """With Discord's clock wrong and the chain's node in trouble, the round closes and every vote stands on chain."""
    video = await trouble.on_card(card)
    await trouble.switch("discord", clock_s=-86_400.0)
    send = {"method": "eth_sendRawTransaction"}
    await trouble.switch("chain", fault="cut", after=True, **send, count=2)
    await trouble.switch("chain", fault="rpc_error", **send)
    await trouble.switch("chain", fault="http_error", status=502, count=2)
    await trouble.switch("chain", fault="pause_mining", seconds=2.0)
    await trouble.close_round()
    await trouble.struck("chain")
    await trouble.put_in_order()
    expected = {"ana": DOWN, "ben": UP, "chloé": UP, "dmitri": UP, "emi": DOWN}
    assert {name: choice for name, choice in (await trouble.choices(video.id)).items() if choice} == expected
    await trouble.audited()


async def test_who_voted_has_a_receipt(trouble: Trouble, card: Message) -> None:
    """Only they see it; what it says to check it with needs nothing of ours, and finds what it says."""
    receipt = await trouble.ben.command("receipt")
    assert receipt.ephemeral
    number = (await trouble.on_card(card)).chain_id
    assert re.search(
        rf"👍 .*: up\n-# the ledger's video {number} · seat \d+ · batch \d+ · transaction `0x[0-9a-f]{{64}}`",
        receipt.text,
    )
    [command] = re.findall("`flock (audit .*?)`", receipt.text)
    nothing = {"PATH": os.environ["PATH"], "HOME": str(trouble.house.state)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bot", *shlex.split(command), "--json"),
        stdout=asyncio.subprocess.PIPE,
        env=nothing,
        cwd=trouble.house.state,
    )
    report = json.loads((await process.communicate())[0])
    assert report["ok"]
    [video] = [video for video in report["videos"] if video["number"] == number]
    assert (video["up"], video["down"]) == (3, 2)


async def test_a_receipt_shows_what_was_taken_back(trouble: Trouble) -> None:
    """Who reacted and took it off again has no vote, and reads that; there is none of a round that never was."""
    assert re.search("↩️ .*: withdrawn\n-# the ledger's video", (await trouble.mira.command("receipt")).text)
    assert "no such round" in (await trouble.ben.command("receipt", round=99)).text
