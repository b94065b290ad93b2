"""What would make a render quicker, or let it fit: only what this pipeline offers on this machine, and does not use."""

from __future__ import annotations

from typing import Any

MANY_STEPS = 12  # above it a few-step adapter is worth the search
DECODING_SHARE = 0.3
MIB_PER_BILLION = 1907  # of bfloat16 parameters

Json = dict[str, Any]


def advice(loaded: Json, measured: Json) -> list[str]:
    """Sentences, the most effective first. `loaded` and `measured` are as the render child says them."""
    can, settings, preset = loaded["can"], loaded["settings"], loaded["preset"]
    seconds = measured["seconds"]
    on_gpu = loaded["device"] != "cpu"
    said = []
    if not on_gpu and sum(can["parameters"].values()) > 200_000_000:
        said.append("It renders on the CPU: a GPU is the only thing that helps. Is torch built for yours?")
    if on_gpu and settings["dtype"] == "float32":
        said.append('dtype = "bfloat16" halves memory, and most GPUs compute more than twice as quickly with it.')
    if on_gpu and settings["offload"] != "none":
        said += _offload(loaded)
    if preset["steps"] > MANY_STEPS and can["adapters"]:
        said.append(
            f"A few-step adapter of this family, where there is one, needs 4 to 8 of these {preset['steps']} steps."
        )
    if can["compile"] and not settings["compile"] and on_gpu:
        said.append("compile = true compiles the repeated blocks; the first render takes longer.")
    if can["caches"] and settings["cache"] is None and preset["steps"] > MANY_STEPS:
        said.append(
            f'cache = "{can["caches"][0]}" leaves out work that hardly changes from step to step, at some loss.'
        )
    if seconds["decoding"] > DECODING_SHARE * sum(seconds[part] for part in ("prompt", "denoising", "decoding")):
        tiled = preset["vae_tiling"] and preset["least_width"] is None
        said.append(
            "Decoding takes much of the time; "
            + ("vae_tiling = false is quicker where memory allows." if tiled else "fewer frames or pixels shorten it.")
        )
    if on_gpu and loaded.get("gpus", 1) > 1:
        said.append("Several GPUs are here: run a worker on each (CUDA_VISIBLE_DEVICES), for as many videos at a time.")
    return said


def _offload(loaded: Json) -> list[str]:
    free = loaded.get("gpu_mib")
    parameters = sum(loaded["can"]["parameters"].values()) / 1e9
    needed = round(parameters * MIB_PER_BILLION * (2 if loaded["settings"]["dtype"] == "float32" else 1))
    if free and needed < 0.7 * free:
        return [f'offload = "none" is quicker: the weights take about {needed} MiB of the {free} MiB of this GPU.']
    if loaded["settings"]["offload"] == "sequential":
        return ['offload = "group" takes as little memory as "sequential", and is quicker.']
    return []
