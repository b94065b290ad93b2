"""Rounds in a house of real processes, in which permissions, channels and answers change as they do on Discord."""

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
from tests.builders.stack import SETTLED_S, Trouble, open_trouble

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def trouble(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Trouble]:
    """A house whose server is set up, and no round."""
    async with open_trouble(tmp_path_factory.mktemp("rounds") / "state") as made:
        await made.open_round()
        await made.close_round()
        yield made


async def latest(trouble: Trouble) -> Round:
    guild_id = int((await trouble.community.world())["guild"]["id"])
    found = await rounds.latest_or_none(trouble.database, guild_id)
    assert found is not None
    trouble.number = found.id
    return found


async def until(trouble: Trouble, what: str, is_so: Any) -> Round:
    async def look() -> Round | None:
        round_ = await rounds.get(trouble.database, trouble.number)
        return round_ if is_so(round_) else None

    return await wait_for(what, look, seconds=SETTLED_S)


async def open_one(trouble: Trouble) -> Answer:
    return await trouble.insist(trouble.mira, "round open", task="storms", duration="1h")


async def restart(trouble: Trouble, meanwhile: Callable[[], Awaitable[None]] | None = None) -> None:
    """Kills the bot, and waits until its supervisor has started it again."""
    supervisor = trouble.house.supervisor
    before = supervisor.states()["bot"]["restarts"]
    supervisor.kill("bot")
    if meanwhile is not None:
        await meanwhile()

    async def online() -> bool | None:
        back = supervisor.states()["bot"]["restarts"] > before
        return True if back and (await trouble.community.world())["connected"] else None

    await wait_for("the bot to be back", online, seconds=90)


async def test_one_passing_refusal_is_waited_out(trouble: Trouble) -> None:
    """160006 once, as when somebody archives a thread at that moment: the round is open when the moderator reads so."""
    await trouble.switch("discord", fault="refuse", code=160006, method="POST", path="/channels/*/threads")
    opened = await open_one(trouble)
    assert "is open" in opened.text
    assert (await latest(trouble)).status == "open"
    await trouble.close_round()


async def test_a_lasting_refusal_ends_in_a_sentence_and_an_empty_place(trouble: Trouble) -> None:
    """Not opened, with what to do; the announcement says so; `/round open` works at once; the ledger has it closed."""
    await trouble.switch("discord", fault="refuse", code=160006, method="POST", path="/channels/*/threads", rate=1.0)
    refused = await open_one(trouble)
    assert "⏳" in refused.text or "could **not** be opened" in refused.text

    async def told() -> bool | None:
        return True if "Archive some of them" in (await trouble.mira.look(refused)).text else None

    await wait_for("the reason", told, seconds=SETTLED_S)
    round_ = await latest(trouble)
    assert (round_.status, round_.thread_id) == ("closed", None)
    await trouble.switch("discord", off=True)
    await until(trouble, "its announcement to say so", lambda one: one.result_message_id is not None)
    announced = await trouble.ben.message(str(round_.channel_id), str(round_.announcement_id))
    assert "could not be opened" in announced.text
    assert "is open" in (await open_one(trouble)).text
    await until(trouble, "the end on the ledger", lambda one: one.finalized_tx is not None)
    await latest(trouble)
    await trouble.close_round()
    await trouble.audited()


async def test_a_permission_that_is_missing_is_named_and_nothing_is_spent(trouble: Trouble) -> None:
    """Neither a number nor an entry on the ledger; once it is given, the round opens."""
    before = await latest(trouble)
    channel = str(before.channel_id)
    await trouble.community.fault("deny", channel_id=channel, permissions=["create_public_threads"])
    refused = await open_one(trouble)
    assert "No round was opened" in refused.text
    assert "**Create Public Threads**" in refused.text
    assert (await latest(trouble)).number == before.number
    await trouble.community.fault("deny", channel_id=channel, permissions=[])
    assert f"Round {before.number + 1} is open" in (await open_one(trouble)).text
    await latest(trouble)
    await trouble.close_round()


async def test_a_result_that_is_refused_is_posted_when_it_may_be_also_after_a_restart(trouble: Trouble) -> None:
    """The moderator reads that it is not posted, and which permission it wants; the ledger does not wait for it."""
    assert "is open" in (await open_one(trouble)).text
    round_ = await latest(trouble)
    await trouble.community.fault("deny", channel_id=str(round_.channel_id), permissions=["send_messages"])
    closed = await trouble.insist(trouble.mira, "round close")
    assert "is posted in <#" not in closed.text
    assert "**Send Messages**" in closed.text
    await trouble.decided()
    assert (await latest(trouble)).result_message_id is None
    await restart(trouble)
    assert (await latest(trouble)).result_message_id is None
    await trouble.community.fault("deny", channel_id=str(round_.channel_id), permissions=[])
    after = await until(trouble, "the result", lambda one: one.result_message_id is not None)
    posted = await trouble.ben.message(str(after.channel_id), str(after.result_message_id))
    assert "On the chain" in posted.text
    assert after.trouble is None


async def test_a_result_whose_channel_is_gone_goes_where_setup_says(trouble: Trouble) -> None:
    """Also when nobody closes it: the deadline does."""
    videos, general = await trouble.community.channel("videos"), await trouble.community.channel("general")
    await trouble.mira.command("setup", channel=general)
    assert "is open" in (await open_one(trouble)).text
    await latest(trouble)
    await trouble.community.fault("delete_channel", channel_id=general)
    closed = await trouble.insist(trouble.mira, "round close", in_channel=videos)
    assert "was deleted" in closed.text
    assert "/setup" in closed.text
    await trouble.mira.command("setup", in_channel=videos, channel=videos)
    after = await until(trouble, "the result", lambda one: one.result_message_id is not None)
    assert str(after.channel_id) == videos


async def test_a_round_that_an_earlier_version_wedged_is_healed_at_the_start(trouble: Trouble) -> None:
    """Its life is in ERROR and its row opening: it is opened after all, or closed where its time is over."""
    videos = await trouble.community.channel("videos")
    assert "is open" in (await trouble.mira.command("round open", in_channel=videos, task="old", duration="1h")).text
    round_ = await latest(trouble)

    async def wedge() -> None:
        """As it was after its thread had been refused."""
        life = {"id": f"round-{round_.id}"}
        async with trouble.database.begin() as connection:
            await connection.execute(
                update(table).where(table.c.id == round_.id).values(status="opening", thread_id=None)
            )
            await connection.execute(
                text("UPDATE workflow_status SET status = 'ERROR' WHERE workflow_uuid = :id"), life
            )

    await restart(trouble, wedge)
    healed = await until(trouble, "the round to be open", lambda one: one.status == "open")
    assert healed.thread_id == round_.thread_id
    assert "closed" in (await trouble.insist(trouble.mira, "round close", in_channel=videos)).text
    await trouble.decided()
    async with trouble.database.connect() as connection:
        kinds = list(await connection.scalars(select(outbox.c.kind).where(outbox.c.round_id == round_.id)))
    assert sorted(kinds) == ["close", "round"]
    assert trouble.house.deployment is not None
    assert (await audit(trouble.house.rpc_url, trouble.house.deployment.address)).ok
