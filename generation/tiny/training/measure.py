"""The measure of how well the tiny pipeline follows prompts, of seams and flicker, and a sheet of its pictures."""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from generation.models.registry import TINY_LOOKS
from generation.tiny.training import captions, judge, world

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

PROMPTS, PROMPTS_OF_TWO, OPEN_PROMPTS = 240, 60, 200
SEED = 4711
ATTRIBUTES = ("colour", "shape", "motion")  # that each prompt names
OTHERS = ("background", "size", "speed")  # that some prompts name
SECOND = ("second_colour", "second_shape")
BESIDE = 2  # pixels beside a border, where the change is compared with that across it
STILL = 4  # pixels that a shape must keep away for the background to be still


@dataclass(frozen=True)
class Case:
    """A held-out prompt, the caption's attributes, the scene that it asks for, and the seed of its video."""

    scene: world.Scene
    caption: captions.Caption
    seed: int

    @property
    def prompt(self) -> str:
        """The text."""
        return self.caption.text


def cases(count: int = PROMPTS, seed: int = SEED, *, two: bool = False) -> list[Case]:
    """Return held-out combinations in held-out patterns; each prompt names colour, shape and motion.

    With `two` each asks for two shapes, else for one.
    """
    dice = np.random.default_rng(seed + two)
    out = []
    for number in range(count):
        scene = world.random_scene(dice, unseen=True, two=two)
        out.append(Case(scene, captions.write(scene, dice, unseen=True, full=True), number))
    return out


def open_prompts(count: int = OPEN_PROMPTS, seed: int = SEED) -> list[captions.Caption]:
    """Return prompts for one shape that name one attribute at most, and leave all others open."""
    dice = np.random.default_rng(seed)
    return [captions.write_open(world.random_scene(dice, two=False), dice) for _ in range(count)]


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


def measure(folder: Path, share: float = 1.0) -> dict[str, float]:
    """Return the figures of the pipeline in `folder`; `share` of the usual number of prompts.

    Accuracies are shares of the prompts that name an attribute whose frames show it as asked. `open_coverage` is the
    rarest value's share of the prompts that leave its attribute open, over its fair share: 1 is even, 0 is never.
    `seam_ratio` and `flicker` are explained at their functions; they are medians over the prompts.
    """
    pipeline = load(folder)
    count, of_two, left_open = (max(1, round(share * number)) for number in (PROMPTS, PROMPTS_OF_TWO, OPEN_PROMPTS))
    right: dict[str, list[bool]] = {name: [] for name in (*ATTRIBUTES, *OTHERS)}
    seconds, seams, flickers = [], [], []
    for case in cases(count):
        start = time.monotonic()
        frames = render(pipeline, case.prompt, case.seed)
        seconds.append(time.monotonic() - start)
        reading = judge.read(frames)
        for name, answers in right.items():
            if getattr(case.caption, name) is not None:
                answers.append(getattr(reading, name) == getattr(case.scene, name))
        seams.append(seam_ratio(frames))
        flickers.append(flicker(frames))
    both = []
    for case in cases(of_two, two=True):
        reading = judge.read(render(pipeline, case.prompt, case.seed))
        names = ("colour", "shape", *SECOND)
        both.append(all(getattr(reading, name) == getattr(case.scene, name) for name in names))
    return {
        **{f"{name}_accuracy": float(np.mean(answers)) for name, answers in right.items() if answers},
        "two_shapes_accuracy": float(np.mean(both)),
        "open_coverage": open_coverage(pipeline, left_open),
        "seam_ratio": float(np.nanmedian(seams)),
        "flicker": float(np.nanmedian(flickers)),
        "prompts": count,
        "seconds_a_video": float(np.median(seconds)),
    }


def seam_ratio(frames: NDArray[np.uint8], tile: int = 24) -> float:
    """Return the change across the borders of tiles over the change beside them; about 1 for drawn clips.

    `tile` is the side of the model's tiles, in pixels. NaN if nothing changes beside any border.
    """
    across = beside = 0.0
    for axis in (1, 2):
        change = np.abs(np.diff(frames.astype(np.float32), axis=axis)).mean((0, 3)).mean(2 - axis)
        borders = np.arange(tile - 1, len(change), tile)
        across += float(change[borders].sum())
        beside += float(change[borders - BESIDE].sum() + change[borders + BESIDE].sum()) / 2
    return across / beside if beside else float("nan")


def flicker(frames: NDArray[np.uint8]) -> float:
    """Return the mean change from frame to frame of still background, in levels of 255; 0 for drawn clips.

    NaN if there is none: before rain, which falls, and where shapes pass everywhere.
    """
    behind = judge.behind(frames)
    if judge.background(behind) == "rain":
        return float("nan")
    passed: NDArray[np.bool_] = np.asarray(judge.find(frames, behind).any((0, 1)))
    for _ in range(STILL):
        wider = passed.copy()
        wider[1:] |= passed[:-1]
        wider[:-1] |= passed[1:]
        wider[:, 1:] |= passed[:, :-1]
        wider[:, :-1] |= passed[:, 1:]
        passed = wider
    change = np.abs(np.diff(frames.astype(np.float32), axis=0)).mean(3)
    return float(change[:, ~passed].mean()) if not passed.all() else float("nan")


def open_coverage(pipeline: DiffusionPipeline, count: int = OPEN_PROMPTS) -> float:
    """Return the smallest share over fair share, of all values of all attributes, where `count` prompts say nothing."""
    seen: dict[str, Counter[str | None]] = {name: Counter() for name in (*ATTRIBUTES, *OTHERS)}
    for number, caption in enumerate(open_prompts(count)):
        reading = judge.read(render(pipeline, caption.text, SEED + number))
        for name, values in seen.items():
            if getattr(caption, name) is None:
                values[getattr(reading, name)] += 1
    tables = {"colour": world.COLOURS, "shape": world.SHAPES, "motion": world.MOTIONS, "background": world.BACKGROUNDS,
              "size": world.SIZES, "speed": world.SPEEDS}  # fmt: skip
    return min(
        seen[name][value] / max(1, seen[name].total()) * len(tables[name]) for name in seen for value in tables[name]
    )


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
    asked = [*cases(count - count // 4, SEED + 1), *cases(count // 4, SEED + 1, two=True)]
    for number, case in enumerate(asked):
        frames = render(pipeline, case.prompt, case.seed)
        x, y = 8 + number % 2 * wide, 4 + number // 2 * high
        pen.text((x, y + 4), case.prompt, fill="black")
        for place, frame in enumerate(numbers):
            larger = Image.fromarray(frames[frame]).resize((side, side), Image.Resampling.BICUBIC)
            picture.paste(larger, (x + place * side, y + above))
    picture.quantize(256, dither=Image.Dither.NONE).save(file, optimize=True)
    sys.stdout.write(f"{file}\n")
