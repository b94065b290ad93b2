"""The bot as in production, in storms of its services: nothing is lost, nothing is twice, and people are told."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import shlex
import sys
from typing import Any

import pytest
import pytest_asyncio

from bot.demo.discord.people import Answer, Message, wait_for
from bot.domain.videos import Video
from tests.builders.stack import SETTLED_S, Scenario

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALLBACK = "/interactions/*/callback"
POSTS = {"method": "POST", "path": "/channels/*/messages"}
UP, DOWN = 1, 2
_numbers = itertools.count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def card(shared_scenario: Scenario) -> Message:
    """A card that was posted without any trouble; each test votes on it as somebody else."""
    await shared_scenario.clear_faults()
    return await shared_scenario.post_card(fresh_prompt())


def fresh_prompt() -> str:
    return f"weather number {next(_numbers)}."


async def is_posted_once(scenario: Scenario, asked: Answer, prompt: str) -> Video:
    """The video, whose card stands once in the thread; the message that answered the prompt leads there."""
    video = await scenario.wait_for_video(asked.interaction_id)
    assert sum(prompt in text for text in await scenario.cards(str(video.thread_id))) == 1

    async def linked() -> bool | None:
        return True if f"/{video.message_id}" in (await scenario.ana.look(asked)).text else None

    await wait_for("the progress message to lead to the card", linked, seconds=SETTLED_S)
    return video


@pytest.mark.parametrize(
    "wanted",
    [{}, {"fault": "error", "status": 502, "after": True}, {"fault": "cut"}],
    ids=["in order", "done and 502", "cut"],
)
async def test_a_prompt_whose_answer_is_disturbed(scenario: Scenario, wanted: dict[str, Any]) -> None:
    """The prompt is taken once, the member reads it, and the same message leads them to the card in the end."""
    logged, prompt = len(scenario.log("bot")), fresh_prompt()
    if wanted:
        await scenario.switch("discord", **wanted, path=CALLBACK)
    asked = await scenario.ana.command("prompt", text=prompt)
    assert not asked.ephemeral, asked.text
    await is_posted_once(scenario, asked, prompt)
    assert "Unforeseen" not in scenario.log("bot")[logged:]


async def test_with_the_host_in_order_the_card_has_its_link_at_once(scenario: Scenario, card: Message) -> None:
    """The usual way: nothing is edited afterwards. How it is with a host that is away shows test_video_host.py."""
    assert "Watch on Livepeer" in card.text
    assert not card.edited
    [url] = card.attachments
    assert (await scenario.community.fetch(url)).content[4:8] == b"ftyp"


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
    scenario: Scenario, card: Message, who: str, wanted: dict[str, Any]
) -> None:
    """The vote counts, and the member reads that it does: no word of something that went wrong."""
    logged = len(scenario.log("bot"))
    if wanted:
        await scenario.switch("discord", **wanted)
    answer = await scenario.community.person(who).press(card, "Up")
    assert "is **up**" in answer.text, answer.text
    assert (await scenario.choices((await scenario.video_on(card)).id))[who] == UP
    assert "Unforeseen" not in scenario.log("bot")[logged:]
    if wanted:
        await scenario.wait_for_faults("discord")


async def test_a_modal_whose_showing_is_disturbed(scenario: Scenario, card: Message) -> None:
    """A modal is shown again where the connection broke."""
    await scenario.switch("discord", fault="cut", path=CALLBACK)
    shown = await scenario.ben.press(card, "Feedback")
    assert shown.kind == "modal"
    assert "Thank you for your feedback" in (await scenario.ben.submit(shown, text="windy")).text


@pytest.mark.parametrize(
    "wanted",
    [{"fault": "error", "status": 503, "after": True}, {"fault": "cut", "after": True}],
    ids=["posted and 503", "posted and cut"],
)
async def test_a_card_is_posted_once(scenario: Scenario, wanted: dict[str, Any]) -> None:
    """Whatever becomes of the answer to its posting, the card of a video stands in the thread once."""
    prompt = fresh_prompt()
    await scenario.switch("discord", **wanted, **POSTS)
    await is_posted_once(scenario, await scenario.insist(scenario.ana, "prompt", text=prompt), prompt)
    await scenario.wait_for_faults("discord")


async def test_a_card_is_posted_once_after_a_long_outage(scenario: Scenario) -> None:
    """Discord forgets a nonce after minutes: a card whose posting was not confirmed is looked for then."""
    prompt = fresh_prompt()
    await scenario.switch("discord", fault="cut", after=True, **POSTS)
    await scenario.switch("discord", fault="error", status=503, **{**POSTS, "method": "*"}, count=3)
    asked = await scenario.insist(scenario.ana, "prompt", text=prompt)

    async def cut() -> bool | None:
        return True if (await scenario.switch("discord"))["faults"][0]["spent"] else None

    await wait_for("the posting to be cut", cut, seconds=SETTLED_S, every=0.02)
    await scenario.switch("discord", clock_s=600)
    await is_posted_once(scenario, asked, prompt)


@pytest.mark.parametrize(
    ("who", "also"), [("ana", {"fault": "cut"}), ("emi", {"fault": "error", "status": 503})], ids=["cut", "503"]
)
async def test_a_reaction_that_is_lost_with_the_session(
    scenario: Scenario, card: Message, who: str, also: dict[str, Any]
) -> None:
    """A reaction whose event the bot was never told counts all the same: the bot looks when it is back."""
    video = await scenario.video_on(card)
    await scenario.switch("discord", **also, method="GET", path="/channels/*/messages/*", count=2)
    await scenario.switch("discord", fault="invalidate", event="MESSAGE_REACTION_ADD")
    await scenario.community.person(who).react(card, "👎")
    await scenario.wait_for_choices(video.id, **{who: DOWN})


async def test_who_reacts_while_the_bot_looks_hides_nobody(scenario: Scenario) -> None:
    """Discord lists members in the order of their ids: one who comes meanwhile stands before one who was there."""
    early, late = scenario.community.person("emi"), scenario.community.person("ben")
    assert early.name > late.name, "ids are in the order of names"
    card = await scenario.post_card(fresh_prompt())
    video = await scenario.video_on(card)
    look = {"method": "GET", "path": f"/channels/*/messages/{card.id}/reactions/*"}
    slow = await scenario.switch("discord", fault="slow", seconds=3, **look)
    await scenario.switch("discord", fault="invalidate", event="MESSAGE_REACTION_ADD")
    await early.react(card, "👎")
    await scenario.wait_for_faults("discord")
    assert (await scenario.choices(video.id)).get(early.name) is None, (slow, "the bot is still looking")
    await late.react(card, "👎")
    await scenario.wait_for_choices(video.id, emi=DOWN, ben=DOWN)


async def test_a_reaction_told_twice_counts_once(scenario: Scenario, card: Message) -> None:
    """Told twice, a reaction is one vote, and taken back it is none."""
    video = await scenario.video_on(card)
    mira = scenario.mira
    await scenario.switch("discord", fault="duplicate", event="MESSAGE_REACTION_*", count=2)
    await mira.react(card, "👍")
    await scenario.wait_for_choices(video.id, **{mira.name: UP})
    await mira.unreact(card, "👍")
    await scenario.wait_for_choices(video.id, **{mira.name: 0})


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
async def test_a_video_comes_through_a_storm_at_the_host(scenario: Scenario, wanted: dict[str, Any]) -> None:
    """The video is posted once, and plays."""
    prompt = fresh_prompt()
    await scenario.switch("host", **wanted)
    video = await is_posted_once(scenario, await scenario.insist(scenario.ana, "prompt", text=prompt), prompt)
    assert (await scenario.community.fetch(video.playback_url or "")).status_code == 200
    await scenario.wait_for_faults("host")


@pytest.mark.parametrize(("shift", "choice"), [(86_400.0, "Down"), (-86_400.0, "Up")], ids=["fast", "slow"])
async def test_votes_while_discords_clock_is_wrong(
    scenario: Scenario, card: Message, shift: float, choice: str
) -> None:
    """A day fast or a day slow: votes and their answers, by button and by reaction, go on as if nothing were."""
    await scenario.switch("discord", clock_s=shift)
    assert f"is **{choice.lower()}**" in (await scenario.ben.press(card, choice)).text
    video = await scenario.video_on(card)
    await scenario.wait_for_choices(video.id, ben=DOWN if choice == "Down" else UP)
    emoji = "👎" if choice == "Down" else "👍"
    await scenario.mira.react(card, emoji)
    await scenario.wait_for_choices(video.id, **{scenario.mira.name: DOWN if choice == "Down" else UP})
    await scenario.mira.unreact(card, emoji)
    await scenario.wait_for_choices(video.id, **{scenario.mira.name: 0})


async def test_the_round_closes_rightly_in_the_end(scenario: Scenario, card: Message) -> None:
    """With Discord's clock wrong and the chain's node in trouble, the round closes and every vote stands on chain."""
    video = await scenario.video_on(card)
    await scenario.switch("discord", clock_s=-86_400.0)
    send = {"method": "eth_sendRawTransaction"}
    await scenario.switch("chain", fault="cut", after=True, **send, count=2)
    await scenario.switch("chain", fault="rpc_error", **send)
    await scenario.switch("chain", fault="http_error", status=502, count=2)
    await scenario.switch("chain", fault="pause_mining", seconds=2.0)
    await scenario.close_round()
    await scenario.wait_for_faults("chain")
    await scenario.clear_faults()
    expected = {"ana": DOWN, "ben": UP, "chloé": UP, "dmitri": UP, "emi": DOWN}
    assert {name: choice for name, choice in (await scenario.choices(video.id)).items() if choice} == expected
    await scenario.check_audit()


async def test_who_voted_has_a_receipt(scenario: Scenario, card: Message) -> None:
    """Only they see it; what it says to check it with needs nothing of ours, and finds what it says."""
    receipt = await scenario.ben.command("receipt")
    assert receipt.ephemeral
    number = (await scenario.video_on(card)).chain_id
    assert re.search(
        rf"👍 .*: up\n-# video {number} on the ledger · seat \d+ · batch \d+ · transaction `0x[0-9a-f]{{64}}`",
        receipt.text,
    )
    [command] = re.findall("`flock (audit .*?)`", receipt.text)
    nothing = {"PATH": os.environ["PATH"], "HOME": str(scenario.stack.state)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bot", *shlex.split(command), "--json"),
        stdout=asyncio.subprocess.PIPE,
        env=nothing,
        cwd=scenario.stack.state,
    )
    report = json.loads((await process.communicate())[0])
    assert report["ok"]
    [video] = [video for video in report["videos"] if video["number"] == number]
    assert (video["up"], video["down"]) == (3, 2)


async def test_a_receipt_shows_what_was_taken_back(scenario: Scenario) -> None:
    """Who reacted and took it off again has no vote, and reads that; there is none of a round that never was."""
    assert re.search("↩️ .*: withdrawn\n-# video \\d+ on the ledger", (await scenario.mira.command("receipt")).text)
    assert "no such round" in (await scenario.ben.command("receipt", round=99)).text
