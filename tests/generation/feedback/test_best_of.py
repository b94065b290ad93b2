"""The best of several takes, by a taste that likes something measurable, with a real tiny pipeline."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from generation.feedback.best_of import TasteChooser
from generation.feedback.scoring.taste import seeds_of
from generation.models.registry import Model
from generation.render.child import CancelledError, Renderer
from generation.render.denoise import NoPictureError, Take
from generation.render_messages import RenderedVideo, RenderRequest, TasteChoice
from generation.video.latents import latents_path, read_latents
from tests.builders.tastes import a_taste, features_of, write_taste

# What torch, diffusers and transformers warn of is theirs; the child that renders writes it to the log.
pytestmark = pytest.mark.filterwarnings("ignore")

LOOKS = {"width": 64, "height": 64, "frames": 9, "steps": 3, "upscale": 1}
SEED = 7


class Bench:
    """A render process's own renderer, with a loaded model; every request is of the same prompt."""

    def __init__(self, model: Model, folder: Path) -> None:
        self.folder = folder
        self.out = io.StringIO()
        self.renderer = Renderer(self.out, TasteChooser())
        self.model = f"{model.id}@{self.renderer.load(model, 0).revision}"
        self.features = features_of(Path(model.source))

    def choice(self, count: int = 4, **taste: Any) -> TasteChoice:
        """A choice by a taste for a high mean of the first channel, or another one."""
        path = self.folder / "taste.safetensors"
        return TasteChoice(count, write_taste(path, a_taste(self.model, self.features, **taste)), str(path))

    def render(self, seed: int = SEED, best_of: TasteChoice | None = None, **more: Any) -> RenderedVideo:
        self.out.seek(0)
        self.out.truncate()
        path = self.folder / "a.mp4"
        request = RenderRequest("a red circle", seed, str(path), str(path.with_suffix(".jpg")), **more)
        return self.renderer.denoise(replace(request, latents_path=str(latents_path(path)), best_of=best_of), 1)()

    def liked(self, video: RenderedVideo) -> float:
        """What the taste likes, measured on the latents that were kept of a video."""
        sha256 = cast(Any, video.provenance)["latents"]["sha256"]
        latents = read_latents(latents_path(self.folder / "a.mp4"), sha256)
        assert latents is not None
        return float(latents.astype(np.float64)[..., 0].mean())

    def ticks(self) -> list[tuple[str, int, int]]:
        lines = map(json.loads, self.out.getvalue().splitlines())
        return [(line["phase"], line["step"], line["steps"]) for line in lines if line["kind"] == "tick"]


@pytest.fixture(scope="module")
def bench(tiny_revision: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Bench:
    model = Model("small", str(tiny_revision[0]), revision="r", overrides=LOOKS)
    return Bench(model, tmp_path_factory.mktemp("best"))


def test_the_best_of_four_is_kept(bench: Bench) -> None:
    """Frames, latents, seed and card are those of the take that the taste likes best; progress counts all takes."""
    chosen = bench.render(best_of=bench.choice())
    steps = [(step, steps) for phase, step, steps in bench.ticks() if phase == "denoising"]
    assert steps == sorted(steps)
    assert (steps[0], steps[-1], {count for _, count in steps}) == ((0, 12), (12, 12), {12})
    assert [phase for phase, _, _ in bench.ticks()].index("encoding") == len(steps)
    assert chosen.measured.steps == 12
    best = bench.liked(chosen)

    alone = {seed: bench.render(seed) for seed in seeds_of(SEED, 4)}
    alone_liked = {}
    for seed in alone:
        alone_liked[seed] = bench.liked(bench.render(seed))
    winner = max(alone_liked, key=lambda seed: alone_liked[seed])
    assert best == alone_liked[winner] > alone_liked[SEED]  # better than one take alone, from the seed that was asked
    card = cast(Any, chosen.provenance)
    assert (card["seed"], card["frames_sha256"]) == (winner, alone[winner].provenance["frames_sha256"])
    assert card["best_of"]["count"] == 4
    assert card["best_of"]["index"] == seeds_of(SEED, 4).index(winner)
    assert card["best_of"]["first_seed"] == SEED
    assert card["best_of"]["score"] == pytest.approx(best, abs=1e-3)
    worst = bench.render(best_of=bench.choice(liking=-1.0))
    assert cast(Any, worst.provenance)["seed"] == min(alone_liked, key=lambda seed: alone_liked[seed])


def test_one_take_is_what_it_always_was(bench: Bench) -> None:
    """Without a wish, and with a wish for one: the seed's own frames, and nothing of a choice on the card."""
    plain = bench.render()
    assert "best_of" not in plain.provenance
    for wish in (bench.choice(1), None):
        again = bench.render(best_of=wish)
        assert "best_of" not in again.provenance
        assert again.provenance["frames_sha256"] == plain.provenance["frames_sha256"]
        assert again.measured.steps == 3


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda bench: bench.choice(gain=0.0), "does no better than chance"),
        (lambda bench: replace(bench.choice(), path=str(bench.folder / "none.safetensors")), "FileNotFoundError"),
        (lambda bench: _of_another_model(bench), "is the taste of wan@1, and not of small@"),
        (lambda bench: _damaged(bench), "is no taste scorer"),
        (lambda bench: _of_other_features(bench), "The scorer failed"),
    ],
    ids=["chance", "gone", "another model", "damaged", "other features"],
)
def test_a_taste_that_cannot_choose_is_said_once(
    bench: Bench, caplog: pytest.LogCaptureFixture, spoil: Callable[[Bench], TasteChoice], says: str
) -> None:
    """Nothing fails: videos are rendered once, and their cards name no choice."""
    caplog.set_level(logging.WARNING)
    wish = replace(spoil(bench), taste_sha256=hashlib.sha256(says.encode()).hexdigest())
    for _ in range(2):
        video = bench.render(best_of=wish)
        assert ("best_of" in video.provenance, video.measured.steps) == (False, 3)
    lines = [each.getMessage() for each in caplog.records if each.name == "generation.feedback.best_of"]
    assert len(lines) == 1
    assert lines[0].startswith("A taste cannot choose: videos are rendered once. ")
    assert says in lines[0]


def _of_another_model(bench: Bench) -> TasteChoice:
    path = bench.folder / "other.safetensors"
    return TasteChoice(4, write_taste(path, a_taste("wan@1", bench.features)), str(path))


def _damaged(bench: Bench) -> TasteChoice:
    wish = bench.choice()
    Path(wish.path).write_bytes(Path(wish.path).read_bytes()[:-8])
    return wish


def _of_other_features(bench: Bench) -> TasteChoice:
    path = bench.folder / "other.safetensors"
    return TasteChoice(4, write_taste(path, a_taste(bench.model, bench.features + 1)), str(path))


def test_a_cancelled_choice_ends_within_a_step(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the second of four takes; the next request is rendered as ever."""
    before = bench.render().provenance["frames_sha256"]
    say_tick = bench.renderer._say_tick

    def cancel_at_five(number: int, phase: Any, step: int, *more: Any) -> None:
        say_tick(number, phase, step, *more)
        if step == 5:
            bench.renderer.cancelled.add(number)

    with monkeypatch.context() as patch:
        patch.setattr(bench.renderer, "_say_tick", cancel_at_five)
        with pytest.raises(CancelledError):
            bench.render(best_of=bench.choice())
    assert bench.ticks()[-1] == ("denoising", 5, 12)
    bench.renderer.cancelled.clear()
    assert bench.render().provenance["frames_sha256"] == before


class Readymade(TasteChooser):
    """A chooser whose scores are at hand."""

    def __init__(self, scores: dict[int, float]) -> None:
        super().__init__()
        self._scores = scores

    def _scorer(self, *_: Any) -> Any:
        return lambda take: -np.inf if take is None else self._scores[take.seed]


def test_a_take_without_a_picture_is_passed_over(tmp_path: Path) -> None:
    """Another seed may give one; where none does, the request fails as one take would."""
    seeds = seeds_of(SEED, 3)
    request = RenderRequest("p", SEED, "v", "p", best_of=TasteChoice(3, "7a" * 32, "t"))
    blank = {seeds[0]}

    def render(seed: int, place: int, count: int) -> Take:
        assert (place, count) == (seeds.index(seed), 3)
        if seed in blank:
            raise NoPictureError
        return Take(seed, cast(Any, None), None)

    choose = Readymade(dict(zip(seeds, (3.0, 1.0, 2.0), strict=True)))
    chosen = choose(cast(Any, None), cast(Any, None), request, render)
    assert (chosen.take.seed, (chosen.choice or {})["index"], (chosen.choice or {})["score"]) == (seeds[2], 2, 2.0)
    blank.update(seeds)
    with pytest.raises(NoPictureError):
        choose(cast(Any, None), cast(Any, None), request, render)


def test_a_cache_between_steps_stands_in_nobodys_way(
    tiny_revision: tuple[Path, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The scorer looks outside of a pipeline's call; the frames after it are the seed's own."""
    model = Model("small", str(tiny_revision[0]), revision="r", overrides=LOOKS, cache="first_block")
    bench = Bench(model, tmp_path)
    chosen = cast(Any, bench.render(best_of=bench.choice(2)).provenance)
    assert chosen["best_of"]["count"] == 2, caplog.text
    assert chosen["settings"]["cache"] == "first_block"
    assert bench.render(chosen["seed"]).provenance["frames_sha256"] == chosen["frames_sha256"]
