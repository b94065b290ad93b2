"""The decoder's training: sharp frames without seams, from latents that are not quite right.

It begins as the transpose of the encoder (see `vae.py`) and learns to draw what its neighbours imply. Its latents are
blurred by noise, since a denoiser's are never exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from generation.tiny.training import world
from generation.tiny.training.optimizers import split
from generation.tiny.training.vae import Components, to_tensor

if TYPE_CHECKING:
    from diffusers import AutoencoderKLLTXVideo

NOISE = 0.2  # standard deviation of the latents' blur, itself drawn anew for each clip
MOVING, MOVES = 5.0, 0.15  # weight of pixels that a shape passes, and the change that tells them
BATCH = 8
RATE, MATRIX_RATE = 2e-3, 0.01


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
    optimizers = split(decoder, "block", lr=RATE, matrix_lr=MATRIX_RATE)
    rates = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
    averaged = [parameter.detach().clone() for parameter in decoder.parameters()]
    smooth = 0.0
    for step in range(steps):
        wanted = to_tensor(np.stack([world.render(world.random_scene(dice), dice) for _ in range(BATCH)]))
        clean = parts.encode(wanted)
        blur = NOISE * torch.randn(BATCH, 1, 1, 1, 1, generator=noise).abs()
        frames = decoder((clean + blur * torch.randn(clean.shape, generator=noise)) * std + mean)
        passed = (wanted - wanted.mean(2, keepdim=True)).abs().amax(1, keepdim=True) > MOVES
        weight = torch.where(passed, MOVING, 1.0)
        loss = ((frames - wanted).abs() * weight).mean() / weight.mean()
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
