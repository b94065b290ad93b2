"""Rounds in a stack of real processes, in which permissions, channels and answers change as they do on Discord."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import select, text, update

from bot.demo.discord.people import Answer, wait_for
from bot.domain.rounds import Round
from bot.store import rounds
from contracts.audit.audit import audit
from migrations.schema import outbox
from migrations.schema import rounds as table
from tests.builders.stack import SETTLED_S, Scenario, open_scenario

pytestmark = pytest.mark.asyncio(loop_scope="module")

UP, DOWN = 1, 2


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_scenario(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scenario]:
    """A stack whose server is set up, and no round."""
    async with open_scenario(tmp_path_factory.mktemp("rounds") / "state") as made:
        await made.open_round()
        await made.close_round()
        yield made


async def latest(scenario: Scenario) -> Round:
    guild_id = int((await scenario.community.world())["guild"]["id"])
    found = await rounds.latest_or_none(scenario.database, guild_id)
    assert found is not None
    scenario.number = found.id
    return found


async def until(scenario: Scenario, what: str, is_so: Any) -> Round:
    async def look() -> Round | None:
        round_ = await rounds.get(scenario.database, scenario.number)
        return round_ if is_so(round_) else None

    return await wait_for(what, look, seconds=SETTLED_S)


async def open_one(scenario: Scenario) -> Answer:
    return await scenario.insist(scenario.mira, "round open", task="storms", duration="1h")


async def restart(scenario: Scenario, meanwhile: Callable[[], Awaitable[None]] | None = None) -> None:
    """Kills the bot, and waits until its supervisor has started it again."""
    supervisor = scenario.stack.supervisor
    before = supervisor.states()["bot"]["restarts"]
    supervisor.kill("bot")
    if meanwhile is not None:
        await meanwhile()

    async def online() -> bool | None:
        back = supervisor.states()["bot"]["restarts"] > before
        return True if back and (await scenario.community.world())["connected"] else None

    await wait_for("the bot to be back", online, seconds=90)


async def test_a_reaction_from_while_the_bot_was_away_counts_though_the_round_closes_at_once(
    scenario: Scenario,
) -> None:
    """The bot looks at every card before it closes the round; a reaction from after that is too late."""
    await scenario.open_round()
    cards = [await scenario.post_card(f"weather {number}.") for number in (1, 2)]
    videos = [await scenario.video_on(card) for card in cards]
    for card in cards:
        await scenario.ana.press(card, "Up")
    scenario.stack.supervisor.kill("bot")
    for card in cards:
        await scenario.ben.react(card, "👎")

    async def back() -> bool | None:
        return True if (await scenario.community.world())["connected"] else None

    # Each look at a card takes a while: without waiting for it, the round would be closed before.
    await scenario.switch("discord", fault="slow", method="GET", path="/channels/*/reactions/*", seconds=3, count=2)
    await wait_for("the bot to come back", back, seconds=SETTLED_S)
    # The thread stays open to reactions: its lock is refused.
    lock = f"/channels/{videos[0].thread_id}"
    await scenario.switch("discord", fault="refuse", status=403, code=50013, method="PATCH", path=lock, rate=1.0)
    closed = await scenario.insist(scenario.mira, "round close")
    assert "is closed for votes" in closed.text
    for card in cards:
        await scenario.community.person("emi").react(card, "👎")
    await scenario.wait_for_result()
    for video in videos:
        assert await scenario.choices(video.id) == {"ana": UP, "ben": DOWN}
    await scenario.check_audit()


async def test_one_passing_refusal_is_waited_out(scenario: Scenario) -> None:
    """160006 once, as when somebody archives a thread at that moment: the round is open when the moderator reads so."""
    await scenario.switch("discord", fault="refuse", code=160006, method="POST", path="/channels/*/threads")
    opened = await open_one(scenario)
    assert "is open" in opened.text
    assert (await latest(scenario)).status == "open"
    await scenario.close_round()


async def test_a_lasting_refusal_ends_in_a_sentence_and_an_empty_place(scenario: Scenario) -> None:
    """Not opened, with what to do; the announcement says so; `/round open` works at once; the ledger has it closed."""
    await scenario.switch("discord", fault="refuse", code=160006, method="POST", path="/channels/*/threads", rate=1.0)
    refused = await open_one(scenario)
    assert "⏳" in refused.text or "could **not** be opened" in refused.text

    async def told() -> bool | None:
        return True if "Archive some of them" in (await scenario.mira.look(refused)).text else None

    await wait_for("the reason", told, seconds=SETTLED_S)
    round_ = await latest(scenario)
    assert (round_.status, round_.thread_id) == ("closed", None)
    await scenario.switch("discord", off=True)
    await until(scenario, "its announcement to say so", lambda one: one.result_message_id is not None)
    announced = await scenario.ben.message(str(round_.channel_id), str(round_.announcement_id))
    assert "could not be opened" in announced.text
    assert "is open" in (await open_one(scenario)).text
    await until(scenario, "the end on the ledger", lambda one: one.finalized_tx is not None)
    await latest(scenario)
    await scenario.close_round()
    await scenario.check_audit()


async def test_a_permission_that_is_missing_is_named_and_nothing_is_spent(scenario: Scenario) -> None:
    """Neither a number nor an entry on the ledger; once it is given, the round opens."""
    before = await latest(scenario)
    channel = str(before.channel_id)
    await scenario.community.fault("deny", channel_id=channel, permissions=["create_public_threads"])
    refused = await open_one(scenario)
    assert "No round was opened" in refused.text
    assert "**Create Public Threads**" in refused.text
    assert (await latest(scenario)).number == before.number
    await scenario.community.fault("deny", channel_id=channel, permissions=[])
    assert f"Round {before.number + 1} is open" in (await open_one(scenario)).text
    await latest(scenario)
    await scenario.close_round()


async def test_a_result_that_is_refused_is_posted_when_it_may_be_also_after_a_restart(scenario: Scenario) -> None:
    """The moderator reads that it is not posted, and which permission it wants; the ledger does not wait for it."""
    assert "is open" in (await open_one(scenario)).text
    round_ = await latest(scenario)
    await scenario.community.fault("deny", channel_id=str(round_.channel_id), permissions=["send_messages"])
    closed = await scenario.insist(scenario.mira, "round close")
    assert "is posted in <#" not in closed.text
    assert "**Send Messages**" in closed.text
    await scenario.wait_for_result()
    assert (await latest(scenario)).result_message_id is None
    await restart(scenario)
    assert (await latest(scenario)).result_message_id is None
    await scenario.community.fault("deny", channel_id=str(round_.channel_id), permissions=[])
    after = await until(scenario, "the result", lambda one: one.result_message_id is not None)
    posted = await scenario.ben.message(str(after.channel_id), str(after.result_message_id))
    assert "On the ledger" in posted.text
    assert after.trouble is None


async def test_a_result_whose_channel_is_gone_goes_where_setup_says(scenario: Scenario) -> None:
    """Also when nobody closes it: the deadline does."""
    videos, general = await scenario.community.channel("videos"), await scenario.community.channel("general")
    await scenario.mira.command("setup", channel=general)
    assert "is open" in (await open_one(scenario)).text
    await latest(scenario)
    await scenario.community.fault("delete_channel", channel_id=general)
    closed = await scenario.insist(scenario.mira, "round close", in_channel=videos)
    assert "was deleted" in closed.text
    assert "/setup" in closed.text
    await scenario.mira.command("setup", in_channel=videos, channel=videos)
    after = await until(scenario, "the result", lambda one: one.result_message_id is not None)
    assert str(after.channel_id) == videos


async def test_a_round_that_an_earlier_version_wedged_is_healed_at_the_start(scenario: Scenario) -> None:
    """Its life is in ERROR and its row opening: it is opened after all, or closed where its time is over."""
    videos = await scenario.community.channel("videos")
    assert "is open" in (await scenario.mira.command("round open", in_channel=videos, task="old", duration="1h")).text
    round_ = await latest(scenario)

    async def wedge() -> None:
        """As it was after its thread had been refused."""
        life = {"id": f"round-{round_.id}"}
        async with scenario.database.begin() as connection:
            await connection.execute(
                update(table).where(table.c.id == round_.id).values(status="opening", thread_id=None)
            )
            await connection.execute(
                text("UPDATE workflow_status SET status = 'ERROR' WHERE workflow_uuid = :id"), life
            )

    await restart(scenario, wedge)
    healed = await until(scenario, "the round to be open", lambda one: one.status == "open")
    assert healed.thread_id == round_.thread_id
    assert "closed" in (await scenario.insist(scenario.mira, "round close", in_channel=videos)).text
    await scenario.wait_for_result()
    async with scenario.database.connect() as connection:
        kinds = list(await connection.scalars(select(outbox.c.kind).where(outbox.c.round_id == round_.id)))
    assert sorted(kinds) == ["close", "round"]
    assert scenario.stack.deployment is not None
    assert (await audit(scenario.stack.rpc_url, scenario.stack.deployment.address)).ok
