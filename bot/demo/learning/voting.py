"""The acts of scripted voters in Discord: thumbs on cards, and ballots of a battle round, by the buttons alone."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from bot.demo.discord.people import Answer, CannotDoError, Community, Message, NoAnswerError, Person
from bot.demo.learning.watching import Watching
from bot.demo.terminal import plain
from generation.feedback.community.tastes import Facts, middle_of
from generation.feedback.community.voters import Choice, Voters
from generation.tiny.training.captions import Caption

AT_ONCE = 4  # members who vote at the same time
TRIES, AGAIN_S = 5, 1.0  # of an act that the bot does not answer in time, as on a busy machine
NEXT_PAIR_S = 60.0
LABELS = {Choice.A: "A", Choice.B: "B", Choice.TIE: "Tie", Choice.BOTH_BAD: "Both bad"}
FULL = "your ballot is full"

Say = Callable[[str, str], None]  # a member's name, and a sentence


@dataclass(frozen=True)
class Thumb:
    """A vote on a video's card."""

    name: str
    card: Message
    up: bool


class Polls:
    """Members at the polls: several at once, each with one act after the other."""

    def __init__(self, community: Community, voters: Voters, watching: Watching, say: Say) -> None:
        """`say` is called with each act that a person may want to read."""
        self._community = community
        self._voters = voters
        self._watching = watching
        self._say = say

    # ------------------------------------------------------------------ thumbs

    async def thumbs(self, cards: Sequence[Message], votes_a_video: int, seed: int) -> Sequence[Thumb]:
        """Let each video get so many votes of different members, and return these."""
        facts = [await self._watching.at(card.media[0]) for card in cards]
        plan = plan_thumbs(self._voters, cards, facts, votes_a_video, seed)
        await self._all_at_the_polls([partial(self._cast, votes) for votes in plan.values()])
        return [vote for votes in plan.values() for vote in votes]

    async def _cast(self, votes: Sequence[Thumb]) -> None:
        for vote in votes:
            person = self._community.person(vote.name)
            answer = await insist(lambda: person.press(vote.card, "Up" if vote.up else "Down"))  # noqa: B023  # awaited at once
            if f"is **{'up' if vote.up else 'down'}**" not in answer.text:
                raise NoAnswerError(f"The bot did not take the vote of {vote.name}: {answer.text}")
            self._say(vote.name, f"presses {'👍' if vote.up else '👎'}")

    # ------------------------------------------------------------------ battles

    async def battle(
        self, channel: str, captions: Mapping[str, Caption], seed: int, is_over: Callable[[], Awaitable[bool]]
    ) -> None:
        """Let every member cast a full ballot, until the round is over. `captions` say what prompts ask for."""
        names = list(self._voters.members)
        random.Random(seed).shuffle(names)  # noqa: S311  # as above

        async def ballot(name: str) -> None:
            if not await is_over():
                await self._cast_ballot(self._community.person(name), channel, captions, is_over)

        await self._all_at_the_polls([partial(ballot, name) for name in names])

    async def _cast_ballot(
        self, person: Person, channel: str, captions: Mapping[str, Caption], is_over: Callable[[], Awaitable[bool]]
    ) -> None:
        """Let a member answer pairs until the ballot is full."""
        seen: set[str] = set()
        await insist(lambda: person.command("battle", in_channel=channel))
        while True:
            pair = await self._next_pair(person, channel, seen, is_over)
            if pair is None:
                return
            seen.add(pair.id)
            a, b = [await self._watching.at(url) for url in pair.attachments]
            choice = self._voters.chooses(person.name, captions.get(prompt_of(pair)), a, b)
            try:
                await insist(lambda: person.press(pair, LABELS[choice]))  # noqa: B023  # awaited at once
                chosen = await person.message(pair.channel_id, pair.id)
                await insist(lambda: person.press(chosen, "Next"))  # noqa: B023  # as above
            except (CannotDoError, LookupError, NoAnswerError):
                if await is_over():
                    return
                raise
            final = await person.message(pair.channel_id, pair.id)
            self._say(person.name, _told(choice, final))
            if FULL in final.text:
                return

    async def _next_pair(
        self, person: Person, channel: str, seen: set[str], is_over: Callable[[], Awaitable[bool]]
    ) -> Message | None:
        """Return the member's newest pair; None once the round is over or there is no pair more."""
        loop = asyncio.get_running_loop()
        until = loop.time() + NEXT_PAIR_S
        while loop.time() < until:
            for message in reversed(await person.messages(channel, limit=4)):
                if message.ephemeral and len(message.attachments) == 2 and message.id not in seen:
                    return message
            if await is_over():
                return None
            await asyncio.sleep(0.2)
        raise NoAnswerError(f"{person.name} got no pair to compare.")

    async def _all_at_the_polls(self, members: Sequence[Callable[[], Awaitable[None]]]) -> None:
        gate = asyncio.Semaphore(AT_ONCE)

        async def enter(member: Callable[[], Awaitable[None]]) -> None:
            async with gate:
                await member()

        await asyncio.gather(*(enter(member) for member in members))


def plan_thumbs(
    voters: Voters, cards: Sequence[Message], facts: Sequence[Facts], votes_a_video: int, seed: int
) -> Mapping[str, Sequence[Thumb]]:
    """Return each member's votes: all members vote about as often, and nobody twice on one video."""
    dice = random.Random(seed)  # noqa: S311  # a run that can be repeated, no secret
    middle = middle_of([voters.taste.utility(each) for each in facts])
    plan: dict[str, list[Thumb]] = {name: [] for name in voters.members}
    for card, each in zip(cards, facts, strict=True):
        # Those who have voted least come next, in an order that differs each time.
        names = sorted(plan, key=lambda name: (len(plan[name]), dice.random()))
        for name in names[:votes_a_video]:
            plan[name].append(Thumb(name, card, voters.likes(name, each, middle)))
    return plan


async def insist(act: Callable[[], Awaitable[Answer]]) -> Answer:
    """Act again where the bot does not answer in time, as people do. Raises NoAnswerError after several tries."""
    for number in range(TRIES):
        try:
            return await act()
        except NoAnswerError:
            if number == TRIES - 1:
                raise
            await asyncio.sleep(AGAIN_S)
    raise NoAnswerError("There was no try.")


def prompt_of(pair: Message) -> str:
    """Return the prompt on the card of a pair; empty where it names none."""
    lines = [line.removeprefix("### ") for line in pair.text.splitlines() if line.startswith("### ")]
    return plain(lines[0], {}) if lines else ""


def _told(choice: Choice, final: Message) -> str:
    """Return what a member did, with what they were told after it."""
    told = next((line for line in final.text.splitlines() if line.startswith("You chose")), "")
    return f"compares two videos: {LABELS[choice]}  →  {plain(told, {})}"
