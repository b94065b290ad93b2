"""The calls of a pipeline: its arguments by what it understands, and the frames that come out. With torch.

A request may be called several times, with a seed each: those are its takes, of which a chooser keeps one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from generation.models.presets import Preset
from generation.render.arguments import call_arguments
from generation.render.latents import FinalLatents
from generation.render.progress import OnStep, Steps
from generation.render.prompt_cache import PromptCache
from generation.render_messages import PeakMemory, RenderRequest
from generation.strict_json import JsonObject

if TYPE_CHECKING:
    import numpy as np
    from diffusers import DiffusionPipeline
    from numpy.typing import NDArray

    from generation.render.loading import WarmPipeline
    from generation.render.lora.releases import ReleaseSwitch
    from generation.video.latents import Latents


class NoPictureError(Exception):
    """The model's output is no picture."""


@dataclass(frozen=True)
class Take:
    """One video of a prompt, as the pipeline made it from a seed."""

    seed: int
    frames: NDArray[np.uint8]
    latents: Latents | None  # the final ones; None where the pipeline hands none over


@dataclass(frozen=True)
class Chosen:
    """The take that is kept, and what its card says of the choice; None where there was none."""

    take: Take
    choice: JsonObject | None = None


Render = Callable[[int, int, int], Take]  # of a seed, its place among all of the request from 0 on, and their number


# It has the takes of a request rendered, one after the other, and returns the one to keep.
Chooser: TypeAlias = Callable[["WarmPipeline", "ReleaseSwitch", RenderRequest, Render], Chosen]


def one_take(_warm: WarmPipeline, _releases: ReleaseSwitch, request: RenderRequest, render: Render) -> Chosen:
    """Return the only take there is, from the request's own seed: the chooser where nothing is to be chosen."""
    return Chosen(render(request.seed, 0, 1))


class Takes:
    """Renders the takes of one request, and measures them together."""

    def __init__(self, warm: WarmPipeline, prompts: PromptCache, prompt: str, on_step: OnStep) -> None:
        """`on_step` is told the steps of all takes: those that have passed, 0 at first, and those that there are."""
        self.passed = 0
        self.prompt_known = False  # by the first take: the others know it from that one
        self._warm, self._prompts, self._prompt, self._on_step = warm, prompts, prompt, on_step
        self._measures: list[dict[str, float]] = []

    def __call__(self, seed: int, place: int, count: int) -> Take:
        """Render one take. Raises what `denoise` raises."""
        preset, earlier, hits_before = self._warm.preset, self.passed, self._prompts.hits

        def on_step(step: int, steps: int) -> None:
            self.passed = earlier + step
            self._on_step(self.passed, earlier + steps * (count - place))

        steps = Steps(on_step, steps=preset.steps, passes=preset.passes)
        on_step(0, steps.steps)
        final = FinalLatents()
        frames = denoise(self._warm.pipeline, preset, steps, prompt=self._prompt, seed=seed, latents=final)
        if place == 0:
            self.prompt_known = self._prompts.hits > hits_before
        take = Take(seed, frames, final.array())
        self._measures.append(steps.seconds())
        return take

    def seconds(self) -> dict[str, float]:
        """Return the seconds of reading the prompt, of a step, of denoising all takes, and of decoding one."""
        denoising = sum(each["denoising"] for each in self._measures)
        return {
            "prompt": self._measures[0]["prompt"],
            "denoising": denoising,
            "decoding": sum(each["decoding"] for each in self._measures) / len(self._measures),
            "step": denoising / max(1, self.passed),
        }


def denoise(
    pipeline: DiffusionPipeline,
    preset: Preset,
    steps: Steps,
    *,
    prompt: str,
    seed: int,
    latents: FinalLatents | None = None,
) -> NDArray[np.uint8]:
    """Return the frames of one video: uint8 of the shape (frames, height, width, 3). `latents` then has the final ones.

    Raises NoPictureError, and whatever `steps` or the pipeline raises; the pipeline is ready for the next call then.
    """
    import torch

    steps.watch(pipeline)
    guider = getattr(pipeline, "guider", None)
    if guider is not None and hasattr(guider, "guidance_scale"):
        pipeline.guider = guider.new(guidance_scale=preset.guidance)  # a new one: some remember the last call
    # On the CPU also where the model is on a GPU: the noise then depends on the seed alone.
    generator = torch.Generator("cpu").manual_seed(seed)
    torch.manual_seed(seed)  # some pipelines draw noise beside their generator, as Helios does
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        # Of a video that is made in pieces, the callback would have those of the last piece alone.
        callbacks = latents.arguments(type(pipeline)) if latents is not None and preset.passes == 1 else {}
        arguments = {**callbacks, **call_arguments(type(pipeline), preset)}
        output = pipeline(**arguments, prompt=prompt, generator=generator)
    finally:  # also of a call that was cancelled: what is left on the GPU, and what caches remember
        pipeline.maybe_free_model_hooks()
    return frames_of(output)


def frames_of(output: object) -> NDArray[np.uint8]:
    """Return the frames of the first video of a pipeline's output. Raises NoPictureError when it holds none."""
    import numpy as np
    import torch

    values = (getattr(output, name, None) for name in ("frames", "videos", "images"))
    videos = next((value for value in values if value is not None), None)
    if videos is None or not len(videos):
        raise NoPictureError
    video = videos[0]
    if isinstance(video, torch.Tensor):
        video = video.float().cpu().numpy()
    pictures = np.stack([np.asarray(picture) for picture in video])
    if pictures.ndim == 4 and pictures.shape[1] == 3 and pictures.shape[3] != 3:  # channels first
        pictures = pictures.transpose(0, 2, 3, 1)
    if pictures.dtype == np.uint8:
        return pictures
    if not np.isfinite(pictures).all():
        raise NoPictureError
    return (pictures.clip(0, 1) * 255).round().astype(np.uint8)


def peak_memory() -> PeakMemory:
    """Return the most memory in use so far: of this process where Linux tells, and of the GPU in the last render."""
    import torch

    gpu = torch.cuda.max_memory_allocated() >> 20 if torch.cuda.is_available() else None
    status = Path("/proc/self/status")
    peak = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return PeakMemory(int(peak[1]) >> 10 if peak else None, gpu)
