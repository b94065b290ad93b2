"""The arguments of a pipeline's call: those that preset and model set and it takes, and those that it would reject."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING

from generation.models.presets import Preset
from generation.models.registry import Model
from generation.render.memory import NoPipelineError

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

# The same thing under the names that pipelines give it.
FRAMES = ("num_frames", "frames", "video_length")
FRAME_RATE = ("frame_rate", "fps")
# The settings of a model's table, and the argument that each becomes.
SETTINGS = {
    "width": "width",
    "height": "height",
    "guidance": "guidance_scale",
    "negative_prompt": "negative_prompt",
    "max_sequence_length": "max_sequence_length",
}
PROMPT = "a red circle"  # any would do: a pipeline's check is asked for the sake of the settings alone


@functools.cache
def parameters_of_call(pipeline_class: type) -> frozenset[str]:
    """Return the names of the arguments that a pipeline's call takes."""
    return frozenset(inspect.signature(pipeline_class.__call__).parameters)


def call_arguments(pipeline_class: type, preset: Preset) -> dict[str, object]:
    """Return the arguments of the call, but for prompt and noise: only those that the pipeline takes."""
    parameters = parameters_of_call(pipeline_class)
    values: dict[str, object] = {
        "height": preset.height,
        "width": preset.width,
        **dict.fromkeys(FRAMES, preset.frames),
        **dict.fromkeys(FRAME_RATE, preset.fps),
        "num_inference_steps": preset.steps,
        "guidance_scale": preset.guidance,
        "max_sequence_length": preset.max_sequence_length,
        "negative_prompt": preset.negative_prompt,
        "output_type": "np",
        **preset.arguments,
    }
    return {name: value for name, value in values.items() if value is not None and name in parameters}


def without_effect(pipeline: DiffusionPipeline, preset: Preset, model: Model) -> list[str]:
    """Return a sentence for each argument, and each setting of the model's table, that the call does not take."""
    pipeline_class: type = type(pipeline)
    name_of_class = pipeline_class.__name__
    parameters = parameters_of_call(pipeline_class)
    notes = [
        f"{name_of_class} takes no argument {name}: it has no effect."
        for name in sorted(preset.arguments)
        if name not in parameters
    ]
    by_guider = {"guidance"} if hasattr(getattr(pipeline, "guider", None), "guidance_scale") else set()
    notes += [
        f"{name_of_class} takes no {argument}: {name} has no effect."
        for name, argument in SETTINGS.items()
        if name in model.overrides and argument not in parameters and name not in by_guider
    ]
    return notes


def check_arguments(pipeline: DiffusionPipeline, preset: Preset) -> None:
    """Raise NoPipelineError where the pipeline would reject every prompt, because of the settings beside it.

    The pipeline's own check is asked, as each call asks it, unless it wants more than a call is given.
    """
    check = getattr(pipeline, "check_inputs", None)
    if check is None:
        return
    call = inspect.signature(type(pipeline).__call__).parameters
    values = {"prompt": PROMPT, **call_arguments(type(pipeline), preset)}
    arguments = {}
    for name, parameter in inspect.signature(check).parameters.items():
        if name in values:
            arguments[name] = values[name]
        elif name in call and call[name].default is not inspect.Parameter.empty:
            arguments[name] = call[name].default
        elif parameter.default is inspect.Parameter.empty:
            return
    try:
        check(**arguments)
    except ValueError as error:
        reason = " ".join(str(error).split())[:300]
        raise NoPipelineError(
            f"{type(pipeline).__name__} would refuse every prompt, for what the model's table sets: {reason}"
        ) from error
