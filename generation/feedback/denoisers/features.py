"""Numbers that describe a video's latents, for the reward model: no frame is decoded for them. With torch.

Mean, spread and change in time of each channel, and the pooled hidden state of a middle block of the model without
any adapter, at little noise and without a prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generation.feedback.denoisers.families import CHANNELS, Family, blocks_of, family_of
from generation.feedback.denoisers.lora import Nets, without_adapters
from generation.feedback.denoisers.prediction import Predictor
from generation.feedback.denoisers.recording import Recording, denoisers_of, record
from generation.models.presets import Preset

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

Floats = NDArray[np.float64]
LITTLE_NOISE = 0.1
BATCH = 64


class LatentReader:
    """The reader of a pipeline's latents that may have adapters: those are off while it reads."""

    def __init__(
        self,
        pipeline: DiffusionPipeline,
        preset: Preset,
        switched_off: Callable[[], AbstractContextManager[None]] | None = None,
    ) -> None:
        """Record what the pipeline makes of an empty prompt. Raises FamilyError where it cannot be tuned.

        `switched_off` leaves the adapters off that no training had for its base; None: all of them.
        """
        self._family = family_of(type(pipeline).__name__)
        self._nets = denoisers_of(pipeline)
        self._switched_off = switched_off or partial(without_adapters, self._nets)
        with self._switched_off():
            self._empty = record(pipeline, preset, self._family, "")
        self._predict = Predictor(self._nets, self._empty.argument, self._empty.noise.dtype)

    @property
    def noise(self) -> Tensor:
        """Latents of the shape that the pipeline makes, before their first step."""
        return self._empty.noise

    def __call__(self, latents: Tensor, channels: Sequence[int] | None = None) -> Floats:
        """Return the features of videos by which a taste scores them; `channels` are the taste's own."""
        chosen = None if channels is None else torch.tensor(channels)
        with self._switched_off(), torch.no_grad():
            return describe(self._nets, self._family, self._predict, self._empty, latents, chosen)


def describe(
    nets: Nets, family: Family, predictor: Predictor, empty: Recording, latents: Tensor, channels: Tensor | None
) -> Floats:
    """Return the features of videos, of the channels that count. The caller switches adapters off."""
    grid = grid_of(latents, family, empty, channels)
    return np.concatenate([pooled(grid), hidden(nets, family, predictor, empty, latents)], axis=1)


def grid_of(latents: Tensor, family: Family, empty: Recording, channels: Tensor | None) -> Tensor:
    """Return latents as (videos, time, places, channels), of the channels that count."""
    grid = as_grid(latents, family, empty.steps[0].inputs)
    return grid if channels is None else grid.index_select(3, channels)


def as_grid(latents: Tensor, family: Family, inputs: dict[str, object]) -> Tensor:
    """Return latents as (videos, time, places, channels); packed ones are laid out by their step's inputs."""
    if family.layout == "packed":
        frames = int(str(inputs["num_frames"]))
        return latents.unflatten(1, (frames, -1))
    channels_last = latents.movedim(CHANNELS[family.layout], -1)  # (videos, time, height, width, channels)
    return channels_last.flatten(2, 3)


def pooled(grid: Tensor) -> Floats:
    """Return mean, spread, change in time and spread of the mean over time of each channel: (videos, 4 * channels)."""
    grid = grid.float()
    change = (grid[:, 1:] - grid[:, :-1]).abs() if grid.shape[1] > 1 else torch.zeros_like(grid)
    parts = [
        grid.mean((1, 2)),
        grid.std((1, 2), unbiased=False),
        change.mean((1, 2)),
        grid.mean(1).std(1, unbiased=False),
    ]
    return np.asarray(torch.cat(parts, 1).double().cpu().numpy())


def motion_of(grid: Tensor) -> Floats:
    """Return how much each video's latents change from one moment to the next, in units of their spread."""
    grid = grid.float()
    if grid.shape[1] < 2:
        return np.zeros(len(grid))
    change = (grid[:, 1:] - grid[:, :-1]).square().mean((1, 2, 3)).sqrt()
    spread = (grid - grid.mean(2, keepdim=True)).square().mean((1, 2, 3)).sqrt()
    return np.asarray((change / spread.clamp(min=1e-6)).double().cpu().numpy())


def hidden(nets: Nets, family: Family, predictor: Predictor, empty: Recording, latents: Tensor) -> Floats:
    """Return mean and spread of a middle block's output over all tokens: (videos, 2 * width).

    `empty` is the recording of a prompt that says nothing. The caller switches adapters off.
    """
    step = min(empty.steps, key=lambda each: abs(each.mix.noise - LITTLE_NOISE))
    net = nets[step.component]
    blocks = blocks_of(family, [name for name, _ in net.named_modules()])
    outputs: list[Tensor] = []

    def grab(_module: object, _inputs: object, output: Tensor | Sequence[Tensor]) -> None:
        outputs.append(output if isinstance(output, Tensor) else output[0])

    predictor.decide(latents[:2], [step] * len(latents[:2]))  # before anything is grabbed
    hook = net.get_submodule(blocks[len(blocks) // 2]).register_forward_hook(grab)
    rows = []
    try:
        for begin in range(0, len(latents), BATCH):
            part = latents[begin : begin + BATCH]
            noise = torch.randn(part.shape, generator=torch.Generator().manual_seed(1)).to(part)
            outputs.clear()
            with torch.no_grad():
                predictor(step.mix.noisy(part, noise), [step] * len(part))
            rows += [_row(out) for out in _a_video_each(outputs, len(part))]
    finally:
        hook.remove()
    return np.stack(rows)


def _a_video_each(outputs: list[Tensor], videos: int) -> list[Tensor]:
    """Return the outputs by video: of one call for all of them, or of a call for each."""
    if len(outputs) == 1 and videos > 1:
        return list(outputs[0].chunk(videos))
    return outputs


def _row(output: Tensor) -> Floats:
    tokens = output.reshape(-1, output.shape[-1]).double()
    return np.asarray(torch.cat([tokens.mean(0), tokens.std(0, unbiased=False)]).cpu().numpy())
