"""Hints that make a render quicker or let it fit: only what this pipeline offers on this machine and does not use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from generation.models.presets import Preset

MANY_STEPS = 12  # above it a few-step adapter is worth the search
DECODING_SHARE = 0.3
MIB_PER_BILLION = 1907  # of bfloat16 parameters


class Options(Protocol):
    """The options that a loaded pipeline offers; `parameters` counts those of each component."""

    @property
    def parameters(self) -> Mapping[str, int]: ...
    @property
    def adapters(self) -> bool: ...
    @property
    def compile(self) -> bool: ...
    @property
    def caches(self) -> Sequence[str]: ...


class SettingsInForce(Protocol):
    """The settings with which a pipeline was loaded."""

    @property
    def dtype(self) -> str | dict[str, str] | None: ...
    @property
    def offload(self) -> str | None: ...
    @property
    def compile(self) -> bool: ...
    @property
    def cache(self) -> str | None: ...


class LoadedModel(Protocol):
    """A loaded model as its render process describes it; `device` is "cpu" or the name of the GPU."""

    @property
    def preset(self) -> Preset: ...
    @property
    def device(self) -> str: ...
    @property
    def gpus(self) -> int: ...
    @property
    def gpu_mib(self) -> int | None: ...
    @property
    def settings(self) -> SettingsInForce: ...
    @property
    def can(self) -> Options: ...


def tuning_hints(model: LoadedModel, seconds: Mapping[str, float]) -> list[str]:
    """Return sentences, the most effective first. `seconds` are those of one video by phase."""
    can, settings, preset = model.can, model.settings, model.preset
    on_gpu = model.device != "cpu"
    hints = []
    if not on_gpu and sum(can.parameters.values()) > 200_000_000:
        hints.append("It renders on the CPU: a GPU is the only thing that helps. Is torch built for yours?")
    if on_gpu and settings.dtype == "float32":
        hints.append('dtype = "bfloat16" halves memory, and most GPUs compute more than twice as quickly with it.')
    if on_gpu and settings.offload != "none":
        hints += _offload_hints(model)
    if preset.steps > MANY_STEPS and can.adapters:
        hints.append(
            f"A few-step adapter of this family, where there is one, needs 4 to 8 of these {preset.steps} steps."
        )
    if can.compile and not settings.compile and on_gpu:
        hints.append("compile = true compiles the repeated blocks; the first render takes longer.")
    if can.caches and settings.cache is None and preset.steps > MANY_STEPS:
        hints.append(f'cache = "{can.caches[0]}" leaves out work that hardly changes from step to step, at some loss.')
    if seconds["decoding"] > DECODING_SHARE * sum(seconds[phase] for phase in ("prompt", "denoising", "decoding")):
        tiled = preset.vae_tiling and preset.least_width is None
        hints.append(
            "Decoding takes much of the time; "
            + ("vae_tiling = false is quicker where memory allows." if tiled else "fewer frames or pixels shorten it.")
        )
    if on_gpu and model.gpus > 1:
        hints.append(
            "Several GPUs are here: run a worker on each (CUDA_VISIBLE_DEVICES), for as many videos at a time."
        )
    return hints


def _offload_hints(model: LoadedModel) -> list[str]:
    gpu_mib, billions = model.gpu_mib, sum(model.can.parameters.values()) / 1e9
    needed = round(billions * MIB_PER_BILLION * (2 if model.settings.dtype == "float32" else 1))
    if gpu_mib and needed < 0.7 * gpu_mib:
        return [f'offload = "none" is quicker: the weights take about {needed} MiB of the {gpu_mib} MiB of this GPU.']
    if model.settings.offload == "sequential":
        return ['offload = "group" takes as little memory as "sequential", and is quicker.']
    return []
