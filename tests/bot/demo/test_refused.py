"""The chain is away for longer than a round waits for it: members read what came of their votes, and why."""

from __future__ import annotations

import asyncio
import re
import time

import pytest
from sqlalchemy import select, update

from bot.demo.discord.people import Answer, Message, Person, wait_for
from bot.store import rounds
from contracts.audit.audit import audit
from contracts.ledger.calldata import close_round
from contracts.ledger.client import Ledger
from contracts.signers.keystore import open_key_file
from migrations.schema import outbox
from tests.builders.stack import SETTLED_S, Scenario

pytestmark = pytest.mark.asyncio(loop_scope="module")

AWAY = {"fault": "http_error", "status": 503, "rate": 1.0}
NO_DRAFTS = {**AWAY, "method": "eth_estimateGas"}  # as far away as that for the relayer, and not for us


async def end_on_ledger(scenario: Scenario) -> None:
    """Do what time would: the round and its grace are over on the ledger."""
    number = (await rounds.get(scenario.database, scenario.number)).chain_id
    assert scenario.stack.deployment is not None
    assert number is not None
    signer, address = open_key_file(scenario.stack.key_file), scenario.stack.deployment.address
    async with Ledger(scenario.stack.rpc_url, address) as ledger:
        node, fees = ledger.node, await ledger.node.fees()
        transaction = {
            "chainId": await node.chain_id(), "nonce": await node.nonce(signer.address), "to": address, "value": 0,
            "data": close_round(number), "gas": 200_000, "maxFeePerGas": fees.maximum, "maxPriorityFeePerGas": fees.tip,
        }  # fmt: skip
        signed = await signer.sign(transaction)
        await node.send(signed.raw)
        assert (await node.wait(signed.tx, timeout_s=SETTLED_S)).ok


async def over_already(scenario: Scenario) -> None:
    """The open round, of which the ledger does not know yet, will be over, grace and all, when it hears of it."""
    until = int(time.time()) - 5
    entry = (outbox.c.kind == "round", outbox.c.round_id == scenario.number)
    async with scenario.database.begin() as connection:
        payload = (await connection.execute(select(outbox.c.payload).where(*entry))).scalar_one()
        changed = {**payload, "opens": min(payload["opens"], until - 1), "closes": until, "grace": 0}
        await connection.execute(update(outbox).where(*entry).values(payload=changed))


async def settled(scenario: Scenario, state: str, count: int) -> None:
    """Waits until so many votes of the round have come to this end."""
    query = select(outbox.c.id).where(
        outbox.c.kind == "vote", outbox.c.state == state, outbox.c.round_id == scenario.number
    )

    async def so() -> bool | None:
        async with scenario.database.connect() as connection:
            return True if len((await connection.execute(query)).all()) == count else None

    await wait_for(f"{count} votes to be {state}", so, seconds=SETTLED_S)


async def result(scenario: Scenario, words: str) -> Message:
    """The post with the round's result, once it says so."""

    async def found() -> Message | None:
        round_ = await rounds.get(scenario.database, scenario.number)
        if round_.result_message_id is None:
            return None
        message = await scenario.ben.message(str(round_.channel_id), str(round_.result_message_id))
        return message if words in message.text else None

    return await wait_for(f"the result to say {words!r}", found, seconds=SETTLED_S)


async def followed(who: Person, answer: Answer, words: str) -> Answer:
    """The answer, once a message that says so has followed it."""

    async def found() -> Answer | None:
        now = await who.look(answer)
        return now if words in now.text else None

    return await wait_for(f"to be told {words!r}", found, seconds=SETTLED_S)


async def test_the_result_is_the_ledgers_and_says_what_was_refused(scenario: Scenario) -> None:
    """Votes that came too late count nowhere: another video wins than was said before, and the post explains it."""
    first, second = await scenario.post_card("the one that wins."), await scenario.post_card("the one that had won.")
    answer = await scenario.ana.press(first, "Up")
    assert "It will be on the ledger in about a minute" in answer.text
    await settled(scenario, "final", 1)
    await scenario.switch("chain", **NO_DRAFTS)
    for name in ("ben", "chloé"):
        assert "is **up**" in (await scenario.community.person(name).press(second, "Up")).text
    await scenario.insist(scenario.mira, "round close")
    before = await result(scenario, "had won")
    assert re.search(r"is decided\n🏆 \*\*.*the one that had won.*with 👍 2 and 👎 0", before.text)
    assert "Preliminary tally" in before.text
    assert "Final tally" not in before.text
    assert "Preliminary tally" in (await scenario.ben.command("standings")).text

    await end_on_ledger(scenario)
    await scenario.clear_faults()
    await scenario.wait_for_result()
    after = (await result(scenario, "Final tally")).text
    assert re.search(r"is decided\n🏆 \*\*.*the one that wins.*with 👍 1 and 👎 0", after)
    assert re.search(r"1\. .*the one that wins.*👍 1 · 👎 0\n2\. .*the one that had won.*👍 0 · 👎 0", after)
    assert "2 votes were rejected by the ledger; `/receipt round:1` shows which of yours." in after
    assert re.search(r"By the preliminary tally, \*\*.*the one that had won.*\*\* had won", after)
    round_ = await rounds.get(scenario.database, scenario.number)
    assert "On the ledger for good" in after
    assert not re.search("0x[0-9a-f]{40}", after, re.IGNORECASE)
    pressed = await scenario.ben.press(await result(scenario, "Final tally"), "Details")
    assert pressed.ephemeral
    details = pressed.text
    assert f"transaction `{round_.finalized_tx}`" in details
    assert scenario.stack.deployment is not None
    address = scenario.stack.deployment.address
    stranger = rf"flock audit --rpc {scenario.stack.rpc_url} --ledger {address}"
    command = rf"{stranger}( --since \d+)?( --chain \d+)? --round {round_.chain_id}`"
    assert re.search(command, details)
    assert "flock audit" not in after
    report = await audit(scenario.stack.rpc_url, address, round=round_.chain_id)
    won = await scenario.video_on(first)
    assert [audited.winner for audited in report.rounds] == [won.chain_id]
    assert round_.winner_video_id == won.id
    await scenario.check_audit()
    standings = (await scenario.ana.command("standings")).text
    assert re.search(r"1\. .*the one that wins.*👍 1 · 👎 0", standings)
    assert "Final tally" in standings
    assert "2 votes were rejected" in standings


async def test_who_was_refused_is_told_once_and_nobody_else(scenario: Scenario) -> None:
    """With the next answer that only they see; whoever looks at their receipt has read it there."""
    told = await followed(scenario.ben, await scenario.ben.command("videos"), "rejected one of your votes in round 1")
    assert "had already closed on the ledger" in told.text
    assert told.ephemeral
    chloe = scenario.community.person("chloé")
    assert "not on the ledger" in (await chloe.command("receipt")).text
    quiet = [(who, await who.command("videos")) for who in (scenario.ben, chloe, scenario.ana)]
    await asyncio.sleep(2)
    for who, answer in quiet:
        assert len((await who.look(answer)).messages) == 1


async def test_a_round_that_never_got_onto_the_ledger_comes_to_an_end(scenario: Scenario) -> None:
    """Its post says so, with the reason; the round stays closed, and nothing waits for it any more."""
    await scenario.switch("chain", **AWAY)
    await scenario.open_round()
    card = await scenario.post_card("never recorded.")
    await scenario.ana.press(card, "Up")
    await over_already(scenario)
    await scenario.insist(scenario.mira, "round close")
    await result(scenario, "on their way to the ledger")
    await scenario.clear_faults()
    post = (await result(scenario, "Not on the ledger")).text
    assert "The round was already over when the ledger could be reached." in post
    assert "on their way" not in post
    assert re.search(r"is decided\n🏆 \*\*.*never recorded.*with 👍 1 and 👎 0", post)
    assert "Preliminary tally" in post
    round_ = await rounds.get(scenario.database, scenario.number)
    assert (round_.status, round_.chain_id, round_.finalized_tx) == ("closed", None, None)
    assert f"Round {scenario.number} will never be on the ledger" in scenario.log("bot")
    assert "Not on the ledger" in (await scenario.mira.command("round status")).text
    await followed(scenario.ana, await scenario.ana.command("standings"), "rejected one of your votes in round 2")
