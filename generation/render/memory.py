"""Where a pipeline's weights and pictures lie: on the GPU, half of it elsewhere, or in fewer bits. With torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from generation.models.presets import OFFLOADS, Preset
from generation.models.registry import Model


class NoPipelineError(Exception):
    """What is to be loaded is no model, or not in this way; the message is for the operator."""


# What a way to quantise needs, as a module and as something to install.
PACKAGES = {
    "torchao": ("torchao", "torchao"),
    "bitsandbytes": ("bitsandbytes", "bitsandbytes"),
    "quanto": ("optimum.quanto", "optimum-quanto"),
}


def lighter(model: Model, loaded: Mapping[str, Any] | None) -> tuple[Model, str] | None:
    """The model in a way that takes less memory, and what to set for it in the models file; None where there is none.

    `loaded` is what the render child says of itself, or None when it could not load. The pictures of one seed stay the
    same but where `vae_tiling` is new: tiles are blended at their edges.
    """
    wishes: dict[str, bool] = {}
    if loaded is not None:
        for wish, can in (("vae_tiling", "tiling"), ("vae_slicing", "slicing")):
            if loaded["can"][can] and not loaded["preset"][wish]:
                wishes[wish] = True
    now = offload = (loaded["settings"]["offload"] if loaded is not None else model.offload) or "none"
    # "sequential" takes no less than "group" does, and not every pipeline can be offloaded.
    if (loaded is None or (loaded["device"] != "cpu" and loaded["can"]["offload"])) and offload in OFFLOADS[:2]:
        offload = OFFLOADS[OFFLOADS.index(offload) + 1]
    if not wishes and offload == now:
        return None
    changed = [f"{wish} = true" for wish in wishes]
    changed += [f'offload = "{offload}"'] * (offload != now)
    return replace(model, offload=offload, overrides={**model.overrides, **wishes}), ", ".join(changed)


def place(pipeline: Any, preset: Preset, model: Model) -> tuple[str, list[str]]:
    """Puts the pipeline where it renders; the device in words, and what had no effect."""
    import torch

    said = []
    for wish, name in ((preset.vae_tiling, "tiling"), (preset.vae_slicing, "slicing")):
        if wish:
            switch = getattr(getattr(pipeline, "vae", None), f"enable_{name}", None)
            if switch is None:
                said.append(f"The decoder of {preset.family} has no {name}: vae_{name} has no effect.")
            else:
                switch()
    if not torch.cuda.is_available():
        if model.offload != "none":
            said.append(f"There is no GPU here: offload = {model.offload!r} has no effect.")
        return "cpu", said
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))  # torchrun numbers its processes
    torch.cuda.set_device(device)
    if model.offload == "model":
        pipeline.enable_model_cpu_offload()
    elif model.offload == "sequential":
        pipeline.enable_sequential_cpu_offload()
    elif model.offload == "group":
        group_offload(pipeline, device)
    else:
        pipeline.to(device)
    return str(torch.cuda.get_device_name(device)), said


def group_offload(pipeline: Any, device: Any) -> None:
    """Leaf by leaf, the next one on its way while one computes: little memory, and quicker than sequential."""
    import torch

    pipeline.enable_group_offload(
        onload_device=device,
        offload_device=torch.device("cpu"),
        offload_type="leaf_level",
        use_stream=device.type == "cuda",
    )


def quantisation(model: Model, configs: Mapping[str, Mapping[str, Any]]) -> Any:
    """The configuration with which diffusers quantises while it loads. Raises NoPipelineError with a sentence."""
    backend, _, kind = str(model.quantise).partition("-")
    module, package = PACKAGES[backend]
    if not _installed(module):
        raise NoPipelineError(
            f"Model {model.id} is to be quantised by {package}, which is not installed. Run: pip install {package}"
        )
    import torch
    from diffusers import PipelineQuantizationConfig

    if backend == "bitsandbytes" and not torch.cuda.is_available():
        raise NoPipelineError(f"bitsandbytes needs a GPU, and model {model.id} has none here; torchao-int8 needs none.")
    index = configs[""]
    parts = model.quantise_components or [
        name for name in ("transformer", "transformer_2", "unet") if _is_there(index, name)
    ]
    for name in parts:
        if not _is_there(index, name):
            raise NoPipelineError(f"Model {model.id} has no component {name!r} to quantise.")
    mapping = {name: _quantised(backend, kind, model.dtype_of(name), library=str(index[name][0])) for name in parts}
    return PipelineQuantizationConfig(quant_mapping=mapping)


def _quantised(backend: str, kind: str, dtype: str, *, library: str) -> Any:
    import diffusers
    import torch
    import transformers

    theirs = transformers if library == "transformers" else diffusers
    if backend == "bitsandbytes":
        if kind == "int8":
            return theirs.BitsAndBytesConfig(load_in_8bit=True)
        return theirs.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=getattr(torch, dtype)
        )
    if backend == "torchao":
        from torchao import quantization

        kinds = {"int8": "Int8WeightOnlyConfig", "float8": "Float8WeightOnlyConfig"}
        return theirs.TorchAoConfig(getattr(quantization, kinds[kind])())
    if theirs is transformers:
        return transformers.QuantoConfig(weights=kind)
    return diffusers.QuantoConfig(weights_dtype=kind)


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a package within a package
        return False


def _is_there(index: Mapping[str, Any], name: str) -> bool:
    value = index.get(name)
    return isinstance(value, list) and bool(value) and value[0] is not None
