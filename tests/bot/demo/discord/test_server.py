"""The embedded Discord as an unmodified discord.py bot meets it: what people do, and what they see of it."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import httpx
import pytest

from bot.demo.discord.people import CannotDoError, NoAnswerError, wait_for
from tests.bot.demo.discord.an_unmodified_bot import CLIP
from tests.bot.demo.discord.town import BOT_TOKEN, Process, Town


async def post(town: Town, number: int) -> dict[str, Any]:
    """A card in a thread of its own."""
    channel = ("general", "videos")[number % 2]  # each takes five messages in five seconds
    posted: dict[str, Any] = json.loads((await town.mira.command("post", in_channel=channel, number=number)).text)
    return posted


async def test_a_command_is_answered(town: Town) -> None:
    """A slash command reaches the bot, and its answer stands in the channel for all."""
    answer = await town.ana.command("ping", text="hello")
    assert (answer.kind, answer.text, answer.message.author) == ("message", "hello", "FLock")
    general = await town.community.channel("general")
    assert (await town.ben.message(general, answer.message.id)).text == "hello"


@pytest.mark.parametrize(
    ("command", "options", "words"),
    [
        ("pong", {}, "no command /pong"),
        ("ping", {"text": "x" * 101}, "at most 100"),
        ("ping", {"text": ""}, "at least 1"),
        ("ping", {"txt": "a"}, "no option 'txt'"),
        ("pick", {}, "needs the option 'word'"),
    ],
)
async def test_a_command_that_the_client_refuses(town: Town, command: str, options: dict[str, str], words: str) -> None:
    """What Discord's client would not send never reaches the bot, and the person reads why."""
    with pytest.raises(CannotDoError, match=words):
        await town.ana.command(command, **options)


@pytest.mark.parametrize("text", ["x" * 101, "💥" * 101])
async def test_a_client_with_an_earlier_definition_limits_no_length(town: Town, text: str) -> None:
    """What it sends reaches the bot; an option that the command does not have is refused as ever."""
    assert (await town.ana.command("ping", outdated=True, text=text)).text == text
    with pytest.raises(CannotDoError, match="at most 100 characters, got 101"):
        await town.ana.command("ping", text=text)
    with pytest.raises(CannotDoError, match="no option 'txt'"):
        await town.ana.command("ping", outdated=True, txt="a")


async def test_a_deferred_answer_moves(town: Town) -> None:
    """A deferred answer is edited while real time passes; a follow-up comes after it."""
    answer = await town.ana.command("slow")
    seen = [answer.text]

    async def done() -> bool | None:
        now = await town.ana.look(answer)
        if now.messages[0].text != seen[-1]:
            seen.append(now.messages[0].text)
        return True if len(now.messages) == 2 and now.messages[1].text == "done" else None

    await wait_for("the follow-up", done, seconds=60, every=0.02)
    assert seen == ["0 %", "50 %", "100 %"]


async def test_an_answer_for_one_member(town: Town) -> None:
    """An ephemeral answer is seen by the member who asked, and by nobody else."""
    answer = await town.ana.command("secret")
    general = await town.community.channel("general")
    assert answer.ephemeral
    assert answer.message.id in {message.id for message in await town.ana.messages(general)}
    assert answer.message.id not in {message.id for message in await town.ben.messages(general)}
    with pytest.raises(CannotDoError, match="cannot see"):
        await town.ben.react(answer.message, "👍")


async def test_an_interaction_is_answered_once(town: Town) -> None:
    """A second answer to an interaction is refused with 40060."""
    answer = await town.ana.command("twice")

    async def refused() -> bool | None:
        return True if (await town.ana.look(answer)).text == "40060" else None

    await wait_for("the refusal", refused, seconds=60)


async def test_hidden_commands(town: Town) -> None:
    """A moderators' command is offered to moderators alone, and nobody else can run it."""
    assert "round" in await town.mira.commands()
    assert "round" not in await town.ana.commands()
    assert "ping" in await town.ana.commands()
    options = {"task": "t", "where": await town.community.channel("videos"), "who": "chloé"}
    assert (await town.mira.command("round open", **options)).text == "t in videos by chloé"
    with pytest.raises(CannotDoError, match="hidden"):
        await town.ana.command("round open", **options)
    with pytest.raises(CannotDoError, match="cannot be run alone"):
        await town.mira.command("round")


async def test_suggestions(town: Town) -> None:
    """An option suggests words while it is typed, and only where the command offers that."""
    assert await town.ana.complete("pick", "word", "rain") == ("rain", "rainbow")
    assert await town.ana.complete("pick", "word", "snow") == ()
    with pytest.raises(CannotDoError, match="suggests nothing"):
        await town.ana.complete("ping", "text", "a")


async def test_a_card_with_a_video(town: Town) -> None:
    """A Components V2 card shows the attached video, which is served byte by byte, whole and in ranges."""
    posted = await post(town, 7)
    assert posted["limit"] == 10 * 1024 * 1024
    card = await town.ana.message(posted["thread"], posted["message"])
    assert card.text == "## Video 7"
    assert [(b.label, b.disabled) for b in card.buttons] == [("Press", False), ("Feedback", False), ("Closed", True)]
    assert card.links == {"Watch": "https://example.org/v/1"}
    assert card.media == card.attachments
    assert card.reactions == {"👍": 1}
    whole = await town.community.fetch(card.media[0])
    assert (whole.status_code, whole.headers["Content-Type"], whole.content) == (200, "video/mp4", CLIP)
    part = await town.community.fetch(card.media[0], Range="bytes=100-199")
    assert (part.status_code, part.content) == (206, CLIP[100:200])
    assert part.headers["Content-Range"] == f"bytes 100-199/{len(CLIP)}"
    beyond = await town.community.fetch(card.media[0], Range=f"bytes={len(CLIP)}-")
    assert beyond.status_code == 416
    assert (await town.community.fetch(card.media[0] + "x")).status_code == 404
    assert (await town.community.fetch(f"{town.process.url}/attachments/1/2/..%2f..%2fworld.json")).status_code == 404


async def test_buttons_and_their_limits(town: Town) -> None:
    """A button answers the member who pressed it; a disabled one and one that is not there cannot be pressed."""
    posted = await post(town, 8)
    card = await town.ana.message(posted["thread"], posted["message"])
    assert (await town.ana.press(card, "Press")).text.startswith("ana pressed 8")
    assert (await town.ben.press(card, "v1:press")).text.startswith("ben pressed 8")
    with pytest.raises(CannotDoError, match="disabled"):
        await town.ana.press(card, "Closed")
    with pytest.raises(CannotDoError, match="no button"):
        await town.ana.press_id(card, "v1:press:99")
    with pytest.raises(LookupError, match="no button 'Up'"):
        await town.ana.press(card, "Up")


async def test_a_modal(town: Town) -> None:
    """A press shows a modal; what its member types reaches the bot once; others cannot submit it."""
    posted = await post(town, 9)
    card = await town.ana.message(posted["thread"], posted["message"])
    shown = await town.ana.press(card, "Feedback")
    assert shown.kind == "modal"
    assert shown.modal is not None
    with pytest.raises(CannotDoError, match="shows this member no modal"):
        await town.ben.submit(shown, text="mine")
    with pytest.raises(CannotDoError, match="must be filled in"):
        await town.ana.submit(shown, text="")
    with pytest.raises(CannotDoError, match="no field 'txt'"):
        await town.ana.submit(shown, text="a", txt="b")
    answer = await town.ana.submit(shown, text="more rain")
    assert (answer.ephemeral, answer.text) == (True, "Thank you for “more rain”.")
    with pytest.raises(CannotDoError, match="shows this member no modal"):
        await town.ana.submit(shown, text="again")


async def test_reactions(town: Town) -> None:
    """Reactions reach the bot as events, and can be read back by who made them, also beyond a page."""
    posted = await post(town, 10)
    card = await town.ana.message(posted["thread"], posted["message"])
    await town.ana.react(card, "👎")
    await town.ben.react(card, "👍")
    await town.ana.unreact(card, "👎")
    met = await town.met("-👎")
    assert met.index("+👎 ana") < met.index("+👍 ben") < met.index("-👎")
    assert (await town.ana.message(card.channel_id, card.id)).reactions == {"👍": 2}
    answer = await town.mira.command("reactions", thread=posted["thread"], message=posted["message"])
    assert json.loads(answer.text) == {"👍": ["FLock", "ben"]}
    await town.ana.unreact(card, "👎")  # not there any more: nothing happens
    assert "-👎" not in json.loads((await town.ben.command("met")).text)


async def test_a_closed_thread(town: Town) -> None:
    """An archived thread's messages can be neither edited nor reacted to; a locked one takes no word from members."""
    posted = await post(town, 11)
    card = await town.ana.message(posted["thread"], posted["message"])
    await town.ana.say("before", in_channel=posted["thread"])
    assert json.loads((await town.mira.command("close", thread=posted["thread"])).text) == [True, True, 50083, 50083]
    with pytest.raises(CannotDoError, match="archived"):
        await town.ana.react(card, "👍")
    with pytest.raises(CannotDoError, match="Missing Permissions"):
        await town.ana.say("after", in_channel=posted["thread"])
    channels = {channel["id"]: channel for channel in (await town.community.world())["channels"]}
    assert channels[posted["thread"]]["thread_metadata"]["locked"]


async def test_a_nonce_posts_once(town: Town) -> None:
    """The same nonce within a few minutes gives the first message again; another nonce gives another message."""
    thread = (await post(town, 15))["thread"]
    assert json.loads((await town.ana.command("nonce", in_channel=thread)).text) == [True, False]
    texts = [message.text for message in await town.ana.messages(thread)]
    assert texts.count("only once") == 2


async def test_content_is_private(town: Town) -> None:
    """Without the message content intent the bot learns that somebody wrote, and not what."""
    message_id = await town.ana.say("a secret of ana's")
    general = await town.community.channel("general")
    message = await town.ben.message(general, message_id)
    assert message.text == "a secret of ana's"
    assert "message ana ''" in await town.met("message ana ''")
    with pytest.raises(CannotDoError, match="Missing Permissions"):
        await town.ben.delete(message)
    await town.mira.delete(message)
    with pytest.raises(LookupError):
        await town.ben.message(general, message_id)


async def test_what_discord_refuses(town: Town) -> None:
    """Names, addresses and sizes beyond Discord's limits are refused with its codes; those at the limits pass."""
    codes = json.loads((await town.ana.command("refused", in_channel="videos")).text)
    assert codes == {
        "long name": 50035,
        "javascript": 50035,
        "https": 0,
        "too large": 40005,
        "large": 0,
        "long text": 50035,
    }


async def test_patience_under_429(town: Town) -> None:
    """A bot that edits where all edits are used up is sent away with 429; discord.py comes back: nothing is lost."""
    message = (await town.ana.command("ping", text="first")).message
    headers = {"Authorization": f"Bot {BOT_TOKEN}"}
    path = f"{town.process.url}/api/v10/channels/{message.channel_id}/messages/{message.id}"
    async with httpx.AsyncClient(headers=headers) as twin:  # with the bot's token, in another process than the bot
        answers = [await twin.patch(path, json={"content": str(number)}) for number in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    assert answers[4].headers["X-RateLimit-Remaining"] == "0"
    assert answers[5].json() == {
        "message": "You are being rate limited.",
        "retry_after": pytest.approx(float(answers[5].headers["X-RateLimit-Reset-After"])),
        "global": False,
    }
    edited = await town.ana.command("edit", message=message.id, text="last")
    assert edited.text == "edited"
    assert (await town.ana.message(message.channel_id, message.id)).text == "last"
    assert "We are being rate limited" in town.process.log.read_text()


async def test_a_dropped_connection_is_resumed(town: Town) -> None:
    """What happens while the connection is away is told when the bot resumes."""
    posted = await post(town, 12)
    card = await town.ana.message(posted["thread"], posted["message"])
    await town.community.fault("drop")
    await town.ana.react(card, "🌧️")
    met = await town.met("resumed 0")
    assert "+🌧️ ana" in met
    assert "ready 0" not in met[met.index("+🌧️ ana") :]


async def test_a_request_to_reconnect(town: Town) -> None:
    """Asked to reconnect (operation 7), the bot resumes its session."""
    await town.community.fault("reconnect")
    assert "ready 0" not in (await town.met("resumed 0"))
    assert (await town.ana.command("ping")).text == "pong"


async def test_a_session_that_is_gone(town: Town) -> None:
    """A session that the gateway has forgotten cannot be resumed (operation 9): the bot identifies anew."""
    await town.community.fault("invalidate")
    await town.until_online()
    assert "resumed 0" not in (await town.met("ready 0"))
    assert (await town.ana.command("ping")).text == "pong"


async def test_events_for_watchers(town: Town) -> None:
    """Watchers are told what happens, and of an ephemeral answer also who alone may see it; never a token."""
    async with town.community.events() as events:
        await town.ana.command("ping")
        await town.ana.command("secret")
        seen = []
        async for event in events:
            seen.append(event)
            if event.name == "INTERACTION_UPDATE" and event.data["ephemeral"]:
                break
    created = [event for event in seen if event.name == "MESSAGE_CREATE"]
    assert [(event.data["content"], event.only_for) for event in created] == [("pong", None), ("for you alone", "ana")]
    assert [e.only_for for e in seen if e.name.startswith("INTERACTION")] == ["ana"] * 4
    assert not any("token" in event.data for event in seen)


async def test_many_at_once(town: Town) -> None:
    """500 presses at once are all answered within Discord's deadline."""
    posted = await post(town, 13)
    card = await town.ana.message(posted["thread"], posted["message"])
    people = [town.ana, town.ben, town.mira]
    answers = await asyncio.gather(*(people[i % 3].press(card, "Press") for i in range(500)))
    assert len({answer.interaction_id for answer in answers}) == 500
    assert [answer.text.split()[0] for answer in answers] == [people[i % 3].name for i in range(500)]


async def test_a_killed_bot_comes_back(process: Process, town: Town) -> None:
    """After SIGKILL nobody answers; started again, the bot answers the buttons that its predecessor posted."""
    posted = await post(town, 14)
    card = await town.ana.message(posted["thread"], posted["message"])
    before = (await town.ana.press(card, "Press")).text
    process.kill_bot()
    began = time.monotonic()
    with pytest.raises(NoAnswerError, match="did not respond"):
        await town.ana.press(card, "Press")
    assert time.monotonic() - began >= 3
    process.start_bot()
    await town.until_online()
    after = (await town.ana.press(card, "Press")).text
    assert after.startswith("ana pressed 14")
    assert after != before  # another process
