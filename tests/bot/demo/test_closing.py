"""What stands on the cards when a moderator closes a round counts, also what the bot has not heard of yet."""

from __future__ import annotations

from pathlib import Path

from bot.demo.discord.people import wait_for
from tests.builders.stack import SETTLED_S, open_trouble

UP, DOWN = 1, 2


async def test_a_reaction_from_while_the_bot_was_away_counts_though_the_round_closes_at_once(tmp_path: Path) -> None:
    """The bot looks at every card before it closes the round; a reaction from after that is too late."""
    async with open_trouble(tmp_path / "state") as trouble:
        await trouble.open_round()
        cards = [await trouble.a_card(f"weather {number}.") for number in (1, 2)]
        videos = [await trouble.on_card(card) for card in cards]
        for card in cards:
            await trouble.ana.press(card, "Up")
        trouble.house.supervisor.kill("bot")
        for card in cards:
            await trouble.ben.react(card, "👎")

        async def back() -> bool | None:
            return True if (await trouble.community.world())["connected"] else None

        # Each look at a card takes a while: without waiting for it, the round would be closed before.
        await trouble.switch("discord", fault="slow", method="GET", path="/channels/*/reactions/*", seconds=3, count=2)
        await wait_for("the bot to come back", back, seconds=SETTLED_S)
        # The thread stays open to reactions: its lock is refused.
        lock = f"/channels/{videos[0].thread_id}"
        await trouble.switch("discord", fault="refuse", status=403, code=50013, method="PATCH", path=lock)
        closed = await trouble.insist(trouble.mira, "round close")
        assert "is closed for votes" in closed.text
        for card in cards:
            await trouble.community.person("emi").react(card, "👎")
        await trouble.decided()
        for video in videos:
            assert await trouble.choices(video.id) == {"ana": UP, "ben": DOWN}
        await trouble.audited()
