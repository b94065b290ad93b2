"""What stands on the cards when a moderator closes a round counts, also what the bot has not heard of yet."""

from __future__ import annotations

from pathlib import Path

from bot.demo.discord.people import wait_for
from tests.builders.stack import SETTLED_S, open_scenario

UP, DOWN = 1, 2


async def test_a_reaction_from_while_the_bot_was_away_counts_though_the_round_closes_at_once(tmp_path: Path) -> None:
    """The bot looks at every card before it closes the round; a reaction from after that is too late."""
    async with open_scenario(tmp_path / "state") as scenario:
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
        await scenario.switch("discord", fault="refuse", status=403, code=50013, method="PATCH", path=lock)
        closed = await scenario.insist(scenario.mira, "round close")
        assert "is closed for votes" in closed.text
        for card in cards:
            await scenario.community.person("emi").react(card, "👎")
        await scenario.wait_for_result()
        for video in videos:
            assert await scenario.choices(video.id) == {"ana": UP, "ben": DOWN}
        await scenario.check_audit()
