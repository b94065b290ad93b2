"""The amount of chaos in a run, and its outcome."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Plan:
    """The plan of a run; the same seed draws the same prompts, votes and kills."""

    seed: int
    prompts: int
    votes: int  # that must be acknowledged, at least
    bot_kills: int
    worker_kills: int
    child_kills: int  # of the process that renders
    host_kills: int
    every_s: float  # between two prompts
    voters: int = 14  # for each video
    members: int = 120

    @property
    def kills(self) -> dict[str, int]:
        """The number of kills of each process."""
        return {"bot": self.bot_kills, "worker": self.worker_kills, "child": self.child_kills, "host": self.host_kills}


# Each kind of process is killed twice, the worker in the middle of a render both times: this seed draws so.
# The prompts come so slowly that the last kills find work as well.
QUICK = Plan(
    20_261_124, prompts=40, votes=240, bot_kills=2, worker_kills=2, child_kills=2, host_kills=2, every_s=2.5, voters=8
)
LONG = Plan(
    20_261_123,
    prompts=240,
    votes=3000,
    bot_kills=16,
    worker_kills=16,
    child_kills=10,
    host_kills=8,
    every_s=2.0,
    voters=20,
)


@dataclass
class Outcome:
    """The counts of a run, which it prints and keeps in build/chaos-NAME.json."""

    name: str
    plan: Plan
    counts: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def keep(self, folder: Path) -> None:
        """Write build/chaos-NAME.json."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False)
        (folder / f"chaos-{self.name}.json").write_text(text + "\n")

    def sentences(self) -> list[str]:
        """Return two sentences for the end of the test's log."""
        counts = ", ".join(f"{name}: {value}" for name, value in self.counts.items())
        times = ", ".join(f"{name} {value:.0f} s" for name, value in self.seconds.items())
        return [f"chaos ({self.name}, seed {self.plan.seed}): {counts}", f"chaos ({self.name}) took: {times}"]
