"""The denoiser: LTXVideoTransformer3DModel, trained by rectified flow on latents of the world.

Instead of prompts it is trained on the codes at which the text encoder aims, slightly blurred: both can learn at the
same time, and the denoiser knows every wording that the encoder understands.
"""

from __future__ import annotations

import copy
import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from generation.tiny.training import text, world
from generation.tiny.training.optimizers import split
from generation.tiny.training.vae import BLOCK, COARSE, LATENTS, LOUD

if TYPE_CHECKING:
    from diffusers import LTXVideoTransformer3DModel

HEADS, HEAD, LAYERS = 5, 32, 4
SHIFT = 2.0  # of the noise levels in the pipeline: most is decided at high noise
RATE = 25  # frames a second that LTXPipeline assumes; its positions in time depend on it
FALL = 0.6  # share of a round's steps in which the learning rate falls
AGAIN = 0.5  # share of the learning rate in the rounds after the first
BLUR = 0.08  # of the codes
# In noise alone no latent says where it stands; that can be told only from how many neighbours it has. A video begins
# there, so that much of the training must; and what is mistaken there stays, since later steps believe the places that
# they see. In a weight like that of the picture they are learned far too late: after 600 steps the first step was wrong
# by 0.16 of half the width, with this one by 0.03 after 400.
PLACES_WEIGHT = 50.0


@dataclass(frozen=True)
class Lesson:
    """A round of the training: its length, and what it looks at.

    Edges count more, since the shape is small. At high noise that makes the mean of all that a latent may become lean
    to what has edges: each video would be a blob that stays, in rain. So only the first round does it there, which
    learns places and motions soonest by it.

    Background, colour and speed are the same in all latents of a video, and decided while noise hides each of them:
    only what they have in common tells. That is a small part of the error, and later rounds count it once more. In the
    first, with a weight of 4, it drowned the rest: motions were right in 0.12 of the videos instead of 0.89.

    The third and the fourth look more at low noise, where corners become sharp. After them two thirds of the wrong
    shapes were such that spin. A round in which two clips in five showed such a one did not mend it, and cost motions:
    0.88 instead of 0.91.
    """

    steps: int
    shift: float  # of the noise levels
    from_noise: float  # share of the clips that are noise alone
    edges_from: float  # the noise level below which edges count more; at half of it they have their full weight
    whole: float  # the weight of what the errors of a video have in common


ROUNDS = (
    Lesson(steps=6000, shift=2.5, from_noise=0.1, edges_from=math.inf, whole=0.0),
    Lesson(steps=6000, shift=3.0, from_noise=0.06, edges_from=0.7, whole=0.3),
    Lesson(steps=5000, shift=1.8, from_noise=0.03, edges_from=1.0, whole=0.15),
    Lesson(steps=5000, shift=1.8, from_noise=0.03, edges_from=1.0, whole=0.15),
)
# The share of prompts that leave an attribute open; and of those that leave all of them open, as an empty prompt does.
LEFT_OPEN = {
    "colour": 0.12,
    "shape": 0.1,
    "motion": 0.15,
    "background": 0.4,
    "size": 0.4,
    "speed": 0.4,
    "second_colour": 0.12,
    "second_shape": 0.0,  # without a word of it there is none
}
EMPTY = 0.1


def build_denoiser() -> LTXVideoTransformer3DModel:
    """Return an untrained denoiser."""
    from diffusers import LTXVideoTransformer3DModel

    width = HEADS * HEAD
    denoiser = LTXVideoTransformer3DModel(
        in_channels=LATENTS,
        out_channels=LATENTS,
        num_attention_heads=HEADS,
        attention_head_dim=HEAD,
        cross_attention_dim=width,
        num_layers=LAYERS,
        caption_channels=text.WIDTH,
    )
    torch.nn.init.zeros_(denoiser.proj_out.weight)
    torch.nn.init.zeros_(denoiser.proj_out.bias)
    return denoiser


def flat(latents: Tensor) -> Tensor:
    """Convert (batch, channels, f, h, w) to (batch, f * h * w, channels), as the denoiser takes them."""
    return latents.flatten(2).transpose(1, 2)


def facts(scenes: list[world.Scene]) -> Tensor:
    """Return for each scene the rows of its codes: (scenes, attributes); 0 for a value without a word."""
    rows = [
        [values.index(getattr(scene, name)) + 1 if getattr(scene, name) in values else 0
         for name, values in text.ATTRIBUTES.items()]
        for scene in scenes
    ]  # fmt: skip
    return torch.tensor(rows)


def _leave_some_open(rows: Tensor, generator: torch.Generator) -> Tensor:
    """Return the rows as a prompt might name them, with some left open."""
    chances = torch.tensor([LEFT_OPEN[name] for name in text.ATTRIBUTES])
    silent = torch.rand(rows.shape, generator=generator) < chances
    empty = torch.rand(len(rows), 1, generator=generator) < EMPTY
    silent |= empty & torch.tensor([name != "second_shape" for name in text.ATTRIBUTES])
    return rows.masked_fill(silent, 0)


def angles(denoiser: LTXVideoTransformer3DModel, size: tuple[int, int, int]) -> Tensor:
    """Return the rotary embedding of the positions, complex: (1, f * h * w, width / 2). `size` is (f, h, w)."""
    cos, sin = denoiser.rope(torch.zeros(1), *size, (4 / RATE, BLOCK, BLOCK))
    return torch.complex(cos[..., ::2].contiguous(), sin[..., ::2].contiguous())


def predict(
    denoiser: LTXVideoTransformer3DModel, noisy: Tensor, sigma: Tensor, prompt: Tensor, turns: Tensor
) -> Tensor:
    """Return the flow from picture to noise at `noisy`, for prompts of one word each: (batch, text.WIDTH).

    These are the numbers of the denoiser's own `forward`, in half the time: positions are computed once, and attention
    to a single word needs no queries. A test compares the two.
    """
    batch, width = len(noisy), denoiser.config.num_attention_heads * denoiser.config.attention_head_dim
    hidden = denoiser.proj_in(noisy)
    times, embedded = denoiser.time_embed(sigma * 1000, batch_size=batch, hidden_dtype=torch.float32)
    caption = denoiser.caption_projection(prompt[:, None])
    for block in denoiser.transformer_blocks:
        table = (block.scale_shift_table[None] + times.view(batch, 6, width))[:, :, None]
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = table.unbind(1)
        hidden = torch.addcmul(hidden, _attention(block.attn1, _modulated(hidden, scale, shift), turns), gate)
        hidden = hidden + block.attn2.to_out[0](block.attn2.to_v(caption))
        hidden = torch.addcmul(hidden, block.ff(_modulated(hidden, scale_mlp, shift_mlp)), gate_mlp)
    shift, scale = (denoiser.scale_shift_table[None] + embedded[:, None])[:, :, None].unbind(1)
    hidden = torch.addcmul(shift, denoiser.norm_out(hidden), 1 + scale)
    flow: Tensor = denoiser.proj_out(hidden)
    return flow


def _modulated(hidden: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return torch.addcmul(shift, functional.rms_norm(hidden, hidden.shape[-1:], eps=1e-6), 1 + scale)


def _attention(attention: nn.Module, hidden: Tensor, turns: Tensor) -> Tensor:
    weight = torch.cat([attention.to_q.weight, attention.to_k.weight, attention.to_v.weight])
    bias = torch.cat([attention.to_q.bias, attention.to_k.bias, attention.to_v.bias])
    query, key, value = functional.linear(hidden, weight, bias).chunk(3, dim=-1)
    query, key = _rotate(attention.norm_q(query), turns), _rotate(attention.norm_k(key), turns)
    query, key, value = (x.unflatten(2, (attention.heads, -1)).transpose(1, 2) for x in (query, key, value))
    out = functional.scaled_dot_product_attention(query, key, value)
    result: Tensor = attention.to_out[0](out.transpose(1, 2).flatten(2))
    return result


def _rotate(x: Tensor, turns: Tensor) -> Tensor:
    return torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (-1, 2))) * turns).flatten(2)


def _weight(clean: Tensor, sigma: Tensor, edges_from: float) -> Tensor:
    """Return the weight of each number in the loss: (batch, f * h * w, LATENTS). The later components hold edges."""
    edges = (clean[..., 3:COARSE].square().mean(2, keepdim=True) > 0.05).float()
    seen = (2 - 2 * sigma / edges_from).clamp(0, 1)[:, None, None]
    return (1 + 2 * edges * seen) * torch.where(torch.arange(LATENTS) < COARSE, 1.0, PLACES_WEIGHT / LOUD**2)


def _whole(error: Tensor, times: int) -> Tensor:
    """Return the square of what the errors have in common: over a video, over each of its times, over each place."""
    by_time = error.unflatten(1, (times, -1))
    return error.mean(1).square().mean() + by_time.mean(2).square().mean() + by_time.mean(1).square().mean()


class TrainingState(TypedDict):
    """A training as it is stored between two processes."""

    step: int
    denoiser: dict[str, Tensor]
    averaged: dict[str, Tensor]
    optimizers: list[dict[str, object]]


class Apprentice:
    """A denoiser in training: weights, their average over the steps, optimizers. It can be interrupted."""

    def __init__(self, rounds: Sequence[Lesson], batch: int, seed: int) -> None:
        """Begin a training in these rounds; each step's dice come from `seed` and its number."""
        self.rounds, self.batch, self.seed, self.step = rounds, batch, seed, 0
        self.denoiser = build_denoiser()
        self.averaged = copy.deepcopy(self.denoiser).eval().requires_grad_(requires_grad=False)
        self.optimizers = split(self.denoiser, "transformer_blocks", lr=2e-3)
        self.rates = [group["lr"] for optimizer in self.optimizers for group in optimizer.param_groups]
        self.table = text.codes()

    def learn(self, latents: Tensor, rows: Tensor, turns: Tensor) -> float:
        """Do one step and return its loss. `latents`: (clips, LATENTS, f, h, w), any precision; `rows`: see `facts`."""
        lesson, _ = self._round()
        dice = torch.Generator().manual_seed(self.seed * 1_000_003 + self.step)
        sample = torch.randint(len(latents), (self.batch,), generator=dice)
        clean = flat(latents[sample].float())
        prompt = text.target_vectors(self.table, _leave_some_open(rows[sample], dice))
        prompt = prompt + BLUR * torch.randn(prompt.shape, generator=dice)
        # One clip from each part of the range of noise levels: the loss then depends less on chance.
        part = (torch.randperm(self.batch, generator=dice) + torch.rand(self.batch, generator=dice)) / self.batch
        sigma = torch.sigmoid(1.1 * torch.special.ndtri(part.clamp(1e-4, 1 - 1e-4)))
        sigma = lesson.shift * sigma / (1 + (lesson.shift - 1) * sigma)
        sigma[: round(lesson.from_noise * self.batch)] = 1.0
        weight = _weight(clean, sigma, lesson.edges_from)
        noise = torch.randn(clean.shape, generator=dice)
        share = sigma[:, None, None]
        flow = predict(self.denoiser, (1 - share) * clean + share * noise, sigma, prompt, turns)
        error = (flow - (noise - clean)) * weight.sqrt()
        loss = (error.square().mean() + lesson.whole * _whole(error, latents.shape[2])) / weight.mean()
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.denoiser.parameters(), 1.0)
        groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        for group, rate in zip(groups, self.rates, strict=True):
            group["lr"] = rate * self._rate_share()
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        keep = min(0.995, self.step / (self.step + 10))
        with torch.no_grad():
            for mean, parameter in zip(self.averaged.parameters(), self.denoiser.parameters(), strict=True):
                mean.lerp_(parameter, 1 - keep)
        return float(loss.item())

    def _round(self) -> tuple[Lesson, int]:
        """Return the round of this step, and how many of its steps are done."""
        ends = list(accumulate(lesson.steps for lesson in self.rounds))
        number = min(bisect_right(ends, self.step), len(ends) - 1)
        return self.rounds[number], self.step - ends[number] + self.rounds[number].steps

    def _rate_share(self) -> float:
        """Return the share of the full learning rate: in each round a short rise, a plateau, and a fall to 0."""
        lesson, step = self._round()
        share = min(1.0, (step + 1) / 100, (lesson.steps - step) / (lesson.steps * FALL))
        return share if self.step == step else share * AGAIN

    def state(self) -> TrainingState:
        """Return everything that another process needs to go on from here."""
        return {
            "step": self.step,
            "denoiser": self.denoiser.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    def go_on_from(self, state: TrainingState) -> None:
        """Continue a training that another process stored."""
        self.step = state["step"]
        self.denoiser.load_state_dict(state["denoiser"])
        self.averaged.load_state_dict(state["averaged"])
        for optimizer, its in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(its)


def make_clips(count: int, dice: np.random.Generator) -> Iterator[tuple[list[world.Scene], NDArray[np.uint8]]]:
    """Yield scenes of the training set and their clips, 50 at a time."""
    for begin in range(0, count, 50):
        scenes = [world.random_scene(dice) for _ in range(min(50, count - begin))]
        yield scenes, np.stack([world.render(scene, dice) for scene in scenes])
