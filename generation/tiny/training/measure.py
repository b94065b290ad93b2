"""The measure of how well the tiny pipeline follows prompts that it has not seen, and a sheet of pictures of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from generation.models.registry import TINY_LOOKS
from generation.tiny.training import captions, judge, world

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

PROMPTS = 240
SEED = 4711
ATTRIBUTES = ("colour", "shape", "motion")


@dataclass(frozen=True)
class Case:
    """A held-out prompt and the scene that it asks for."""

    scene: world.Scene
    prompt: str
    seed: int


def cases(count: int = PROMPTS, seed: int = SEED) -> list[Case]:
    """Return held-out combinations in held-out patterns; each prompt names colour, shape and motion."""
    dice = np.random.default_rng(seed)
    out = []
    for number in range(count):
        scene = world.random_scene(dice, unseen=True)
        caption = captions.write(scene, dice, unseen=True, full=True)
        out.append(Case(scene, caption.text, number))
    return out


def load(folder: Path) -> DiffusionPipeline:
    """Load the pipeline as any program would."""
    import torch
    from diffusers import DiffusionPipeline
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    for library in (diffusers_logging, transformers_logging):
        library.disable_progress_bar()
        library.set_verbosity_error()
    pipeline = DiffusionPipeline.from_pretrained(
        str(folder), dtype=torch.float32, use_safetensors=True, local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def render(pipeline: DiffusionPipeline, prompt: str, seed: int) -> NDArray[np.uint8]:
    """Return a clip in the tiny model's own looks: (frames, height, width, 3)."""
    import torch

    pictures = pipeline(
        prompt=prompt,
        width=TINY_LOOKS["width"],
        height=TINY_LOOKS["height"],
        num_frames=TINY_LOOKS["frames"],
        num_inference_steps=TINY_LOOKS["steps"],
        guidance_scale=TINY_LOOKS["guidance"],
        max_sequence_length=TINY_LOOKS["max_sequence_length"],
        generator=torch.Generator("cpu").manual_seed(seed),
        output_type="np",
    ).frames[0]
    frames: NDArray[np.uint8] = (pictures.clip(0, 1) * 255).round().astype(np.uint8)
    return frames


def read_cases(pipeline: DiffusionPipeline, prompts: list[Case]) -> Iterator[tuple[Case, judge.Reading, float]]:
    """Yield each prompt, the reading of its frames, and the seconds that they took."""
    for case in prompts:
        start = time.monotonic()
        frames = render(pipeline, case.prompt, case.seed)
        took = time.monotonic() - start
        yield case, judge.read(frames), took


def measure(folder: Path, count: int = PROMPTS) -> dict[str, float]:
    """Return the shares of prompts whose colour, shape and motion the frames show, and the median seconds a video."""
    right = dict.fromkeys(ATTRIBUTES, 0)
    seconds = []
    for case, reading, took in read_cases(load(folder), cases(count)):
        for name in ATTRIBUTES:
            right[name] += getattr(reading, name) == getattr(case.scene, name)
        seconds.append(took)
    return {
        **{f"{name}_accuracy": hits / count for name, hits in right.items()},
        "prompts": count,
        "seconds_a_video": float(np.median(seconds)),
    }


def show(figures: dict[str, float]) -> str:
    """Return the figures, a line each."""
    return "\n".join(f"- {name.replace('_', ' ')}: {value:.4g}" for name, value in figures.items())


def sheet(folder: Path, file: Path, count: int = 12) -> None:
    """Draw frames of `count` held-out prompts in two columns, each under its prompt."""
    from PIL import Image, ImageDraw

    pipeline = load(folder)
    numbers = (0, 4, 8, 12, 16)
    side, above = 2 * world.SIZE, 20
    wide, high = side * len(numbers) + 8, side + above + 6
    picture = Image.new("RGB", (2 * wide + 8, (count + 1) // 2 * high + 6), "white")
    pen = ImageDraw.Draw(picture)
    for number, case in enumerate(cases(count, SEED + 1)):
        frames = render(pipeline, case.prompt, case.seed)
        x, y = 8 + number % 2 * wide, 4 + number // 2 * high
        pen.text((x, y + 4), case.prompt, fill="black")
        for place, frame in enumerate(numbers):
            larger = Image.fromarray(frames[frame]).resize((side, side), Image.Resampling.BICUBIC)
            picture.paste(larger, (x + place * side, y + above))
    picture.save(file)
    sys.stdout.write(f"{file}\n")
