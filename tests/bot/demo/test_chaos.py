"""Chaos over real services: seeded, told in sentences, in order afterwards; and a round that lives through it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bot.demo.chaos import MOST_KILLS, Chaos, Switch
from bot.demo.discord.people import CannotDoError, NoAnswerError, wait_for
from bot.demo.stack import Stack
from bot.demo.supervisor import Supervisor
from tests.builders.stack import SETTLED_S, Scenario, open_scenario

SLEEPER = [sys.executable, "-c", "import sys; sys.stdin.read()"]


@asynccontextmanager
async def services(folder: Path) -> AsyncIterator[Stack]:
    """The embedded services as the demo starts them, and processes that stand for bot and worker: they only live."""
    supervisor = Supervisor(folder)
    stack = Stack(folder, supervisor)
    try:
        await stack.open_services()
        for name in ("bot", "worker"):
            await supervisor.start(name, SLEEPER, {})
        yield stack
    finally:
        await supervisor.stop()


async def faults(stack: Stack, url: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {stack.keys.control_token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{url}/control/faults", raise_for_status=True) as answer,
    ):
        told: dict[str, Any] = await answer.json()
        return told


async def until_told(chaos: Chaos, told: list[str], count: int) -> list[str]:
    """Runs until so many things were told; then ends it. Gives them, without its last words."""
    running = asyncio.create_task(chaos.run())

    async def enough() -> bool | None:
        assert not running.done()
        return True if len(told) >= count else None

    try:
        await wait_for(f"{count} events", enough, seconds=60, every=0.01)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert running.cancelled()
    return told[:count]


async def test_chaos_over_real_services(tmp_path: Path) -> None:
    """The same seed breaks the same things, each is told in a sentence, and in the end everything is switched off."""
    quick: dict[str, Any] = {"pause_s": (0.0, 0.01), "kill_every": 0}
    async with services(tmp_path) as stack:
        runs = []
        for seed in (5, 5, 6):
            told: list[str] = []
            runs.append(await until_told(Chaos.of(stack, told.append, seed=seed, **quick), told, 60))
            assert told[-1] == "All faults are switched off."
            for url in (stack.discord_url, stack.host_url, stack.rpc_url):
                assert (await faults(stack, url))["faults"] == []
        assert runs[0] == runs[1] != runs[2]
        assert len(set(runs[0])) > 20
        assert not any("could not be broken" in sentence for run in runs for sentence in run)
        assert all(sentence[0].isupper() and sentence.endswith(".") for sentence in runs[0])
        assert [state["restarts"] for state in stack.supervisor.states().values()] == [0] * 5

        # Who does not know the token breaks nothing, and says so.
        switches = [Switch("Discord", stack.discord_url, "guessed")] * 3
        told = []
        stranger = Chaos((switches[0], switches[1], switches[2]), stack.supervisor, told.append, **quick)
        for sentence in await until_told(stranger, told, 3):
            assert sentence == "Discord could not be broken (ClientResponseError)."
        assert told[-1].startswith("No answer from Discord")
        assert "guessed" not in repr(stranger.discord)
        assert (await faults(stack, stack.discord_url))["faults"] == []

        # Deaths are of bot and worker alone, and come back.
        told = []
        deadly = Chaos.of(stack, told.append, seed=1, pause_s=(0.2, 0.3), kill_every=1)
        await until_told(deadly, told, 6)
        restarts = {name: state["restarts"] for name, state in stack.supervisor.states().items()}
        assert restarts["bot"] + restarts["worker"] >= 3
        assert restarts["discord"] == restarts["host"] == restarts["chain"] == 0
        assert max(restarts.values()) < MOST_KILLS


@pytest.mark.usefixtures("in_a_long_run")
async def test_a_round_lives_through_chaos(tmp_path: Path) -> None:
    """Prompts and votes while everything breaks and bot and worker die: each card once, each vote as last told."""
    async with open_scenario(tmp_path / "state") as scenario:
        await scenario.open_round()
        calm = (await scenario.insist(scenario.ana, "prompt", text="the calm before.")).interaction_id
        card = await scenario.card_of(await scenario.wait_for_video(calm))
        told: list[str] = []
        seed = int(os.environ.get("FLOCK_TEST_SEED", "20"))
        chaos = Chaos.of(scenario.stack, told.append, seed=seed, pause_s=(0.2, 1.2), kill_every=10)
        running = asyncio.create_task(chaos.run())
        prompts = [f"the storm's number {number}." for number in range(4)]
        try:
            asked = await asyncio.gather(*(ask(scenario, name, p) for name, p in zip(NAMES, prompts, strict=True)))
            acknowledged = dict(
                zip(NAMES, await asyncio.gather(*(vote(scenario, name, card) for name in NAMES)), strict=True)
            )
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            print(f"seed {seed}:", *told, sep="\n  ")  # noqa: T201  # for who reads a failure
        assert told[-1] == "All faults are switched off."
        for video_id in asked:
            await scenario.wait_for_video(video_id)
        texts = await scenario.cards(card.channel_id)
        for prompt in prompts:
            assert sum(prompt in text for text in texts) >= 1
        assert len(texts) == len(set(texts)), "a card stands twice"
        await scenario.close_round()
        assert await scenario.choices(calm) == acknowledged
        await scenario.check_audit()


NAMES = ("ana", "ben", "chloé", "dmitri")


async def ask(scenario: Scenario, name: str, prompt: str) -> str:
    """Asks until somebody answers; gives the id of the video that was acknowledged."""

    async def asked() -> str | None:
        try:
            answer = await scenario.community.person(name).command("prompt", text=prompt)
        except (NoAnswerError, CannotDoError):
            return None
        return None if answer.ephemeral else answer.interaction_id

    return await wait_for("the prompt to be taken", asked, seconds=SETTLED_S)


async def vote(scenario: Scenario, name: str, card: Any) -> int:
    """Changes their mind a few times, each time until somebody answers; gives the last choice."""
    for choice in ("Up", "Down", "Up", "Down", "Up"):

        async def pressed(choice: str = choice) -> bool | None:
            try:
                answer = await scenario.community.person(name).press(card, choice)
            except NoAnswerError:
                return None
            return True if f"is **{choice.lower()}**" in answer.text else None

        await wait_for(f"the vote {choice} to be taken", pressed, seconds=SETTLED_S)
        await asyncio.sleep(1.0)
    return 1


def test_it_says_what_it_needs() -> None:
    """Nobody sees a token by looking at a switch."""
    assert "secret" not in repr(Switch("Discord", "http://127.0.0.1:1", "secret"))
