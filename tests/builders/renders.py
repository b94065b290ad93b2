"""What a render process says of a model that it has loaded, without one."""

from __future__ import annotations

from typing import Any

from generation.models.presets import Preset
from generation.render_messages import LoadedModel, PipelineOptions, RenderSettings


def loaded_model(
    *, device: str = "cpu", preset: dict[str, Any] | None = None, can: PipelineOptions | None = None, **settings: Any
) -> LoadedModel:
    """A small model, loaded; the settings beside its preset are given by name."""
    looks = {"family": "Tiny", "width": 64, "height": 64, "frames": 9, "fps": 8, "steps": 3, "guidance": 1.0}
    return LoadedModel(
        model_id="tiny",
        revision="r",
        preset=Preset(**{**looks, **(preset or {})}),
        device=device,
        settings=RenderSettings(**{"dtype": "float32", "offload": "none", **settings}),
        can=can or PipelineOptions(),
    )
