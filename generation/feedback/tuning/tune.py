"""Tuning: an adapter from scored videos. Read `tune` from top to bottom: that is the whole recipe. With torch.

    python -m generation.feedback tune DATASET --model ID --out DIR
    accelerate launch --num_processes 4 -m generation.feedback tune DATASET --model ID --out DIR

Killed at any point, the same command goes on from the last checkpoint, and ends with the same bytes on a CPU.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generation.feedback.denoisers import lora
from generation.feedback.scoring import reward, scores
from generation.feedback.tensor_files import read_tensors
from generation.feedback.tuning import checkpoints, losses
from generation.feedback.tuning.checkpoints import Metrics, Place
from generation.feedback.tuning.examples import Example, identity_of
from generation.feedback.tuning.recipe import Recipe
from generation.feedback.tuning.videos import OnProgress, Studio, Videos, fresh_videos, open_studio, voted_videos
from generation.feedback.whole_files import write_whole
from generation.models.presets import Preset

if TYPE_CHECKING:
    from accelerate import Accelerator
    from diffusers import DiffusionPipeline

DRIFT_DRAWS = 64  # predictions whose mean is the drift
STATE = "checkpoint.safetensors"
MOST_TURNS, ALMOST = 8, 0.995  # of scaling back, and the share of the cap that is aimed at


@dataclass(frozen=True)
class Result:
    """The end of a tuning. `drift` is against the base, after the adapter was scaled back by `scaled`."""

    path: Path
    sha256: str
    drift: float
    scaled: float
    reward: reward.RewardModel
    channels: list[int] | None  # that were looked at; None: all
    seconds: float
    notes: list[str] = field(default_factory=list)  # sentences


def tune(
    pipeline: DiffusionPipeline,
    preset: Preset,
    examples: list[Example],
    data: Path,
    recipe: Recipe,
    out: Path,
    *,
    model: str = "",
    live: Path | None = None,
    on_progress: OnProgress = lambda *_: None,
) -> Result:
    """Tune an adapter and write it with its recipe and metrics into `out`. `live` is the release to go on from.

    `model` names model and revision; it goes into the recipe. Raises FamilyError, ExamplesError, CheckpointError.
    """
    start, out = time.monotonic(), out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    live_arrays = None if live is None else lora.load_adapter(live, recipe.rank)
    identity = recipe.identity(identity_of(examples), model, _hash_of(live))

    # 1. The denoisers' inputs for each prompt, then the adapter: without effect, or the live release.
    studio = open_studio(pipeline, preset, examples, recipe, on_progress)
    layers = lora.add_adapter(studio.nets, studio.family, recipe.rank, recipe.seed)
    if live_arrays is not None:
        lora.set_arrays(studio.nets, live_arrays)
    if recipe.checkpointing:
        for net in studio.nets.values():
            net.enable_gradient_checkpointing()

    # 2. The videos: latents, the noise that they were made from, and what thumbs and reward model say of them.
    voted, liking, channels = voted_videos(studio, examples, data, recipe)
    notes = [studio.family.notes] if studio.family.notes else []
    if recipe.rounds and not liking.has_learned:
        notes.append(
            f"The reward model gains {liking.gain:.3f} nats a vote on prompts that it has not seen, and needs "
            f"{reward.ENOUGH}: no fresh videos were labelled by it."
        )

    # 3. The phases: first the videos that people voted on, then fresh ones, of the model as it is by then.
    optimizer = torch.optim.AdamW(
        lora.parameters_of(studio.nets).values(), lr=recipe.rate, betas=(0.9, 0.99), weight_decay=0.0
    )
    place = checkpoints.load(out / STATE, lora.parameters_of(studio.nets), optimizer, identity) or Place(0, 0)
    metrics = Metrics(out, keep=place, writes=studio.accelerator.is_main_process)
    scaled = 1.0
    for phase in range(place.phase, 1 + recipe.rounds * liking.has_learned):
        videos = voted if phase == 0 else fresh_videos(studio, voted, liking, channels, recipe, phase, out)
        settings = recipe if phase == 0 else replace(recipe, steps=recipe.fresh_steps, nft_beta=recipe.fresh_beta)
        if phase == 0 and live_arrays is None:
            reference = None  # the adapter switched off
        else:
            reference = lora.REFERENCE
            before = live_arrays if phase == 0 else read_tensors(out / f"phase-{phase - 1}.safetensors")[0]
            lora.set_arrays(studio.nets, before or {}, lora.REFERENCE)
        first = place.step if phase == place.phase else 0
        if first == 0:
            optimizer.state.clear()
        _learn(studio, videos, settings, channels, optimizer, reference, Place(phase, first), out, identity, metrics)
        drift, scaled = _scale_back(studio, voted, channels, recipe.drift_cap)
        metrics.write(Place(phase, settings.steps), drift=drift, scaled=scaled)
        if studio.accelerator.is_main_process:
            lora.save_adapter(studio.nets, out / f"phase-{phase}.safetensors", recipe.rank)
            checkpoints.save(out / STATE, lora.parameters_of(studio.nets), optimizer, Place(phase + 1, 0), identity)
        studio.accelerator.wait_for_everyone()  # the others read what the main process has written
    metrics.close()

    # 4. The adapter as the render process loads it, and how it came to be.
    drift = _drift(studio, voted, channels)
    sha256 = ""
    if studio.accelerator.is_main_process:
        sha256 = lora.save_adapter(studio.nets, out / lora.FILE, recipe.rank)
    listed = None if channels is None else [int(c) for c in channels]
    result = Result(out / lora.FILE, sha256, drift, scaled, liking, listed, time.monotonic() - start, notes)
    if studio.accelerator.is_main_process:
        _write_recipe(out, result, recipe, examples, model, layers, live)
    studio.accelerator.wait_for_everyone()
    return result


# ------------------------------------------------------------------ steps


def _learn(
    studio: Studio, videos: Videos, recipe: Recipe, channels: Tensor | None, optimizer: torch.optim.Optimizer,
    reference: str | None, place: Place, out: Path, identity: str, metrics: Metrics,
) -> None:  # fmt: skip
    """Take the steps of a phase that are left. Each draws its own dice, so that nothing depends on where it began."""
    parameters = lora.parameters_of(studio.nets)
    pairs = scores.pairs_of(videos.scores, videos.groups)
    best = scores.best_of(videos.scores, recipe.best_share)
    if recipe.method == "dpo" and not len(pairs.sure):
        raise ValueError("No two videos of a prompt differ in their score: there is no pair to learn from.")
    lora.use(studio.nets, lora.TRAINED)
    start = time.monotonic()
    for step in range(place.step, recipe.steps):
        studio.on_progress(f"steps, phase {place.phase}", step, recipe.steps)
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate_at(step, recipe.steps)
        dice = torch.Generator().manual_seed((recipe.seed * 1009 + place.phase) * 1_000_003 + step)
        loss, drift, change = _loss(studio, videos, recipe, channels, pairs, best, reference, dice)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        _average_gradients(studio.accelerator, parameters)
        torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        optimizer.step()
        done = Place(place.phase, step + 1)
        metrics.write(
            done, loss=float(loss.detach()), drift=drift, change=change, rate=recipe.rate_at(step, recipe.steps),
            seconds=round(time.monotonic() - start, 3),
        )  # fmt: skip
        if (step + 1) % recipe.save_every == 0 and studio.accelerator.is_main_process:
            checkpoints.save(out / STATE, parameters, optimizer, done, identity)


def _loss(
    studio: Studio, videos: Videos, recipe: Recipe, channels: Tensor | None, pairs: scores.Pairs,
    best: NDArray[np.int64], reference: str | None, dice: torch.Generator,
) -> tuple[Tensor, float, float]:  # fmt: skip
    """Return the loss of one step's videos, their drift from the reference, and the change of their error."""
    count, sure = recipe.batch, None
    if recipe.method == "dpo":
        count //= 2
        k = torch.randint(len(pairs.sure), (count,), generator=dice).numpy()
        places, sure = np.concatenate([pairs.better[k], pairs.worse[k]]), torch.tensor(pairs.sure[k])
    elif recipe.method == "sft":
        places = best[torch.randint(len(best), (count,), generator=dice).numpy()]
    else:
        places = torch.randint(len(videos.prompts), (count,), generator=dice).numpy()
    noise = torch.randn((count, *videos.latents.shape[1:]), generator=dice)
    own = torch.rand(count, generator=dice) < recipe.tracked
    levels = torch.randint(len(studio.recordings[""].steps), (count,), generator=dice)
    if sure is not None:  # the same noise and level for both of a pair
        noise, own, levels = (torch.cat([each, each]) for each in (noise, own, levels))
    if videos.noise is not None:
        noise[own] = videos.noise[places][own].to(noise)

    # This process's share of the batch; of pairs, both videos.
    mine = np.arange(studio.accelerator.process_index, count, studio.accelerator.num_processes)
    mine = mine if sure is None else np.concatenate([mine, mine + count])
    steps = [studio.recordings[videos.prompts[places[k]]].steps[int(levels[k])] for k in mine]
    clean, z = videos.latents[places[mine]], noise[mine]
    noisy, target = [], []
    for x0, own_noise, step in zip(clean.split(1), z.split(1), steps, strict=True):
        noisy.append(step.mix.noisy(x0, own_noise))
        target.append(step.mix.target(x0, own_noise))
    x, u = torch.cat(noisy), torch.cat(target)
    with studio.accelerator.autocast():
        with lora.switched_to(studio.nets, reference):
            v0 = studio.predict(x, steps)
        v = studio.predict(x, steps)
    drift, lean = losses.drift_and_lean(v, v0, u.to(v.device), channels, studio.channel_axis)
    liked = torch.tensor(videos.scores[places[mine]], dtype=torch.float32).to(drift)
    if sure is not None:
        loss = losses.dpo(drift, lean, sure[mine[: len(mine) // 2]].to(drift), recipe.dpo_strength)
    elif recipe.method == "kto":
        loss = losses.kto(drift, lean, liked, recipe.kto_strength)
    elif recipe.method == "sft":
        loss = losses.sft(drift, lean)
    else:
        loss = losses.nft(drift, lean, liked, recipe.nft_beta)
    return loss, float(drift.detach().mean()), float((drift + 2 * lean).detach().mean())


def _average_gradients(accelerator: Accelerator, parameters: dict[str, torch.nn.Parameter]) -> None:
    """Give each process the mean of all gradients; without any, as of a denoiser that no step asked, it is nought."""
    if accelerator.num_processes == 1:
        return
    for parameter in parameters.values():
        own = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
        parameter.grad = accelerator.reduce(own, "mean")


def _scale_back(studio: Studio, videos: Videos, channels: Tensor | None, cap: float) -> tuple[float, float]:
    """Scale the adapter until its drift is within the cap; return the drift before, and by how much it was scaled.

    Drift grows with the square of the adapter's scale, as long as it is small: what went too far is scaled back, and
    not trained again. A few turns are enough also where it is not small.
    """
    before = drift = _drift(studio, videos, channels)
    scaled = 1.0
    for _ in range(MOST_TURNS):
        if drift <= cap:
            break
        factor = lora.scale_for(drift, cap * ALMOST)
        lora.scale(studio.nets, factor)
        scaled *= factor
        drift = _drift(studio, videos, channels)
    return before, scaled


def _drift(studio: Studio, videos: Videos, channels: Tensor | None) -> float:
    """Return how far the adapter's predictions lie from the base's, the adapter switched off, on the voted videos."""
    dice = torch.Generator().manual_seed(1)
    places = torch.randint(len(videos.prompts), (DRIFT_DRAWS,), generator=dice)
    levels = torch.randint(len(studio.recordings[""].steps), (DRIFT_DRAWS,), generator=dice)
    drifts = []
    for place, level in zip(places.tolist(), levels.tolist(), strict=True):
        step = studio.recordings[videos.prompts[place]].steps[level]
        x0 = videos.latents[place : place + 1]
        x = step.mix.noisy(x0, torch.randn(x0.shape, generator=dice))
        with torch.no_grad(), studio.accelerator.autocast():
            with lora.switched_to(studio.nets, None):
                base = studio.predict(x, [step])
            v = studio.predict(x, [step])
        drifts.append(float(losses.drift_and_lean(v, base, base, channels, studio.channel_axis)[0]))
    return float(np.mean(drifts))


# ------------------------------------------------------------------ files


def _hash_of(path: Path | None) -> str:
    return "" if path is None else hashlib.sha256(path.read_bytes()).hexdigest()


def _write_recipe(
    out: Path, result: Result, recipe: Recipe, examples: list[Example], model: str, layers: list[str],
    live: Path | None,
) -> None:  # fmt: skip
    import diffusers
    import peft

    said = {
        "adapter": {"file": lora.FILE, "sha256": result.sha256, "layers": len(layers)},
        "model": model,
        "parent": _hash_of(live) or None,
        "data": identity_of(examples),
        "videos": len(examples),
        "recipe": asdict(recipe),
        "drift": result.drift,
        "scaled": result.scaled,
        "channels": result.channels,
        "reward": result.reward.numbers(),
        "versions": {"torch": torch.__version__, "diffusers": diffusers.__version__, "peft": peft.__version__},
        "threads": torch.get_num_threads(),
    }
    write_whole(out / "recipe.json", (json.dumps(said, indent=1, sort_keys=True) + "\n").encode())
