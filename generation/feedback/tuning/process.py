"""One training from order to result, in its own process: loads the model, tunes, guards, and writes down how it went.

With torch. Progress is written to stdout, a JSON line each; the last line is the result.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from generation.feedback.denoisers import lora
from generation.feedback.denoisers.recording import denoisers_of, render_latents
from generation.feedback.scoring import guards
from generation.feedback.scoring.taste import Taste, nobody_asked_for, save_taste
from generation.feedback.tuning.examples import Example, read_examples
from generation.feedback.tuning.handover import write_handover
from generation.feedback.tuning.order import GUARDS, RESULT, TASTE, Order
from generation.feedback.tuning.tune import Result, tune
from generation.feedback.whole_files import write_whole
from generation.models.known_words import PromptReader
from generation.models.presets import Preset
from generation.render.denoise import frames_of
from generation.render.loading import load

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

EVERY_S = 0.5  # at most so often a line of progress
GUARD_SEED = 770_001


class Progress:
    """Lines of progress on stdout, not too many."""

    def __init__(self) -> None:
        self._last = ("", 0.0)

    def __call__(self, what: str, done: int, total: int) -> None:
        """Write a line, if the last one of the kind is long enough ago."""
        kind, when = self._last
        if kind != what or time.monotonic() - when > EVERY_S:
            self._last = (what, time.monotonic())
            say({"progress": what, "done": done, "of": total})


def say(line: dict[str, object]) -> None:
    """Write one line to stdout."""
    sys.stdout.write(json.dumps(line, sort_keys=True) + "\n")
    sys.stdout.flush()


def carry_out(order: Order, adherence: guards.Adherence | None = None) -> dict[str, object]:
    """Carry an order out; return its result, which also stands in the folder.

    Raises what `tune` raises, NoPipelineError, and HandoverError.
    """
    if not torch.cuda.is_available():
        torch.set_num_threads(1)  # the order of sums, and with it the last bits, depends on their number
    examples = read_examples(Path(order.data))
    warm = load(replace(order.model, compile=False, cache=None, quantise=None))
    if order.handover is not None:
        kind = type(warm.pipeline).__name__
        folder = Path(order.handover)
        count = write_handover(folder, kind, order.model, warm.preset, examples, Path(order.data), order.recipe)
        return {"handover": str(folder), "videos": count}
    if order.model.adapters:
        _fuse_adapters(warm.pipeline)
    name, out, live = f"{order.model.id}@{warm.revision}", Path(order.out), Path(order.live) if order.live else None
    progress = Progress()
    result = tune(
        warm.pipeline, warm.preset, examples, Path(order.data), order.recipe, out, model=name, live=live,
        on_progress=progress,
    )  # fmt: skip
    if not result.sha256:  # of several processes that train together, the main one says how it went
        return {}
    said: dict[str, object] = {
        "adapter": str(result.path),
        "sha256": result.sha256,
        "drift": result.drift,
        "scaled": result.scaled,
        "reward": result.reward.numbers(),
        "seconds": round(result.seconds, 1),
        "notes": [*result.notes, *untaught(warm.reader, examples)],
    }
    channels = None if result.channels is None else tuple(result.channels)
    said["taste"] = save_taste(Taste(result.reward, name, channels), out / TASTE)
    if order.guard_videos:
        report = guard(warm.pipeline, warm.preset, examples, order, result, adherence, progress)
        write_whole(out / GUARDS, (json.dumps(report.as_json(), indent=1) + "\n").encode())
        said["guards"] = {"passed": report.passed, "vetoes": report.vetoes, "sentences": report.sentences}
    write_whole(out / RESULT, (json.dumps(said, indent=1, sort_keys=True) + "\n").encode())
    return said


def guard(
    pipeline: DiffusionPipeline, preset: Preset, examples: list[Example], order: Order, result: Result,
    adherence: guards.Adherence | None, progress: Progress,
) -> guards.Report:  # fmt: skip
    """Return the guards' verdict, on videos of the voted prompts with new seeds, of the model before and after."""
    nets = denoisers_of(pipeline)
    prompts = list(dict.fromkeys(example.prompt for example in examples))
    chosen = [prompts[k % len(prompts)] for k in range(order.guard_videos)]
    if order.live is not None:
        lora.set_arrays(nets, lora.load_adapter(Path(order.live), order.recipe.rank), lora.REFERENCE)
    readings: list[guards.Reading] = []
    for adapter in (lora.REFERENCE if order.live is not None else None, lora.TRAINED):
        lora.use(nets, adapter)
        videos = []
        for number, prompt in enumerate(chosen):
            progress("guards", len(readings) * len(chosen) + number, 2 * len(chosen))
            videos.append(frames_of(render_latents(pipeline, preset, prompt, GUARD_SEED + number, frames=True)[1]))
        readings.append(guards.read(chosen, videos, adherence))
    lora.use(nets, lora.TRAINED)
    limits = guards.Limits(drift=order.recipe.drift_cap)
    return guards.compare(readings[0], readings[1], result.drift, limits)


def untaught(reader: PromptReader | None, examples: list[Example]) -> list[str]:
    """Return a sentence on what these votes cannot teach, of a model that tells which words it knows."""
    if reader is None:
        return []
    try:
        sentence = nobody_asked_for([reader.values_in(each.prompt) for each in examples], reader.values)
    except Exception as error:  # whatever a tokenizer raises: no training fails for a note
        return [f"The words that no voted prompt has could not be listed ({type(error).__name__})."]
    return [] if sentence is None else [sentence]


def _fuse_adapters(pipeline: DiffusionPipeline) -> None:
    """Write the model's own adapters into its weights: they are the base from which drift is measured."""
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()
