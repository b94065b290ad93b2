"""What a pipeline's call takes of what preset and model ask for, and what of it the pipeline itself would refuse."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from generation.models.presets import Preset
from generation.models.registry import Model
from generation.render.memory import NoPipelineError

# The same thing under the names that pipelines give it.
FRAMES = ("num_frames", "frames", "video_length")
FRAME_RATE = ("frame_rate", "fps")
# What a model may set for itself, and the argument that it becomes.
SETTINGS = {
    "width": "width",
    "height": "height",
    "guidance": "guidance_scale",
    "negative_prompt": "negative_prompt",
    "max_sequence_length": "max_sequence_length",
}
PROMPT = "a red circle"  # as good as any: of what a pipeline refuses, only settings are meant here


@functools.cache
def understood(pipeline_class: type) -> frozenset[str]:
    """The arguments that a pipeline's call takes."""
    return frozenset(inspect.signature(pipeline_class.__call__).parameters)


def wishes(pipeline_class: type, preset: Preset) -> dict[str, Any]:
    """The arguments of the call, but for prompt and noise: only those that the pipeline takes."""
    known = understood(pipeline_class)
    values: dict[str, Any] = {
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
    return {name: value for name, value in values.items() if value is not None and name in known}


def without_effect(pipeline: Any, preset: Preset, model: Model) -> list[str]:
    """A sentence for each argument, and each setting of the model's table, that the pipeline's call does not take."""
    kind: Any = type(pipeline)
    known = understood(kind)
    said = [
        f"{kind.__name__} takes no argument {name}: it has no effect."
        for name in sorted(preset.arguments)
        if name not in known
    ]
    by_guider = {"guidance"} if hasattr(getattr(pipeline, "guider", None), "guidance_scale") else set()
    said += [
        f"{kind.__name__} takes no {argument}: {name} has no effect."
        for name, argument in SETTINGS.items()
        if name in model.overrides and argument not in known and name not in by_guider
    ]
    return said


def check_arguments(pipeline: Any, preset: Preset) -> None:
    """Raises NoPipelineError where the pipeline would refuse every prompt, for what is set beside it.

    Its own check is asked, as each call asks it; one that wants more than a call is given is not.
    """
    check = getattr(pipeline, "check_inputs", None)
    if check is None:
        return
    call = inspect.signature(type(pipeline).__call__).parameters
    given = {"prompt": PROMPT, **wishes(type(pipeline), preset)}
    arguments = {}
    for name, parameter in inspect.signature(check).parameters.items():
        if name in given:
            arguments[name] = given[name]
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
