"""The checks on a candidate adapter before anything renders with it: the process that trained it is not trusted.

Numpy alone: a file is judged by its header, its numbers, and the headers of the model that it is for.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from generation.feedback.denoisers.families import COMPONENTS, FAMILIES, targets_of
from generation.feedback.tensor_files import read_tensors
from generation.models.weights import WeightsError, files_of_part, tensors_of

MOST_BYTES = 2 << 30
MOST_RANK = 256
LARGEST = 1e3  # of a number in an adapter: what is larger is no adapter that training would make
_KEY = re.compile(r"(?P<layer>[A-Za-z0-9_.]+)\.lora_(?P<half>[AB])\.weight")
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


def check_candidate(path: Path, sha256: str, shapes: Shapes) -> int:
    """Return the rank of an adapter that may be rendered with. Raises CandidateError where it may not.

    `sha256` is the hash that its training announced, `shapes` those of the model's own weights.
    """
    if path.suffix != ".safetensors" or path.is_symlink() or not path.is_file():
        raise CandidateError(f"{path.name} is no safetensors file.")
    most = min(MOST_BYTES, 4096 + 4 * sum(MOST_RANK * sum(shape) + 600 for shape in shapes.values()))
    if path.stat().st_size > most:
        raise CandidateError(f"{path.name} has more than the {most} bytes that an adapter of this model may have.")
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise CandidateError(f"{path.name} is another file than its training announced.")
    try:
        arrays, metadata = read_tensors(path)
    except (WeightsError, OSError) as error:
        raise CandidateError(str(error)) from error
    if strange := sorted(set(metadata) - _METADATA):
        raise CandidateError(f"{path.name} has the metadata {strange[0]!r}, which no adapter needs.")
    rank = _check_arrays(path.name, arrays, shapes)
    _check_alpha(path.name, metadata, rank)
    return rank


def _check_arrays(name: str, arrays: Mapping[str, np.ndarray], shapes: Shapes) -> int:
    """Return the rank of all layers. Raises CandidateError where one is missing, strange, or holds no numbers."""
    ranks = set()
    layers: dict[str, set[str]] = {}
    for key, array in arrays.items():
        match = _KEY.fullmatch(key)
        if match is None or match["layer"] not in shapes:
            raise CandidateError(f"{name} changes {key[:120]!r}, which tuning leaves as it is.")
        layers.setdefault(match["layer"], set()).add(match["half"])
        outer, inner = shapes[match["layer"]][0], shapes[match["layer"]][1]
        rank = array.shape[0 if match["half"] == "A" else -1] if array.ndim == 2 else 0
        wanted = (rank, inner) if match["half"] == "A" else (outer, rank)
        if array.shape != wanted or not 1 <= rank <= MOST_RANK:
            raise CandidateError(f"{name}: {key} has the shape {array.shape}, which does not fit the model's layer.")
        if not np.issubdtype(array.dtype, np.floating):
            raise CandidateError(f"{name}: {key} holds no floating-point numbers.")
        if not np.isfinite(array).all() or np.abs(array).max(initial=0.0) > LARGEST:
            raise CandidateError(f"{name}: {key} holds numbers that are not finite, or far too large.")
        ranks.add(rank)
    if missing := sorted(set(shapes) - set(layers)):
        raise CandidateError(f"{name} lacks {len(missing)} of {len(shapes)} layers, such as {missing[0]}.")
    if half := sorted(layer for layer, halves in layers.items() if halves != {"A", "B"}):
        raise CandidateError(f"{name} has one half of {half[0]}, and not the other.")
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
