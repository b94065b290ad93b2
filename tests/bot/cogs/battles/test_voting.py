"""A battle round as members see it: blind, their own choice at once, the sides after it alone, and the verdict."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
import pytest
import pytest_asyncio

from bot.demo.discord.people import CannotDoError, Message, Person, wait_for
from bot.demo.discord.world import MODERATOR
from bot.domain.battles import Battle, VerdictState
from migrations.states.learning import CandidateState
from tests.builders.battle_rounds import a_rule, a_verdict
from tests.builders.battle_town import (
    a_ready_candidate,
    begin_battle,
    end_battle,
    stand_in_for_workers,
    until_battle,
    until_open,
)
from tests.builders.live_bot import Town
from tests.builders.releases import a_candidate

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def battle(town: Town) -> AsyncIterator[Battle]:
    """An open battle round; it is over after the test."""
    stand_in_for_workers(town)
    begun = await begin_battle(town)
    yield await until_open(town, begun.round.id)
    await end_battle(town, begun.round.id)


async def announcement(town: Town, battle: Battle) -> Message:
    """The announcement of a battle round, as members see it now."""
    return await town.community.person("ben").message(str(town.channel), str(battle.round.announcement_id))


async def open_announcement(town: Town, battle: Battle) -> Message:
    """The announcement, once it has its button."""

    async def look() -> Message | None:
        message = await announcement(town, battle)
        return message if message.buttons else None

    return await wait_for("the button of the announcement", look, seconds=300)


async def pairs_of(town: Town, person: Person) -> list[Message]:
    """The pairs that a member sees in the channel, oldest first."""
    messages = await person.messages(str(town.channel))
    return [message for message in messages if message.ephemeral and len(message.attachments) == 2]


async def next_pair(town: Town, person: Person, after: int) -> Message:
    """A member's newest pair, once there are more than so many."""

    async def look() -> Message | None:
        pairs = await pairs_of(town, person)
        return pairs[-1] if len(pairs) > after else None

    return await wait_for("another pair", look, seconds=300)


async def start(town: Town, battle: Battle, name: str) -> tuple[Person, Message]:
    """A member who has asked for a pair, and the pair."""
    person = town.community.person(name)
    earlier = len(await pairs_of(town, person))
    await person.press(await open_announcement(town, battle), "Show me a pair")
    return person, await next_pair(town, person, earlier)


async def test_nothing_on_a_pair_tells_its_sides(town: Town, battle: Battle) -> None:
    """Names, sizes, words and order of the files are the same for every pair, and only the member sees them."""
    ana, shown = await start(town, battle, "ana")
    assert [url.rpartition("/")[2] for url in shown.attachments] == ["a.mp4", "b.mp4"]
    assert list(shown.media) == list(shown.attachments)
    async with aiohttp.ClientSession() as session:
        files = [await (await session.get(url)).read() for url in shown.attachments]
    assert len(files[0]) == len(files[1])
    for data in files:
        assert b"made by" not in data
        assert b"pictures" in data
    for word in ("candidate", "tiny", "live"):
        assert word not in shown.text
    ben, other = await start(town, battle, "ben")
    assert shown.id not in {message.id for message in await ben.messages(str(town.channel))}
    assert [button.label for button in other.buttons] == [button.label for button in shown.buttons]
    assert "You: 0 of 3" in shown.text
    assert await pairs_of(town, ana) != await pairs_of(town, ben)


async def test_a_choice_is_shown_changed_and_revealed(town: Town, battle: Battle) -> None:
    """The sides come with Next; then the choice stands, and another pair is there."""
    emi, shown = await start(town, battle, "emi")
    hasty = await emi.press_id(shown, shown.button("Next").custom_id, forged=True)
    assert "Choose A, B, tie or both bad first" in hasty.text
    assert "A is better" in (await emi.press(shown, "A")).text
    changed = await emi.press(shown, "Both bad")
    assert "both are bad" in changed.text
    assert "A is better" not in changed.text
    assert "was the candidate's" not in changed.text
    count = len(await pairs_of(town, emi))
    await emi.press(await emi.message(shown.channel_id, shown.id), "Next")
    another = await next_pair(town, emi, count)
    assert another.id != shown.id
    assert "You: 1 of 3" in another.text
    revealed = await emi.message(shown.channel_id, shown.id)
    assert "You chose: **both are bad**" in revealed.text
    assert "candidate's" in revealed.text or "was made for this prompt" in revealed.text
    assert revealed.buttons == ()
    assert "candidate's" not in another.text
    late = await emi.press_id(revealed, shown.button("B").custom_id, forged=True)
    assert "that choice stands" in late.text


async def test_a_voter_who_answers_all_is_thanked(town: Town, battle: Battle) -> None:
    """A full ballot says so; after the last pair nothing more is shown, and no choice can be taken back."""
    dmitri, shown = await start(town, battle, "dmitri")
    for number in range(6):
        await dmitri.press(shown, "A")
        count = len(await pairs_of(town, dmitri))
        await dmitri.press(await dmitri.message(shown.channel_id, shown.id), "Next")
        if number < 5:
            shown = await next_pair(town, dmitri, count)
            assert f"You: {number + 1} of 3" in shown.text
            assert ("your ballot is full" in shown.text) == (number >= 2)
    answer = await dmitri.press(await announcement(town, battle), "Show me a pair")
    assert "You have answered every pair" in answer.text


async def test_a_moderator_removes_a_pair(town: Town, battle: Battle) -> None:
    """Nobody is shown it any more; a member cannot, whatever they press."""
    mira, shown = await start(town, battle, MODERATOR)
    remove = shown.button("Remove pair").custom_id
    ben, bens = await start(town, battle, "ben")
    assert "Remove pair" not in {button.label for button in bens.buttons}
    forged = await ben.press_id(bens, remove, forged=True)
    assert "Only moderators" in forged.text
    assert "shown to nobody any more" in (await mira.press(shown, "Remove pair")).text
    pair_id = remove.rpartition(":")[2]
    gone = await mira.press_id(shown, f"b1:a:{pair_id}", forged=True)
    assert "isn't shown any more" in gone.text
    _, another = await start(town, battle, MODERATOR)
    assert another.button("A").custom_id != f"b1:a:{pair_id}"


async def test_votes_that_decide_end_the_round(town: Town, battle: Battle) -> None:
    """A full ballot has them judged; the verdict is posted once, and pairs take no more votes."""
    judged: list[int] = []

    async def judge(_battle: Battle, votes: object, *, closed: bool) -> object:
        judged.append(len(votes))  # type: ignore[arg-type]  # a sequence
        return replace(a_verdict(VerdictState.RELEASED), reasons=("12 voters prefer the candidate.",))

    workflow = town.app.learning.battles.workflow
    before, workflow._judge = workflow._judge, judge  # type: ignore[assignment]  # a judge who is quickly convinced
    try:
        ana, shown = await start(town, battle, "ana")
        for _ in range(3):
            await ana.press(shown, "A")
            count = len(await pairs_of(town, ana))
            await ana.press(await ana.message(shown.channel_id, shown.id), "Next")
            shown = await next_pair(town, ana, count)
        over = await until_battle(
            town, battle.round.id, "the verdict", lambda now: now.round.result_message_id is not None
        )
    finally:
        workflow._judge = before
    post = await ana.message(str(town.channel), str(over.round.result_message_id))
    assert "the candidate wins" in post.text
    assert "12 voters prefer the candidate." in post.text
    assert battle.registration_hash in post.text
    assert judged[-1] == 3
    late = await ana.press_id(shown, shown.button("A").custom_id)
    assert "is closed, so nothing was recorded" in late.text
    texts = [message.text for message in await town.shown(town.channel)]
    assert sum(f"Verdict of battle round {battle.round.number}:" in text for text in texts) == 1

    async def closed() -> bool | None:
        return True if (await announcement(town, battle)).buttons == () else None

    await wait_for("the announcement to say so", closed, seconds=300)


async def test_the_deadline_counts_choices_that_were_not_finished(town: Town) -> None:
    """Who chose and never pressed Next has voted; the verdict says how many votes there were."""
    stand_in_for_workers(town)
    rule = a_rule(catch_answers=0)
    battle = await until_open(town, (await begin_battle(town, rule=rule, battles_=2, catches=0)).round.id)
    ana, shown = await start(town, battle, "ana")
    await ana.press(shown, "A")
    over = await end_battle(town, battle.round.id)
    assert over.verdict is not None
    assert over.verdict.votes == 1
    assert over.verdict.state == VerdictState.UNDECIDED
    assert "1 vote of 1 voter" in (await ana.message(str(town.channel), str(over.round.result_message_id))).text


async def test_commands_begin_a_battle_and_show_pairs(town: Town) -> None:
    """Not before its registration stands on the ledger; where none is open a sentence says so."""
    stand_in_for_workers(town)
    ana = town.community.person("ana")
    assert "There is no open battle round" in (await ana.command("battle")).text
    candidate, _ = await a_ready_candidate(town)
    few = await town.mira.command("admin model battle", candidate=candidate, duration="1h", pairs=3)
    assert (
        f"A battle round of 3 pairs needs 2 prompts that candidate {candidate} was not trained on, and there are 0."
        in few.text
    )
    unknown = await town.mira.command("admin model battle", candidate=candidate + 99, duration="1h", pairs=3)
    assert f"There is no candidate {candidate + 99}" in unknown.text
    lost = await a_candidate(town.database, CandidateState.LOST)
    over = await town.mira.command("admin model battle", candidate=lost, duration="1h", pairs=3)
    assert f"Candidate {lost} is lost, so no battle round was opened" in over.text
    with pytest.raises(CannotDoError):
        await ana.command("admin model battle", candidate=candidate, duration="1h", pairs=3)
    begun = await begin_battle(town)
    await until_battle(town, begun.round.id, "the announcement", lambda now: now.round.announcement_id is not None)
    shown = await announcement(town, await battle_now(town, begun))
    assert "The videos are being made" in shown.text
    assert shown.buttons == ()
    assert "There is no open battle round" in (await ana.command("battle")).text
    early = await ana.press_id(shown, f"b1:start:{begun.round.id}", forged=True)
    assert "There is no open battle round" in early.text
    await until_open(town, begun.round.id)
    answer = await ana.command("battle", in_channel=str(town.channel))
    assert answer.ephemeral
    assert "You: 0 of 3" in answer.text
    await end_battle(town, begun.round.id)


async def battle_now(town: Town, battle: Battle) -> Battle:
    """The battle round as it is."""
    return await until_battle(town, battle.round.id, "the battle round", lambda _battle: True)
