"""The job of a filmstrip: each release renders the same prompt and seed once; what fails says so."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from generation.adapters.file import AdapterError
from generation.jobs import FilmstripJob, ReleaseName, RenderJob
from generation.models.presets import Preset
from generation.render_messages import (
    FailureKind,
    LoadedModel,
    PipelineOptions,
    ReleaseAdapter,
    RenderRequest,
    RenderSettings,
)
from generation.video.encode import encode
from generation.worker.learning.filmstrip import Filmstrips
from generation.worker.render_process import RenderError
from generation.worker.uploads import HandOverError
from tests.builders.clips import clip

PRESET = Preset(family="Tiny", width=96, height=64, frames=12, fps=8, steps=2, guidance=1.0)
FIRST, SECOND = ReleaseName(1, "a1" * 32), ReleaseName(2, "a2" * 32)


class Child:
    """A render process that writes the same clip for every request, and can fail."""

    def __init__(self) -> None:
        self.requests: list[RenderRequest] = []
        self.failure: RenderError | None = None

    async def warm(self) -> LoadedModel:
        return LoadedModel("tiny", "r1", PRESET, "cpu", RenderSettings(), PipelineOptions())

    async def render(self, request: RenderRequest) -> None:
        if self.failure is not None:
            raise self.failure
        self.requests.append(request)
        encode(clip(), 8, Path(request.video_path), Path(request.poster_path))


async def adapter_of(job: RenderJob) -> ReleaseAdapter | None:
    name = job.release
    if name is not None and name.number == 9:
        raise AdapterError("The adapter is not there.")
    return None if name is None else ReleaseAdapter(name.number, name.adapter_sha256, "/adapters/it")


@pytest.fixture
def made(tmp_path: Path) -> tuple[Child, Callable[..., Any]]:
    child = Child()
    strips = Filmstrips(child, data_dir=tmp_path, model_id="tiny", adapter_of=adapter_of)  # type: ignore[arg-type]  # the parts in use

    async def make(*releases: ReleaseName, model_id: str = "tiny") -> Any:
        return await strips.make(FilmstripJob("a red circle", 7, model_id, list(releases)).to_json())

    return child, make


async def test_one_prompt_and_seed_goes_through_all_releases(made: tuple[Child, Callable[..., Any]]) -> None:
    """The base model first; with the next release only its own video is rendered."""
    child, make = made
    end = await make(FIRST)
    assert end["outcome"] == "done"
    assert base64.b64decode(end["png"]).startswith(b"\x89PNG")
    assert {(each.prompt, each.seed) for each in child.requests} == {("a red circle", 7)}
    assert [each.release and each.release.number for each in child.requests] == [None, 1]
    later = await make(FIRST, SECOND)
    assert [each.release and each.release.number for each in child.requests] == [None, 1, 2]
    assert later["png"] != end["png"]


async def test_what_fails_is_a_sentence(made: tuple[Child, Callable[..., Any]]) -> None:
    """A missing adapter, another model, a job that cannot be read; a worker that ends hands the job over."""
    child, make = made
    assert await make(ReleaseName(9, "a9" * 32)) == {"outcome": "failed", "reason": "The adapter is not there."}
    assert "renders with tiny" in (await make(FIRST, model_id="wan"))["reason"]
    assert "cannot read this job" in (await make(ReleaseName(0, "a1" * 32)))["reason"]
    child.failure = RenderError(FailureKind.CRASH, "It crashed.")
    assert (await make(SECOND))["reason"] == "It crashed."
    child.failure = RenderError(FailureKind.CLOSED, "The worker ends.")
    with pytest.raises(HandOverError):
        await make(SECOND)
