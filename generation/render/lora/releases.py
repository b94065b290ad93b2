"""The release in use: its adapter is loaded into the warm pipeline, and taken out when a job asks for another.

Nothing of a release is left behind: without one the frames are the base model's, bit for bit.
With torch; runs in the render process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from generation.models.registry import Model
from generation.render.lora.adapters import add_adapter
from generation.render.memory import NoPipelineError
from generation.render_messages import ReleaseAdapter

if TYPE_CHECKING:
    import torch
    from diffusers import DiffusionPipeline


class ReleaseMisfitError(ValueError):
    """A release cannot be loaded into this model; str() is a sentence."""


class ReleaseSwitch:
    """Loads the release that a job asks for, beside the adapters of the model's own table."""

    def __init__(self, pipeline: DiffusionPipeline, model: Model) -> None:
        self._pipeline = pipeline
        self._own = {f"adapter_{number}": float(entry["scale"]) for number, entry in enumerate(model.adapters)}
        self._current: str | None = None  # SHA-256 of the adapter in the pipeline

    def needs_switch(self, release: ReleaseAdapter | None) -> bool:
        """Return True where another release is in use, or none."""
        return self._current != (None if release is None else release.adapter_sha256)

    def use(self, release: ReleaseAdapter | None) -> None:
        """Load a release in place of the one in use; None: the model by itself.

        Raises ReleaseMisfitError where it does not fit; the model by itself is in use then.
        """
        if not self.needs_switch(release):
            return
        self._take_out()
        if release is None:
            return
        path, name = Path(release.path), _name(release.adapter_sha256)
        entry = {"source": str(path.parent), "weight_name": path.name, "revision": None, "scale": 1.0}
        self._current = release.adapter_sha256
        try:
            add_adapter(self._pipeline, entry, name)
            self._switch_on(name)
        except NoPipelineError as error:
            self._take_out()
            name = "The candidate" if release.number is None else f"Release {release.number}"
            raise ReleaseMisfitError(f"{name} cannot be used with this model. {error}") from error

    @contextmanager
    def set_aside(self) -> Iterator[None]:
        """Have the model predict by itself, with the adapters of its own table; then with the release again."""
        if self._current is None:
            yield
            return
        if self._own:
            self._pipeline.set_adapters(list(self._own), list(self._own.values()))
        else:
            self._pipeline.disable_lora()
        try:
            yield
        finally:
            if not self._own:
                self._pipeline.enable_lora()
            self._switch_on(_name(self._current))

    def _switch_on(self, name: str) -> None:
        self._pipeline.set_adapters([*self._own, name], [*self._own.values(), 1.0])
        for parameter, tensor in _parameters(self._pipeline):
            if name in parameter.split("."):
                tensor.requires_grad_(False)  # what is switched on can be trained, unless it is frozen

    def _take_out(self) -> None:
        if self._current is None:
            return
        if self._own:
            self._pipeline.delete_adapters(_name(self._current))
            self._pipeline.set_adapters(list(self._own), list(self._own.values()))
        else:
            self._pipeline.unload_lora_weights()  # with the wrappers that a deleted adapter would leave
        self._current = None


def _name(sha256: str) -> str:
    return f"release_{sha256[:16]}"  # peft takes no dots


def _parameters(pipeline: DiffusionPipeline) -> list[tuple[str, torch.Tensor]]:
    modules = [part for part in pipeline.components.values() if hasattr(part, "named_parameters")]
    return [pair for module in modules for pair in module.named_parameters()]
