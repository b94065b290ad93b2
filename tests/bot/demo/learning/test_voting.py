"""Who votes on what, and what voters do when the bot is silent; test_learning_demo.py lets them press."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.demo.discord.messages import Message
from bot.demo.discord.people import Answer, NoAnswerError
from bot.demo.learning import voting
from bot.demo.learning.voting import insist, plan_thumbs, prompt_of
from generation.feedback.community.tastes import TASTES, Facts
from generation.feedback.community.voters import Voters

NAMES = [f"member-{number}" for number in range(12)]
WARM = Facts("red", "star", "jump", 0.7, 0.1, 0.01, 0.5, 0.05)
COLD = replace(WARM, colour="blue", warm=-0.7)
ANSWER = Answer("1", "message", False, ())


def cards(count: int) -> list[Message]:
    return [
        Message(id=str(number), channel_id="1", author="FLock", text="", ephemeral=False) for number in range(count)
    ]


def test_everybody_votes_about_as_often_and_nobody_twice_on_a_video() -> None:
    """Each video gets its votes, of members who differ from video to video."""
    shown = cards(20)
    plan = plan_thumbs(Voters(TASTES["warm"], NAMES), shown, [WARM, COLD] * 10, 3, 1)
    assert {len(votes) for votes in plan.values()} == {5}
    voters_of = {
        card.id: [name for name, votes in plan.items() for vote in votes if vote.card is card] for card in shown
    }
    assert all(len(names) == len(set(names)) == 3 for names in voters_of.values())
    assert len({tuple(names) for names in voters_of.values()}) > 10


def test_thumbs_are_those_of_the_taste() -> None:
    """Where nobody errs; with enemies, theirs are the opposite."""
    shown, facts = cards(20), [WARM, COLD] * 10
    plan = plan_thumbs(Voters(TASTES["warm"], NAMES, noise=0, hostile=0), shown, facts, 3, 1)
    assert all(vote.up == (int(vote.card.id) % 2 == 0) for votes in plan.values() for vote in votes)
    enemies = Voters(TASTES["warm"], NAMES, noise=0, hostile=0.25)
    plan = plan_thumbs(enemies, shown, facts, 3, 1)
    for name, votes in plan.items():
        assert all((vote.up == (int(vote.card.id) % 2 == 0)) == (name not in enemies.hostile) for vote in votes)


async def test_a_voter_tries_again_when_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """And gives up after some time."""
    monkeypatch.setattr(voting, "AGAIN_S", 0)
    tries: list[int] = []

    async def act() -> Answer:
        tries.append(1)
        if len(tries) < 3:
            raise NoAnswerError("The application did not respond.")
        return ANSWER

    assert await insist(act) is ANSWER

    async def silence() -> Answer:
        tries.append(1)
        raise NoAnswerError("The application did not respond.")

    tries.clear()
    with pytest.raises(NoAnswerError):
        await insist(silence)
    assert len(tries) == voting.TRIES


def test_the_prompt_of_a_pair_is_read_off_its_card() -> None:
    """Without the marks that keep members' words harmless."""
    text = "### a starfish\\, blue\\. it's *not*\n-# Battle round 2 · **A** is the first video"
    pair = replace(cards(1)[0], text=text)
    assert prompt_of(pair) == "a starfish, blue. it's *not*"
    assert prompt_of(replace(pair, text="no heading")) == ""
