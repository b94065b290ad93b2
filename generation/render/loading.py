"""The way from a model's configuration to a warm pipeline: weights, adapters, memory, acceleration.

No family is named here: presets.toml has the wishes of each family, and a pipeline is asked for its own options.
With torch; runs in the render process.
"""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from generation.models.known_words import PromptReader, reader_of
from generation.models.presets import Preset, Strides
from generation.models.registry import Model, full_revision
from generation.render.acceleration import DENOISERS, accelerate
from generation.render.adapters import add_adapters
from generation.render.arguments import check_arguments, without_effect
from generation.render.components import load_components, pipeline_class_of
from generation.render.memory import Configs, NoPipelineError, place, quantisation
from generation.render.placement import fill_open_settings
from generation.render_messages import PipelineOptions
from generation.tiny.make import make_tiny_pipeline

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


@dataclass(frozen=True)
class WarmPipeline:
    """A pipeline that is ready to render, and how it will. `model` leaves nothing open."""

    model: Model
    pipeline: DiffusionPipeline
    preset: Preset
    revision: str
    notes: list[str]  # sentences for the operator
    device: str
    can: PipelineOptions  # for the advice of `flock worker --check`
    gpus: int = 0
    gpu_mib: int | None = None
    reader: PromptReader | None = None  # None: the model does not tell which words it knows


def load(model: Model) -> WarmPipeline:
    """Load the pipeline. Raises NoPipelineError with a sentence for the operator, or whatever a library raises."""
    import torch

    _silence_libraries()
    folder = _files(model)
    configs = read_configs(folder)
    pipeline_class = pipeline_class_of(model, configs[""])
    family = model.family(str(model.pipeline or configs[""]["_class_name"]))
    preset = replace(family.preset_of(configs), **model.overrides)
    for package in preset.needs:
        if find_spec(package) is None:
            raise NoPipelineError(f"{preset.family} needs the package {package}. Run: pip install {package}")
    try:
        revision = full_revision(model)
    except OSError as error:
        name = Path(str(error.filename)).name
        raise NoPipelineError(f"{name} cannot be read ({error.strerror}). Check the models file.") from error
    gpu = torch.cuda.is_available()
    model, notes = fill_open_settings(
        model,
        preset,
        folder,
        gpu_mib=torch.cuda.mem_get_info()[0] >> 20 if gpu else None,
        bfloat16=gpu and torch.cuda.is_bf16_supported(including_emulation=False),
    )
    pipeline, component_notes = _pipeline(model, preset, pipeline_class, folder, configs)
    preset, fitting_notes = preset.fitted(strides_of(pipeline))
    notes += [*fitting_notes, *component_notes, *_schedule(pipeline, preset)]
    notes += without_effect(pipeline, preset, model)
    check_arguments(pipeline, preset)
    notes += add_adapters(pipeline, model)
    device, placing_notes = place(pipeline, preset, model)
    notes += placing_notes
    options = options_of(pipeline, preset)
    preset = replace(preset, vae_tiling=preset.vae_tiling and options.tiling)  # cards say what was in force
    notes += accelerate(pipeline, preset, model)
    if preset.notes:
        notes.append(f"{preset.family}: {preset.notes}")
    if device == "cpu" and torch.version.cuda is None and not model.embedded:
        notes.append("This torch has no GPU: rendering on the CPU is slow for anything but tiny models.")
    reader, reader_notes = reader_of(folder, getattr(pipeline, "tokenizer", None))
    notes += reader_notes
    gpus = torch.cuda.device_count()
    gpu_mib = torch.cuda.mem_get_info()[1] >> 20 if gpus else None
    return WarmPipeline(model, pipeline, preset, revision, notes, device, options, gpus, gpu_mib, reader)


def read_configs(folder: Path) -> Configs:
    """Return a pipeline's own description, and those of its components. Raises NoPipelineError when it has none."""
    configs: dict[str, dict[str, object]] = {}
    for path in (folder / "model_index.json", *sorted(folder.glob("*/config.json"))):
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            configs["" if path.name == "model_index.json" else path.parent.name] = dict(data)
        except (OSError, ValueError, TypeError) as error:
            if path.name == "model_index.json":
                raise NoPipelineError(
                    f"The folder {folder} holds no diffusers pipeline: it has no {path.name}."
                ) from error
    return configs


def strides_of(pipeline: DiffusionPipeline) -> Strides:
    """Return the frames and pixels of one latent patch, as the loaded components say; 1 where they say nothing."""
    frames, pixels = 1, 1
    for name in ("vae_scale_factor_temporal", "vae_temporal_compression_ratio", "vae_temporal_scale_factor"):
        frames = _whole(getattr(pipeline, name, None)) or frames
    for name in ("vae_scale_factor", "vae_scale_factor_spatial", "vae_spatial_compression_ratio"):
        pixels = _whole(getattr(pipeline, name, None)) or pixels
    denoiser = next((getattr(pipeline, name) for name in DENOISERS if getattr(pipeline, name, None) is not None), None)
    patch = getattr(getattr(denoiser, "config", None), "patch_size", None) or 1
    patch = patch[-1] if isinstance(patch, list | tuple) else patch
    return frames, pixels * (_whole(patch) or 1)


def options_of(pipeline: DiffusionPipeline, preset: Preset) -> PipelineOptions:
    """Return the options that a pipeline offers: its classes are asked, none is known by name."""
    denoiser = next((getattr(pipeline, name) for name in DENOISERS if getattr(pipeline, name, None) is not None), None)
    vae = getattr(pipeline, "vae", None)
    return PipelineOptions(
        compile=bool(getattr(denoiser, "_repeated_blocks", None)),
        caches=list(preset.caches) if hasattr(denoiser, "enable_cache") else [],
        adapters=hasattr(pipeline, "load_lora_weights"),
        tiling=hasattr(vae, "enable_tiling"),
        slicing=hasattr(vae, "enable_slicing"),
        offload=bool(getattr(pipeline, "model_cpu_offload_seq", None)),
        parameters={
            name: sum(p.numel() for p in part.parameters())
            for name, part in pipeline.components.items()
            if hasattr(part, "parameters")
        },
    )


def _silence_libraries() -> None:
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    for library in (diffusers_logging, transformers_logging):
        library.disable_progress_bar()
        library.set_verbosity_error()


def _files(model: Model) -> Path:
    """Return the folder that holds the model: its own, or that of the hub's cache, filled if it must be."""
    source = Path(model.source)
    if model.embedded:
        make_tiny_pipeline(source)
    if source.is_dir():
        if not (source / "model_index.json").is_file():
            raise NoPipelineError(f"The folder {source} holds no diffusers pipeline: it has no model_index.json.")
        return source
    from diffusers import DiffusionPipeline

    return Path(DiffusionPipeline.download(model.source, revision=model.revision, use_safetensors=True))


def _pipeline(
    model: Model, preset: Preset, pipeline_class: type[DiffusionPipeline], folder: Path, configs: Configs
) -> tuple[DiffusionPipeline, list[str]]:
    """Load the pipeline with its components; return it with a sentence for each setting without effect."""
    import torch

    names = [name for name in configs[""] if not name.startswith("_")]
    dtypes = {name: model.dtype_of(name) for name in [*names, *model.components]}
    if preset.vae_float32 and not (isinstance(model.dtype, dict) and "vae" in model.dtype):
        dtypes["vae"] = "float32"
    settings = {name: getattr(torch, dtype) for name, dtype in {"default": model.dtype_of("default"), **dtypes}.items()}
    quantised = quantisation(model, configs) if model.quantise else None
    strange_dtypes = set(model.dtype) - {"default", *dtypes} if isinstance(model.dtype, dict) else set()
    parts, notes = load_components(
        model,
        pipeline_class,
        folder,
        configs[""],
        dtypes=settings,
        quantised=quantised.quant_mapping if quantised is not None else {},
    )
    pipeline = pipeline_class.from_pretrained(
        folder,
        dtype=settings,
        use_safetensors=True,  # never a pickled checkpoint
        local_files_only=True,
        **parts,
        **({} if quantised is None else {"quantization_config": quantised}),
    )
    pipeline.set_progress_bar_config(disable=True)
    notes += [
        f"{pipeline_class.__name__} has no component {name!r}: its dtype has no effect."
        for name in sorted(strange_dtypes)
    ]
    return pipeline, notes


def _schedule(pipeline: DiffusionPipeline, preset: Preset) -> list[str]:
    """Set another scheduler, or other settings of the model's own; return a sentence for each without effect."""
    import diffusers

    scheduler_class: type[diffusers.SchedulerMixin] = type(pipeline.scheduler)
    notes = []
    if preset.scheduler is not None:
        scheduler_class = getattr(diffusers, preset.scheduler, object)
        if not isinstance(scheduler_class, type) or not issubclass(scheduler_class, diffusers.SchedulerMixin):
            raise NoPipelineError(f"diffusers has no scheduler {preset.scheduler!r}; docs/models.md names some.")
    parameters = set(inspect.signature(scheduler_class.__init__).parameters)
    options = dict(preset.scheduler_options)
    if preset.shift is not None:
        key = next((name for name in ("flow_shift", "shift") if name in parameters), "shift")
        options[key] = preset.shift
    if strange := sorted(set(options) - parameters):
        notes.append(f"{scheduler_class.__name__} has no setting {', '.join(strange)}: it has no effect.")
    options = {name: value for name, value in options.items() if name in parameters}
    if options or scheduler_class is not type(pipeline.scheduler):
        pipeline.scheduler = scheduler_class.from_config(pipeline.scheduler.config, **options)
    return notes


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
