"""The autoencoder: principal components of the world's pictures, written into the weights of AutoencoderKLLTXVideo.

The encoder needs no learning: a latent of 72 numbers for a block of 24x24 pixels and 4 frames is a projection on three
levels of components (6x6 pixels of a frame; 2x2x2 of these; 2x2x2 of those again). That is exact to compute and takes
seconds.

The way back by the transpose alone is blurred, and shows the borders of the blocks. So the decoder begins there, with
residual blocks that do nothing yet, and `decoder.py` trains it: its convolutions see the neighbours of each block.

The class has a norm and a SiLU before its last convolution. At first they do no harm: one channel holds a constant far
greater than all others, so the norm divides by a constant, and silu(x) is nearly x / 2. The loudest components are
there twice, with both signs: silu(x) - silu(-x) is x.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

if TYPE_CHECKING:
    from diffusers import AutoencoderKLLTXVideo

PATCH = 6
BLOCK = 4 * PATCH  # pixels of a latent, both ways
FINE, MIDDLE, COARSE = 40, 80, 72  # components kept on each level
# A denoiser of this family knows of positions only their distances. So a latent carries its own, in channels that the
# decoder ignores, loud enough to be read through much noise.
PLACES, LOUD = 8, 12.0
LATENTS = COARSE + PLACES
# Channels. Of the decoder: on the way, and of the last level, which holds the fine components and the constant.
MIRRORED = 3  # fine components that the last level holds with both signs: the colour of a whole patch
ENCODER, DECODER, LAST = LATENTS + 2, 88, FINE + 1 + MIRRORED
RESIDUAL = (2, 1, 0)  # blocks of two convolutions on each level of the decoder, the finest first
CONSTANT, ENCODER_CONSTANT = 300.0, 60_000.0
# The patch's channels are (colour, column, row) in the class, (colour, row, column) here.
ORDER = torch.arange(3 * PATCH * PATCH).reshape(3, PATCH, PATCH).transpose(1, 2).reshape(-1)
CLIPS = 250  # from which the components are computed


def build_vae() -> AutoencoderKLLTXVideo:
    """Return the autoencoder with all weights zero, but for the residual blocks' first convolutions."""
    from diffusers import AutoencoderKLLTXVideo

    vae = AutoencoderKLLTXVideo(
        latent_channels=LATENTS,
        block_out_channels=(ENCODER, ENCODER),
        down_block_types=("LTXVideoDownBlock3D", "LTXVideoDownBlock3D"),
        decoder_block_out_channels=(DECODER, DECODER),
        layers_per_block=(0, 0, 0),
        decoder_layers_per_block=RESIDUAL,
        spatio_temporal_scaling=(True, True),
        decoder_spatio_temporal_scaling=(True, True),
        decoder_inject_noise=(False, False, False),
        downsample_type=("conv", "conv"),
        upsample_residual=(False, False),
        upsample_factor=(DECODER // LAST, 1),
        patch_size=PATCH,
        decoder_causal=False,
    )
    for name, parameter in vae.named_parameters():
        if ".conv1." not in name:
            parameter.data.zero_()
    return vae.eval().requires_grad_(requires_grad=False)


def to_tensor(clips: NDArray[np.uint8]) -> Tensor:
    """Convert (batch, frames, height, width, 3) bytes to (batch, 3, frames, height, width) from -1 to 1."""
    return torch.from_numpy(np.ascontiguousarray(clips)).permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def to_frames(videos: Tensor) -> NDArray[np.uint8]:
    """Convert a tensor of `to_tensor` back."""
    frames: NDArray[np.uint8] = ((videos.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 4, 1).numpy()
    return frames


def _blocks(x: Tensor, time: int, space: int) -> Tensor:
    """Gather neighbours into channels, (channel, time, row, column): (batch, f, h, w, channels)."""
    b, c, f, h, w = x.shape
    x = x.reshape(b, c, f // time, time, h // space, space, w // space, space)
    return x.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(b, f // time, h // space, w // space, -1)


def _channels_first(x: Tensor) -> Tensor:
    """Move the channels to where convolutions expect them."""
    return x.permute(0, 4, 1, 2, 3)


def _padded(clips: Tensor) -> Tensor:
    """Repeat the first frame: it has a latent of its own, and stands for four."""
    return torch.cat([clips[:, :, :1]] * 3 + [clips], 2)


def _spread(weight: Tensor, times: int) -> Tensor:
    """Repeat each block's weight for all of its parts."""
    for way in (1, 2, 3):
        weight = weight.repeat_interleave(times, way)
    return weight


def _components(rows: Tensor, count: int) -> Tensor:
    """Return the directions along which the rows are longest: (count, width), orthogonal."""
    _, vectors = torch.linalg.eigh((rows.T @ rows).double())
    components = vectors.flip(1)[:, :count].T
    # Their sign is arbitrary: the largest element is made positive, so that every machine chooses the same.
    largest = components.gather(1, components.abs().argmax(1, keepdim=True))
    return (components * largest.sign()).float()


class Components:
    """The three levels of components, from clips of the world."""

    def __init__(self, clips: Tensor) -> None:
        """Compute them from `clips`: (batch, 3, frames, height, width)."""
        # Most blocks are plain background: those that show an edge count ten times.
        busy = _blocks(_padded(clips), 4, BLOCK).std(-1) > 0.08
        weight = torch.where(busy, 1.0, 0.1)[..., None]
        patches = _blocks(_padded(clips), 1, PATCH)
        self.fine = _components((patches * _spread(weight, 4)).flatten(0, 3), FINE)
        pairs = _blocks(_channels_first(patches @ self.fine.T), 2, 2)
        self.middle = _components((pairs * _spread(weight, 2)).flatten(0, 3), MIDDLE)
        blocks = _blocks(_channels_first(pairs @ self.middle.T), 2, 2)
        self.coarse = _components((blocks * weight).flatten(0, 3), COARSE)
        latents = blocks @ self.coarse.T
        self.mean = latents.flatten(0, 3).mean(0)
        spread = latents.flatten(0, 3).std(0)
        # Halfway to a common scale: fine detail is neither lost in noise, nor as loud as whole areas.
        self.std = spread.sqrt() * (spread / spread.sqrt()).square().mean().sqrt()

    def encode(self, clips: Tensor) -> Tensor:
        """Return the same as `encode` below, much quicker: (batch, LATENTS, f, h, w)."""
        latents = self.levels(clips)[2] @ self.coarse.T
        return with_places(_channels_first((latents - self.mean) / self.std))

    def levels(self, clips: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what each level's components are of, as the decoder's steps should draw it again.

        Patches of 3 * PATCH * PATCH pixels, pairs of patches' components, blocks of pairs' components: each
        (batch, f, h, w, channels), in the order of `_blocks`.
        """
        patches = _blocks(_padded(clips), 1, PATCH)
        pairs = _blocks(_channels_first(patches @ self.fine.T), 2, 2)
        return patches, pairs, _blocks(_channels_first(pairs @ self.middle.T), 2, 2)


def with_places(latents: Tensor) -> Tensor:
    """Add the positions: (batch, COARSE, f, h, w) to (batch, LATENTS, f, h, w)."""
    times, rows, columns = torch.meshgrid(*(torch.linspace(-1, 1, count) for count in latents.shape[2:]), indexing="ij")
    first = torch.where(times == -1, 1.0, -0.25)
    places = LOUD * torch.stack([times, times, first, rows, rows, columns, columns, rows * columns])
    return torch.cat([latents, places.expand(len(latents), -1, -1, -1, -1)], 1)


def write_weights(vae: AutoencoderKLLTXVideo, parts: Components) -> None:
    """Write the components into the autoencoder."""
    encoder, decoder = vae.encoder, vae.decoder
    _tap(encoder.conv_in)[:FINE] = parts.fine[:, ORDER]
    for down, basis, channels in ((0, parts.middle, FINE), (1, parts.coarse, MIDDLE)):
        weight = encoder.down_blocks[down].downsamplers[0].conv.weight.data
        # Of the three taps the last two in each direction: the pair of frames, rows and columns that becomes one.
        weight[: len(basis), :channels, 1:, 1:, 1:] = basis.reshape(len(basis), channels, 2, 2, 2)
    encoder.down_blocks[1].downsamplers[0].conv.bias.data[LATENTS] = ENCODER_CONSTANT
    _tap(encoder.conv_out)[:COARSE, :COARSE] = 2 * ENCODER_CONSTANT / math.sqrt(ENCODER) * torch.eye(COARSE)
    encoder.conv_out.conv.bias.data[LATENTS] = -20.0  # log of the variance: next to none

    _tap(decoder.conv_in, 1)[:COARSE, :COARSE] = torch.eye(COARSE)
    decoder.up_blocks[1].resnets[-1].conv2.conv.bias.data[FINE] = CONSTANT
    write_steps(vae, first_steps(parts))
    vae.latents_mean[:COARSE] = parts.mean
    vae.latents_std.fill_(1.0)[:COARSE] = parts.std


Step = tuple[Tensor, Tensor]  # kernel (out, in, 3, 3, 3) and bias of a convolution


def first_steps(parts: Components) -> list[Step]:
    """Return the transpose of the encoder's steps, as `write_steps` takes them."""
    matrices = parts.coarse.T, parts.middle.T, parts.fine[:, ORDER].T
    return [(_at_its_place(matrix), torch.zeros(len(matrix))) for matrix in matrices]


def write_steps(vae: AutoencoderKLLTXVideo, steps: Sequence[Step]) -> None:
    """Write the decoder's three linear steps: blocks from latents, pairs from blocks' parts, patches from pairs' parts.

    A patch's pixels are (colour, column, row), as the class has them.
    """
    (blocks, pairs, patches), decoder = steps, vae.decoder
    _write(decoder.up_blocks[0].upsamplers[0].conv, (8 * MIDDLE, COARSE), blocks)
    # Each component of `pairs` has eight rows, one for each part; then comes the constant, which a later bias adds.
    kernel, bias = (torch.cat([rows, torch.zeros_like(rows[:8]), -rows[: 8 * MIRRORED]]) for rows in pairs)
    _write(decoder.up_blocks[1].upsamplers[0].conv, (8 * LAST, MIDDLE), (kernel, bias))
    kernel, bias = patches
    kernel = 2 * CONSTANT / math.sqrt(LAST) * kernel
    kernel[:, :MIRRORED] /= 2
    kernel = torch.cat([kernel, kernel.new_zeros(len(kernel), 1, 3, 3, 3), -kernel[:, :MIRRORED]], 1)
    _write(decoder.conv_out, (len(bias), LAST), (kernel, bias))


def _write(convolution: nn.Module, size: tuple[int, int], step: Step) -> None:
    outputs, inputs = size
    convolution.conv.weight.data[:outputs, :inputs], convolution.conv.bias.data[:outputs] = step


def _at_its_place(matrix: Tensor) -> Tensor:
    """Return the kernel that multiplies each place by `matrix` (out, in), and sees no neighbour."""
    kernel = matrix.new_zeros(*matrix.shape, 3, 3, 3)
    kernel[:, :, 1, 1, 1] = matrix
    return kernel


def _tap(convolution: nn.Module, time: int = 2) -> Tensor:
    """Return the weight for the frame and pixel itself: (out, in). A causal convolution has it last in time."""
    weight: Tensor = convolution.conv.weight.data
    return weight[:, :, time, 1, 1]


def encode(vae: AutoencoderKLLTXVideo, clips: Tensor) -> Tensor:
    """Return latents as the denoiser gets them: (batch, LATENTS, f, h, w)."""
    latents: Tensor = vae.encode(clips).latent_dist.mode()
    latents = (latents - vae.latents_mean[:, None, None, None]) / vae.latents_std[:, None, None, None]
    return with_places(latents[:, :COARSE])


def decode(vae: AutoencoderKLLTXVideo, latents: Tensor) -> Tensor:
    """Return clips of latents as the denoiser leaves them: (batch, 3, frames, height, width)."""
    whole = latents * vae.latents_std[:, None, None, None] + vae.latents_mean[:, None, None, None]
    clips: Tensor = vae.decode(whole).sample
    return clips
