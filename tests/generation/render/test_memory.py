"""The memory of a pipeline: what a machine lacks for a setting is noted, or ends the load in words."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from generation.models.presets import Preset
from generation.models.registry import Model
from generation.render import memory
from generation.render.memory import NoPipelineError, place, quantisation

PRESET = Preset("Wan", 64, 64, 9, 8, 2, 1.0, vae_tiling=True, vae_slicing=True)
CONFIGS = {"": {"transformer": ["diffusers", "WanTransformer3DModel"], "unet": [None, None]}}
on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="says what a machine without a GPU does")


@on_cpu
def test_settings_without_effect_are_noted() -> None:
    """A decoder that can only tile tiles; offloading needs a GPU."""
    tiles: list[bool] = []
    pipeline = SimpleNamespace(vae=SimpleNamespace(enable_tiling=lambda: tiles.append(True)))
    assert place(pipeline, PRESET, Model("m", "x/y", offload="model")) == (
        "cpu",
        [
            "The decoder of Wan has no slicing: vae_slicing has no effect.",
            "There is no GPU here: offload = 'model' has no effect.",
        ],
    )
    assert tiles == [True]


def test_what_cannot_be_quantised_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is missing, with the command that installs it; a component that is not there."""
    monkeypatch.setattr(memory, "_installed", lambda _module: False)
    with pytest.raises(NoPipelineError, match=r"is not installed\. Run: pip install optimum-quanto"):
        quantisation(Model("m", "x/y", quantise="quanto-int8"), CONFIGS)
    monkeypatch.setattr(memory, "_installed", lambda _module: True)
    with pytest.raises(NoPipelineError, match="has no component 'unet' to quantise"):
        quantisation(Model("m", "x/y", quantise="torchao-int8", quantise_components=["unet"]), CONFIGS)


@on_cpu
def test_bitsandbytes_needs_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_installed", lambda _module: True)
    with pytest.raises(NoPipelineError, match="bitsandbytes needs a GPU"):
        quantisation(Model("m", "x/y", quantise="bitsandbytes-int8"), CONFIGS)
