"""What denoises in published models, at full size, and the inputs of one step at their usual frames and pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

Latents = tuple[int, int, int]  # frames, height, width
Inputs = Callable[[Latents, Mapping[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Architecture:
    """A denoiser's class, what of its config differs from the class's own, and its inputs."""

    name: str
    kind: str
    inputs_of: Inputs
    latents: Latents
    config: dict[str, Any] = field(default_factory=dict)
    smaller: dict[str, Any] = field(default_factory=dict)  # for `small`
    patch: Latents = (1, 2, 2)

    @property
    def tokens(self) -> int:
        """How many the attention of one step looks at, without those of the prompt."""
        whole = 1
        for size, step in zip(self.latents, self.patch, strict=True):
            whole *= size // step
        return whole

    def build(self) -> Any:
        """With random weights, on the default device and in the default dtype."""
        import diffusers

        return getattr(diffusers, self.kind)(**self.config)

    def inputs(self) -> dict[str, Any]:
        """One video's step: noise, a time, a prompt of the usual length."""
        return self.inputs_of(self.latents, self.config)

    def small(self) -> Architecture:
        """Two layers and a few tokens."""
        return replace(self, config={**self.config, **self.smaller}, latents=(2, 4, 4))


def _noise(*shape: int) -> Any:
    import torch

    return torch.randn(*shape)


def _time() -> Any:
    import torch

    return torch.tensor([500])


def _ones(length: int) -> Any:
    import torch

    return torch.ones(1, length, dtype=torch.long)


def _wan(latents: Latents, config: Mapping[str, Any]) -> dict[str, Any]:
    text = _noise(1, 512, config.get("text_dim", 4096))
    return {"hidden_states": _noise(1, 16, *latents), "timestep": _time(), "encoder_hidden_states": text}


def _ltx(latents: Latents, config: Mapping[str, Any]) -> dict[str, Any]:
    frames, height, width = latents
    return {
        "hidden_states": _noise(1, frames * height * width, 128),
        "encoder_hidden_states": _noise(1, 128, config.get("caption_channels", 4096)),
        "timestep": _time(),
        "encoder_attention_mask": _ones(128),
        "num_frames": frames,
        "height": height,
        "width": width,
    }


def _cogvideox(latents: Latents, config: Mapping[str, Any]) -> dict[str, Any]:
    frames, height, width = latents
    text = _noise(1, 226, config.get("text_embed_dim", 4096))
    return {"hidden_states": _noise(1, frames, 16, height, width), "encoder_hidden_states": text, "timestep": _time()}


def _mochi(latents: Latents, config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "hidden_states": _noise(1, 12, *latents),
        "encoder_hidden_states": _noise(1, 256, config.get("text_embed_dim", 4096)),
        "timestep": _time(),
        "encoder_attention_mask": _ones(256).bool(),
    }


def _hunyuan15(latents: Latents, config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "hidden_states": _noise(1, config.get("in_channels", 65), *latents),
        "timestep": _time().float(),
        "encoder_hidden_states": _noise(1, 256, config.get("text_embed_dim", 3584)),
        "encoder_attention_mask": _ones(256),
        "encoder_hidden_states_2": _noise(1, 64, config.get("text_embed_2_dim", 1472)),
        "encoder_attention_mask_2": _ones(64),
        "image_embeds": 0 * _noise(1, 729, config.get("image_embed_dim", 1152)),
    }


WAN_SMALL = {"num_layers": 2, "num_attention_heads": 2, "ffn_dim": 64, "text_dim": 32}

ARCHITECTURES = (
    Architecture(
        "Wan 2.1 1.3B",
        "WanTransformer3DModel",
        _wan,
        (21, 60, 104),
        {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30},
        WAN_SMALL,
    ),
    Architecture("Wan 2.1 14B", "WanTransformer3DModel", _wan, (21, 60, 104), {}, WAN_SMALL),
    Architecture(
        "LTX-Video 2B",
        "LTXVideoTransformer3DModel",
        _ltx,
        (21, 15, 22),
        {},
        {"num_layers": 2, "num_attention_heads": 2, "cross_attention_dim": 128, "caption_channels": 32},
        (1, 1, 1),
    ),
    Architecture(
        "CogVideoX 2B",
        "CogVideoXTransformer3DModel",
        _cogvideox,
        (13, 60, 90),
        {},
        {"num_layers": 2, "num_attention_heads": 2, "text_embed_dim": 32},
    ),
    Architecture(
        "Mochi 10B",
        "MochiTransformer3DModel",
        _mochi,
        (15, 60, 106),
        {},
        {"num_layers": 2, "num_attention_heads": 2, "pooled_projection_dim": 64, "text_embed_dim": 32},
    ),
    Architecture(
        "HunyuanVideo 1.5",
        "HunyuanVideo15Transformer3DModel",
        _hunyuan15,
        (31, 30, 53),
        {"task_type": "t2v"},
        {"num_layers": 2, "num_attention_heads": 2, "num_refiner_layers": 1, "text_embed_dim": 32},
        (1, 1, 1),
    ),
)
