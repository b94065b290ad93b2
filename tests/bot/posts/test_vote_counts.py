"""The votes on a card are what the database says, soon, by few edits, and whatever Discord answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import update

from bot.cards.videos import votes_line
from bot.demo.discord.people import Message, NoAnswerError, wait_for
from bot.demo.discord.world import MODERATOR
from bot.domain.rounds import Round
from bot.domain.videos import Video
from bot.domain.votes import CardVotes
from bot.posts import vote_counts
from bot.posts.videos import VideoPosts
from bot.posts.vote_counts import VoteCounts
from bot.store import rounds
from bot.store.vote_writer import PostedVotes
from migrations.schema import outbox, reactions, votes
from migrations.schema import rounds as rounds_table
from tests.builders.live_bot import ALWAYS, Town, post_video

pytestmark = pytest.mark.asyncio(loop_scope="module")

A_WHILE_S = 2.0  # in which everything would have been shown, with the short waits of these tests


async def a_round(town: Town, posted: int = 1) -> tuple[Round, list[Video]]:
    assert "is open" in (await town.open()).text
    round_ = await town.latest()
    return round_, [await post_video(town, round_, f"a storm, number {number}") for number in range(posted)]


async def card(town: Town, video: Video) -> Message:
    return await town.community.person("ben").message(str(video.thread_id), str(video.message_id))


async def line(town: Town, video: Video) -> str:
    """The line on a card that says how many have voted."""
    return (await card(town, video)).text.splitlines()[2].replace("**", "")


async def shows(town: Town, video: Video, words: str) -> None:
    said = ""

    async def so() -> bool | None:
        nonlocal said
        said = await line(town, video)
        return True if said == words else None

    try:
        await wait_for(f"the card to say {words!r}", so, seconds=30, every=0.05)
    except NoAnswerError:
        pytest.fail(f"The card says {said!r}, and not {words!r}.")


async def voters(town: Town) -> list[str]:
    """Members who are no moderators."""
    members = (await town.community.world())["members"]
    return [each["name"] for each in members if not each.get("bot") and each["name"] != MODERATOR][:5]


async def vote(town: Town, video: Video, name: str, button: str) -> None:
    assert "Recorded" in (await town.community.person(name).press(await card(town, video), button)).text


async def set_entries(town: Town, round_: Round, state: str, *, most: int = 100) -> None:
    """What the relayer writes when receipts arrive, or when a reorganisation takes them back."""
    async with town.database.begin() as connection:
        mine = outbox.select().where(outbox.c.round_id == round_.id, outbox.c.kind == "vote").order_by(outbox.c.id)
        ids = [row.id for row in await connection.execute(mine)][:most]
        await connection.execute(update(outbox).where(outbox.c.id.in_(ids)).values(state=state))


@asynccontextmanager
async def counted(town: Town) -> AsyncIterator[Counter[str]]:
    """The edits of each message, by its id, while the context lasts."""
    edits: Counter[str] = Counter()

    async def watch() -> None:
        async with town.community.events() as events:
            listening.set()
            async for event in events:
                if event.name == "MESSAGE_UPDATE":
                    edits[str(event.data["id"])] += 1

    listening = asyncio.Event()
    task = asyncio.create_task(watch())
    await listening.wait()
    yield edits
    task.cancel()


async def test_a_card_counts_each_voter_once_by_button_or_reaction(town: Town) -> None:
    """Buttons, reactions, changed minds and withdrawals; one's own media and buttons stay on the card."""
    _, [video] = await a_round(town)
    before = await card(town, video)
    assert await line(town, video) == "No votes yet"
    ana, ben, cem, *_ = await voters(town)
    await vote(town, video, ana, "Up")
    await shows(town, video, "1 vote")
    await town.community.person(ben).react(before, "👎")
    await vote(town, video, cem, "Down")
    await vote(town, video, cem, "Up")
    await shows(town, video, "3 votes")
    await town.community.person(ben).unreact(before, "👎")
    await shows(town, video, "2 votes")
    now = await card(town, video)
    assert (now.buttons, now.media, now.attachments) == (before.buttons, before.media, before.attachments)


async def test_an_open_round_hides_who_leads_and_a_closed_one_shows_it(town: Town) -> None:
    """The number alone, then ups and downs, in a thread that is archived again."""
    round_, [video] = await a_round(town)
    ana, ben, cem, *_ = await voters(town)
    for name, button in ((ana, "Up"), (ben, "Up"), (cem, "Down")):
        await vote(town, video, name, button)
    await shows(town, video, "3 votes")
    assert "👍" not in await line(town, video)
    await town.close()
    await set_entries(town, round_, "final")
    await shows(town, video, "👍 2 · 👎 1 · ✓ on the ledger")
    assert [button.label for button in (await card(town, video)).buttons] == ["Feedback", "Report"]

    async def archived() -> bool | None:
        metadata = town.backend.channels[round_.thread_id].thread_metadata
        return True if metadata.archived and metadata.locked else None

    await wait_for("the thread to be archived again", archived, seconds=30)


def set_thread(town: Town, round_: Round, **metadata: bool) -> None:
    """Discord archives a thread after a week without a message; a moderator may lock it too."""
    town.backend.edit_channel(round_.thread_id, {}, thread_metadata=metadata)


async def test_a_thread_that_discord_archived_is_opened_once_for_new_votes(town: Town) -> None:
    """The round is open still: all of its cards show their votes, and their thread stays open."""
    round_, posted = await a_round(town, 3)
    ana, ben, *_ = await voters(town)
    set_thread(town, round_, archived=True)
    with pytest.MonkeyPatch.context() as patch:
        opened: list[int] = []
        reopen = town.app.video_posts.reopen

        async def count(thread_id: int) -> None:
            opened.append(thread_id)
            await reopen(thread_id)

        patch.setattr(town.app.video_posts, "reopen", count)
        for video in posted:
            await vote(town, video, ana, "Up")
        for video in posted:
            await shows(town, video, "1 vote")
        await vote(town, posted[0], ben, "Up")
        await shows(town, posted[0], "2 votes")
    assert opened == [round_.thread_id]
    metadata = town.backend.channels[round_.thread_id].thread_metadata
    assert (bool(metadata.archived), bool(metadata.locked)) == (False, False)


async def test_a_thread_that_a_moderator_locked_is_left_as_it_is(town: Town, caplog: pytest.LogCaptureFixture) -> None:
    """The log says so once, whatever the number of its cards and tries; once it is open, they show their votes."""
    round_, posted = await a_round(town, 2)
    ana, *_ = await voters(town)
    set_thread(town, round_, archived=True, locked=True)
    for video in posted:
        await vote(town, video, ana, "Up")
    await asyncio.sleep(2 * A_WHILE_S)
    assert [await line(town, video) for video in posted] == ["No votes yet"] * 2
    metadata = town.backend.channels[round_.thread_id].thread_metadata
    assert (metadata.archived, metadata.locked) == (True, True)
    said = [record.getMessage() for record in caplog.records if "archived and locked" in record.getMessage()]
    assert said == [f"Thread {round_.thread_id} is archived and locked: its cards show no new votes until it is open."]
    set_thread(town, round_, archived=False, locked=False)
    for video in posted:
        await shows(town, video, "1 vote")


class SlowPosts(VideoPosts):
    """Cards that are all due, of which each takes until `gate` is open; `most` were looked at at the same time."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.now = self.most = 0
        self.shown: list[str] = []

    async def show_votes(self, video_id: str) -> tuple[str, bool]:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self.gate.wait()
        finally:
            self.now -= 1
        self.shown.append(video_id)
        return votes_line(CardVotes()), True


@pytest.mark.parametrize("threads", [2, 12])
async def test_a_burst_in_many_threads_edits_four_cards_at_a_time(
    town: Town, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    """Few threads do not wait for each other; of many the rest comes when there is room, and none is left out."""
    cards = [PostedVotes(str(n), 1, n, n << 22, False, CardVotes()) for n in range(1, threads + 1)]

    async def all_cards(*_: object) -> list[PostedVotes]:
        return cards

    monkeypatch.setattr(vote_counts, "votes_on_cards", all_cards)
    monkeypatch.setattr(vote_counts, "GATHER_S", 0.0)
    monkeypatch.setattr(vote_counts, "OLD_S", 0.0)
    posts = SlowPosts()
    counts = VoteCounts(database=town.database, posts=posts)
    town.app._ticks.pause()  # the bot is away: it knows none of these cards

    async def until(look: Callable[[], bool]) -> None:
        while not look():
            await counts.tick()
            await asyncio.sleep(0.01)

    most = min(threads, vote_counts.AT_ONCE)
    try:
        async with asyncio.timeout(60):
            await until(lambda: posts.now == most)
            for _ in range(20):
                await counts.tick()
                await asyncio.sleep(0.01)
            posts.gate.set()
            await until(lambda: set(posts.shown) == {card.video_id for card in cards})
        await counts.close()
    finally:
        town.app._ticks.resume()
    assert posts.most == most


async def test_a_burst_of_votes_makes_few_edits(town: Town) -> None:
    """Many votes within the gathering time are one edit, and votes all the time are not an edit each."""
    _, [video, other] = await a_round(town, 2)
    async with counted(town) as edits:
        names = await voters(town)
        await asyncio.gather(*(vote(town, video, name, "Up") for name in names))
        await shows(town, video, f"{len(names)} votes")
        await asyncio.sleep(A_WHILE_S)
        assert 1 <= edits[str(video.message_id)] <= 2
        assert edits[str(other.message_id)] == 0
        for number in range(30):
            await town.community.person(names[0]).press(await card(town, video), ("Up", "Down")[number % 2])
        await asyncio.sleep(A_WHILE_S)
        assert edits[str(video.message_id)] <= 12


async def test_a_tick_appears_when_the_votes_are_on_the_ledger(town: Town) -> None:
    """Part of them, then all; a changed vote and a reorganisation take the tick back."""
    round_, [video] = await a_round(town)
    ana, ben, *_ = await voters(town)
    await vote(town, video, ana, "Up")
    await vote(town, video, ben, "Down")
    await shows(town, video, "2 votes")
    await set_entries(town, round_, "final", most=1)
    await shows(town, video, "2 votes · 1 on the ledger")
    await set_entries(town, round_, "final")
    await shows(town, video, "2 votes · ✓ on the ledger")
    await vote(town, video, ben, "Up")
    await shows(town, video, "2 votes · 1 on the ledger")
    await set_entries(town, round_, "final")
    await shows(town, video, "2 votes · ✓ on the ledger")
    await set_entries(town, round_, "batched")
    await shows(town, video, "2 votes")


async def test_a_restart_edits_only_the_cards_that_differ(town: Town) -> None:
    """A new run, which remembers nothing, leaves alone what is right."""
    _, [stale, right] = await a_round(town, 2)
    ana, *_ = await voters(town)
    await vote(town, right, ana, "Up")
    await shows(town, right, "1 vote")
    town.app._ticks.pause()  # the bot is away
    try:
        async with town.database.begin() as connection:
            row = {"video_id": stale.id, "member_id": 1, "choice": 1, "source": "button", "cast_at_ms": 1}
            await connection.execute(votes.insert(), [row])
        async with counted(town) as edits:
            again = VoteCounts(database=town.database, posts=town.app.video_posts)
            for _ in range(30):
                await again.tick()
                await asyncio.sleep(0.05)
            await shows(town, stale, "1 vote")
            assert (edits[str(stale.message_id)], edits[str(right.message_id)]) == (1, 0)
            await again.close()
    finally:
        town.app._ticks.resume()  # the bot is back


async def test_a_round_that_is_long_over_costs_nothing(town: Town) -> None:
    """Its cards are neither read nor edited, whatever changes in its rows."""
    round_, [video] = await a_round(town)
    await town.close()
    await set_entries(town, round_, "final")
    await asyncio.sleep(A_WHILE_S)
    async with town.database.begin() as connection:
        long_ago = rounds_table.c.closes_at_ms - 2 * 86_400_000
        query = update(rounds_table).where(rounds_table.c.id == round_.id).values(closes_at_ms=long_ago)
        await connection.execute(query)
    async with counted(town) as edits:
        async with town.database.begin() as connection:
            row = {"video_id": video.id, "member_id": 1, "choice": 1, "source": "button", "cast_at_ms": 1}
            await connection.execute(votes.insert(), [row])
        await asyncio.sleep(A_WHILE_S)
        assert edits[str(video.message_id)] == 0
    assert (await rounds.get(town.database, round_.id)).status == "closed"


REFUSALS = {
    "deleted": {"fault": "refuse", "status": 404, "code": 10008},
    "no permission": {"fault": "refuse", "status": 403, "code": 50013},
    "unforeseen": {"fault": "refuse", "status": 400, "code": 999999},
    "a limit without a time": {"fault": "refuse", "status": 429},
    "away": {"fault": "error", "status": 503},
    "nonsense": {"fault": "garble"},
}


@pytest.mark.parametrize("answer", REFUSALS)
async def test_the_refusal_of_one_card_holds_up_no_other(town: Town, answer: str) -> None:
    """The other card goes on; the tries are few; and where it passes, the card is brought up to date afterwards."""
    _, [refused, other] = await a_round(town, 2)
    ana, ben, *_ = await voters(town)
    path = f"/channels/*/messages/{refused.message_id}"
    await town.fault(**REFUSALS[answer], **ALWAYS, method="PATCH", path=path)
    await vote(town, refused, ana, "Up")
    await vote(town, other, ben, "Up")
    await shows(town, other, "1 vote")
    await vote(town, other, ana, "Up")
    await shows(town, other, "2 votes")
    if answer != "nonsense":
        assert await line(town, refused) == "No votes yet"
    await town.fault(off=True)
    if answer == "deleted":
        await asyncio.sleep(A_WHILE_S)
        assert await line(town, refused) == "No votes yet"  # it is gone, as far as anybody knows
    else:
        await shows(town, refused, "1 vote")


async def test_a_card_that_a_moderator_deleted_is_left_alone(town: Town) -> None:
    """Its votes still count, by whatever reaches it, and the other card of the thread goes on."""
    _, [gone, other] = await a_round(town, 2)
    ana, ben, *_ = await voters(town)
    await vote(town, gone, ana, "Up")
    await town.mira.delete(await card(town, gone))
    await vote(town, other, ben, "Up")
    await shows(town, other, "1 vote")
    await asyncio.sleep(A_WHILE_S)
    assert gone.id in town.app.vote_counts._gone  # nobody asks Discord for it again


async def test_the_reactions_table_is_not_what_is_counted(town: Town) -> None:
    """A reaction and a later press of one member are one vote."""
    _, [video] = await a_round(town)
    ana, *_ = await voters(town)
    await town.community.person(ana).react(await card(town, video), "👎")
    await shows(town, video, "1 vote")
    await vote(town, video, ana, "Up")
    await asyncio.sleep(A_WHILE_S)
    assert await line(town, video) == "1 vote"
    async with town.database.connect() as connection:
        assert (await connection.execute(reactions.select().where(reactions.c.video_id == video.id))).first()
