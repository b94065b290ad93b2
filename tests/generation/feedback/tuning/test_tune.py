"""Tuning of every family on tiny random weights: it learns, it is capped, and the render process renders with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from generation.feedback.denoisers import lora
from generation.feedback.denoisers.families import FAMILIES, family_of, targets_of
from generation.feedback.denoisers.features import LatentReader
from generation.feedback.denoisers.recording import denoisers_of, draw_noise, record, render_latents
from generation.feedback.scoring import reward
from generation.feedback.scoring.candidate import check_candidate, shapes_of
from generation.feedback.tuning.examples import Example, write_latents
from generation.feedback.tuning.recipe import Recipe
from generation.feedback.tuning.tune import Result, tune
from generation.render.loading import WarmPipeline, load
from tests.generation.families import built as families
from tests.generation.feedback.tuning.training import EXAMPLES, data, model

# What torch, diffusers and transformers warn of is theirs; the process that trains writes it to the log.
pytestmark = pytest.mark.filterwarnings("ignore")

SMALL = Recipe(steps=2, batch=4, warm_up=1, rank=2, tracked=0.5)
# The names of families, as their presets say them, of the pipelines that can be tuned.
TUNED = [name for name in families.FAMILIES if name not in (
    "HunyuanVideo 1.5", "Allegro", "Motif-Video", "Latte", "EasyAnimate", "ModelScope"
)]  # fmt: skip
SLOWEST = ("AnimateDiff SDXL", "LTX-2")  # minutes each
NO_MOTION_ADAPTER = ("AnimateDiff", "AnimateDiff SDXL")  # their folders hold the denoiser in another form


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tuned")


def tuned(name: str, built: Path, folder: Path, recipe: Recipe = SMALL, **more: Any) -> tuple[WarmPipeline, Result]:
    torch.set_num_threads(1)
    warm = load(model(name, built))
    examples = more.pop("examples", EXAMPLES)
    return warm, tune(
        warm.pipeline, warm.preset, examples, data(folder / "data"), recipe, folder / "out", model="m", **more
    )


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """The name of a family; the slowest ones only in a long run."""
    if request.param in SLOWEST:
        request.getfixturevalue("in_a_long_run")
    return str(request.param)


@pytest.mark.parametrize("name", TUNED, indirect=True)
def test_a_family_is_tuned_and_rendered_with_its_adapter(name: str, built: Path, tmp_path: Path) -> None:
    """Both denoisers of Wan 2.2 included: the render process makes the latents that the tuned pipeline makes.

    The adapter off is the base; the noise is the pipeline's own; and the file passes as a candidate.
    """
    base = load(model(name, built))
    family = family_of(type(base.pipeline).__name__)
    before, _ = render_latents(base.pipeline, base.preset, "a cat", 5)
    recording = record(base.pipeline, base.preset, family, "a cat", 5)
    assert torch.equal(recording.noise, draw_noise(base.pipeline, base.preset, "a cat", 5))
    assert not torch.equal(recording.noise, draw_noise(base.pipeline, base.preset, "a cat", 6))
    components = {step.component for step in recording.steps}

    warm, result = tuned(name, built, tmp_path)
    nets = denoisers_of(warm.pipeline)
    assert components == set(nets)
    after, _ = render_latents(warm.pipeline, warm.preset, "a cat", 5)
    assert not torch.equal(after, before)
    lora.use(nets, None)
    assert torch.equal(render_latents(warm.pipeline, warm.preset, "a cat", 5)[0], before)

    entry = {"source": str(result.path.parent), "revision": None, "weight_name": result.path.name, "scale": 1.0}
    other = load(model(name, built, adapters=[entry]))
    rendered, _ = render_latents(other.pipeline, other.preset, "a cat", 5)
    torch.testing.assert_close(rendered, after, rtol=1e-4, atol=1e-4)
    assert not any("alone" in note for note in other.notes)
    if name not in NO_MOTION_ADAPTER:
        assert check_candidate(result.path, result.sha256, shapes_of(Path(base.model.source))) == SMALL.rank


@pytest.mark.parametrize("method", ["dpo", "kto", "sft"])
def test_each_method_learns(method: str, built: Path, tmp_path: Path) -> None:
    """Another adapter than NFT's, of the same layers."""
    _, result = tuned("Wan", built, tmp_path, Recipe(method=method, steps=2, batch=4, rank=2))
    assert result.drift > 0
    said = json.loads((result.path.parent / "recipe.json").read_text())
    assert said["recipe"]["method"] == method
    assert said["adapter"]["sha256"] == result.sha256


def test_what_went_too_far_is_scaled_back(built: Path, tmp_path: Path) -> None:
    """A far too strong tuning ends within the cap, and a weak one stays as it is."""
    strong = Recipe(steps=6, batch=4, warm_up=1, rank=2, rate=0.3, drift_cap=0.01)
    _, result = tuned("Wan", built, tmp_path / "strong", strong)
    assert result.scaled < 1
    assert result.drift < 0.02
    _, weak = tuned("Wan", built, tmp_path / "weak")
    assert weak.scaled == 1


def test_a_release_is_gone_on_from_and_the_cap_is_against_the_base(built: Path, tmp_path: Path) -> None:
    """Before its first step the candidate is the live release, whose drift counts."""
    strong = Recipe(steps=6, batch=4, warm_up=1, rank=2, rate=0.05)
    _, live = tuned("Wan", built, tmp_path / "live", strong)
    weak = Recipe(steps=1, batch=4, warm_up=1, rank=2, rate=1e-9)
    _, result = tuned("Wan", built, tmp_path / "next", weak, live=live.path)
    assert result.drift == pytest.approx(live.drift, rel=0.05)
    said = json.loads((result.path.parent / "recipe.json").read_text())
    assert said["parent"] == live.sha256
    _, capped = tuned(
        "Wan", built, tmp_path / "capped", Recipe(steps=1, batch=4, rank=2, rate=1e-9, drift_cap=live.drift / 4),
        live=live.path,
    )  # fmt: skip
    assert capped.drift < live.drift / 2


def test_kept_latents_are_taken_and_place_marks_left_out(built: Path, tmp_path: Path) -> None:
    """Channels that are the same in every video are found, and named in the recipe."""
    dice = np.random.default_rng(0)
    marks = dice.normal(0, 12, (1, 4, 3, 4, 4))
    examples = []
    for example in EXAMPLES:
        latents = dice.normal(0, 1, (1, 16, 3, 4, 4))
        latents[:, 12:] = marks
        sha256 = write_latents(tmp_path / "data", example.video, latents.astype(np.float32))
        examples.append(Example(example.video, example.prompt, example.seed, example.up, example.down, sha256))
    warm, result = tuned("Wan", built, tmp_path, examples=examples)
    assert result.channels == list(range(12))

    # The taste reads the same in a model with an adapter as in the base, and in the channels that count alone.
    base, rows = load(model("Wan", built)), torch.from_numpy(latents.astype(np.float32))
    read = LatentReader(base.pipeline, base.preset)(rows, result.channels)
    np.testing.assert_allclose(LatentReader(warm.pipeline, warm.preset)(rows, result.channels), read, atol=1e-4)
    assert LatentReader(base.pipeline, base.preset)(rows).shape[1] == read.shape[1] + 4 * 4
    assert np.isfinite(result.reward(read)).all()


def test_fresh_videos_follow_only_where_the_reward_model_has_learned(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a few coins it has not, and that is said; where it has, they are rendered once, scored, and learned from."""
    recipe = Recipe(steps=1, batch=4, rank=2, rounds=1, fresh_prompts=1, fresh_each=3, fresh_steps=2, tracked=1.0)
    monkeypatch.setattr(reward, "ENOUGH", 9.0)
    _, result = tuned("Wan", built, tmp_path / "without", recipe)
    assert "no fresh videos were labelled by it" in result.notes[-1]
    assert not (result.path.parent / "fresh-1").exists()
    monkeypatch.setattr(reward, "ENOUGH", -9.0)
    _, result = tuned("Wan", built, tmp_path / "with", recipe)
    assert result.notes == []
    assert len(list((result.path.parent / "fresh-1").iterdir())) == 3
    lines = [json.loads(line) for line in (result.path.parent / "metrics.jsonl").read_text().splitlines()]
    assert [(line["phase"], line["step"]) for line in lines if "loss" in line] == [(0, 1), (1, 1), (1, 2)]


def test_the_layers_that_are_adapted_are_counted_for_every_family(built: Path) -> None:
    """No family of `families` is without a tiny pipeline here."""
    kinds = set()
    for name in TUNED:
        warm = load(model(name, built))
        kinds.add(type(warm.pipeline).__name__)
        for net in denoisers_of(warm.pipeline).values():
            assert targets_of(family_of(type(warm.pipeline).__name__), [each for each, _ in net.named_modules()])
    assert kinds == set(FAMILIES)
