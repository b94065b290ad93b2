"""Every family's preset without weights: its real pipeline with tiny random configs, through the code that renders."""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest

from generation.models.presets import known_families
from generation.models.registry import Model
from generation.render.child import CancelledError, Renderer
from generation.render_messages import RenderedVideo, RenderRequest, Tick, read_answer
from tests.generation.families.built import FAMILIES, build

# What torch, diffusers and transformers warn of is theirs; the child that renders writes it to the log.
pytestmark = pytest.mark.filterwarnings("ignore")

# Legal for hardly any of them. Enlarged, since libx264 makes not always the same bytes of pictures of 64 pixels.
UNREMEMBERED: set[str] = set()  # families whose pipelines read prompts in a way that is not remembered

ASKED = {"width": 70, "height": 64, "frames": 11, "steps": 2, "upscale": 2}


class Studio:
    """A renderer in this process, and what it says."""

    def __init__(self, model: Model, folder: Path) -> None:
        self.folder = folder
        self.lines = io.StringIO()
        self.at: Callable[[Tick], None] = lambda _tick: None
        self.renderer = Renderer(self)  # type: ignore[arg-type]  # what it writes to
        self.loaded = self.renderer.load(model, 0)
        self.rendered = 0

    def write(self, text: str) -> None:
        self.lines.write(text)
        answer = read_answer(text)
        if isinstance(answer, Tick):
            self.at(answer)

    def flush(self) -> None:
        pass

    def render(self, prompt: str = "a red circle", seed: int = 1) -> RenderedVideo:
        self.rendered += 1
        self.lines = io.StringIO()
        request = RenderRequest(prompt, seed, str(self.path), str(self.path.with_suffix(".jpg")))
        return self.renderer.denoise(request, self.rendered)()

    @property
    def path(self) -> Path:
        """The file of the last render."""
        return self.folder / f"{self.rendered}.mp4"

    @property
    def ticks(self) -> list[tuple[str, int, int]]:
        answers = [read_answer(line) for line in self.lines.getvalue().splitlines()]
        return [(answer.phase, answer.step, answer.steps) for answer in answers if isinstance(answer, Tick)]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("families")


def studio(name: str, built: Path, folder: Path, **settings: Any) -> Studio:
    overrides = {**ASKED, **settings.pop("overrides", {})}
    return Studio(Model("m", str(build(name, built)), revision="r", overrides=overrides, **settings), folder)


def in_the_file(path: Path) -> tuple[int, int, int, float]:
    """Frames, width, height and frames a second, as another program reads them."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return sum(1 for _ in container.decode(stream)), stream.width, stream.height, float(stream.average_rate or 0)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_renders_what_its_preset_says(name: str, built: Path, tmp_path: Path) -> None:
    """Loaded as any model, with a wrong size and count: both are rounded and said, and the file has what was said.

    Each step is told in order; a cancelled render ends within one step, and the next one is not touched by it.
    """
    at = studio(name, built, tmp_path)
    preset, said = at.loaded.preset, " ".join(at.loaded.notes)
    assert preset.family == name
    for setting in ("width", "height", "frames"):
        assert (f"{ASKED[setting]} became {getattr(preset, setting)}." in said) == (
            ASKED[setting] != getattr(preset, setting)
        )
    first = at.render()
    assert in_the_file(at.path) == (preset.frames, preset.width * 2, preset.height * 2, preset.fps)
    phases = [phase for phase, _, _ in at.ticks]
    assert phases == ["denoising"] * (len(phases) - 2) + ["encoding"] * 2  # decoded, then encoded
    steps = [step for phase, step, _ in at.ticks if phase == "denoising"]
    assert steps == list(range(at.ticks[-3][2] + 1))
    assert len(steps) > 2
    seconds = first.measured.seconds
    assert all(seconds[part] >= 0 for part in ("prompt", "denoising", "decoding", "encoding"))

    def cancel(tick: Tick) -> None:
        if tick.phase == "denoising" and tick.step == 1:
            at.renderer.cancelled.add(at.rendered)

    at.at = cancel
    with pytest.raises(CancelledError):
        at.render()
    at.at = lambda _tick: None
    assert at.ticks[-1][:2] == ("denoising", 1)
    assert not (tmp_path / "2.mp4").exists()
    again = at.render()
    assert again.sha256 == first.sha256
    # The same frames without the text encoder, of any pipeline that has one call for it.
    assert (first.measured.prompt_known, again.measured.prompt_known) == (False, name not in UNREMEMBERED)
    assert at.render(seed=2).sha256 != first.sha256


def test_every_preset_is_rendered_by_these_tests() -> None:
    """A family that is added without a pipeline that shows it renders is noticed."""
    told = [family.preset.family for family in known_families().values()]
    told += [
        values["family"] for family in known_families().values() for _, values in family.variants if "family" in values
    ]
    assert sorted(told) == sorted(FAMILIES)
    assert len(set(told)) == len(told)


def opens_its_own_bar(pipeline: str) -> bool:
    import diffusers

    return "self.progress_bar(" in inspect.getsource(getattr(diffusers, pipeline).__call__)


@pytest.mark.parametrize("pipeline", known_families())
def test_a_family_opens_the_bar_by_which_steps_are_seen(pipeline: str) -> None:
    """Without it there is no progress, and no cancel within a step: such a pipeline gets no table (decision 10)."""
    assert opens_its_own_bar(pipeline)


def test_the_family_that_is_kept_out_for_its_bar_still_is() -> None:
    """Once diffusers opens AnyFlow-FAR's bar as the others do, it may come in."""
    assert not opens_its_own_bar("AnyFlowFARPipeline")
    assert "AnyFlowFARPipeline" not in known_families()


def named_caches() -> list[tuple[str, str]]:
    """Each family with each cache that it is said to render with."""
    pairs = []
    for family in known_families().values():
        for values in ({}, *(values for _, values in family.variants if "family" in values)):
            caches = values.get("caches", family.preset.caches)
            pairs += [(values.get("family", family.preset.family), cache) for cache in caches]
    return pairs


@pytest.fixture(scope="session")
def uncached() -> dict[str, str]:
    """The hash of each family's video without a cache."""
    return {}


@pytest.mark.parametrize(("name", "cache"), named_caches())
def test_a_cache_that_a_preset_names_has_an_effect(
    name: str, cache: str, built: Path, uncached: dict[str, str], tmp_path: Path
) -> None:
    """With it the frames are others, and the same again the next time."""
    looks: dict[str, Any] = {"steps": 8, "width": 64, "frames": 9}
    if name in {"LTX-2", "HunyuanVideo 1.5"}:  # they read long prompts, and that several times a step
        plain = {"stg_scale": 0.0, "modality_scale": 1.0, "audio_stg_scale": 0.0, "audio_modality_scale": 1.0}
        looks |= {"steps": 5, "max_sequence_length": 64, "arguments": plain}
    if name not in uncached:
        uncached[name] = studio(name, built, tmp_path, overrides=looks).render().sha256
    quick = studio(name, built, tmp_path, overrides=looks, cache=cache, cache_threshold=0.9)
    first = quick.render().sha256
    assert first != uncached[name]
    assert quick.render().sha256 == first


def test_a_cache_that_a_preset_does_not_name_is_said(built: Path, tmp_path: Path) -> None:
    """It has no effect, and what there is instead is named."""
    plain = studio("LTX-Video", built, tmp_path)
    wishful = studio("LTX-Video", built, tmp_path, cache="taylorseer")
    [sentence] = [sentence for sentence in wishful.loaded.notes if "cache" in sentence]
    assert "'taylorseer' here; there is first_block, pyramid_attention: it has no effect" in sentence
    assert wishful.render().sha256 == plain.render().sha256
