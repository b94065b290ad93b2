"""The checks on a candidate adapter before anything renders with it: the process that trained it is not trusted.

What every adapter must be is checked in generation/adapters/file.py. Here come the layers, shapes and rank that a
training makes, and the headers of the model that it is for. Numpy is needed only for the numbers themselves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from generation.adapters.file import AdapterError, check_numbers, check_pairs, metadata_of
from generation.feedback.denoisers.families import COMPONENTS, FAMILIES, targets_of
from generation.models.weights import Tensor, WeightsError, files_of_part, tensors_of
from migrations.files import sha256_file

MOST_BYTES = 2 << 30
MOST_RANK = 256
FLOATS = ("F32", "F16", "BF16")
_KEY = re.compile(r"(?P<layer>(transformer|transformer_2|unet)\.[A-Za-z0-9_.]+)\.lora_(?P<half>[AB])\.weight")
_METADATA = {"format", "lora_adapter_metadata"}

Shapes = Mapping[str, tuple[int, ...]]  # of the weights of the layers that may be adapted, by COMPONENT.LAYER


class CandidateError(Exception):
    """A candidate may not be rendered with; the message is a sentence that says why."""


def shapes_of(model_folder: Path) -> Shapes:
    """Return the weights that an adapter of this model may change. Raises CandidateError, OSError, WeightsError."""
    try:
        index = json.loads((model_folder / "model_index.json").read_text(encoding="utf-8"))
        family = FAMILIES[index["_class_name"]]
    except (ValueError, KeyError, TypeError) as error:
        raise CandidateError(f"{model_folder.name} is no model that adapters are tuned for.") from error
    shapes: dict[str, tuple[int, ...]] = {}
    for component in COMPONENTS:
        part = model_folder / component
        if not part.is_dir():
            continue
        tensors: dict[str, tuple[int, ...]] = {}
        for name in files_of_part(part):
            tensors |= {key: tensor.shape for key, tensor in tensors_of(part / name).items()}
        layers = {key.removesuffix(".weight") for key in tensors if key.endswith(".weight")}
        parts = {layer[: end.start()] for layer in layers for end in re.finditer(r"\.", layer)}
        for layer in targets_of(family, sorted(layers | parts)):
            shapes[f"{component}.{layer}"] = tensors[f"{layer}.weight"]
    return shapes


def check_candidate(path: Path, sha256: str, shapes: Shapes | None, *, numbers: bool = True) -> int:
    """Return the rank of an adapter that may be rendered with. Raises CandidateError where it may not.

    `sha256` is the hash that its training announced, `shapes` those of the model's own weights; None where the model is
    not on this machine: then all is checked but whether the layers fit. `numbers`: False leaves the numbers to others.
    """
    if path.suffix != ".safetensors" or path.is_symlink() or not path.is_file():
        raise CandidateError(f"{path.name} is no safetensors file.")
    most = MOST_BYTES
    if shapes is not None:
        most = min(most, 4096 + 4 * sum(MOST_RANK * sum(shape) + 600 for shape in shapes.values()))
    if path.stat().st_size > most:
        raise CandidateError(f"{path.name} has more than the {most} bytes that an adapter of this model may have.")
    try:
        if sha256_file(path) != sha256:
            raise CandidateError(f"{path.name} is another file than its training announced.")
        tensors, metadata = tensors_of(path), metadata_of(path)
        if strange := sorted(set(metadata) - _METADATA):
            raise CandidateError(f"{path.name} has the metadata {strange[0]!r}, which no adapter needs.")
        rank = _check_tensors(path.name, tensors, shapes)
        _check_alpha(path.name, metadata, rank)
        check_pairs(path, path.name)
        if numbers:
            check_numbers(path)
    except (WeightsError, AdapterError, OSError) as error:
        raise CandidateError(str(error)) from error
    return rank


def _check_tensors(name: str, tensors: Mapping[str, Tensor], shapes: Shapes | None) -> int:
    """Return the rank of all layers. Raises CandidateError where one is missing or strange."""
    ranks = set()
    layers: dict[str, set[str]] = {}
    for key, tensor in tensors.items():
        match = _KEY.fullmatch(key)
        if match is None or (shapes is not None and match["layer"] not in shapes):
            raise CandidateError(f"{name} changes {key[:120]!r}, which tuning leaves as it is.")
        layers.setdefault(match["layer"], set()).add(match["half"])
        first = match["half"] == "A"
        rank = tensor.shape[0 if first else -1] if len(tensor.shape) == 2 else 0
        fits = 1 <= rank <= MOST_RANK
        if shapes is not None:
            outer, inner = shapes[match["layer"]][0], shapes[match["layer"]][1]
            fits = fits and tensor.shape == ((rank, inner) if first else (outer, rank))
        if not fits:
            raise CandidateError(f"{name}: {key} has the shape {tensor.shape}, which does not fit the model's layer.")
        if tensor.kind not in FLOATS:
            raise CandidateError(f"{name}: {key} holds no floating-point numbers.")
        ranks.add(rank)
    if missing := sorted(set(shapes or ()) - set(layers)):
        raise CandidateError(f"{name} lacks {len(missing)} of {len(shapes or ())} layers, such as {missing[0]}.")
    if half := sorted(layer for layer, halves in layers.items() if halves != {"A", "B"}):
        raise CandidateError(f"{name} has one half of {half[0]}, and not the other.")
    if not ranks:
        raise CandidateError(f"{name} is empty.")
    if len(ranks) != 1:
        raise CandidateError(f"{name} has layers of the ranks {sorted(ranks)}; tuning makes them all of one.")
    return ranks.pop()


def _check_alpha(name: str, metadata: Mapping[str, str], rank: int) -> None:
    """Raise CandidateError where the header would have the adapter loaded at another strength than it was tuned at."""
    try:
        said = json.loads(metadata.get("lora_adapter_metadata", "{}"))
        kinds = {
            key.rpartition(".")[2]: value for key, value in said.items() if not key.endswith((".r", ".lora_alpha"))
        }
        strengths = [value for key, value in said.items() if key.endswith((".r", ".lora_alpha"))]
    except (ValueError, AttributeError) as error:
        raise CandidateError(f"{name} has metadata that cannot be read.") from error
    if (
        any(value != rank for value in strengths)
        or set(kinds) - {"lora_bias", "target_modules"}
        or kinds.get("lora_bias")
    ):
        raise CandidateError(f"{name} has metadata that ask for another strength or kind than tuning's adapters have.")
