"""The decoder's training: sharp frames without seams, from latents that are not quite right.

It begins as the transpose of the encoder (see `vae.py`). Then each of its linear steps is fitted, so that a place is
drawn from its neighbours as well: that takes the seams away, in a minute. Then all of it learns to draw edges. Latents
are blurred by noise throughout, since a denoiser's are never exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from generation.tiny.training import world
from generation.tiny.training.optimizers import split
from generation.tiny.training.vae import (
    BLOCK,
    COARSE,
    ORDER,
    PATCH,
    Components,
    Step,
    first_steps,
    to_tensor,
    write_steps,
)

if TYPE_CHECKING:
    from diffusers import AutoencoderKLLTXVideo

FIT_CLIPS = 300
FIT_NOISE = 0.15  # standard deviation of the latents' blur in the fit
STILL = 0.3  # share of the places without a shape that count in the fit
RIDGE = 1e-3
NOISE = 0.2  # standard deviation of the latents' blur, itself drawn anew for each clip
MOVING, MOVES = 5.0, 0.15  # weight of pixels that a shape passes, and the change that tells them
SEAMS = 1.0  # weight of the change across the borders of blocks
BATCH = 8
RATE, MATRIX_RATE = 1e-4, 0.01


def fit_decoder(vae: AutoencoderKLLTXVideo, parts: Components, clips: Tensor, noise: torch.Generator) -> None:
    """Write the best linear steps into the decoder, by least squares; each is fitted on what those before it give.

    They stay near those that are there where `clips`, (batch, 3, frames, height, width), are too few to tell. The
    residual blocks must do nothing yet.
    """
    patches, pairs, blocks = parts.levels(clips)
    place = parts.std[:, None, None, None], parts.mean[:, None, None, None]
    latents = parts.encode(clips)[:, :COARSE]
    given = (latents + FIT_NOISE * torch.randn(latents.shape, generator=noise)) * place[0] + place[1]
    passed = _passed(clips)[:, 0, 0]
    # The first frame stands for four, see `vae.py`: the decoder drops the repeated ones.
    steps = []
    for wanted, side, now in zip(
        (blocks, pairs[:, 1:], patches[:, 3:][..., ORDER]), (BLOCK, 2 * PATCH, PATCH), first_steps(parts), strict=True
    ):
        steps.append(_fit(given, wanted, _near(passed, side), now, noise))
        if side > PATCH:
            given = _spread(functional.conv3d(_surrounded(given), *steps[-1]))
    write_steps(vae, steps)


def _passed(clips: Tensor) -> Tensor:
    """Return where a shape passes: (batch, 1, 1, height, width)."""
    return (clips - clips.mean(2, keepdim=True)).abs().amax((1, 2), keepdim=True) > MOVES


def _near(passed: Tensor, side: int) -> Tensor:
    """Return the places of `side` pixels that a shape passes, and those beside them: (batch, rows, columns)."""
    places = functional.max_pool2d(passed[:, None].float(), side)
    return functional.max_pool2d(places, 3, 1, 1)[:, 0] > 0


def _surrounded(x: Tensor) -> Tensor:
    """Pad as the decoder's convolutions do: zeros around, the first and the last frame once more before and after."""
    return functional.pad(torch.cat([x[:, :, :1], x, x[:, :, -1:]], 2), (1, 1, 1, 1))


def _spread(x: Tensor) -> Tensor:
    """Spread every eight channels over two frames, rows and columns, and drop the first frame, as the decoder does."""
    b, c, f, h, w = x.shape
    x = x.reshape(b, c // 8, 2, 2, 2, f, h, w).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return x.reshape(b, c // 8, 2 * f, 2 * h, 2 * w)[:, :, 1:]


def _fit(given: Tensor, wanted: Tensor, near: Tensor, now: Step, dice: torch.Generator) -> Step:
    """Return the convolution near `now` that comes nearest to `wanted`, (batch, f, h, w, channels), in the squares.

    Some of the places count that are not `near` a shape, (batch, h, w), and all that are.
    """
    size = 27 * given.shape[1] + 1
    left = torch.zeros(size, size, dtype=torch.float64)
    right = torch.zeros(size, wanted.shape[-1], dtype=torch.float64)
    for clip, target, close in zip(_surrounded(given), wanted, near, strict=True):
        chosen = (close | (torch.rand(close.shape, generator=dice) < STILL)).expand(target.shape[:3])
        around = clip.unfold(1, 3, 1).unfold(2, 3, 1).unfold(3, 3, 1).permute(1, 2, 3, 0, 4, 5, 6)
        rows = around[chosen].flatten(1)
        rows = torch.cat([rows, torch.ones(len(rows), 1)], 1)
        left += rows.T @ rows
        right += rows.T @ target[chosen]
    before = torch.cat([now[0].flatten(1), now[1][:, None]], 1).T.double()
    held = left + RIDGE * left.diagonal().mean() * torch.eye(size, dtype=torch.float64)
    solved = (before + torch.linalg.solve(held, right - left @ before)).float()
    return solved[:-1].T.reshape(-1, given.shape[1], 3, 3, 3).contiguous(), solved[-1]


def _loss(error: Tensor, passed: Tensor) -> Tensor:
    """Return the mean error, more of it where a shape passes, and that of the change across the borders of blocks."""
    weight = torch.where(passed, MOVING, 1.0)
    loss = (error.abs() * weight).mean() / weight.mean()
    for way in (3, 4):
        before_borders = torch.arange(BLOCK - 1, error.shape[way] - 1, BLOCK)
        loss = loss + SEAMS * error.diff(dim=way).index_select(way, before_borders).abs().mean()
    return loss


def train_decoder(
    vae: AutoencoderKLLTXVideo,
    parts: Components,
    dice: np.random.Generator,
    steps: int,
    say: Callable[[int, int, str], None],
) -> None:
    """Train the decoder in place, with clips that are drawn at each step."""
    noise = torch.Generator().manual_seed(int(dice.integers(2**31)))
    mean, std = (value[:, None, None, None] for value in (vae.latents_mean, vae.latents_std))
    decoder = vae.decoder.requires_grad_(requires_grad=True).train().to(memory_format=torch.channels_last_3d)
    optimizers = split(decoder, "resnets", lr=RATE, matrix_lr=MATRIX_RATE)
    rates = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
    averaged = [parameter.detach().clone() for parameter in decoder.parameters()]
    smooth = 0.0
    for step in range(steps):
        wanted = to_tensor(np.stack([world.render(world.random_scene(dice), dice) for _ in range(BATCH)]))
        clean = parts.encode(wanted)
        blur = NOISE * torch.randn(BATCH, 1, 1, 1, 1, generator=noise).abs()
        blurred = clean + blur * torch.randn(clean.shape, generator=noise)
        blurred[:, COARSE:] = 0  # the places are the denoiser's affair
        frames = decoder(blurred * std + mean)
        loss = _loss(frames - wanted, _passed(wanted))
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate * min(1.0, (step + 1) / 30, (steps - step) / (steps * 0.6))
        for optimizer in optimizers:
            optimizer.step()
        keep = min(0.99, step / (step + 10))
        with torch.no_grad():
            for mean_of, parameter in zip(averaged, decoder.parameters(), strict=True):
                mean_of.lerp_(parameter, 1 - keep)
        smooth += (loss.item() - smooth) * max(0.03, 1 / (step + 1))
        if (step + 1) % 25 == 0 or step + 1 == steps:
            say(step + 1, steps, f"loss {smooth:.4f}")
    with torch.no_grad():
        for mean_of, parameter in zip(averaged, decoder.parameters(), strict=True):
            parameter.copy_(mean_of)
    decoder.eval().requires_grad_(requires_grad=False).to(memory_format=torch.contiguous_format)
