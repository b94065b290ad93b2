"""The message about a training: it shows the progress, and at the end what was learned from and what guards say."""

from __future__ import annotations

from collections.abc import Sequence

from discord import ui

from bot.cards.layout import note, sentence, view_of
from bot.cards.limits import text_item
from bot.domain.amounts import amount
from bot.domain.training_report import TrainingFacts, TrainingStep
from generation.jobs import TrainingResult

MOST_NOTES = 8
_PHASES = {
    "rendering": "voted videos are rendered again",
    "prompts": "prompts are read",
    "videos": "voted videos are read",
    "training": "it learns",
    "fresh": "new videos are made and judged",
    "guards": "videos from before and after are compared",
}


def mark_of(candidate_id: int) -> str:
    """Return the beginning of the message about a candidate's training, by which it is found again."""
    return f"### 🧪 Candidate {candidate_id}\n"


def progress_text(facts: TrainingFacts, step: TrainingStep | None) -> str:
    """Return the message while a candidate is trained."""
    if step is None:
        now = "Its training waits for a training worker (`flock worker --train`)."
    else:
        now = f"It is being trained: {_PHASES.get(step.phase, 'it learns')}, {step.step:,} of {step.steps:,}."
        if step.eta_s is not None:
            now += f" Left of this part: about {_duration(step.eta_s)}."
    return f"{mark_of(facts.candidate_id)}{now}\n-# {_learns_from(facts, 'learns')}"


def ready_text(facts: TrainingFacts, result: TrainingResult, battle: str | None) -> str:
    """Return the message about a candidate whose file is here; `battle` says that its battle has begun."""
    lines = [
        f"It is trained, and no member has judged it yet. {_learns_from(facts, 'learned')}",
        *_lines("Guards", result.guards),
        *_lines("Notes", result.notes),
        battle or "`/admin model battle` lets members compare it with what is live. It renders nothing before it won.",
        f"-# Adapter `{result.adapter_sha256}`",
    ]
    return mark_of(facts.candidate_id) + "\n".join(lines)


def rejected_text(facts: TrainingFacts, reason: str, guards: Sequence[str] = ()) -> str:
    """Return the message about a candidate that comes to nothing, and why."""
    lines = [f"⚠️ It is rejected. {sentence(reason)}", *_lines("Guards", guards), f"-# {_learns_from(facts, 'learned')}"]
    return mark_of(facts.candidate_id) + "\n".join(lines)


def not_begun_text(mark: str, reason: str) -> str:
    """Return the message about a training that did not begin; `mark` is its end, by which it is found again."""
    return f"### 🧪 No training began\n{sentence(reason)}\n{mark}"


def no_battle_mark(candidate_id: int) -> str:
    """Return the end of the message about a battle that does not begin by itself."""
    return f"-# Candidate {candidate_id} is ready, and not judged."


def no_battle_text(candidate_id: int, reason: str) -> str:
    """Return the message about a candidate whose battle does not begin by itself, and why."""
    return (
        f"### ⚔️ No battle of candidate {candidate_id} begins by itself\n{sentence(reason)}\n"
        f"`/admin model battle` can still open one. New votes begin the next training meanwhile.\n"
        f"{no_battle_mark(candidate_id)}"
    )


def no_release_mark(candidate_id: int) -> str:
    """Return the end of the message about a release that is not made by itself."""
    return f"-# Candidate {candidate_id} won its battle, and is not released."


def no_release_text(candidate_id: int, reason: str) -> str:
    """Return the message about a candidate that won and is not released by itself, and why."""
    return f"### ⚠️ No release of candidate {candidate_id}\n{sentence(reason)}\n{no_release_mark(candidate_id)}"


def card(text: str) -> ui.LayoutView:
    """Return a message of a training."""
    return view_of(text_item(text))


def begun(channel_id: int) -> ui.LayoutView:
    """Return the answer to a moderator who asked for a training."""
    return note(f"🧪 The votes of all closed rounds are being gathered. How it goes on stands in <#{channel_id}>.")


def _learns_from(facts: TrainingFacts, verb: str) -> str:
    base = "the base model" if facts.release is None else f"release {facts.release}"
    text = (
        f"It {verb} from {amount(facts.votes, 'vote')} on {amount(facts.videos, 'video')} of "
        f"{amount(facts.rounds, 'round')}, and goes on from {base}."
    )
    if facts.held_out:
        text += f" The prompts of {amount(facts.held_out, 'video')} are held out for battles."
    if facts.left_out:
        text += f" Left out: {amount(facts.left_out, 'video')} of another model or revision, or without a vote."
    return text


def _lines(title: str, sentences: Sequence[str]) -> list[str]:
    if not sentences:
        return []
    return [f"**{title}**", *(f"- {sentence(each)}" for each in sentences[:MOST_NOTES])]


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return "a minute"
    return amount(minutes, "minute") if minutes < 120 else amount(round(minutes / 60), "hour")
