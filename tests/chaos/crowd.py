"""A crowd of members who ask for videos, vote, change their minds and write feedback, whatever happens to the bot."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field

from bot.demo.discord.people import Answer, Community, Message, NoAnswerError, Person
from bot.domain.errors import VideoUnknownError
from tests.chaos.oracle import DOWN, UP, WITHDRAWN, Expectation, Key

AT_ONCE = 16  # members who act at the same time
PAUSE_S = (0.3, 7.0)  # of one member between two acts on a video
UNKNOWN_YET = VideoUnknownError().sentence  # Discord shows a card a moment before it takes votes

_CHOICES = {"Up": UP, "Down": DOWN, "withdraw": WITHDRAWN, "👍": UP, "👎": DOWN}
# The acts of a member on one video, one after the other. A reaction with a minus is taken back.
_SCRIPTS: tuple[tuple[str, ...], ...] = (
    ("Up",),
    ("Down",),
    ("Up", "Down"),
    ("Down", "Up", "feedback"),
    ("Up", "withdraw"),
    ("Down", "withdraw", "Up"),
    ("Up", "feedback", "Down", "Up"),
    ("👍",),
    ("👎",),
    ("👍", "-👍"),
    ("👍", "-👍", "👎"),
    ("Up", "👎"),
    ("👍", "Down"),
    ("👎", "Up", "-👎"),
    ("Down", "👍", "-👍"),
)


@dataclass
class _Pair:
    """A member and a card."""

    person: Person
    card: Message
    prompt: str
    expectation: Expectation = field(default_factory=Expectation)
    answer: Answer | None = None  # the latest on a vote; its button withdraws
    feedback: set[str] = field(default_factory=set)  # texts that may be kept


class Crowd:
    """The crowd, and the answers that members got. All that it draws comes from the seed, in any order of acts."""

    def __init__(self, community: Community, members: list[str], channel: str, seed: int) -> None:
        """`channel` is the id of the channel in which prompts are typed."""
        self._community = community
        self._members = members
        self._channel = channel
        self._seed = seed
        self._acting = asyncio.Semaphore(AT_ONCE)
        self._pairs: list[_Pair] = []
        self.counts: Counter[str] = Counter()
        self.asked: list[str] = []  # every prompt that was ever typed
        self.acknowledged: list[str] = []  # those of them that the bot answered with a place in the queue
        self.odd: list[str] = []  # answers that nobody should get

    # ------------------------------------------------------------------ prompts

    async def ask(self, count: int, every_s: float) -> None:
        """Type prompts until so many are acknowledged; one that is not answered is typed again, in new words."""
        dice = self._dice("prompts")
        while len(self.acknowledged) < count:
            await asyncio.gather(self._ask(dice.choice(self._members)), asyncio.sleep(every_s * dice.uniform(0.5, 1.5)))

    async def _ask(self, name: str) -> None:
        prompt = f"take {len(self.asked) + 1}: a red circle rolls to the right"
        self.asked.append(prompt)
        try:
            answer = await self._community.person(name).command("prompt", in_channel=self._channel, text=prompt)
        except NoAnswerError:
            self.counts["prompts unanswered"] += 1
            return
        if answer.ephemeral or not answer.messages or "Round" not in answer.text:
            self.odd.append(answer.text)
            return
        self.acknowledged.append(prompt)

    # ------------------------------------------------------------------ votes

    async def vote_on(self, card: Message, prompt: str, voters: int) -> None:
        """Let so many members act on one video, each by a script."""
        dice = self._dice(prompt)
        pairs = [_Pair(self._community.person(name), card, prompt) for name in dice.sample(self._members, voters)]
        self._pairs += pairs
        await asyncio.gather(*(self._follow_script(pair) for pair in pairs))

    async def _follow_script(self, pair: _Pair) -> None:
        dice = self._dice(f"{pair.prompt} {pair.person.name}")
        for act in dice.choice(_SCRIPTS):
            await asyncio.sleep(dice.uniform(*PAUSE_S))
            while not await self._act(pair, act):
                await asyncio.sleep(1)

    async def _act(self, pair: _Pair, act: str) -> bool:
        """Carry out one act. Returns False where the card does not take votes yet: the member tries again."""
        async with self._acting:
            if act.lstrip("-") in {"👍", "👎"}:
                await self._react(pair, act)
                return True
            if act == "feedback":
                return await self._write(pair)
            return await self._press(pair, act)

    async def _react(self, pair: _Pair, act: str) -> None:
        on = not act.startswith("-")
        await pair.person.react(pair.card, act.lstrip("-"), on=on)
        if on:
            pair.expectation.reacted(_CHOICES[act])
        else:
            pair.expectation.unreacted()
        self.counts["reactions put on" if on else "reactions taken off"] += 1

    async def _press(self, pair: _Pair, act: str) -> bool:
        if act == "withdraw" and pair.answer is None:
            act = "Up"  # the answer with that button never came
        choice = _CHOICES[act]
        try:
            if act == "withdraw" and pair.answer is not None:
                answer = await pair.person.press(pair.answer.message, "Withdraw my vote")
            else:
                answer = await pair.person.press(pair.card, act)
        except NoAnswerError:
            pair.expectation.unanswered(choice)
            self.counts["votes unanswered"] += 1
            return True
        if UNKNOWN_YET in answer.text:
            self.counts["votes too early"] += 1
            return False
        said = ("is withdrawn", "You have no vote") if choice == WITHDRAWN else (f"is **{act.lower()}**",)
        if not any(words in answer.text for words in said):
            self.odd.append(answer.text)
            return True
        pair.expectation.answered(choice)
        pair.answer = answer if choice != WITHDRAWN else None
        self.counts["votes acknowledged"] += 1
        return True

    async def _write(self, pair: _Pair) -> bool:
        text = f"more rain, says {pair.person.name}"
        try:
            answer = await pair.person.press(pair.card, "Feedback")
            if answer.modal is not None:
                answer = await pair.person.submit(answer, text=text)
        except NoAnswerError:
            pair.feedback |= {"", text}
            self.counts["feedback unanswered"] += 1
            return True
        if UNKNOWN_YET in answer.text:
            self.counts["feedback too early"] += 1
            return False
        if "Thank you for your feedback" not in answer.text:
            self.odd.append(answer.text)
            return True
        pair.feedback = {text}
        self.counts["feedback acknowledged"] += 1
        return True

    # ------------------------------------------------------------------ expectations

    @property
    def expected(self) -> dict[Key, frozenset[int]]:
        """The choices that may stand, by prompt and member."""
        return {(pair.prompt, pair.person.name): pair.expectation.choices for pair in self._pairs}

    @property
    def reactions(self) -> set[tuple[str, str, int]]:
        """The reactions that stand on the cards: prompt, member, choice."""
        return {
            (pair.prompt, pair.person.name, pair.expectation.reaction)
            for pair in self._pairs
            if pair.expectation.reaction is not None
        }

    @property
    def feedback(self) -> dict[Key, set[str]]:
        """The texts that may be kept, by prompt and member."""
        return {(pair.prompt, pair.person.name): pair.feedback for pair in self._pairs if pair.feedback}

    def _dice(self, purpose: str) -> random.Random:
        return random.Random(f"{self._seed} {purpose}")  # noqa: S311  # dice that fall alike in every run
