"""The videos that an adapter learns from, as rows of numbers, and the pipeline that tells those. With torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from generation.feedback.denoisers import features, lora
from generation.feedback.denoisers.families import CHANNELS, Family, family_of
from generation.feedback.denoisers.prediction import Predictor
from generation.feedback.denoisers.recording import Recording, denoisers_of, draw_noise, record, render_latents
from generation.feedback.scoring import reward, scores
from generation.feedback.tensor_files import read_tensors, write_tensors
from generation.feedback.tuning import losses
from generation.feedback.tuning.examples import Example, groups_of, read_latents
from generation.feedback.tuning.recipe import Recipe
from generation.models.presets import Preset
from generation.render.prompt_cache import PromptCache

if TYPE_CHECKING:
    from accelerate import Accelerator
    from diffusers import DiffusionPipeline

OnProgress = Callable[[str, int, int], None]  # what is being done, how much of it has been, how much there is


@dataclass(frozen=True)
class Videos:
    """Videos to learn from, and all that is known of them, a row each."""

    prompts: list[str]
    groups: scores.Groups
    latents: Tensor
    noise: Tensor | None  # that they were made from; None where it is not used
    features: scores.Floats
    motion: scores.Floats
    scores: scores.Floats


@dataclass(frozen=True)
class Studio:
    """A pipeline whose denoisers have the adapter, and how it is asked."""

    pipeline: DiffusionPipeline
    preset: Preset
    family: Family
    nets: dict[str, torch.nn.Module]
    predict: Predictor
    recordings: dict[str, Recording]  # by prompt; the empty one is among them
    accelerator: Accelerator
    on_progress: OnProgress

    @property
    def channel_axis(self) -> int:
        """Return the axis of the channels."""
        return CHANNELS[self.family.layout]


def open_studio(
    pipeline: DiffusionPipeline, preset: Preset, examples: list[Example], recipe: Recipe, on_progress: OnProgress
) -> Studio:
    """Return the studio of a pipeline that has no adapter yet: each prompt's inputs are recorded."""
    from accelerate import Accelerator

    family = family_of(type(pipeline).__name__)
    nets = denoisers_of(pipeline)
    PromptCache(pipeline)
    prompts = ["", *dict.fromkeys(example.prompt for example in examples)]
    recordings = {}
    for number, prompt in enumerate(prompts):
        on_progress("prompts", number, len(prompts))
        recordings[prompt] = record(pipeline, preset, family, prompt)
    predict = Predictor(nets, recordings[""].argument, recordings[""].noise.dtype)
    accelerator = Accelerator(mixed_precision=recipe.precision, cpu=not torch.cuda.is_available())
    return Studio(pipeline, preset, family, nets, predict, recordings, accelerator, on_progress)


def voted_videos(
    studio: Studio, examples: list[Example], data: Path, recipe: Recipe
) -> tuple[Videos, reward.RewardModel, Tensor | None]:
    """Return the videos that were voted on, the reward model, and the channels that count (None: all)."""
    latents, noise = [], []
    for number, example in enumerate(examples):
        studio.on_progress("videos", number, len(examples))
        kept = read_latents(data, example)
        if kept is None:
            latents.append(render_latents(studio.pipeline, studio.preset, example.prompt, example.seed)[0].cpu())
        else:
            latents.append(torch.from_numpy(np.array(kept, np.float32)))
        if recipe.tracked:
            noise.append(draw_noise(studio.pipeline, studio.preset, example.prompt, example.seed).cpu())
    rows = torch.cat(latents).float()
    channels = losses.moving_channels(rows, studio.channel_axis)
    numbers, motion = describe(studio, rows, channels)
    groups = np.array(groups_of(examples))
    up, down = (np.array([getattr(example, name) for example in examples], np.float64) for name in ("up", "down"))
    liking = reward.fit(numbers, up, down, groups)
    if recipe.use_reward:  # smoother than thumbs, of the same videos
        liked = scores.centred(liking(numbers), groups, unit=True)
    else:
        liked = scores.centred(scores.thumb_scores(up, down), groups)
    liked, _ = scores.with_motion_kept(liked, motion, groups, recipe.motion)
    prompts = [example.prompt for example in examples]
    return Videos(prompts, groups, rows, torch.cat(noise) if noise else None, numbers, motion, liked), liking, channels


def describe(studio: Studio, latents: Tensor, channels: Tensor | None) -> tuple[scores.Floats, scores.Floats]:
    """Return the features of videos for the reward model, and how much they move."""
    empty = studio.recordings[""]
    with lora.switched_to(studio.nets, None):
        numbers = features.describe(studio.nets, studio.family, studio.predict, empty, latents, channels)
    return numbers, features.motion_of(features.grid_of(latents, studio.family, empty, channels))


def fresh_videos(
    studio: Studio, voted: Videos, liking: reward.RewardModel, channels: Tensor | None, recipe: Recipe, phase: int,
    out: Path,
) -> Videos:  # fmt: skip
    """Return videos of the model as it is now, scored by the reward model; those of a killed process are read."""
    folder = out / f"fresh-{phase}"
    folder.mkdir(exist_ok=True)
    every = list(dict.fromkeys(voted.prompts))
    chosen = np.random.default_rng([recipe.seed, phase]).permutation(len(every))[: recipe.fresh_prompts]
    orders = [(every[place], k) for place in chosen for k in range(recipe.fresh_each)]
    accelerator = studio.accelerator
    for number, (prompt, k) in enumerate(orders):
        studio.on_progress(f"fresh videos, round {phase}", number, len(orders))
        path = folder / f"{number}.safetensors"
        if number % accelerator.num_processes == accelerator.process_index and not path.is_file():
            seed = int(hashlib.sha256(f"{recipe.seed} {phase} {prompt} {k}".encode()).hexdigest()[:8], 16) >> 1
            latents, _ = render_latents(studio.pipeline, studio.preset, prompt, seed)
            arrays = {"latents": latents.float().cpu().numpy()}
            if recipe.tracked:
                arrays["noise"] = draw_noise(studio.pipeline, studio.preset, prompt, seed).float().cpu().numpy()
            write_tensors(path, arrays)
    accelerator.wait_for_everyone()
    stored = [read_tensors(folder / f"{number}.safetensors")[0] for number in range(len(orders))]
    rows = torch.cat([torch.from_numpy(np.array(each["latents"])) for each in stored])
    noise = torch.cat([torch.from_numpy(np.array(each["noise"])) for each in stored]) if recipe.tracked else None
    groups = np.arange(len(orders)) // recipe.fresh_each
    numbers, motion = describe(studio, rows, channels)
    liked = scores.centred(liking(numbers), groups, unit=True)
    liked, _ = scores.with_motion_kept(liked, motion, groups, recipe.motion)
    return Videos([prompt for prompt, _ in orders], groups, rows, noise, numbers, motion, liked)
