"""A family's architecture at full size with random weights: seconds a step, memory, and what makes it quicker.

    python -m tests.benchmarks.families --family "Wan 2.1 1.3B"              one GPU, bfloat16
    python -m tests.benchmarks.families --list
    torchrun --nproc-per-node 2 -m tests.benchmarks.families --family "Wan 2.1 1.3B" --context-parallel 2

Only what denoises is built, since steps are where the time goes; no weights and no hub are needed: how long a step
takes does not depend on what the weights say. What a cache saves does: `cached` is a step that FirstBlockCache leaves
out, the most that it can save; what it saves on a real model is measured by `flock worker --check`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.benchmarks.architectures import ARCHITECTURES, Architecture

Json = dict[str, Any]
MIB = 1 << 20


def measure(
    architecture: Architecture,
    *,
    steps: int = 5,
    compiled: bool = True,
    context_parallel: int = 1,
    dtype: str | None = None,
) -> Json:
    """Seconds a step and peak memory: plain, then with the blocks compiled. On the GPU where there is one."""
    import torch

    device = _device()
    numbers = getattr(torch, dtype or ("bfloat16" if device.type == "cuda" else "float32"))
    torch.manual_seed(0)
    begun = time.monotonic()
    with device:
        previous = torch.get_default_dtype()
        torch.set_default_dtype(numbers)
        try:
            denoiser = architecture.build().eval()
        finally:
            torch.set_default_dtype(previous)
    if context_parallel > 1:
        from generation.render.acceleration import context_parallel as shared

        denoiser.enable_parallelism(config=shared(context_parallel))
    inputs = {
        name: value if isinstance(value, int) else value.to(device, numbers if value.is_floating_point() else None)
        for name, value in architecture.inputs().items()
    }
    result: Json = {
        "family": architecture.name,
        "device": _named(device),
        "torch": torch.__version__,
        "dtype": str(numbers).removeprefix("torch."),
        "gpus": context_parallel,
        "billions": round(sum(p.numel() for p in denoiser.parameters()) / 1e9, 3),
        "tokens": architecture.tokens,
        "build_s": round(time.monotonic() - begun, 2),
    }

    def step() -> None:
        with torch.inference_mode(), denoiser.cache_context("cond"):
            denoiser(**inputs, return_dict=False)

    result["plain"] = _timed(step, steps, device)
    result["cached"] = _cached(denoiser, step, steps, device)
    if compiled:
        try:
            denoiser.compile_repeated_blocks() if getattr(denoiser, "_repeated_blocks", None) else denoiser.compile()
            first = time.monotonic()
            step()
            _wait(device)
            result["compile_s"] = round(time.monotonic() - first, 2)
            result["compiled"] = _timed(step, steps, device)
            result["compiled_gain"] = round(result["plain"]["step_s"] / result["compiled"]["step_s"], 3)
        except Exception as error:  # a compiler that is missing is a finding, not an end
            result["compiled"] = f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
    return result


def _cached(denoiser: Any, step: Callable[[], None], steps: int, device: Any) -> Json | str:
    """Steps that are left out but for their first block; a sentence where the architecture has no such cache."""
    from diffusers import FirstBlockCacheConfig

    try:
        denoiser.enable_cache(FirstBlockCacheConfig(threshold=1e9))
    except (ValueError, AttributeError) as error:
        return f"no first-block cache: {str(error).splitlines()[0][:120]}"
    try:
        return _timed(step, steps, device)
    finally:
        denoiser.disable_cache()


def _timed(step: Callable[[], None], steps: int, device: Any) -> Json:
    import torch

    step()  # the first one allocates
    _wait(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds = []
    for _ in range(steps):
        begun = time.monotonic()
        step()
        _wait(device)
        seconds.append(time.monotonic() - begun)
    peak = torch.cuda.max_memory_allocated(device) // MIB if device.type == "cuda" else None
    return {"step_s": round(statistics.median(seconds), 5), "peak_mib": peak}


def _wait(device: Any) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _named(device: Any) -> str:
    import torch

    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"CPU, {torch.get_num_threads()} threads"


def _device() -> Any:
    import torch

    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.families", description=__doc__)
    parser.add_argument("--family", action="append", metavar="NAME", help="may be repeated (default: all)")
    parser.add_argument("--list", action="store_true", help="name the architectures, and end")
    parser.add_argument("--steps", type=int, default=5, help="timed steps (default: %(default)s)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--no-compile", action="store_true", help="leave compilation out")
    parser.add_argument("--small", action="store_true", help="a few layers and tokens: shows that it runs")
    parser.add_argument("--latents", type=int, nargs=3, metavar="N", help="frames, height, width, not the usual ones")
    parser.add_argument("--context-parallel", type=int, default=1, metavar="GPUS", help="under torchrun")
    parser.add_argument("--out", type=Path, default=Path("build/families.json"))
    options = parser.parse_args(arguments)
    known = {architecture.name: architecture for architecture in ARCHITECTURES}
    if options.list:
        sys.stdout.write("".join(f"{name}\n" for name in known))
        return
    if options.context_parallel > 1:
        import torch

        torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    if unknown := sorted(set(options.family or []) - set(known)):
        parser.error(f"there is no architecture {unknown[0]!r}; --list names them")
    results = []
    for name in options.family or known:
        architecture = known[name].small() if options.small else known[name]
        if options.latents:
            architecture = replace(architecture, latents=tuple(options.latents))
        results.append(
            measure(
                architecture,
                steps=options.steps,
                compiled=not options.no_compile,
                context_parallel=options.context_parallel,
                dtype=options.dtype,
            )
        )
        sys.stdout.write(json.dumps(results[-1]) + "\n")
    if int(os.environ.get("RANK", "0")) == 0:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
