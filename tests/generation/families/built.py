"""All families that there are builders for, and where their pipelines are kept once they are built."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.generation.families import magvit, others, unets, wanlike

# Name of a family as its preset says it -> what builds its pipeline.
FAMILIES: dict[str, Callable[[], Any]] = {
    "Wan": wanlike.wan,
    "Wan 2.2": wanlike.wan22,
    "Wan 2.2 TI2V": wanlike.wan22_ti2v,
    "LTX-Video": others.ltx,
    "LTX-2": others.ltx2,
    "CogVideoX": others.cogvideox,
    "CogVideoX 1.5": others.cogvideox15,
    "HunyuanVideo": others.hunyuan,
    "HunyuanVideo 1.5": others.hunyuan15,
    "Mochi": others.mochi,
    "AnimateDiff": unets.animatediff,
    "AnimateDiff SDXL": unets.animatediff_sdxl,
    "Kandinsky 5": others.kandinsky,
    "SANA-Video": wanlike.sana,
    "SkyReels-V2": wanlike.skyreels,
    "SkyReels-V2 DF": wanlike.skyreels_forcing,
    "AnyFlow": wanlike.anyflow,
    "Helios": wanlike.helios,
    "Allegro": others.allegro,
    "Motif-Video": wanlike.motif,
    "Latte": unets.latte,
    "EasyAnimate": magvit.easyanimate,
    "ModelScope": unets.modelscope,
}


def build(name: str, folder: Path) -> Path:
    """The family's pipeline, saved under the folder; the same weights each time."""
    import torch
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    target = folder / name.replace(" ", "-")
    if not target.exists():
        torch.manual_seed(0)
        pipeline = FAMILIES[name]()
        for part in pipeline.components.values():
            if isinstance(part, torch.nn.Module):
                part.eval()
        pipeline.save_pretrained(target, safe_serialization=True)
    return target
