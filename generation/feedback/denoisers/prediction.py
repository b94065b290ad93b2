"""One call of the denoisers for many videos: at once where the model allows that, else one by one. With torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from generation.feedback.denoisers.lora import Nets
from generation.feedback.denoisers.recording import Inputs, Step, same

CLOSE = 1e-3  # of the largest number: a batch gives the same predictions as its videos alone


class Predictor:
    """The denoisers, and how they are called. `batched` is asked of the model itself when it is first needed."""

    def __init__(self, nets: Nets, argument: str, dtype: torch.dtype) -> None:
        """`argument` is the name of the latents in the denoiser's forward, `dtype` theirs in the pipeline's calls."""
        self._nets = nets
        self._argument = argument
        self._dtype = dtype
        self._batched: bool | None = None

    def __call__(self, latents: Tensor, steps: Sequence[Step]) -> Tensor:
        """Return what the denoisers predict; latents: (videos, ...), `steps` the step of each."""
        self.decide(latents, steps)
        if not self._batched or len(latents) == 1:
            return torch.cat([self._one(latents[k : k + 1], step) for k, step in enumerate(steps)])
        out: dict[int, Tensor] = {}
        for component in sorted({step.component for step in steps}):
            places = [k for k, step in enumerate(steps) if step.component == component]
            inputs = collate([steps[k].inputs for k in places])
            if inputs is None:
                parts = [self._one(latents[k : k + 1], steps[k]) for k in places]
            else:
                parts = list(self._forward(component, latents[places], inputs).split(1))
            out |= dict(zip(places, parts, strict=True))
        return torch.cat([out[k] for k in range(len(steps))])

    def decide(self, latents: Tensor, steps: Sequence[Step]) -> None:
        """Find out whether videos can be predicted together, by the first two of these."""
        if len(latents) > 1 and self._batched is None:
            self._batched = self._is_batchable(latents, steps)

    def _one(self, latents: Tensor, step: Step) -> Tensor:
        return self._forward(step.component, latents, step.inputs)

    def _forward(self, component: str, latents: Tensor, inputs: Inputs) -> Tensor:
        net = self._nets[component]
        here = next(net.parameters()).device
        output = net(**{self._argument: latents.to(here, self._dtype)}, **_moved(inputs, here))
        if isinstance(output, tuple):
            output = output[0]
        predicted: Tensor = output if isinstance(output, Tensor) else output.sample
        if predicted.shape != latents.shape:
            raise ValueError(f"The denoiser's prediction has the shape {tuple(predicted.shape)}.")
        return predicted

    def _is_batchable(self, latents: Tensor, steps: Sequence[Step]) -> bool:
        """Return True where two videos together are predicted as each alone."""
        places = [0, next((k for k, step in enumerate(steps[1:], 1) if step.component == steps[0].component), 0)]
        inputs = collate([steps[k].inputs for k in places])
        if inputs is None:
            return False
        with torch.no_grad():
            alone = torch.cat([self._one(latents[k : k + 1], steps[k]) for k in places])
            try:
                together = self._forward(steps[0].component, latents[places], inputs)
            except (RuntimeError, ValueError, IndexError):  # shapes that do not fit each other
                return False
        return bool((together - alone).abs().max() <= CLOSE * alone.abs().max().clamp(min=1e-6))


def collate(inputs: Sequence[Inputs]) -> Inputs | None:
    """Return the inputs of a batch: tensors of one video put together, equal ones shared, else None."""
    out: Inputs = {}
    for name, first in inputs[0].items():
        values = [each.get(name) for each in inputs]
        if isinstance(first, Tensor) and first.ndim and first.shape[0] == 1 and _alike(values):
            out[name] = torch.cat(values)
        elif all(value is first or same(value, first) for value in values):
            out[name] = first
        else:
            return None
    return out


def _alike(values: Sequence[Any]) -> bool:
    return all(isinstance(value, Tensor) and value.shape == values[0].shape for value in values)


def _moved(value: Any, device: torch.device) -> Any:  # whatever a denoiser takes
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {name: _moved(each, device) for name, each in value.items()}
    return type(value)(_moved(each, device) for each in value) if type(value) in {list, tuple} else value
