"""The families that can be tuned: which layers get an adapter, and how their latents lie. No torch here.

What else a family does in its own way (embeddings, masks, guidance as an input, time that runs backwards) is not
written here: `recording` asks the pipeline itself, once a prompt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

# Where the channels are in latents, as the denoiser takes them; the other axes are time, height and width.
CHANNELS = {"packed": 2, "cfhw": 1, "fchw": 2, "fhwc": 4}
COMPONENTS = ("transformer", "transformer_2", "unet")  # denoisers; Wan 2.2 has one for high and one for low noise

_ATTENTION = r"to_q|to_k|to_v|to_out\.0"
_JOINT = rf"{_ATTENTION}|add_q_proj|add_k_proj|add_v_proj|to_add_out"
_FEED_FORWARD = r"net\.0\.proj|net\.2"


class FamilyError(Exception):
    """A pipeline cannot be tuned here; the message is a sentence that says why."""


@dataclass(frozen=True)
class Blocks:
    """The blocks of a denoiser, and their layers that get an adapter.

    `prefix` is the pattern of a block's whole name, `layers` that of a layer's name inside it. The patterns are
    anchored at both ends, since plain names such as to_q also hit text refiners and time embedders.
    """

    prefix: str
    layers: str
    count: int  # of layers in each block
    last: int | None = None  # of layers in the last block, where that has fewer


@dataclass(frozen=True)
class Family:
    """The layers of a family that are tuned, and what its pipeline must be asked for."""

    blocks: tuple[Blocks, ...]
    layout: str = "cfhw"  # of CHANNELS
    prediction: str = "flow"  # of the released models; the scheduler's own word decides
    # Arguments of a call without guidance, beside guidance_scale 1: what is learned is the denoiser's own prediction.
    unguided: Mapping[str, object] = field(default_factory=dict)
    evolving: bool = False  # other inputs than latents change from step to step, so that steps must be rendered
    notes: str = ""


_WAN = Blocks(r"blocks\.\d+", rf"attn[12]\.({_ATTENTION})|ffn\.({_FEED_FORWARD})", 10)
_PLAIN = Blocks(r"transformer_blocks\.\d+", rf"attn[12]\.({_ATTENTION})|ff\.({_FEED_FORWARD})", 10)
_UNET = Blocks(
    r"(down_blocks\.\d+|mid_block|up_blocks\.\d+|transformer_in)\.(.+\.)?transformer_blocks\.\d+", _PLAIN.layers, 10
)

FAMILIES: dict[str, Family] = {
    "WanPipeline": Family((_WAN,)),
    "SkyReelsV2Pipeline": Family((_WAN,)),
    "SkyReelsV2DiffusionForcingPipeline": Family((_WAN,)),
    "AnyFlowPipeline": Family(
        (_WAN,), layout="fchw", notes="It jumps between two noise levels, and is tuned as if the way were straight."
    ),
    "HeliosPipeline": Family((_WAN,), notes="It is tuned on the first part of each video alone."),
    "LTXPipeline": Family((_PLAIN,), layout="packed"),
    "LTX2Pipeline": Family(
        (_PLAIN,),
        layout="packed",
        unguided={
            **dict.fromkeys(("stg_scale", "audio_stg_scale"), 0.0),
            **dict.fromkeys(("modality_scale", "audio_guidance_scale", "audio_modality_scale"), 1.0),
        },
        evolving=True,
        notes="Its sound is left as it is.",
    ),
    "CogVideoXPipeline": Family(  # text and picture in one sequence: no second attention
        (Blocks(r"transformer_blocks\.\d+", rf"attn1\.({_ATTENTION})|ff\.({_FEED_FORWARD})", 6),),
        layout="fchw",
        prediction="v_prediction",
    ),
    "HunyuanVideoPipeline": Family(
        (
            Blocks(r"transformer_blocks\.\d+", rf"attn\.({_JOINT})|ff(_context)?\.({_FEED_FORWARD})", 12),
            Blocks(r"single_transformer_blocks\.\d+", r"attn\.(to_q|to_k|to_v)|proj_mlp|proj_out", 5),
        )
    ),
    "MochiPipeline": Family(  # the last block leaves the text as it is
        (Blocks(r"transformer_blocks\.\d+", rf"attn1\.({_JOINT})|ff(_context)?\.({_FEED_FORWARD})", 12, 9),)
    ),
    "Kandinsky5T2VPipeline": Family(
        (
            Blocks(
                r"visual_transformer_blocks\.\d+",
                r"(self|cross)_attention\.(to_query|to_key|to_value|out_layer)|feed_forward\.(in|out)_layer",
                10,
            ),
        ),
        layout="fhwc",
    ),
    "SanaVideoPipeline": Family(  # its feed-forward is made of convolutions
        (Blocks(r"transformer_blocks\.\d+", rf"attn[12]\.({_ATTENTION})", 8),)
    ),
    "AnimateDiffPipeline": Family((_UNET,), prediction="epsilon"),
    "AnimateDiffSDXLPipeline": Family((_UNET,), prediction="epsilon"),
}


def family_of(pipeline_class: str) -> Family:
    """Return the family of a pipeline's class. Raises FamilyError where none is known."""
    try:
        return FAMILIES[pipeline_class]
    except KeyError:
        raise FamilyError(
            f"{pipeline_class} cannot be tuned here: it takes no adapters, or no test has shown that they fit. "
            f"Those that can are {', '.join(sorted(FAMILIES))}."
        ) from None


def targets_of(family: Family, names: Iterable[str]) -> list[str]:
    """Return the layers that get an adapter, sorted, of a denoiser whose modules have these names.

    Raises FamilyError where there are more or fewer than the family's blocks have: another version of the class
    would else be tuned in part, without a word.
    """
    names = list(names)
    targets: list[str] = []
    expected = 0
    for blocks in family.blocks:
        count = sum(re.fullmatch(blocks.prefix, name) is not None for name in names)
        expected += count * blocks.count - (blocks.count - blocks.last if blocks.last is not None and count else 0)
        pattern = re.compile(rf"{blocks.prefix}\.({blocks.layers})")
        targets += [name for name in names if pattern.fullmatch(name)]
    if not targets or len(targets) != expected:
        raise FamilyError(
            f"{len(targets)} layers of the denoiser can be tuned, and not the {expected} that its blocks should have: "
            "its class is another version than the one that FLock knows. Take the versions in requirements.lock."
        )
    return sorted(targets)


def blocks_of(family: Family, names: Iterable[str]) -> list[str]:
    """Return the names of the blocks of the family's first kind, in their order in the denoiser."""
    return [name for name in names if re.fullmatch(family.blocks[0].prefix, name)]
