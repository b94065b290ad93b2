"""The adapter in training: added to every denoiser, switched off for the reference, scaled back, stored. With torch.

The adapter in training is called `default`, a copy of it that stands still `reference`. Alpha is the rank, always:
a file without metadata, as some writers make it, then means the same.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from generation.feedback.denoisers.families import Family, FamilyError, targets_of
from generation.feedback.tensor_files import read_tensors, write_tensors

Nets = Mapping[str, nn.Module]  # the denoisers by their component's name
Arrays = dict[str, NDArray[np.float32]]

TRAINED, REFERENCE = "default", "reference"
METADATA = "lora_adapter_metadata"  # of diffusers: without it an alpha that is not the rank would be lost
FILE = "pytorch_lora_weights.safetensors"  # the name that diffusers looks for


def add_adapter(nets: Nets, family: Family, rank: int, seed: int) -> list[str]:
    """Add the adapter that is trained, without effect as yet; return the names of its layers, by component.

    Raises FamilyError where other layers than the family's were adapted.
    """
    from peft import LoraConfig

    torch.manual_seed(seed)
    layers = []
    for component, net in nets.items():
        targets = targets_of(family, [name for name, _ in net.named_modules()])
        net.requires_grad_(requires_grad=False)
        for name in (TRAINED, REFERENCE):
            config = LoraConfig(
                r=rank, lora_alpha=rank, target_modules=targets, init_lora_weights="gaussian", lora_dropout=0.0
            )
            net.add_adapter(config, adapter_name=name)
        adapted = _layers_of(net)
        if adapted != targets:
            raise FamilyError(f"{len(adapted)} layers of {component} were adapted, and not its {len(targets)}.")
        layers += [f"{component}.{name}" for name in targets]
        for name, parameter in net.named_parameters():
            if "lora_" in name:
                parameter.data = parameter.data.float()  # small numbers, small steps: bf16 would lose them
    use(nets, TRAINED)
    return layers


def parameters_of(nets: Nets, adapter: str = TRAINED) -> dict[str, nn.Parameter]:
    """Return the parameters of an adapter by the keys of its file: COMPONENT.LAYER.lora_A.weight."""
    ending = f".{adapter}.weight"
    return {
        f"{component}.{name.removesuffix(ending)}.weight": parameter
        for component, net in nets.items()
        for name, parameter in net.named_parameters()
        if "lora_" in name and name.endswith(ending)
    }


def use(nets: Nets, adapter: str | None) -> None:
    """Have the denoisers predict with this adapter, or without any; only the trained one ever gets gradients."""
    for net in nets.values():
        for part in net.modules():
            if not hasattr(part, "lora_A"):
                continue
            part.enable_adapters(adapter is not None)
            if adapter is not None:
                part.set_adapter(adapter)
        for name, parameter in net.named_parameters():  # peft thaws whatever is switched on
            parameter.requires_grad_("lora_" in name and f".{TRAINED}." in name)


@contextmanager
def switched_to(nets: Nets, adapter: str | None) -> Iterator[None]:
    """Predict with another adapter or with none, without gradients; then with the trained one again."""
    use(nets, adapter)
    try:
        with torch.no_grad():
            yield
    finally:
        use(nets, TRAINED)


@contextmanager
def without_adapters(nets: Nets) -> Iterator[None]:
    """Predict without any adapter, whatever the names of those are; then with them again."""
    parts = [part for net in nets.values() for part in net.modules() if hasattr(part, "lora_A")]
    for part in parts:
        part.enable_adapters(False)  # peft's own signature
    try:
        with torch.no_grad():
            yield
    finally:
        for part in parts:
            part.enable_adapters(True)  # as above


def arrays_of(nets: Nets) -> Arrays:
    """Return the trained adapter's arrays by the keys of its file."""
    return {key: part.detach().float().cpu().numpy().copy() for key, part in parameters_of(nets).items()}


def set_arrays(nets: Nets, arrays: Mapping[str, NDArray[np.floating]], adapter: str = TRAINED) -> None:
    """Give an adapter these numbers. Raises FamilyError where names or shapes are others."""
    parameters = parameters_of(nets, adapter)
    if parameters.keys() != arrays.keys():
        raise FamilyError("The adapter has other layers than this model's.")
    for key, parameter in parameters.items():
        values = torch.from_numpy(np.array(arrays[key], np.float32))
        if values.shape != parameter.shape:
            raise FamilyError(f"The adapter's {key} has the shape {tuple(values.shape)}, not {tuple(parameter.shape)}.")
        parameter.data.copy_(values)


def scale(nets: Nets, factor: float) -> None:
    """Multiply the effect of the trained adapter."""
    for key, parameter in parameters_of(nets).items():
        if ".lora_B." in key:
            parameter.data.mul_(factor)


def scale_for(drift: float, cap: float) -> float:
    """Return the factor that brings a drift, which grows with the square of the adapter's scale, down to the cap."""
    return 1.0 if drift <= cap else math.sqrt(cap / drift)


def save_adapter(nets: Nets, path: Path, rank: int) -> str:
    """Write the trained adapter in the format of diffusers and peft; return the file's SHA-256.

    The same numbers give the same bytes.
    """
    return write_tensors(path, arrays_of(nets), metadata_of(nets, rank))


def load_adapter(path: Path, rank: int) -> Arrays:
    """Return the arrays of an adapter that this module wrote, or any of the same rank whose alpha is the rank.

    Raises FamilyError for another rank or alpha, WeightsError and OSError.
    """
    arrays, metadata = read_tensors(path)
    ranks = {array.shape[0] for key, array in arrays.items() if ".lora_A." in key}
    said = json.loads(metadata.get(METADATA, "{}"))
    alphas = {value for name, value in said.items() if name.endswith("lora_alpha")}
    if ranks != {rank} or alphas - {rank}:
        raise FamilyError(f"{path.name} has ranks {sorted(ranks)} and alphas {sorted(alphas)}, not {rank} for all.")
    return {key: np.asarray(array, np.float32) for key, array in arrays.items()}


def metadata_of(nets: Nets, rank: int) -> dict[str, str]:
    """Return the header of the adapter's file: rank, alpha and layers of each component."""
    said: dict[str, object] = {}
    for component, net in nets.items():
        layers = _layers_of(net)
        values = {"r": rank, "lora_alpha": rank, "lora_bias": False, "target_modules": layers}
        said |= {f"{component}.{name}": value for name, value in values.items()}
    return {"format": "pt", METADATA: json.dumps(said, sort_keys=True)}


def _layers_of(net: nn.Module) -> list[str]:
    """Return the names of the layers that have the trained adapter, sorted."""
    return sorted(name for name, part in net.named_modules() if hasattr(part, "lora_A") and TRAINED in part.lora_A)
