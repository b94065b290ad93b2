"""What makes a pipeline quicker: compiled blocks, caches between steps, other attention. With torch.

Whatever a pipeline does not offer is said and left out: a worker that is slower than hoped is better than none.
"""

from __future__ import annotations

import os
import shutil
from typing import Any

from generation.models.presets import Preset
from generation.models.registry import Model

DENOISERS = ("transformer", "transformer_2", "unet")
FIRST_BLOCK_THRESHOLD = 0.05  # how little may change before a step is taken from the cache


def accelerate(pipeline: Any, preset: Preset, model: Model) -> list[str]:
    """Switches on what the model asks for; a sentence for each wish that cannot be met."""
    said = []
    for denoiser in (part for name in DENOISERS if (part := getattr(pipeline, name, None)) is not None):
        if model.attention is not None:
            said += _attend(denoiser, model.attention)
        if model.cache is not None:
            said += _cache(pipeline, denoiser, preset, model)
        if model.compile:
            said += _compile(denoiser)
    return list(dict.fromkeys(said))


def _compile(denoiser: Any) -> list[str]:
    """Regional compilation: one block is compiled, and serves all of its kind; the first render takes longer."""
    import torch

    name = type(denoiser).__name__
    if not torch.cuda.is_available() and shutil.which(os.environ.get("CXX", "g++")) is None:
        return ["compile = true needs a C++ compiler (g++) where there is no GPU: it has no effect."]
    # A block that cannot be compiled renders as it is, with a line in the log, rather than not at all.
    torch._dynamo.config.suppress_errors = True
    if getattr(denoiser, "_repeated_blocks", None):
        denoiser.compile_repeated_blocks()
        return []
    denoiser.compile()
    return [f"{name} names no repeated blocks: all of it is compiled, which takes minutes at the first render."]


def _cache(pipeline: Any, denoiser: Any, preset: Preset, model: Model) -> list[str]:
    kind = str(model.cache)
    if kind not in preset.caches or not hasattr(denoiser, "enable_cache"):
        offered = f"; there is {', '.join(preset.caches)}" if preset.caches else ""
        return [f"{preset.family} does not render with the cache {kind!r} here{offered}: it has no effect."]
    denoiser.enable_cache(cache_config(kind, pipeline, model.cache_threshold))
    return []


def cache_config(kind: str, pipeline: Any, threshold: float | None = None) -> Any:
    """The configuration, for diffusers, of a cache of `presets.CACHES`."""
    import diffusers

    if kind == "first_block":
        return diffusers.FirstBlockCacheConfig(threshold=threshold or FIRST_BLOCK_THRESHOLD)
    if kind == "taylorseer":
        return diffusers.TaylorSeerCacheConfig()
    return diffusers.PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=2,
        spatial_attention_timestep_skip_range=(100, 800),
        current_timestep_callback=lambda: pipeline.current_timestep,
    )


def _attend(denoiser: Any, backend: str) -> list[str]:
    try:
        denoiser.set_attention_backend(backend)
    except (ValueError, RuntimeError, ImportError, AttributeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0][:200]
        return [f"attention = {backend!r} has no effect here: {first}"]
    return []


def context_parallel(gpus: int) -> Any:
    """Attention of one video over several GPUs (Ulysses): each holds a part of the sequence, and swaps heads.

    For measuring alone: it needs a process on each GPU, and a worker has one (see docs/models.md).
    """
    from diffusers import ContextParallelConfig

    return ContextParallelConfig(ulysses_degree=gpus)
