"""Lives that died, as earlier versions or an operator left them, and results whose channel was closed to us."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from sqlalchemy import insert, text, update

from bot.domain.rounds import Round
from bot.posts.obstacles import why_not_here
from bot.posts.rounds import RoundPosts
from bot.store import reviews, rounds, videos
from bot.workflows import recovery as mending
from migrations.database import now_ms
from migrations.schema import reviews as reviews_table
from migrations.schema import rounds as table
from migrations.schema import videos as videos_table
from tests.builders.live_bot import ALWAYS, Town

pytestmark = pytest.mark.asyncio(loop_scope="module")

DEAD = ("ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")


async def wedged(town: Town, life: str | None, *, seconds: int = 3600, **values: Any) -> Round:
    """A round whose life has come to this, or that has none; its row as `values` say."""
    async with town.database.begin() as connection:
        round_ = await rounds.open_round(
            connection, guild_id=town.guild, channel_id=town.channel, task="wedged", opened_by=1, seconds=seconds,
            grace_s=60,
        )  # fmt: skip
        if life is not None:  # on a queue that nobody serves
            await town.app.engine.submit(
                connection, "round_life", f"round-{round_.id}", {"round_id": round_.id}, queue="nobody"
            )
        if values:
            await connection.execute(update(table).where(table.c.id == round_.id).values(**values))
    if life is not None:
        await town.mark(f"round-{round_.id}", life)
    return await rounds.get(town.database, round_.id)


@pytest.mark.parametrize("status", [*DEAD, None])
async def test_a_round_whose_life_died_while_it_was_opened_is_opened_after_all(town: Town, status: str | None) -> None:
    """A life with an id of its own goes on with it, once, and it is closed as any other."""
    round_ = await wedged(town, status)
    await town.app.recovery.start()
    await town.until("it to be open", lambda one: one.status == "open", round_.id)
    await town.app.recovery.start()
    lives = {id_ for id_ in await town.workflows() if id_.startswith(f"round-{round_.id}")}
    assert lives == ({f"round-{round_.id}", f"round-{round_.id}-again-1"} if status else {f"round-{round_.id}"})
    assert "is posted in <#" in (await town.close()).text


async def test_a_dead_life_whose_time_is_over_is_not_opened(town: Town) -> None:
    """It is closed as a round that could not be opened, on the ledger too, and its announcement says so."""
    round_ = await wedged(town, "ERROR", closes_at_ms=now_ms() - 1)
    await town.app.recovery.start()
    ended = await town.until("its end", lambda one: one.status == "closed", round_.id)
    assert ended.thread_id is None
    assert "time was over" in (ended.trouble or "")
    assert not [m for m in await town.shown(town.channel) if m.text.startswith(f"## Round {round_.number}: ")]
    assert "is open" in (await town.open()).text


@pytest.mark.parametrize("status", [*DEAD, None])
async def test_a_close_ends_a_round_whatever_its_life_is(
    town: Town, status: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything has found the dead life, and also where no other one is begun any more."""

    async def no_look(_recovery: mending.Recovery) -> None:
        """The next look comes later: it is every 0.3 s, which may be too soon."""

    monkeypatch.setattr(mending.Recovery, "_rounds", no_look)
    monkeypatch.setattr(mending, "MOST_AGAIN", 0)
    round_ = await wedged(town, status)
    assert "still open" in (await town.open()).text
    closed = await town.close()
    assert f"Round {round_.number} was closed before it opened" in closed.text
    assert "is open" in (await town.open()).text


async def test_a_close_while_it_is_being_opened_ends_it(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """Discord takes nothing, and would be waited for: the round is closed all the same."""
    monkeypatch.setattr("bot.posts.rounds.OPENING_S", 60.0)
    monkeypatch.setattr("bot.cogs.rounds.ANSWER_S", 0.5)
    await town.fault(fault="error", status=503, path=f"/channels/{town.channel}*", **ALWAYS)
    opened = await town.open()
    assert "is being opened" in opened.text
    assert "is open:" not in opened.text
    assert "closed before it opened" in (await town.close()).text
    await town.fault(off=True)
    monkeypatch.setattr("bot.cogs.rounds.ANSWER_S", 60.0)
    assert "is open" in (await town.open()).text

    async def told() -> bool | None:
        return True if "could **not** be opened" in (await town.mira.look(opened)).text else None

    await town.community.wait_for("the first command's outcome", told)


async def test_an_opening_that_takes_long_is_told_when_it_is_done(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reads that it is open before it is."""
    monkeypatch.setattr("bot.posts.rounds.OPENING_S", 60.0)
    monkeypatch.setattr("bot.cogs.rounds.ANSWER_S", 0.5)
    await town.fault(fault="error", status=503, path=f"/channels/{town.channel}*", **ALWAYS)
    opened = await town.open()
    assert "is open" not in opened.text
    await town.fault(off=True)

    async def told() -> bool | None:
        return True if "is open: <#" in (await town.mira.look(opened)).text else None

    await town.community.wait_for("word that it is open", told)


async def test_an_unforeseen_error_wedges_nothing(
    town: Town, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug of ours in any part: the log has it, the moderator reads it, and the next round opens."""

    async def broken(*_: Any, **__: Any) -> None:
        raise KeyError("a bug")

    for part in ("announce", "open_thread"):
        with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
            patch.setattr(RoundPosts, part, broken)
            opened = await town.open()
        assert "could **not** be opened. Something went wrong on our side" in opened.text
        assert "a bug" in caplog.text
        caplog.clear()
    for part in ("end", "close_thread", "close_announcement", "archive", "show_result"):
        assert "is open" in (await town.open()).text
        with monkeypatch.context() as patch:
            patch.setattr("bot.cogs.rounds.ANSWER_S", 1.0)
            patch.setattr(RoundPosts, part, broken)
            assert "is closed for votes" in (await town.close()).text
    assert "is open" in (await town.open()).text
    lives = await town.workflows()
    assert not [
        id_ for id_, status in lives.items() if id_.startswith("round-") and "again" in id_ and status == "ERROR"
    ]


async def test_a_missing_permission_is_named_before_anything_is_opened(town: Town) -> None:
    """Each by its name, and the round opens once it is given; no number and no ledger entry is spent."""
    number = 0 if (latest := await rounds.latest_or_none(town.database, town.guild)) is None else latest.number
    for denied, named in (
        ("send_messages", "**Send Messages**"),
        ("view_channel", "**View Channel**"),
        ("create_public_threads", "**Create Public Threads**"),
        ("read_message_history", "**Read Message History**"),
    ):
        await town.community.fault("deny", channel_id=str(town.channel), permissions=[denied])
        await town.community.wait_for("the bot to be told", lambda name=named: _denied(town, name))  # type: ignore[misc]
        refused = await town.open()
        assert "No round was opened" in refused.text
        assert f"these permissions there: {named}." in refused.text
    assert ((await rounds.latest_or_none(town.database, town.guild)) is None) == (number == 0)
    await town.community.fault("deny", channel_id=str(town.channel), permissions=[])
    await town.community.wait_for("the bot to be told", lambda: _denied(town, None))
    opened = await town.open()
    assert f"Round {number + 1} is open" in opened.text


async def _denied(town: Town, named: str | None) -> bool | None:
    why = await why_not_here(town.app.client, town.channel)
    return True if (named is None and why is None) or (named is not None and named in (why or "")) else None


async def test_a_result_waits_for_its_permission(town: Town) -> None:
    """The moderator reads which one is missing; given back, it is posted in its place, once."""
    assert "is open" in (await town.open()).text
    await town.community.fault("deny", channel_id=str(town.channel), permissions=["send_messages"])
    closed = await town.close()
    assert "could not be posted" in closed.text
    assert "**Send Messages**" in closed.text
    round_ = await town.latest()
    assert (round_.status, round_.result_message_id) == ("closed", None)
    assert "**Send Messages**" in (await town.mira.command("round status")).text
    await town.community.fault("deny", channel_id=str(town.channel), permissions=[])
    after = await town.until("the result", lambda one: one.result_message_id is not None, round_.id)
    assert (after.channel_id, after.trouble) == (town.channel, None)


async def test_a_result_goes_where_setup_says_when_its_channel_is_gone(town: Town) -> None:
    """The moderator reads that the channel was deleted, and after `/setup` it is posted in the new one."""
    place = town.backend.create_channel(town.guild, "short-lived").id
    elsewhere = town.backend.create_channel(town.guild, "afterwards").id
    await town.mira.command("setup", channel=str(place))
    assert "is open" in (await town.open()).text
    await town.community.fault("delete_channel", channel_id=str(place))
    closed = await town.close()
    assert "The channel or thread was deleted. Choose a channel for rounds with `/setup`." in closed.text
    round_ = await town.latest()
    refused = await town.open()
    assert "No round was opened" in refused.text
    assert "/setup" in refused.text
    assert "Rounds will be posted in" in (await town.mira.command("setup", channel=str(elsewhere))).text
    after = await town.until("the result", lambda one: one.result_message_id is not None, round_.id)
    assert after.channel_id == elsewhere
    assert [m.id for m in await town.shown(elsewhere)] == [str(after.result_message_id)]


async def test_a_result_that_an_earlier_version_never_posted_is_posted_at_the_start(town: Town) -> None:
    """Its life is done and its row says closed; one that never was open has none, and an old one is left alone."""
    assert "is open" in (await town.open()).text
    await town.close()
    round_ = await town.latest()
    old = await wedged(
        town, "SUCCESS", status="closed", thread_id=5, closes_at_ms=now_ms() - (mending.DAYS + 1) * mending.DAY_MS
    )
    await town.in_order()
    await town.until("its life", lambda one: True, round_.id)
    messages = [m for m in await town.shown(town.channel) if m.text.startswith(f"## Round {round_.number} is ")]
    await town.community.fault("delete_message", channel_id=str(town.channel), message_id=messages[0].id)

    async def done() -> bool | None:
        return True if (await town.workflows())[f"round-{round_.id}"] == "SUCCESS" else None

    await town.community.wait_for("the end of its life", done, seconds=60)
    await rounds.change(town.database, round_.id, result_message_id=None)
    await town.app.recovery.start()
    after = await town.until("its result", lambda one: one.result_message_id is not None, round_.id)
    assert str(after.result_message_id) != messages[0].id
    assert (await rounds.get(town.database, old.id)).result_message_id is None


async def test_a_life_has_the_steps_of_earlier_versions_in_their_order(town: Town) -> None:
    """So that one that an earlier version has begun goes on: a recorded step must be found under its name."""
    assert "is open" in (await town.open()).text
    await town.close()
    await town.in_order()
    life = {"id": f"round-{(await town.latest()).id}"}

    async def done() -> bool | None:
        return True if (await town.workflows())[life["id"]] == "SUCCESS" else None

    await town.community.wait_for("the end of the life", done, seconds=60)
    query = text("SELECT function_name FROM operation_outputs WHERE workflow_uuid = :id ORDER BY function_id")
    async with town.database.connect() as connection:
        steps = [str(name) for name in await connection.scalars(query, life) if not str(name).startswith("DBOS.")]
    assert steps[:2] == ["announce", "open the thread"]
    assert set(steps[2:-5]) == {"time left"}
    assert steps[-5:] == ["close", "post the result", "lock the thread", "wait for the ledger", "add the receipt"]


async def test_a_members_words_are_taken_for_no_post_of_ours(town: Town) -> None:
    """A task that looks like the head of the next result does not stand in its place."""
    number = 1 if (latest := await rounds.latest_or_none(town.database, town.guild)) is None else latest.number + 1
    opened = await town.open(f"a ## Round {number} is decided")
    assert "is open" in opened.text
    await town.close()
    round_ = await town.latest()
    assert round_.number == number
    assert round_.result_message_id != round_.announcement_id


# ---------------------------------------------------------------------- other lives


async def test_a_video_whose_life_died_is_failed(town: Town) -> None:
    """Its member's quota is theirs again; one whose life goes on is left alone."""
    assert "is open" in (await town.open()).text
    round_ = await town.latest()
    for video_id in ("501", "502"):
        async with town.database.begin() as connection:
            values = {
                "id": video_id, "guild_id": town.guild, "round_id": round_.id, "member_id": 5, "member_name": "maker",
                "prompt": "a prompt", "status": "queued", "created_at_ms": now_ms(), "cancel_requested": False,
                "seed": 1, "model_id": "tiny", "chain_key": f"{int(video_id):064x}",
            }  # fmt: skip
            await connection.execute(insert(videos_table).values(**values))
            await town.app.engine.submit(
                connection, "video_life", f"video-{video_id}", {"video_id": video_id}, queue="nobody"
            )
    await town.mark("video-501", "ERROR")
    await town.app.recovery.start()
    failed, queued = await videos.get(town.database, "501"), await videos.get(town.database, "502")
    assert (failed.status, queued.status) == ("failed", "queued")
    assert "went wrong on our side" in (failed.reason or "")


async def test_removals_and_reviews_that_died_are_begun_anew(town: Town) -> None:
    """Once; a decision that is long told is not told again."""
    assert "is open" in (await town.open()).text
    round_ = await town.latest()
    async with town.database.begin() as connection:
        held = {}
        for name in ("600", "601"):
            held[name] = await reviews.hold(
                connection, "prompt", name, "waiting", guild_id=town.guild, round_id=round_.id, member_id=5,
                member_name="ana", prompt="held", finding="rule 1", channel_id=None,
            )  # fmt: skip
        for workflow, first, argument in (
            ("removal_life", "removal-600", {"video_id": "600"}),
            *(
                ("review_life", f"review-{one.id}", {"review_id": one.id, "video_id": one.video_id})
                for one in held.values()
            ),
        ):
            await town.app.engine.submit(connection, workflow, first, argument, queue="nobody")
        await reviews.change_state(connection, held["601"].id, "waiting", "rejected")
    reviews_ids = {name: f"review-{one.id}" for name, one in held.items()}
    async with town.database.begin() as connection:
        await connection.execute(
            update(reviews_table)
            .where(reviews_table.c.video_id == "601")
            .values(decided_at_ms=now_ms() - 2 * mending.DAY_MS)
        )
    for first in ("removal-600", *reviews_ids.values()):
        await town.mark(first, "ERROR")
    await town.app.recovery.start()
    lives = await town.workflows()
    assert "removal-600-again-1" in lives
    assert f"{reviews_ids['600']}-again-1" in lives
    assert f"{reviews_ids['601']}-again-1" not in lives
