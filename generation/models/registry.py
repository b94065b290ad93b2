"""The models that a worker can load: where each comes from, at which revision, and how it renders."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from generation.models.config import TINY, ModelError, is_folder, read_classifier, read_family_tables, read_model
from generation.models.presets import Family, family_of, read_families
from generation.models.revisions import REVISION_FILE, file_revision, folder_revision, with_parts

__all__ = [
    "REVISION_FILE",
    "TINY",
    "Model",
    "ModelError",
    "choose",
    "folder_revision",
    "full_revision",
    "known_revision",
    "load_models",
    "tiny_model",
]

MEMORY_FILE = "hashes.json"  # beside the embedded model: hashes of files that were read once

# What the embedded model's pictures are like; a models file may change any of it.
TINY_LOOKS: dict[str, Any] = {
    "width": 64,
    "height": 64,
    "frames": 17,
    "fps": 8,
    "steps": 16,
    "guidance": 3.0,
    "negative_prompt": "",  # that of its family means nothing to it
    "upscale": 6,
    "max_sequence_length": 48,
}
TINY_PLACE: dict[str, Any] = {"dtype": "float32", "offload": "none"}  # it is small, whatever its family recommends


@dataclass(frozen=True)
class Model:
    """One model. `source` is a repository id or a folder; `overrides` replace values of its family's preset."""

    id: str
    source: str
    revision: str | None = None  # pinned; required for a repository, whose contents may change under its name
    # Of all components, or of each by name, with "default" for the others. None: what its family recommends on a GPU.
    dtype: str | dict[str, str] | None = None
    offload: str | None = None  # what leaves the GPU while it is not needed: slower, in less memory. None: as dtype
    embedded: bool = False  # comes with FLock; put in place when it is first needed
    overrides: dict[str, Any] = field(default_factory=dict)
    pipeline: str | None = None  # the class to load it as, where its own index does not say
    quantise: str | None = None
    quantise_components: list[str] = field(default_factory=list)  # none: what denoises
    compile: bool = False
    cache: str | None = None
    cache_threshold: float | None = None
    attention: str | None = None  # a backend of diffusers
    adapters: list[dict[str, Any]] = field(default_factory=list)  # source, revision, weight_name, scale
    components: dict[str, dict[str, Any]] = field(default_factory=dict)  # of other sources: source, revision, subfolder
    license: str | None = None
    gated: bool = False
    families: dict[str, Any] = field(default_factory=dict)  # the operator's own, as they stand in the models file
    memory: str | None = None  # the file that remembers hashes
    classifier: dict[str, Any] | None = None  # what looks at each video: source, revision, labels, frames, device

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Raises TypeError when the data is no model."""
        return cls(**data)

    @property
    def is_local(self) -> bool:
        """Whether all of it lies in folders on this machine, or will, and so does what looks at its videos.

        Nothing is asked of any hub then.
        """
        others = [*self.adapters, *self.components.values(), *([self.classifier] if self.classifier else [])]
        return self.is_in_folder and all(is_folder(entry["source"]) for entry in others)

    @property
    def is_in_folder(self) -> bool:
        """Whether the pipeline itself is a folder on this machine, or will be."""
        return self.embedded or is_folder(self.source)

    def family(self, pipeline_class: str) -> Family:
        """The family of a pipeline, the operator's own ones first."""
        return family_of(pipeline_class, read_families(self.families, "the models file"))

    def dtype_of(self, component: str) -> str:
        """The dtype of a component; float32 where nothing is said."""
        if isinstance(self.dtype, dict):
            return self.dtype.get(component, self.dtype.get("default", "float32"))
        return self.dtype or "float32"


def tiny_model(data_dir: Path) -> Model:
    """The embedded model, made locally under the data folder."""
    return Model(TINY, str(data_dir / "models" / TINY), embedded=True, overrides=dict(TINY_LOOKS), **TINY_PLACE)


def load_models(data_dir: Path, models_file: Path | None) -> dict[str, Model]:
    """All models by id: the embedded one, and those of a TOML file with a table `[models.ID]` each.

    Raises ModelError with a sentence.
    """
    tiny = tiny_model(data_dir)
    models = {TINY: tiny}
    if models_file is None:
        return models
    try:
        data = tomllib.loads(models_file.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"The models file {models_file} cannot be read: {error}") from error
    classifier = read_classifier(data["classifier"]) if "classifier" in data else None
    tables, families = data.get("models", {} if classifier else None), data.get("families", {})
    if not isinstance(tables, dict):
        raise ModelError(f"{models_file} needs a table [models.ID] for each model.")
    read_family_tables(families, models_file.name)
    for model_id, table in tables.items():
        read = read_model(model_id, table)
        embedded = read["source"] == TINY
        if embedded:
            read |= {"source": tiny.source, "overrides": {**tiny.overrides, **read["overrides"]}}
            read |= {name: value for name, value in TINY_PLACE.items() if read[name] is None}
        memory = str(data_dir / "models" / MEMORY_FILE)
        models[model_id] = Model(model_id, embedded=embedded, families=families, memory=memory, **read)
    return {model_id: replace(model, classifier=classifier) for model_id, model in models.items()}


def choose(models: dict[str, Model], model_id: str) -> Model:
    """The model of that id. Raises ModelError that names those that there are."""
    if model_id not in models:
        raise ModelError(f"There is no model {model_id!r}; there are {', '.join(sorted(models))}.")
    return models[model_id]


def known_revision(model: Model) -> str | None:
    """The revision as far as it is known without reading weights: pinned, or written in the model's folder."""
    base = model.revision or _written(Path(model.source))
    parts = [model.adapters, model.components]
    if any(entry["revision"] is None for entry in [*model.adapters, *model.components.values()]):
        return None  # their files are hashed when they are loaded
    return with_parts(base, parts if any(parts) else None) if base else None


def full_revision(model: Model) -> str:
    """The full revision: pinned, written, or hashed over the folder; adapters and other components included.

    Reads local weights, once: `Model.memory` keeps their hashes. Raises OSError.
    """
    memory = Path(model.memory) if model.memory else None
    source = Path(model.source)
    base = model.revision or _written(source) or folder_revision(source, memory)
    adapters = [{**entry, "revision": _adapter_revision(entry)} for entry in model.adapters]
    components = {name: {**entry, "revision": _folder(entry, memory)} for name, entry in model.components.items()}
    return with_parts(base, [adapters, components] if adapters or components else None)


def _written(folder: Path) -> str | None:
    try:
        return (folder / REVISION_FILE).read_text().strip() or None
    except OSError:
        return None


def _adapter_revision(entry: Mapping[str, Any]) -> str:
    return str(entry["revision"] or file_revision(Path(entry["source"], entry["weight_name"])))


def _folder(entry: Mapping[str, Any], memory: Path | None) -> str:
    return str(entry["revision"] or folder_revision(Path(entry["source"], entry["subfolder"] or ""), memory))
