"""The dtype and the way to offload that a model's table leaves open, as its family recommends them for this machine.

No torch: the machine is told in numbers.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from generation.models.inventory import on_a_gpu, weights_mib
from generation.models.presets import Preset
from generation.models.registry import Model

FULL = 0.75  # of a GPU's free memory: the rest is for what the weights compute


def fill_open_settings(
    model: Model, preset: Preset, folder: Path, *, gpu_mib: int | None, bfloat16: bool = True
) -> tuple[Model, list[str]]:
    """Return the model with a dtype and a way to offload, and a sentence for each that its table did not say.

    `gpu_mib` is the free memory of the GPU, None where there is none; `bfloat16` says that it computes with that.
    """
    if gpu_mib is None:
        return replace(model, dtype=model.dtype or "float32", offload=model.offload or "none"), []
    notes = []
    filled = on_a_gpu(model, preset)
    if model.dtype is None and filled.dtype != "float32":
        if filled.dtype == "bfloat16" and not bfloat16:
            filled = replace(filled, dtype="float32")
            notes.append(f'{preset.family} wants bfloat16, which this GPU lacks: dtype = "float32". Try "float16".')
        else:
            notes.append(f'dtype = "{filled.dtype}", as {preset.family} wants it; set dtype for another.')
    if model.offload is None and preset.offload is not None:
        parts = (weights_mib(filled, folder) or {"parts": {"": 0}})["parts"].values()
        if sum(parts) > gpu_mib * FULL:
            way = "group" if max(parts) > gpu_mib * FULL else preset.offload  # one component alone may be too large
            filled = replace(filled, offload=way)
            notes.append(
                f'offload = "{way}": the weights take about {sum(parts)} MiB, and {gpu_mib} MiB of the GPU are free; '
                "set offload for another way."
            )
    return filled, notes
