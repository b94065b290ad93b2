"""The inputs of a denoiser as its own pipeline gives them, so that each family is tuned on what it renders by.

A pipeline is called without guidance, and the arguments of its calls of the denoiser are kept: embeddings, masks,
positions, guidance as an input, and the time of each step. With torch.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from generation.feedback.denoisers.families import COMPONENTS, Family, FamilyError
from generation.models.presets import Preset
from generation.render.arguments import call_arguments

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

Inputs = dict[str, Any]  # arguments of a denoiser's forward, but for the latents
LATENTS = ("hidden_states", "sample")  # the names of that argument
BIASED_TIME = 3.0  # of 1000; some schedulers round their times to whole numbers


@dataclass(frozen=True)
class Mix:
    """The shares of picture and noise in the latents of a step, x = clean * x0 + noise * z, and what is predicted."""

    clean: float
    noise: float
    prediction: str  # flow, backward_flow, epsilon, v_prediction or sample

    def noisy(self, x0: Tensor, z: Tensor) -> Tensor:
        """Return the latents at this step."""
        return self.clean * x0 + self.noise * z

    def target(self, x0: Tensor, z: Tensor) -> Tensor:
        """Return what the denoiser should predict there."""
        if self.prediction == "flow":
            return z - x0
        if self.prediction == "backward_flow":
            return x0 - z
        if self.prediction == "v_prediction":
            return self.clean * z - self.noise * x0
        return z if self.prediction == "epsilon" else x0


@dataclass(frozen=True)
class Step:
    """One call of a denoiser: which, at what mix, with which inputs."""

    component: str
    mix: Mix
    inputs: Inputs


@dataclass(frozen=True)
class Recording:
    """All calls for one prompt, the name of the latents' argument, and the noise that the first one got."""

    steps: list[Step]
    argument: str
    noise: Tensor


class _RecordedError(Exception):
    """The call has gone far enough."""


def mix_of(scheduler: Any, number: int, timestep: float) -> Mix:  # of a class that diffusers names
    """Return the mix at a scheduler's step. Raises FamilyError where the scheduler speaks of its noise otherwise."""
    config = scheduler.config
    prediction = str(config.get("prediction_type", "flow"))
    if prediction.startswith("flow") or config.get("use_flow_sigmas"):
        sigma = float(scheduler.sigmas[number])
        if abs(sigma * 1000 - timestep) > BIASED_TIME:
            raise FamilyError(f"{type(scheduler).__name__} calls the time {timestep} at the noise level {sigma}.")
        if config.get("invert_sigmas"):  # time runs from noise to picture, as Mochi has it
            return Mix(sigma, 1 - sigma, "backward_flow")
        return Mix(1 - sigma, sigma, "flow")
    if prediction not in {"epsilon", "v_prediction", "sample"}:
        raise FamilyError(f"{type(scheduler).__name__} predicts {prediction!r}, which cannot be tuned here.")
    alpha = float(scheduler.alphas_cumprod[int(timestep)])
    return Mix(math.sqrt(alpha), math.sqrt(1 - alpha), prediction)


def denoisers_of(pipeline: DiffusionPipeline) -> dict[str, torch.nn.Module]:
    """Return the denoisers of a pipeline by their names."""
    parts = {name: pipeline.components.get(name) for name in COMPONENTS}
    return {name: part for name, part in parts.items() if part is not None}


def record(pipeline: DiffusionPipeline, preset: Preset, family: Family, prompt: str, seed: int = 0) -> Recording:
    """Return the denoisers' inputs for a prompt. But for the first call, none is carried out, where that will do."""
    calls: list[tuple[str, str, Inputs, Tensor]] = []
    with _in_place_of_forward(pipeline, lambda *call: calls.append(call), skip=not family.evolving):
        _call(pipeline, preset, prompt, seed, **_unguided(pipeline, preset, family), **_latent_output(pipeline))
    scheduler = pipeline.scheduler
    if len(calls) > len(scheduler.timesteps):
        calls = calls[: len(scheduler.timesteps)]  # a video in several parts: the first one
    if len(calls) < len(scheduler.timesteps):
        raise FamilyError(f"{type(pipeline).__name__} calls its denoiser less than once a step.")
    steps = [
        Step(component, mix_of(scheduler, number, float(scheduler.timesteps[number])), inputs)
        for number, (component, _, inputs, _) in enumerate(calls)
    ]
    return Recording(_shared(steps), calls[0][1], calls[0][3])


def draw_noise(pipeline: DiffusionPipeline, preset: Preset, prompt: str, seed: int) -> Tensor:
    """Return the noise from which the pipeline makes a seed's video, drawn by the pipeline itself."""
    noise: list[Tensor] = []

    def stop(_component: str, _argument: str, _inputs: Inputs, latents: Tensor) -> None:
        noise.append(latents[:1])  # the same for both halves of a batch with guidance
        raise _RecordedError

    with _in_place_of_forward(pipeline, stop, skip=True):
        try:
            _call(pipeline, preset, prompt, seed)
        except _RecordedError:
            pipeline.maybe_free_model_hooks()
    return noise[0]


def render_latents(
    pipeline: DiffusionPipeline, preset: Preset, prompt: str, seed: int, *, frames: bool = False
) -> tuple[Tensor, object]:
    """Return the final latents of a video as the denoiser meets them, and the pipeline's output.

    The output holds frames where those are asked for. Of a video in several parts the first part's latents come.
    """
    parameters = inspect.signature(type(pipeline).__call__).parameters
    steps: list[tuple[int, Tensor]] = []

    def keep(step: int, latents: Tensor) -> None:
        if not steps or step > steps[-1][0]:
            steps[:] = [(step, latents.detach().clone())]

    def on_step_end(_pipeline: object, step: int, _time: object, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        keep(step, values["latents"])
        return {}

    callback: dict[str, Any]
    if "callback_on_step_end" in parameters:
        callback = {"callback_on_step_end": on_step_end}
    else:
        callback = {"callback": lambda step, _time, latents: keep(step, latents)}
    with torch.no_grad():
        output = _call(pipeline, preset, prompt, seed, **callback, **({} if frames else _latent_output(pipeline)))
    return steps[0][1], output


# ------------------------------------------------------------------ the pipeline's call


def _call(pipeline: DiffusionPipeline, preset: Preset, prompt: str, seed: int, **more: Any) -> object:
    """Call the pipeline as the render process does: the noise depends on the seed alone."""
    torch.manual_seed(seed)
    arguments = {**call_arguments(type(pipeline), preset), **more}
    return pipeline(**arguments, prompt=prompt, generator=torch.Generator("cpu").manual_seed(seed))


def _latent_output(pipeline: DiffusionPipeline) -> dict[str, str]:
    return {"output_type": "latent"} if "output_type" in inspect.signature(type(pipeline).__call__).parameters else {}


def _unguided(pipeline: DiffusionPipeline, preset: Preset, family: Family) -> dict[str, object]:
    """Return the arguments of a call without guidance; a distilled model keeps it, since it is an input there."""
    parameters = inspect.signature(type(pipeline).__call__).parameters
    values = dict(family.unguided)
    if not any(getattr(net.config, "guidance_embeds", False) for net in denoisers_of(pipeline).values()):
        values |= {name: 1.0 for name in ("guidance_scale", "guidance_scale_2") if name in parameters}
    if preset.arguments.get("guidance_scale_2") is None:
        values.pop("guidance_scale_2", None)
    return values


@contextmanager
def _in_place_of_forward(
    pipeline: DiffusionPipeline, on_call: Callable[[str, str, Inputs, Tensor], None], *, skip: bool
) -> Iterator[None]:
    """Stand between a pipeline and its denoisers; with `skip`, only the first call of each is carried out."""
    with torch.no_grad():
        nets = denoisers_of(pipeline)
        usual = {name: net.forward for name, net in nets.items()}
        outputs: dict[str, object] = {}

        def forward_of(name: str) -> Callable[..., object]:
            signature = inspect.signature(type(nets[name]).forward)

            def forward(*args: object, **kwargs: object) -> object:
                inputs = dict(signature.bind(nets[name], *args, **kwargs).arguments)
                inputs.pop("self")
                argument = next(each for each in LATENTS if each in inputs)
                latents = inputs.pop(argument)
                inputs["return_dict"] = False
                on_call(name, argument, _kept(inputs), latents.detach().clone())
                if not skip or name not in outputs:
                    outputs[name] = usual[name](*args, **kwargs)
                return _zeros(outputs[name]) if skip else outputs[name]

            return forward

        try:
            for name, net in nets.items():
                net.forward = forward_of(name)
            yield
        finally:
            for net in nets.values():
                del net.forward  # the class's own again, or a hook's
            for name, net in nets.items():
                if net.forward != usual[name]:
                    net.forward = usual[name]


def _kept(value: Any) -> Any:  # whatever a denoiser takes
    """Return a copy of an input that later steps do not change."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {name: _kept(each) for name, each in value.items()}
    return type(value)(_kept(each) for each in value) if type(value) in {list, tuple} else value


def _zeros(output: Any) -> Any:  # a tensor, a tuple, or a dataclass of diffusers
    if isinstance(output, Tensor):
        return torch.zeros_like(output)
    if isinstance(output, tuple):
        return tuple(_zeros(each) for each in output)
    return type(output)(**{name: _zeros(each) for name, each in output.items()})


def _shared(steps: list[Step]) -> list[Step]:
    """Return the steps with inputs that are the first step's own objects where they are equal: memory for one."""
    first = steps[0].inputs
    return [
        replace(step, inputs={name: first[name] if same(value, first.get(name)) else value
                              for name, value in step.inputs.items()})
        for step in steps
    ]  # fmt: skip


def same(a: Any, b: Any) -> bool:  # any two inputs
    """Return True where two inputs are equal, tensors included."""
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return type(a) is type(b) and a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    if type(a) in {list, tuple} and type(a) is type(b):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)
