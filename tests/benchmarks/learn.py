"""`make bench-learn`: hidden tastes of scripted communities, learned from their votes by the tiny model.

Each run is a community's whole way: videos of the model, noisy votes, tuning, and held-out prompts judged by the
taste itself, against the base on the same seeds. Written to build/learn.json, with a table.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.benchmarks.figures import Figure, show, write

EACH, MOST_VIDEOS = 4, 200  # videos a prompt, and in all: two votes a video, and more where there are many votes
COUNTS = (300, 100, 1000)
METHODS: dict[str, dict[str, Any]] = {
    "nft": {},
    "nft, half its own noise": {"tracked": 0.5},
    "nft, motion not kept": {"motion": 0.0},
    "kto": {"method": "kto"},
    "dpo": {"method": "dpo"},
    "sft on the best": {"method": "sft"},
}
COMPARED = ("warm", "large")
# Methods side by side: fewer steps and prompts, the same for each.
BESIDE: dict[str, Any] = {"judged": 60, "kept": 20, "recipe": {"steps": 75}}


@dataclass(frozen=True)
class Run:
    """One community: its taste, how many votes it casts, and how they are learned."""

    taste: str
    votes: int
    seed: int = 1
    method: str = "nft"
    rounds: int = 1  # of votes and tuning; the votes are those of each round
    judged: int = 120
    kept: int = 60
    recipe: dict[str, Any] = field(default_factory=dict)
    best_of: int = 1  # above 1: the base is judged as well, with the best of so many videos by the taste scorer


def carry_out(run: Run) -> dict[str, Any]:
    """Lives through one run, in a process of its own."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        return Community(run, Path(folder)).live()


class Community:
    """The voters of one taste, and the model that learns from them."""

    def __init__(self, run: Run, folder: Path) -> None:
        from generation.feedback.community.tastes import TASTES
        from generation.models.registry import folder_revision, tiny_model
        from generation.tiny.make import WEIGHTS

        self.run, self.folder = run, folder
        self.taste = TASTES[run.taste]
        self.model = tiny_model(folder)
        self.revision, self.cache = folder_revision(WEIGHTS)[:16], Path("build/learn-base")

    def live(self) -> dict[str, Any]:
        from generation.feedback.tuning.recipe import Recipe
        from generation.feedback.tuning.tune import tune
        from generation.render.loading import load

        recipe = Recipe(**{**METHODS[self.run.method], **self.run.recipe, "seed": self.run.seed})
        live: Path | None = None
        result, seconds = None, 0.0
        for number in range(self.run.rounds):
            examples, data = self.collect(number, live)
            warm = load(self.model)
            result = tune(warm.pipeline, warm.preset, examples, data, recipe, self.folder / f"out-{number}", live=live)
            live, seconds = result.path, seconds + result.seconds
        assert result is not None
        said = self.judge(live)
        if self.run.best_of > 1:
            said["win_best_of"] = self.judge_best_of(result)
        return {
            **asdict(self.run), **said, "drift": result.drift, "scaled": result.scaled, "gain": result.reward.gain,
            "seconds": round(seconds, 1), "channels": result.channels and len(result.channels),
        }  # fmt: skip

    def adapted(self, adapter: Path | None) -> Any:
        """The model with a release, as a worker loads it."""
        from generation.render.loading import load

        if adapter is None:
            return load(self.model)
        entry = {"source": str(adapter.parent), "revision": None, "weight_name": adapter.name, "scale": 1.0}
        return load(replace(self.model, adapters=[entry]))  # type: ignore[list-item]  # a table as of a models file

    def collect(self, number: int, live: Path | None) -> tuple[list[Any], Path]:
        """One voting round: videos of the model so far, their latents, and thumbs."""
        import numpy as np

        from generation.feedback.community.prompts import prompts_for
        from generation.feedback.tuning.examples import Example, write_latents
        from tests.benchmarks.tastes import vote

        warm, data = self.adapted(live), self.folder / f"data-{number}"
        videos = max(2 * EACH, min(self.run.votes // 2, MOST_VIDEOS) // EACH * EACH)
        prompts = prompts_for(self.taste, videos // EACH, 1000 * self.run.seed + number, held_out=False)
        rows = []
        for place in range(videos):
            prompt = prompts[place // EACH]
            seed = int(hashlib.sha256(f"{self.run.seed} {number} {place}".encode()).hexdigest()[:7], 16)
            latents, facts = self.video(warm, prompt, seed, is_base=live is None)
            rows.append((prompt, seed, write_latents(data, f"v{place}", latents), self.taste.utility(facts)))
        up, down = vote(np.array([row[3] for row in rows]), self.run.votes, self.run.seed + 100 * number)
        return [
            Example(f"v{place}", prompt, seed, float(up[place]), float(down[place]), sha256)
            for place, (prompt, seed, sha256, _) in enumerate(rows)
        ], data

    def video(self, warm: Any, prompt: str, seed: int, *, is_base: bool) -> tuple[Any, Any]:
        """The latents of a video and what arithmetic reads in it; the base's are kept, since many runs vote on them."""
        import numpy as np

        from generation.feedback.community.tastes import Facts, facts_of
        from generation.feedback.denoisers.recording import render_latents
        from generation.render.denoise import frames_of

        name = hashlib.sha256(f"{self.revision} {seed} {prompt}".encode()).hexdigest()
        kept = self.cache / f"{name}.npz"
        if is_base and kept.is_file():
            with np.load(kept) as stored:
                return stored["latents"], Facts(**json.loads(str(stored["facts"])))
        tensor, output = render_latents(warm.pipeline, warm.preset, prompt, seed, frames=True)
        latents, facts = tensor.float().cpu().numpy(), facts_of(frames_of(output))
        if is_base:
            self.cache.mkdir(parents=True, exist_ok=True)
            draft = self.cache / f".{name}.{os.getpid()}.npz"
            np.savez(draft, latents=latents, facts=json.dumps(asdict(facts)))
            draft.replace(kept)
        return latents, facts

    def judge(self, adapter: Path) -> dict[str, Any]:
        """Win rate on held-out prompts, adherence on prompts that leave nothing open, motion on both."""
        import numpy as np

        from generation.feedback.community.tastes import win_rate
        from tests.benchmarks.tastes import ceiling

        before, kept_before = self.look(None)
        after, kept_after = self.look(adapter)
        moved = [float(np.mean([f.moves for f in facts if not f.is_blank])) for facts in (before, after)]
        kept_moved = [float(np.mean([f.moves for f in facts if not f.is_blank])) for facts in (kept_before, kept_after)]
        right = [self.adherence(facts) for facts in (kept_before, kept_after)]
        return {
            "win": round(win_rate(before, after, self.taste), 3),
            "ceiling": round(ceiling(before, self.taste), 3),
            "adherence": round(right[1] - right[0], 4),
            "motion_open": round(moved[1] / moved[0] - 1, 4),
            "motion_kept": round(kept_moved[1] / kept_moved[0] - 1, 4),
            "blank": round(float(np.mean([facts.is_blank for facts in after])), 3),
        }

    def judge_best_of(self, result: Any) -> float:
        """The win rate of the base with the best of several videos, by the reward model that the votes taught."""
        import torch

        from generation.feedback.community.prompts import prompts_for
        from generation.feedback.community.tastes import facts_of, win_rate
        from generation.feedback.denoisers.features import LatentReader
        from generation.feedback.denoisers.recording import render_latents
        from generation.feedback.scoring.taste import best_of, seeds_of
        from generation.render.denoise import frames_of

        warm = self.adapted(None)
        reader = LatentReader(warm.pipeline, warm.preset)

        def score(video: Any) -> float:
            return float(result.reward(reader(video[0].to(torch.float32), result.channels))[0])

        before, _ = self.look(None)
        after = []
        for place, prompt in enumerate(prompts_for(self.taste, self.run.judged, 99, held_out=True)):

            def render(seed: int, prompt: str = prompt) -> Any:
                return render_latents(warm.pipeline, warm.preset, prompt, seed, frames=True)

            worth = result.reward.has_learned
            _, video = best_of(seeds_of(50_000 + place, self.run.best_of), render, score, worth=worth)
            after.append(facts_of(frames_of(video[1])))
        return round(win_rate(before, after, self.taste), 3)

    def look(self, adapter: Path | None) -> tuple[list[Any], list[Any]]:
        """The readings of the held-out prompts and of the cases; the base's are kept for other runs."""
        from generation.feedback.community.prompts import prompts_for
        from generation.feedback.community.tastes import Facts
        from generation.tiny.training.measure import cases

        name = f"{self.run.taste}-{self.run.judged}-{self.run.kept}-{self.revision}.json"
        if adapter is None and (self.cache / name).is_file():
            first, second = json.loads((self.cache / name).read_text())
            return [Facts(**each) for each in first], [Facts(**each) for each in second]
        warm = self.adapted(adapter)
        prompts = prompts_for(self.taste, self.run.judged, 99, held_out=True)
        seen = [self.reading(warm, prompt, 50_000 + place) for place, prompt in enumerate(prompts)]
        kept = [self.reading(warm, case.prompt, case.seed) for case in cases(self.run.kept)]
        if adapter is None:
            self.cache.mkdir(parents=True, exist_ok=True)
            draft = self.cache / f".{name}.{os.getpid()}"
            draft.write_text(json.dumps([[asdict(each) for each in part] for part in (seen, kept)]))
            draft.replace(self.cache / name)
        return seen, kept

    @staticmethod
    def reading(warm: Any, prompt: str, seed: int) -> Any:
        from generation.feedback.community.tastes import facts_of
        from generation.feedback.denoisers.recording import render_latents
        from generation.render.denoise import frames_of

        return facts_of(frames_of(render_latents(warm.pipeline, warm.preset, prompt, seed, frames=True)[1]))

    def adherence(self, readings: list[Any]) -> float:
        """The share of colours, shapes and motions that are as a prompt asks."""
        import numpy as np

        from generation.tiny.training.measure import ATTRIBUTES, cases

        asked = cases(self.run.kept)
        return float(
            np.mean([getattr(read, name) == getattr(case.scene, name)
                     for read, case in zip(readings, asked, strict=True) for name in ATTRIBUTES])
        )  # fmt: skip


# --------------------------------------------------------------------------- all runs


def runs(*, small: bool) -> list[Run]:
    """All runs: tastes by votes, methods side by side, the rare taste in three rounds."""
    if small:
        size = {"votes": 48, "judged": 10, "kept": 6, "recipe": {"steps": 10}}
        return [
            Run("warm", **size, best_of=2), Run("quick", **size), Run("warm", method="dpo", **size),
            Run("heart", **{**size, "votes": 16}, rounds=2),
        ]  # fmt: skip
    from generation.feedback.community.tastes import TASTES
    from tests.benchmarks.tastes import RARE

    every = [Run(taste, votes) for votes in COUNTS for taste in TASTES]
    every += [Run(RARE, 100, rounds=3)]
    return every + [
        Run(taste, 300, seed, method, **BESIDE, best_of=4 if method == "nft" else 1)
        for taste in COMPARED
        for method in METHODS
        for seed in (1, 2, 3)
    ]


def figures_of(done: list[dict[str, Any]]) -> list[Figure]:
    """The figures that the project has aims for, of the runs that are there."""
    from tests.benchmarks.tastes import HALF, RARE, SLOW

    of_300 = [each for each in done if each["method"] == "nft" and each["rounds"] == 1 and not _is_beside(each)]
    most = max((each["votes"] for each in of_300 if each["votes"] <= 300), default=0)
    of_300 = [each for each in of_300 if each["votes"] == most]
    beside = f"{most} votes, 20 % noise, 10 % hostile voters, held-out prompts judged by the taste"
    half = [each["win"] for each in of_300 if each["taste"] in HALF]
    slow = [each["win"] for each in of_300 if each["taste"] == SLOW]
    rare = [each["win"] for each in done if each["taste"] == RARE and each["rounds"] > 1]
    figures = []
    if half:
        tastes = f"the mean of {len(half)} tastes; {beside}"
        figures.append(Figure("win_rate_300", round(sum(half) / len(half), 3), tastes, at_least=0.92))
    if slow:
        figures.append(Figure("win_rate_300_slow", slow[0], f"speed; {beside}", at_least=0.78))
    if rare:
        figures.append(Figure("win_rate_rare", rare[0], "three rounds of votes and tuning", at_least=0.65))
    if of_300:
        lost = max(-each["adherence"] for each in of_300)
        still = max(-min(each["motion_open"], each["motion_kept"]) for each in of_300)
        figures.append(Figure("adherence_loss_300", round(lost, 4), f"the worst taste; {beside}", at_most=0.02))
        figures.append(Figure("motion_loss_300", round(still, 4), f"the worst taste; {beside}", at_most=0.05))
        seconds = sorted(each["seconds"] for each in of_300)[len(of_300) // 2]
        figures.append(Figure("tuning_seconds", seconds, f"the median of a tuning, one thread; {beside}"))
    return figures


def _is_beside(run: dict[str, Any]) -> bool:
    """True for one of the runs that lay methods side by side."""
    return bool(run["recipe"] == BESIDE["recipe"])


def beside(done: list[dict[str, Any]]) -> str:
    """The methods side by side: the mean of their runs, and how far those are apart."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for each in done:
        if _is_beside(each):
            rows.setdefault(each["method"], []).append(each)
            if "win_best_of" in each:
                name = f"the base's best of {each['best_of']}"
                rows.setdefault(name, []).append({"taste": each["taste"], "win": each["win_best_of"]})
    if not rows:
        return ""
    lines = [f"{'method':<26}" + "".join(f"{taste:>8}" for taste in COMPARED) + "    mean  lowest  motion  seconds"]
    for name, runs_of in rows.items():
        wins = [each["win"] for each in runs_of]
        of_taste = [[each["win"] for each in runs_of if each["taste"] == taste] for taste in COMPARED]
        line = f"{name:<26}" + "".join(f"{sum(each) / len(each):>8.3f}" if each else f"{'-':>8}" for each in of_taste)
        line += f"{sum(wins) / len(wins):>8.3f}{min(wins):>8.3f}"
        if "motion_open" in runs_of[0]:
            line += f"{sum(each['motion_open'] for each in runs_of) / len(runs_of):>+8.1%}"
            line += f"{sum(each['seconds'] for each in runs_of) / len(runs_of):>9.0f}"
        lines.append(line)
    return "\n".join(lines) + "\n"


def table(done: list[dict[str, Any]]) -> str:
    """All runs, a line each."""
    lines = ["taste     votes  rounds seed method                    win  ceiling adherence motion open/kept  drift  s"]
    lines += [
        f"{each['taste']:<9} {each['votes']:>5} {each['rounds']:>6} {each['seed']:>5} {each['method']:<24}"
        f"{each['win']:>6.3f} {each['ceiling']:>7.3f} {each['adherence']:>+9.3f} {each['motion_open']:>+8.1%} "
        f"{each['motion_kept']:>+7.1%} {each['drift']:>7.3f} {each['seconds']:>4.0f}"
        for each in done
        if not _is_beside(each)
    ]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    """Carries all runs out, several at a time, and writes figures and runs."""
    parser = argparse.ArgumentParser(prog="make bench-learn", description=__doc__)
    parser.add_argument("--small", action="store_true", help="few votes and steps, to see that it works")
    parser.add_argument("--taste", action="append", help="only this taste; may be repeated")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=Path("build/learn.json"))
    options = parser.parse_args(arguments)
    chosen = [run for run in runs(small=options.small) if not options.taste or run.taste in options.taste]
    done: list[dict[str, Any]] = []
    begun = time.monotonic()
    with ProcessPoolExecutor(options.processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        for said in pool.map(carry_out, chosen):
            done.append(said)
            sys.stderr.write(f"{time.monotonic() - begun:6.0f} s  {json.dumps(said)}\n")
    figures = figures_of(done)
    write(figures, options.out)
    told = json.loads(options.out.read_text())
    options.out.write_text(json.dumps({**told, "runs": done}, indent=2, ensure_ascii=False) + "\n")
    sys.stdout.write(table(done) + "\n" + beside(done))
    show(figures)


if __name__ == "__main__":
    main(sys.argv[1:])
