"""Ways to make a pipeline quicker: compiled blocks, caches between steps, other attention. With torch.

Whatever a pipeline does not offer is noted and left out: a worker that is slower than hoped is better than none.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Literal, cast

from generation.models.presets import Preset
from generation.models.registry import Model

if TYPE_CHECKING:
    from diffusers import ContextParallelConfig, DiffusionPipeline, ModelMixin

DENOISERS = ("transformer", "transformer_2", "unet")
FIRST_BLOCK_THRESHOLD = 0.05  # how little may change before a step is taken from the cache

Cache = Literal["first_block", "taylorseer", "pyramid_attention"]  # those of presets.CACHES


def accelerate(pipeline: DiffusionPipeline, preset: Preset, model: Model) -> list[str]:
    """Switch on what the model asks for; return a sentence for each wish that cannot be met."""
    notes = []
    for denoiser in (part for name in DENOISERS if (part := getattr(pipeline, name, None)) is not None):
        if model.attention is not None:
            notes += _set_attention(denoiser, model.attention)
        if model.cache is not None:
            notes += _enable_cache(pipeline, denoiser, preset, model)
        if model.compile:
            notes += _compile(denoiser)
    return list(dict.fromkeys(notes))


def _compile(denoiser: ModelMixin) -> list[str]:
    """Compile one block, which serves all of its kind (regional compilation); the first render takes longer."""
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


def _enable_cache(pipeline: DiffusionPipeline, denoiser: ModelMixin, preset: Preset, model: Model) -> list[str]:
    cache = str(model.cache)
    if cache not in preset.caches or not hasattr(denoiser, "enable_cache"):
        offered = f"; there is {', '.join(preset.caches)}" if preset.caches else ""
        return [f"{preset.family} does not render with the cache {cache!r} here{offered}: it has no effect."]
    denoiser.enable_cache(cache_config(cast(Cache, cache), pipeline, model.cache_threshold))
    return []


def cache_config(cache: Cache, pipeline: DiffusionPipeline, threshold: float | None = None) -> object:
    """Return the configuration of a cache, for diffusers."""
    import diffusers

    match cache:
        case "first_block":
            return diffusers.FirstBlockCacheConfig(threshold=threshold or FIRST_BLOCK_THRESHOLD)
        case "taylorseer":
            return diffusers.TaylorSeerCacheConfig()
        case "pyramid_attention":
            return diffusers.PyramidAttentionBroadcastConfig(
                spatial_attention_block_skip_range=2,
                spatial_attention_timestep_skip_range=(100, 800),
                current_timestep_callback=lambda: pipeline.current_timestep,
            )


def _set_attention(denoiser: ModelMixin, backend: str) -> list[str]:
    try:
        denoiser.set_attention_backend(backend)
    except (ValueError, RuntimeError, ImportError, AttributeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0][:200]
        return [f"attention = {backend!r} has no effect here: {first}"]
    return []


def context_parallel(gpus: int) -> ContextParallelConfig:
    """Spread the attention of one video over several GPUs (Ulysses): each holds a part of the sequence, swapping heads.

    For measuring alone: it needs a process on each GPU, and a worker has one (see docs/models.md).
    """
    from diffusers import ContextParallelConfig

    return ContextParallelConfig(ulysses_degree=gpus)
