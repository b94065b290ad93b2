"""The components of a pipeline: each is loaded by its own class, and its files are compared with what that needs.

A library left to itself loads what is there, warns, and draws the rest at random.
With torch; runs in the render process.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from generation.models.config import is_folder, source_name
from generation.models.registry import Model
from generation.models.weights import MOST_NAMED, faults, list_tensors, scales_among, unapplied_scales
from generation.render.memory import NoPipelineError

if TYPE_CHECKING:
    import torch
    from diffusers import DiffusionPipeline
    from diffusers.quantizers.quantization_config import QuantizationConfigMixin

# A component's table, as generation/models/config.py reads it from the models file.
Entry = Mapping[str, Any]
Component: TypeAlias = "torch.nn.Module"  # of diffusers or transformers

COMPLETE = "Download the model again, or take a repository that is complete."


def pipeline_class_of(model: Model, index: Mapping[str, object]) -> type[DiffusionPipeline]:
    """Return the class to load a pipeline as. Raises NoPipelineError where diffusers has none of that name."""
    import diffusers

    name = model.pipeline or index.get("_class_name")
    pipeline_class: type | None = getattr(diffusers, name, None) if isinstance(name, str) else None
    if not isinstance(pipeline_class, type) or not issubclass(pipeline_class, diffusers.DiffusionPipeline):
        raise NoPipelineError(f"Model {model.id}: diffusers has no pipeline {name!r}.")
    return pipeline_class


def load_components(
    model: Model,
    pipeline_class: type[DiffusionPipeline],
    folder: Path,
    index: Mapping[str, object],
    *,
    dtypes: Mapping[str, torch.dtype],
    quantised: Mapping[str, QuantizationConfigMixin],
) -> tuple[dict[str, Component], list[str]]:
    """Load the components that have weights or come from other sources; return them by name, with notes on their files.

    The pipeline itself loads the others (tokenizers, schedulers). Raises NoPipelineError where tensors are
    missing, have other shapes, or mean nothing without scales that no library applies.
    """
    parameters = inspect.signature(pipeline_class.__init__).parameters
    if strange := sorted(set(model.components) - set(parameters)):
        unset = (inspect.Parameter.empty, None)  # a component has no default, or None; settings have others
        names = ", ".join(name for name, entry in parameters.items() if name != "self" and entry.default in unset)
        raise NoPipelineError(
            f"Model {model.id}: {pipeline_class.__name__} has no component {strange[0]!r}; it has {names}."
        )
    components: dict[str, Component] = {}
    notes = []
    for name, place in index.items():
        part = folder / name
        component_class = _class_at(place)
        if name not in parameters or name in model.components or not _has_weights(component_class) or not part.is_dir():
            continue
        load = _Loading(name, source_name(model.source, name), dtypes.get(name, dtypes["default"]), quantised.get(name))
        components[name] = load.as_class(component_class, part, {}, files=part)
        notes += load.notes
    for name, entry in model.components.items():
        load = _Loading(
            name,
            source_name(entry["source"], entry["subfolder"]),
            dtypes.get(name, dtypes["default"]),
            quantised.get(name),
        )
        components[name] = _from_another_source(load, entry, index.get(name))
        notes += load.notes
    return components, notes


class _Loading:
    """The loading of one component."""

    def __init__(self, name: str, where: str, dtype: torch.dtype, quantised: QuantizationConfigMixin | None) -> None:
        self.name = name
        self.where = where
        self.notes: list[str] = []
        self._dtype = dtype
        self._quantised = quantised

    def as_class(
        self,
        component_class: type[Component] | None,
        source: str | Path,
        place: Mapping[str, object],
        *,
        files: Path | None,
    ) -> Component:
        """Load the component as this class; `files` is its folder, where that is known before it is loaded."""
        assert component_class is not None  # noqa: S101  # the callers look
        if files is not None:
            errors, warnings = faults(files)
            if errors:
                raise NoPipelineError(f"{self.name}: {errors[0]} It is in {self.where}.")
            self.notes += [f"{self.name}: {sentence}" for sentence in warnings]
        is_quantised = _is_of_diffusers(component_class) and bool(
            component_class.load_config(source, **place).get("quantization_config")
        )
        more = {} if self._quantised is None else {"quantization_config": self._quantised}
        module, info = component_class.from_pretrained(
            source,
            dtype=self._dtype,
            use_safetensors=True,  # never a pickled checkpoint
            local_files_only=files is not None,
            output_loading_info=True,
            ignore_mismatched_sizes=not is_quantised,  # reported below; all weights in quantised files are mismatched
            **place,
            **more,
        )
        self._compare(component_class, module, info)
        return module

    def _compare(self, component_class: type[Component], module: Component, info: Mapping[str, Any]) -> None:
        """Raise NoPipelineError where the files hold other tensors than the class needs; note those of no use."""
        shapes = {name: (tuple(in_file), tuple(needed)) for name, in_file, needed in info["mismatched_keys"]}
        if shapes:
            examples = [
                f"{name} is {in_file}, not {needed}" for name, (in_file, needed) in sorted(shapes.items())[:MOST_NAMED]
            ]
            raise NoPipelineError(
                f"{self.name}: {list_tensors(shapes)} in {self.where} {_have(shapes, 'another shape', 'other shapes')} "
                f"than its config.json says: {'; '.join(examples)}. "
                "Take files and config.json from the same repository."
            )
        missing = set(info["missing_keys"])
        # The library does not report a tensor that an index names and no shard holds: it was never given any memory.
        missing |= {name for name, tensor in module.state_dict().items() if getattr(tensor, "is_meta", False)}
        missing -= {name for name, tensor in module.named_buffers() if name in missing and _is_computed(tensor)}
        if missing:
            raise NoPipelineError(
                f"{self.name}: {list_tensors(missing)} {'is' if len(missing) == 1 else 'are'} missing from "
                f"{self.where}; {'its' if len(missing) == 1 else 'their'} numbers would be drawn "
                f"anew at each start. {COMPLETE}"
            )
        unused = list(info["unexpected_keys"])
        if scales := scales_among(unused):
            raise NoPipelineError(f"{self.name}: {unapplied_scales(scales)} It is in {self.where}.")
        if unused:
            verb, them = ("is", "it") if len(unused) == 1 else ("are", "them")
            note = f"{self.name}: {list_tensors(unused)} {verb} not used"
            self.notes.append(f"{note}: {component_class.__name__} has no place for {them}.")


def _from_another_source(load: _Loading, entry: Entry, place: object) -> Component:
    """Load a component of another source, as the class that its own pipeline or config names, else its place's."""
    import diffusers

    source, subfolder = entry["source"], entry["subfolder"]
    location = {name: entry[name] for name in ("revision", "subfolder") if entry[name] is not None}
    files = Path(source, subfolder or "") if is_folder(source) else None
    pinned = {"revision": entry["revision"]} if entry["revision"] is not None else {}
    if subfolder is not None:
        with contextlib.suppress(OSError):  # it may be no pipeline, and a component all the same
            place = diffusers.DiffusionPipeline.load_config(source, **pinned).get(subfolder, place)
    component_class = _class_at(place)
    if component_class is not None and not _has_weights(component_class):
        return component_class.from_pretrained(source, **location)
    try:
        config = _config_of(source, location)
    except OSError as error:
        if files is None:
            raise  # the hub's own error
        raise NoPipelineError(f"{load.name}: {load.where} holds no component: it has no config.json.") from error
    component_class = _class_by_config(config, component_class)
    if component_class is None:
        raise NoPipelineError(f"{load.name}: the config.json of {load.where} names no class that is known here.")
    return load.as_class(component_class, source, location, files=files)


def _config_of(source: str, location: Mapping[str, object]) -> Mapping[str, Any]:
    """Return the config.json of a component, in a folder or on a hub. Raises OSError where there is none."""
    import diffusers

    class Config(diffusers.ConfigMixin):  # type: ignore[misc]  # reads a file of this name, of whatever class
        config_name = "config.json"

    return dict(Config.load_config(source, **location))


def _class_by_config(config: Mapping[str, Any], usual: type[Component] | None) -> type[Component] | None:
    """Return the class that a component's own config names; of transformers, the class of the pipeline comes first."""
    import diffusers
    import transformers

    name = config.get("_class_name")
    if name is None:
        if usual is not None and not _is_of_diffusers(usual):
            return usual  # the same files are read as an encoder alone, or as all of a language model
        component_class = next(
            (getattr(transformers, str(name), None) for name in config.get("architectures") or ()), None
        )
    else:
        component_class = usual if usual is not None and usual.__name__ == name else getattr(diffusers, str(name), None)
    return component_class if _has_weights(component_class) else None


def _class_at(place: object) -> type[Component] | None:
    """Return the class that an index names as [library, class]; None where it names none, or none that is known here.

    No library is imported because an index names it.
    """
    import diffusers
    import transformers

    if not isinstance(place, list | tuple) or len(place) != 2 or not all(isinstance(word, str) for word in place):
        return None
    library, name = place
    module: object = {"diffusers": diffusers, "transformers": transformers}.get(library)
    module = module or getattr(diffusers.pipelines, library, None)
    component_class = getattr(module, name, None)
    return component_class if isinstance(component_class, type) else None


def _has_weights(component_class: type | None) -> bool:
    import diffusers
    import transformers

    classes = diffusers.ModelMixin | transformers.PreTrainedModel
    return isinstance(component_class, type) and issubclass(component_class, classes)


def _is_of_diffusers(component_class: type) -> bool:
    import diffusers

    return issubclass(component_class, diffusers.ModelMixin)


def _is_computed(buffer: torch.Tensor) -> bool:
    """Tell a buffer that its class has computed, such as a table of positions, from a placeholder."""
    return not buffer.is_meta and buffer.numel() > 1 and bool((buffer != buffer.flatten()[0]).any())


def _have(names: Mapping[str, object], singular: str, plural: str) -> str:
    return f"has {singular}" if len(names) == 1 else f"have {plural}"
