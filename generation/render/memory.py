"""The memory of a pipeline's weights and pictures: on the GPU, partly elsewhere, or in fewer bits. With torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from generation.models.presets import Preset
from generation.models.registry import Model

if TYPE_CHECKING:
    import torch
    from diffusers import DiffusionPipeline, PipelineQuantizationConfig
    from diffusers.quantizers.quantization_config import QuantizationConfigMixin

Configs = Mapping[str, Mapping[str, object]]  # model_index.json under "", then each component's config.json by its name


class NoPipelineError(Exception):
    """The model cannot be loaded, or not in this way; str() is a sentence for the operator."""


# The needs of each way to quantise: a module, and the package to install for it.
PACKAGES = {
    "torchao": ("torchao", "torchao"),
    "bitsandbytes": ("bitsandbytes", "bitsandbytes"),
    "quanto": ("optimum.quanto", "optimum-quanto"),
}


def place(pipeline: DiffusionPipeline, preset: Preset, model: Model) -> tuple[str, list[str]]:
    """Put the pipeline where it renders; return the device in words, and a sentence for each setting without effect."""
    import torch

    notes = []
    for is_set, name in ((preset.vae_tiling, "tiling"), (preset.vae_slicing, "slicing")):
        if is_set:
            switch = getattr(getattr(pipeline, "vae", None), f"enable_{name}", None)
            if switch is None:
                notes.append(f"The decoder of {preset.family} has no {name}: vae_{name} has no effect.")
            else:
                switch()
    if not torch.cuda.is_available():
        if model.offload != "none":
            notes.append(f"There is no GPU here: offload = {model.offload!r} has no effect.")
        return "cpu", notes
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
    return str(torch.cuda.get_device_name(device)), notes


def group_offload(pipeline: DiffusionPipeline, device: torch.device) -> None:
    """Offload leaf by leaf, the next one on its way while one computes: little memory, and quicker than sequential."""
    import torch

    pipeline.enable_group_offload(
        onload_device=device,
        offload_device=torch.device("cpu"),
        offload_type="leaf_level",
        use_stream=device.type == "cuda",
    )


def quantisation(model: Model, configs: Configs) -> PipelineQuantizationConfig:
    """Return the configuration with which diffusers quantises while it loads. Raises NoPipelineError."""
    backend, _, bits = str(model.quantise).partition("-")
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

    def library_of(name: str) -> str:
        entry = index[name]
        return str(entry[0]) if isinstance(entry, list) else ""

    mapping = {
        name: _config_of_component(backend, bits, model.dtype_of(name), library=library_of(name)) for name in parts
    }
    return PipelineQuantizationConfig(quant_mapping=mapping)


def _config_of_component(backend: str, bits: str, dtype: str, *, library: str) -> QuantizationConfigMixin:
    """Return the configuration in the library that loads the component."""
    import diffusers
    import torch
    import transformers

    configs = transformers if library == "transformers" else diffusers
    if backend == "bitsandbytes":
        if bits == "int8":
            return configs.BitsAndBytesConfig(load_in_8bit=True)
        return configs.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=getattr(torch, dtype)
        )
    if backend == "torchao":
        from torchao import quantization

        classes = {"int8": "Int8WeightOnlyConfig", "float8": "Float8WeightOnlyConfig"}
        return configs.TorchAoConfig(getattr(quantization, classes[bits])())
    if configs is transformers:
        return transformers.QuantoConfig(weights=bits)
    return diffusers.QuantoConfig(weights_dtype=bits)


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a package within a package
        return False


def _is_there(index: Mapping[str, object], name: str) -> bool:
    value = index.get(name)
    return isinstance(value, list) and bool(value) and value[0] is not None
