"""The inventory of models for `flock models`: what is configured, which files are here, how much memory they take.

Reads configs and the headers of weights only: no torch, no network.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypedDict

from generation.models.config import is_folder
from generation.models.presets import Family, Preset, PresetValues, Repository, known_families
from generation.models.registry import Model, known_revision
from generation.models.weights import Faults, WeightsError, faults, files_of_part, tensors_of

PAGE = "https://huggingface.co/"
SEE_PAGE = "see the model's page"
BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
QUANTISED = {"int8": 1.0, "float8": 1.0, "nf4": 0.5}
DENOISERS = ("transformer", "transformer_2", "unet")


class WeightSizes(TypedDict):
    """MiB of weights as they are loaded: by component, and at most at a time on the GPU (None if unknown)."""

    parts: dict[str, int]
    at_once: int | None


class ModelDescription(TypedDict):
    """A configured model as `flock models --json` prints it. What only its files tell is None until they are here."""

    id: str
    family: str | None
    pipeline: str | None
    source: str
    revision: str | None
    embedded: bool
    here: bool
    missing: list[str]
    unusable: list[str]
    adapters: list[str]
    preset: PresetValues | None
    notes: list[str]
    weights_mib: WeightSizes | None
    license: str | None
    gated: bool
    page: str | None


def describe(model: Model) -> ModelDescription:
    """Return the description of one model, in plain JSON types."""
    folder = files_of(model)
    configs = _configs(folder)
    pipeline = model.pipeline or _text(configs.get("", {}).get("_class_name"))
    published = _published(model.source)
    family = model.family(pipeline) if pipeline else published[0] if published else None
    preset: Preset | None = None
    notes: list[str] = []
    if family is not None:
        default = family.preset_of(configs) if configs or not published else family.variant(published[1].variant)
        preset, notes = replace(default, **model.overrides).fitted()
    repository = published[1] if published else Repository(model.source)
    index = configs.get("", {})
    missing = [] if folder is None else missing_files(folder, index)
    problems = Faults([], []) if folder is None else unusable(model, folder, index)
    return {
        "id": model.id,
        "family": preset.family if preset else None,
        "pipeline": pipeline,
        "source": model.source,
        "revision": known_revision(model),
        "embedded": model.embedded,
        "here": folder is not None and not missing and not problems.errors,
        "missing": missing,
        "unusable": problems.errors,
        "adapters": [f"{entry['source']}/{entry['weight_name']}" for entry in model.adapters],
        "preset": asdict(preset) if preset else None,
        "notes": [*notes, *problems.notes],
        "weights_mib": weights_mib(on_a_gpu(model, preset), folder),
        "license": model.license or repository.license or (None if model.embedded else SEE_PAGE),
        "gated": model.gated or repository.gated,
        "page": None if model.is_in_folder else PAGE + model.source,
    }


def on_a_gpu(model: Model, preset: Preset | None) -> Model:
    """Return the model as a GPU that holds it all loads it: what it leaves open is as its family recommends."""
    dtype = model.dtype or (preset.dtype if preset else None) or "float32"
    return replace(model, dtype=dtype, offload=model.offload or "none")


def describe_family(family: Family) -> PresetValues:
    """Return a family's preset in plain JSON types, with its `pipeline` and the names of its `variants`."""
    return {
        "pipeline": family.pipeline,
        **asdict(family.preset),
        "variants": [variant.values["family"] for variant in family.variants if "family" in variant.values],
    }


def files_of(model: Model) -> Path | None:
    """Return the folder of a model's files: its own, or the one in the hub's cache; None if there is none."""
    source = Path(model.source)
    if model.is_in_folder:
        return source if source.is_dir() else None
    home = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface"))
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub").expanduser()
    folder = cache / f"models--{model.source.replace('/', '--')}" / "snapshots" / str(model.revision)
    return folder if folder.is_dir() else None


def missing_files(folder: Path, index: Mapping[str, object]) -> list[str]:
    """Return the components, or shards of their weights, that a pipeline's own index names and the folder lacks."""
    if not index:
        return ["model_index.json"]
    missing = []
    for name, place in index.items():
        if name.startswith("_") or not isinstance(place, list) or len(place) != 2 or place[0] is None:
            continue
        part = folder / name
        if not part.is_dir() or not any(part.iterdir()):
            missing.append(name)
            continue
        if not (part / "config.json").is_file() or place[0] not in {"diffusers", "transformers"}:
            continue  # a tokenizer or a scheduler: no weights
        shards = files_of_part(part)
        missing += [f"{name}/{shard}" for shard in shards if not (part / shard).is_file()]
        if not shards:
            missing.append(f"{name}/*.safetensors")
    return missing


def unusable(model: Model, folder: Path, index: Mapping[str, object]) -> Faults:
    """Return the faults of a model's weights that are here; each sentence begins with its component."""
    parts = {name: folder / name for name in index if not name.startswith("_") and (folder / name).is_dir()}
    for name, component in model.components.items():
        parts.pop(name, None)
        if is_folder(component["source"]):
            parts[name] = Path(component["source"], component["subfolder"] or "")
    by_part = {name: faults(part) for name, part in parts.items()}
    return Faults(
        [f"{name}: {sentence}" for name, part in by_part.items() for sentence in part.errors],
        [f"{name}: {sentence}" for name, part in by_part.items() for sentence in part.notes],
    )


def weights_mib(model: Model, folder: Path | None) -> WeightSizes | None:
    """Return the size of a model's weights as they are loaded; None if no weights are here."""
    if folder is None:
        return None
    parts: dict[str, int] = {}
    for part in sorted(path for path in folder.iterdir() if path.is_dir()):
        numbers = sum(parameters(part / shard) for shard in files_of_part(part) if (part / shard).is_file())
        if numbers:
            size = BYTES[model.dtype_of(part.name)]
            if model.quantise and part.name in (model.quantise_components or DENOISERS):
                size = QUANTISED[model.quantise.rpartition("-")[2]]
            parts[part.name] = math.ceil(numbers * size / (1 << 20))
    if not parts:
        return None
    at_once = {"none": sum(parts.values()), "model": max(parts.values())}
    return {"parts": parts, "at_once": at_once.get(model.offload or "none")}


def parameters(path: Path) -> int:
    """Return the number of parameters in a safetensors file, by its header alone; 0 for any other file."""
    try:
        return sum(math.prod(tensor.shape) for tensor in tensors_of(path).values())
    except (OSError, WeightsError, TypeError):
        return 0


def _configs(folder: Path | None) -> dict[str, Mapping[str, object]]:
    configs: dict[str, Mapping[str, object]] = {}
    for path in [] if folder is None else (folder / "model_index.json", *sorted(folder.glob("*/config.json"))):
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(data, dict):
            configs["" if path.parent == folder else path.parent.name] = data
    return configs


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def license_of(model: Model) -> str | None:
    """Return the licence of a model's weights; None where neither the models file nor the known families name it."""
    if model.embedded:
        return "MIT"  # as FLock itself
    published = _published(model.source)
    return model.license or (published[1].license if published else None)


def _published(source: str) -> tuple[Family, Repository] | None:
    for family in known_families().values():
        for repository in family.preset.repositories:
            if repository.id == source:
                return family, repository
    return None


def rule_of(preset: Preset) -> str:
    """Return the legal numbers of frames and sizes, in words."""
    offset = f"+{preset.frame_offset}" if preset.frame_offset else ""
    frames = f"{preset.frame_step}k{offset} frames" if preset.frame_step > 1 else "any number of frames"
    return f"{frames}, sizes in steps of {preset.size_step}"
