"""A moderator takes videos away: from the thread, the standings and the host, whatever dies in between."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from bot.demo.discord.people import CannotDoError, Message, wait_for
from bot.domain.videos import Video
from bot.store import rounds, videos
from generation.video.provenance import read_card
from tests.builders.stack import SETTLED_S, Scenario

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {"FLOCK_HOST_PATIENCE_S": "2"}
GONE = "A moderator removed this video"
_numbers = itertools.count(1)


async def posted(scenario: Scenario) -> tuple[Video, Message]:
    answer = await scenario.insist(scenario.ana, "prompt", text=f"an offence number {next(_numbers)}")
    video = await scenario.wait_for_video(answer.interaction_id)
    return video, await scenario.card_of(video)


async def emptied(scenario: Scenario, video: Video) -> Message:
    async def so() -> Message | None:
        card = await scenario.card_of(video)
        return card if GONE in card.text else None

    return await wait_for("the card to be emptied", so, seconds=SETTLED_S)


async def deleted_at_the_host(scenario: Scenario, video: Video) -> None:
    async def so() -> bool | None:
        return True if (await scenario.community.fetch(video.playback_url or "")).status_code == 404 else None

    await wait_for("its deletion at the host", so, seconds=SETTLED_S)


def link_to(card: Message, video: Video) -> str:
    return f"https://discord.com/channels/{video.guild_id}/{card.channel_id}/{card.id}"


async def test_a_removed_video_is_nowhere_and_counts_no_more(scenario: Scenario) -> None:
    """Card, buttons, prompt, standings, file, host: gone. Its member reads why; its voter's receipt still tells."""
    video, card = await posted(scenario)
    assert "is **up**" in (await scenario.ben.press(card, "Up")).text
    assert video.prompt in (await scenario.ben.command("standings")).text
    assert (await scenario.community.fetch(video.playback_url or "")).status_code == 200
    made = await scenario.ben.command("provenance", video=video.id)
    assert made.ephemeral
    assert f"seed `{video.seed}`" in made.text
    assert "self-made certificate" in made.text
    [attached] = made.message.attachments
    provenance = read_card((await scenario.community.fetch(attached)).text)
    assert (provenance["prompt"], provenance["file"]["sha256"]) == (video.prompt, video.sha256)
    assert video.prompt in await scenario.ben.complete("provenance", "video", "OFFENCE number")

    said = await scenario.mira.command("video remove", video=link_to(card, video), reason="It shows *a real person*.")
    assert said.ephemeral
    assert "ledger stays" in said.text

    card_now = await emptied(scenario, video)
    assert "a real person" in card_now.text
    assert "*a real" not in card_now.text.replace("\\*a real", "")
    assert video.prompt not in card_now.text
    assert (card_now.attachments, card_now.buttons) == ((), ())
    late = await scenario.ben.press_id(card, f"v1:down:{video.id}", forged=True)
    assert "can't find that video" in late.text
    assert video.prompt not in (await scenario.ben.command("standings")).text
    assert "can't find that video" in (await scenario.ben.command("provenance", video=video.id)).text
    await deleted_at_the_host(scenario, video)

    async def told() -> bool | None:
        texts = [m.text for m in await scenario.ana.messages(await scenario.community.channel("general"))]
        return True if any("removed your video" in text and "a real person" in text for text in texts) else None

    await wait_for("word to its member", told, seconds=SETTLED_S)
    assert "removed by a moderator" in (await scenario.ana.command("videos")).text
    assert "a video that a moderator removed" in (await scenario.ben.command("receipt")).text

    async def no_file() -> bool | None:
        return None if Path(video.video_path or "").exists() else True

    await wait_for("the file to be deleted", no_file, seconds=SETTLED_S)
    again = await scenario.mira.command("video remove", video=video.id, reason="Once more.")
    assert "is being removed" in again.text


async def test_only_moderators_may(scenario: Scenario) -> None:
    """A member is not offered the command; what is no video is refused with a sentence."""
    with pytest.raises(CannotDoError):
        await scenario.ben.command("video remove", video="1", reason="I do not like it.")
    for named in ("1", "nonsense", "https://discord.com/channels/1/2/3", "https://example.org/channels/1/2/3"):
        assert "can't find that video" in (await scenario.mira.command("video remove", video=named, reason="No.")).text


async def test_videos_are_suggested_by_their_prompts(scenario: Scenario) -> None:
    """While the moderator types; a removed one is not among them, and % stands for itself."""
    video, _ = await posted(scenario)
    assert video.prompt in await scenario.mira.complete("video remove", "video", "OFFENCE number")
    assert await scenario.mira.complete("video remove", "video", "%") == ()
    assert "number 1" not in " ".join(await scenario.mira.complete("video remove", "video", "offence number 1"))


async def test_a_video_on_its_way_is_stopped(scenario: Scenario) -> None:
    """It is never posted; its member reads the moderator's reason."""
    await scenario.switch("host", fault="stick", phase="processing")
    scenario.stack.supervisor.kill("worker")
    asked = await scenario.insist(scenario.ana, "prompt", text="an offence that is stopped")
    said = await scenario.mira.command("video remove", video=asked.interaction_id, reason="Not here.")
    assert "won't be posted" in said.text

    async def over() -> Video | None:
        video = await videos.get_or_none(scenario.database, asked.interaction_id)
        return video if video is not None and video.status == "cancelled" else None

    assert "Not here." in ((await wait_for("its end", over, seconds=SETTLED_S)).reason or "")


async def test_removals_outlive_the_death_of_the_bot(scenario: Scenario) -> None:
    """Killed in the middle of two, while Discord does not take the one's edit nor the host the other's deletion: after
    the restart both are carried through."""
    kept_by_discord, kept_by_host = await posted(scenario), await posted(scenario)
    outages = {
        "discord": {"path": f"/channels/*/messages/{kept_by_discord[1].id}", "method": "PATCH"},
        "host": {"path": "/api/asset/*", "method": "DELETE"},
    }
    for service, of_what in outages.items():
        await scenario.switch(service, fault="error", status=503, **of_what, count=1_000_000)
    for video, card in (kept_by_discord, kept_by_host):
        said = await scenario.mira.command("video remove", video=link_to(card, video), reason="No.")
        assert "is being removed" in said.text

    async def struck() -> bool | None:
        met = [any(rule["done"] for rule in (await scenario.switch(service))["faults"]) for service in outages]
        return True if all(met) else None

    await wait_for("the removals to meet the outages", struck, seconds=SETTLED_S)
    assert GONE not in (await scenario.card_of(kept_by_discord[0])).text
    scenario.stack.supervisor.kill("bot")
    await scenario.clear_faults()
    for video, _ in (kept_by_discord, kept_by_host):
        await emptied(scenario, video)
        await deleted_at_the_host(scenario, video)


async def test_a_video_that_is_removed_while_it_is_uploaded_leaves_nothing(scenario: Scenario) -> None:
    """Posted without its host, removed, and only then is the host in order again: no asset is left there."""
    await scenario.switch("host", fault="stick", phase="processing")
    video, card = await posted(scenario)
    assert video.page_url is None
    assert (
        "is being removed"
        in (await scenario.mira.command("video remove", video=link_to(card, video), reason="No.")).text
    )
    await emptied(scenario, video)
    await scenario.clear_faults()

    async def ended() -> bool | None:
        return True if scenario.log("bot").count("removed everywhere") and await _nowhere(scenario, video) else None

    await wait_for("its asset to be deleted", ended, seconds=SETTLED_S)
    assert GONE in (await scenario.card_of(video)).text


async def _nowhere(scenario: Scenario, video: Video) -> bool:
    asset = (await videos.get(scenario.database, video.id)).asset_id
    headers = {"Authorization": f"Bearer {scenario.stack.keys.host_key}"}
    return (
        await scenario.community.fetch(f"{scenario.stack.host_url}/api/asset/{asset}", **headers)
    ).status_code == 404


async def test_a_winner_can_be_removed_when_the_round_is_over(scenario: Scenario) -> None:
    """The thread stays locked, the result names the next one and says that the ledger cannot; the audit is content."""
    worst, _ = await posted(scenario)
    best, card = await posted(scenario)
    for person in (scenario.ben, scenario.mira):
        assert "is **up**" in (await person.press(card, "Up")).text
    assert "is **up**" in (await scenario.ben.press(await scenario.card_of(worst), "Up")).text
    await scenario.close_round()
    round_ = await rounds.get(scenario.database, scenario.number)

    async def result() -> Message:
        return await scenario.ben.message(str(round_.channel_id), str(round_.result_message_id))

    assert best.prompt in (await result()).text.split("with")[0]
    assert "is being removed" in (await scenario.mira.command("video remove", video=best.id, reason="No.")).text
    await emptied(scenario, best)

    async def anew() -> bool | None:
        text = (await result()).text
        return True if best.prompt not in text and worst.prompt in text.split("with")[0] else None

    await wait_for("the result to name the next one", anew, seconds=SETTLED_S)
    assert "is a video that a moderator removed" in (await result()).text

    async def shut() -> bool | None:
        try:
            await scenario.ben.react(card, "👍")
            await scenario.ben.react(card, "👍", on=False)
        except CannotDoError:
            return True
        return None

    await wait_for("the thread to be archived again", shut, seconds=SETTLED_S)
    await scenario.check_audit()
