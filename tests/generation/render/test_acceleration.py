"""What makes a pipeline quicker is switched on where it is offered, and noted where it is not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from generation.models.presets import Preset
from generation.models.registry import Model
from generation.render.acceleration import accelerate, cache_config

PRESET = Preset("Wan", 64, 64, 9, 8, 2, 1.0, caches=("first_block",))


class Denoiser:
    """It offers caches and attention, of which it knows one."""

    def __init__(self) -> None:
        self.settings: list[Any] = []

    def enable_cache(self, config: Any) -> None:
        self.settings.append(config)

    def set_attention_backend(self, name: str) -> None:
        if name != "native":
            raise ValueError(f"no {name}\nat all")
        self.settings.append(name)


def test_what_is_offered_is_switched_on_for_each_denoiser() -> None:
    """Without a word: there is nothing to note."""
    pipeline = SimpleNamespace(transformer=Denoiser(), transformer_2=Denoiser())
    model = Model("m", "x/y", attention="native", cache="first_block", cache_threshold=0.2)
    assert accelerate(pipeline, PRESET, model) == []
    for denoiser in (pipeline.transformer, pipeline.transformer_2):
        assert denoiser.settings[0] == "native"
        assert denoiser.settings[1].threshold == 0.2


def test_what_is_not_offered_is_noted_once() -> None:
    """The twin: the model renders all the same, and two denoisers say it in one sentence."""
    pipeline = SimpleNamespace(transformer=Denoiser(), transformer_2=Denoiser())
    assert accelerate(pipeline, PRESET, Model("m", "x/y", attention="flash", cache="taylorseer")) == [
        "attention = 'flash' has no effect here: no flash",
        "Wan does not render with the cache 'taylorseer' here; there is first_block: it has no effect.",
    ]
    assert accelerate(SimpleNamespace(unet=object()), PRESET, Model("m", "x/y", cache="first_block")) == [
        "Wan does not render with the cache 'first_block' here; there is first_block: it has no effect."
    ]


@pytest.mark.parametrize("cache", ["first_block", "taylorseer", "pyramid_attention"])
def test_each_cache_has_a_configuration(cache: Any) -> None:
    """Each of another class of diffusers."""
    pipeline = SimpleNamespace(current_timestep=1)
    kinds = {type(cache_config(name, pipeline)) for name in ("first_block", "taylorseer", "pyramid_attention")}
    assert type(cache_config(cache, pipeline)) in kinds
    assert len(kinds) == 3
