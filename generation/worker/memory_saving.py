"""A model's next way to render in less memory, for a render process that has run out of it. No torch."""

from __future__ import annotations

from dataclasses import replace

from generation.models.presets import OFFLOADS
from generation.models.registry import Model
from generation.render_messages import LoadedModel


def lighter(model: Model, model_facts: LoadedModel | None) -> tuple[Model, str] | None:
    """Return the model in a way that takes less memory, and the settings for its models file; None without such a way.

    `model_facts` is None when the model could not be loaded. The pictures of one seed stay the same but where
    `vae_tiling` is new: tiles are blended at their edges.
    """
    switches: dict[str, bool] = {}
    if model_facts is not None:
        if model_facts.can.tiling and not model_facts.preset.vae_tiling:
            switches["vae_tiling"] = True
        if model_facts.can.slicing and not model_facts.preset.vae_slicing:
            switches["vae_slicing"] = True
    now = offload = (model_facts.settings.offload if model_facts is not None else model.offload) or "none"
    # "sequential" takes no less than "group" does, and not every pipeline can be offloaded.
    if (model_facts is None or (model_facts.device != "cpu" and model_facts.can.offload)) and offload in OFFLOADS[:2]:
        offload = OFFLOADS[OFFLOADS.index(offload) + 1]
    if not switches and offload == now:
        return None
    settings = [f"{name} = true" for name in switches]
    settings += [f'offload = "{offload}"'] * (offload != now)
    return replace(model, offload=offload, overrides={**model.overrides, **switches}), ", ".join(settings)
