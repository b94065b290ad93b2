"""The models that a worker can load: their sources, revisions and settings. No torch."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from generation.models.config import (
    TINY,
    Adapter,
    ClassifierSettings,
    Component,
    ModelError,
    is_folder,
    read_classifier,
    read_family_tables,
    read_model,
)
from generation.models.presets import Family, PresetValues, family_of, read_families
from generation.models.revisions import REVISION_FILE, folder_revision, with_parts
from migrations.files import sha256_file

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

# The embedded model's own values of its preset; a models file may change any of them.
TINY_LOOKS: PresetValues = {
    "width": 96,
    "height": 96,
    "frames": 17,
    "fps": 8,
    "steps": 14,
    "guidance": 3.5,
    "negative_prompt": "",  # it would not understand its family's
    "upscale": 4,
    "max_sequence_length": 48,
}


@dataclass(frozen=True)
class Model:
    """One model. `source` is a repository id or a folder; `overrides` replace values of its family's preset."""

    id: str
    source: str
    revision: str | None = None  # pinned; required for a repository, whose contents may change under its name
    # Of all components, or of each by name, with "default" for the others. None: the family's recommendation on a GPU.
    dtype: str | dict[str, str] | None = None
    offload: str | None = None  # of OFFLOADS: moves idle weights off the GPU, slower in less memory. None: as dtype
    embedded: bool = False  # comes with FLock; copied to its folder when it is first needed
    overrides: PresetValues = field(default_factory=dict)
    pipeline: str | None = None  # the class to load it as, if its own index does not name one
    quantise: str | None = None
    quantise_components: list[str] = field(default_factory=list)  # none: the denoisers
    compile: bool = False
    cache: str | None = None
    cache_threshold: float | None = None
    attention: str | None = None  # a backend of diffusers
    adapters: list[Adapter] = field(default_factory=list)
    components: dict[str, Component] = field(default_factory=dict)  # those of other sources, by name
    license: str | None = None
    gated: bool = False
    families: dict[str, object] = field(default_factory=dict)  # the operator's own, as they stand in the models file
    memory: str | None = None  # the file that remembers hashes
    classifier: ClassifierSettings | None = None  # looks at each video

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Return the model of `dataclasses.asdict`. Raises TypeError when the data is no model."""
        return cls(**data)

    @property
    def is_local(self) -> bool:
        """True if all of it lies in folders on this machine, or will, and so does its classifier.

        Nothing is asked of any hub then.
        """
        sources = [entry["source"] for entry in (*self.adapters, *self.components.values())]
        if self.classifier:
            sources.append(self.classifier["source"])
        return self.is_in_folder and all(is_folder(source) for source in sources)

    @property
    def is_in_folder(self) -> bool:
        """True if the pipeline itself is a folder on this machine, or will be."""
        return self.embedded or is_folder(self.source)

    def family(self, pipeline_class: str) -> Family:
        """Return the family of a pipeline, the operator's own ones first."""
        return family_of(pipeline_class, read_families(self.families, "the models file"))

    def dtype_of(self, component: str) -> str:
        """Return the dtype of a component; float32 where none is set."""
        if isinstance(self.dtype, dict):
            return self.dtype.get(component, self.dtype.get("default", "float32"))
        return self.dtype or "float32"


def tiny_model(data_dir: Path) -> Model:
    """Return the embedded model, which is made locally under the data folder."""
    source = str(data_dir / "models" / TINY)
    # It is small, so it needs no half precision and no offloading, whatever its family recommends.
    return Model(TINY, source, embedded=True, overrides=dict(TINY_LOOKS), dtype="float32", offload="none")


def load_models(data_dir: Path, models_file: Path | None) -> dict[str, Model]:
    """Return all models by id: the embedded one, and those of a TOML file with a table `[models.ID]` each.

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
    memory = str(data_dir / "models" / MEMORY_FILE)
    for model_id, table in tables.items():
        settings = read_model(model_id, table)
        embedded = settings.source == TINY
        if embedded:
            settings = replace(
                settings,
                source=tiny.source,
                overrides={**tiny.overrides, **settings.overrides},
                dtype=tiny.dtype if settings.dtype is None else settings.dtype,
                offload=settings.offload or tiny.offload,
            )
        models[model_id] = Model(model_id, embedded=embedded, families=families, memory=memory, **vars(settings))
    return {model_id: replace(model, classifier=classifier) for model_id, model in models.items()}


def choose(models: dict[str, Model], model_id: str) -> Model:
    """Return the model of that id. Raises ModelError, which names the existing ones."""
    if model_id not in models:
        raise ModelError(f"There is no model {model_id!r}; there are {', '.join(sorted(models))}.")
    return models[model_id]


def known_revision(model: Model) -> str | None:
    """Return the revision if it is known without reading weights: pinned, or written in the model's folder."""
    base = model.revision or _revision_file(Path(model.source))
    pinned = [entry["revision"] is not None for entry in (*model.adapters, *model.components.values())]
    if not all(pinned):
        return None  # their files are hashed when they are loaded
    return with_parts(base, [model.adapters, model.components] if pinned else None) if base else None


def full_revision(model: Model) -> str:
    """Return the full revision: pinned, written, or hashed over the folder; adapters and other components included.

    Reads local weights, once: `Model.memory` keeps their hashes. Raises OSError.
    """
    memory = Path(model.memory) if model.memory else None
    source = Path(model.source)
    base = model.revision or _revision_file(source) or folder_revision(source, memory)
    adapters = [{**entry, "revision": _adapter_revision(entry)} for entry in model.adapters]
    components = {
        name: {**entry, "revision": _component_revision(entry, memory)} for name, entry in model.components.items()
    }
    return with_parts(base, [adapters, components] if adapters or components else None)


def _revision_file(folder: Path) -> str | None:
    try:
        return (folder / REVISION_FILE).read_text().strip() or None
    except OSError:
        return None


def _adapter_revision(adapter: Adapter) -> str:
    return adapter["revision"] or sha256_file(Path(adapter["source"], adapter["weight_name"]))


def _component_revision(component: Component, memory: Path | None) -> str:
    folder = Path(component["source"], component["subfolder"] or "")
    return component["revision"] or folder_revision(folder, memory)
