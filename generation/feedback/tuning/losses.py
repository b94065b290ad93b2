"""The losses, of three numbers a video, and the still channels that none of them looks at. With torch.

v is what the tuned denoiser predicts, v0 what the reference does, u the target; <.> the mean over latent elements.
delta = v - v0, drift = <delta^2>, lean = <(v0 - u) delta>. The error d = <(v - u)^2> differs from the reference's d0
by drift + 2 lean. So each loss is a function of drift and lean, whatever u stands for (flow, noise or velocity).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

METHODS = ("nft", "dpo", "kto", "sft")
STILL = 0.05  # of a channel's variance: what less of it is between videos than this is a mark of the place


@dataclass(frozen=True)
class Strengths:
    """The strengths of the methods. NFT's rests where delta = score (u - v0) / beta: smaller is stronger."""

    nft_beta: float = 0.05
    dpo: float = 5.0  # far below the literature's 2,000, which did nothing here: errors of latents are small
    kto: float = 100.0


def drift_and_lean(v: Tensor, v0: Tensor, u: Tensor, channels: Tensor | None, dim: int) -> tuple[Tensor, Tensor]:
    """Return drift and lean of each video; `channels` are those that count, along the axis `dim`."""
    if channels is not None:
        v, v0, u = (each.index_select(dim, channels) for each in (v, v0, u))
    delta = v.float() - v0.float()
    return delta.square().flatten(1).mean(1), ((v0.float() - u.float()) * delta).flatten(1).mean(1)


def nft(drift: Tensor, lean: Tensor, scores: Tensor, beta: float) -> Tensor:
    """Return the loss of negative-aware regression: towards the liked, and as far away from the disliked.

    Of DiffusionNFT (https://arxiv.org/abs/2509.16117): p <(v0 + b delta - u)^2> + (1 - p) <(v0 - b delta - u)^2>
    with p = (1 + score) / 2, cleared of constants. Quadratic, with one minimum.
    """
    return (beta * drift + 2 * scores * lean).mean()


def dpo(drift: Tensor, lean: Tensor, sure: Tensor, strength: float) -> Tensor:
    """Return the loss over pairs, the better videos in the first half; `sure` (0.5 to 1) is the soft label of each.

    Diffusion-DPO (https://arxiv.org/abs/2311.12908) with a constant strength, as Flow-DPO has it (2501.13918).
    """
    better, worse = (drift + 2 * lean).chunk(2)
    inside = -0.5 * strength * (better - worse)
    return -(sure * functional.logsigmoid(inside) + (1 - sure) * functional.logsigmoid(-inside)).mean()


def kto(drift: Tensor, lean: Tensor, scores: Tensor, strength: float) -> Tensor:
    """Return the loss of Diffusion-KTO (https://arxiv.org/abs/2404.04465), each video weighted by its score."""
    reward = -0.5 * strength * (drift + 2 * lean)
    level = reward.mean().detach().clamp(min=0)
    lost = scores.abs() * (1 - torch.sigmoid(torch.sign(scores) * (reward - level)))
    return lost.mean() / scores.abs().mean().clamp(min=1e-6)


def sft(drift: Tensor, lean: Tensor) -> Tensor:
    """Return the change of the plain error, of videos that are all to be learned."""
    return (drift + 2 * lean).mean()


def moving_channels(latents: Tensor, dim: int) -> Tensor | None:
    """Return the channels whose latents differ between videos; None where all do.

    Some models have channels that mark positions, loud and the same in every video: their error would drown the
    others'. `latents`: (videos, ...) with the channels along `dim`. One video tells nothing.
    """
    if len(latents) < 2:
        return None
    flat = latents.float().movedim(dim, 1).flatten(2)
    between = flat.var(0).mean(1)
    over_all = flat.transpose(0, 1).flatten(1).var(1)
    moving = between > STILL * over_all.clamp(min=1e-12)
    return None if bool(moving.all()) or not bool(moving.any()) else moving.nonzero().flatten()
