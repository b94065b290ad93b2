"""One call of a pipeline: its arguments by what it understands, and the frames that come out. With torch."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from generation.models.presets import Preset
from generation.render.arguments import call_arguments
from generation.render.latents import FinalLatents
from generation.render.progress import Steps
from generation.render_messages import PeakMemory

if TYPE_CHECKING:
    import numpy as np
    from diffusers import DiffusionPipeline
    from numpy.typing import NDArray


class NoPictureError(Exception):
    """The model's output is no picture."""


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
