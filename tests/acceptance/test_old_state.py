"""A state that an earlier release left, killed in the middle of a round, goes on with the code of now.

`state/0.1.0.tar.xz` is what `old_state.py` tells of: kept as it was made, whatever is renamed since.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import func, select

from bot.demo.discord.people import Message, wait_for
from bot.store import rounds, videos
from contracts.ledger.client import Ledger
from migrations.schema import chain_transactions, outbox
from migrations.schema import rounds as rounds_table
from migrations.schema import videos as videos_table
from tests.acceptance.old_state import FOLDER, HELD, POSTED, QUEUED, unpack
from tests.builders.stack import SETTLED_S, Scenario, open_scenario

# By prompts, with the votes of before and those that are cast below: 👍 and 👎.
EXPECTED = {POSTED[0]: (4, 0), POSTED[1]: (1, 2), QUEUED: (1, 0), HELD: (0, 0)}


@pytest.fixture(params=sorted(FOLDER.glob("*.tar.xz")), ids=lambda file: file.name.removesuffix(".tar.xz"))
def old_state(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with the state that a release left."""
    folder = tmp_path / "state"
    unpack(request.param, folder)
    return folder


async def test_a_round_of_an_earlier_release_goes_on_and_is_decided(old_state: Path) -> None:
    """What waited is done, once; cards of before take votes; all votes, of then and now, are in the result."""
    async with open_scenario(old_state) as scenario:
        await scenario.wait_for_bot()
        await goes_on_with_its_round(scenario)
        thread = str((await rounds.get(scenario.database, scenario.number)).thread_id)
        first = await card_in(scenario, thread, POSTED[0])
        await the_cards_of_before_answer(scenario, first)
        await what_was_held_is_decided(scenario)
        starred = await card_in(scenario, thread, QUEUED)
        assert "is **up**" in (await scenario.community.person("chloé").press(starred, "Up")).text
        await card_in(scenario, thread, HELD)
        await scenario.close_round()
        assert sorted(await scenario.cards(thread)) == sorted(set(await scenario.cards(thread)))
        assert len(await scenario.cards(thread)) == len(EXPECTED)
        await the_result_is_right(scenario)
        await scenario.check_audit()


async def goes_on_with_its_round(scenario: Scenario) -> None:
    async with scenario.database.connect() as connection:
        scenario.number = int(await connection.scalar(select(rounds_table.c.id)) or 0)
    told = (await scenario.mira.command("round status")).text
    assert "storms" in told, told


async def card_in(scenario: Scenario, thread: str, prompt: str) -> Message:
    """The card of a prompt, once it is posted."""

    async def look() -> Message | None:
        cards = [m for m in await scenario.ben.messages(thread) if any(b.label == "Up" for b in m.buttons)]
        return next((card for card in cards if prompt in card.text), None)

    return await wait_for(f"the card of {prompt!r}", look, seconds=SETTLED_S)


async def the_cards_of_before_answer(scenario: Scenario, card: Message) -> None:
    """A new vote, one that is changed, and one that a reaction of before gave and its removal takes back."""
    emi, dmitri = scenario.community.person("emi"), scenario.community.person("dmitri")
    assert "is **up**" in (await scenario.ana.press(card, "Up")).text
    assert "is **up**" in (await emi.press(card, "Up")).text
    await dmitri.react(card, "👍", on=False)
    await scenario.wait_for_choices((await scenario.video_on(card)).id, ana=1, ben=1, chloé=1, dmitri=0, emi=1)


async def what_was_held_is_decided(scenario: Scenario) -> None:
    listed = await scenario.mira.command("review list")
    assert HELD in listed.text
    approved = await scenario.mira.submit(await scenario.mira.press(listed.message, "Approve"), text="")
    assert "Approved" in approved.text


async def the_result_is_right(scenario: Scenario) -> None:
    """Here, on the ledger and on Discord; and nothing was recorded or posted twice."""
    entries = {entry.video.prompt: entry for entry in await videos.entries(scenario.database, scenario.number)}
    assert {prompt: (e.tally.up, e.tally.down) for prompt, e in entries.items()} == EXPECTED
    assert scenario.stack.deployment is not None
    async with Ledger(scenario.stack.rpc_url, scenario.stack.deployment.address) as ledger:
        for prompt, entry in entries.items():
            tally = await ledger.tally(entry.video.chain_id or 0)
            assert (tally.up, tally.down) == EXPECTED[prompt], prompt
    round_ = await rounds.get(scenario.database, scenario.number)
    assert round_.winner_video_id == entries[POSTED[0]].video.id
    async with scenario.database.connect() as connection:
        rows = (await connection.execute(select(videos_table))).all()
        kinds = (await connection.execute(select(outbox.c.kind, func.count()).group_by(outbox.c.kind))).all()
        unsettled = await connection.scalar(
            select(func.count()).where(chain_transactions.c.state.not_in(("final", "superseded")))
        )
    assert {row.status for row in rows} == {"published"}
    assert len({row.chain_id for row in rows}) == len({row.asset_id for row in rows}) == len(EXPECTED)
    once = {kind: count for kind, count in kinds if kind != "vote"}
    assert once == {"round": 1, "video": len(EXPECTED), "close": 1}
    assert unsettled == 0
    said = await scenario.ben.messages(await scenario.community.channel("videos"))
    assert sum("is decided" in message.text for message in said) == 1


# --------------------------------------------------------------------------- the twin: a name that nobody has


async def test_a_life_under_a_name_that_nobody_has_is_neither_done_nor_forgotten(old_state: Path) -> None:
    """Were a workflow renamed, what waits under its old name would wait on, and the worker's log would say why."""
    with sqlite3.connect(old_state / "flock.db") as database:
        renamed = database.execute(
            "UPDATE workflow_status SET name = 'render_film' WHERE name = 'render_video' AND status = 'ENQUEUED'"
        )
    assert renamed.rowcount == 1
    async with open_scenario(old_state) as scenario:

        async def told() -> bool | None:
            log = scenario.log("worker")
            return True if "render_film is not a registered workflow function" in log else None

        await wait_for("the worker to tell of it", told, seconds=SETTLED_S)
        async with scenario.database.connect() as connection:
            rows = (await connection.execute(select(videos_table.c.prompt, videos_table.c.status))).all()
    assert {row.prompt: row.status for row in rows} == {**dict.fromkeys(POSTED, "published"), QUEUED: "queued"}
