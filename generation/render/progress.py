"""A pipeline's steps as they pass: progress, cancel within one step, and the seconds of each phase, of any pipeline.

All pipelines of diffusers open a bar by their own `progress_bar` and move it once a step. Putting our bar in its place
serves them all alike, also those that take no callback, and those that render a video in several passes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from tqdm import tqdm

OnStep = Callable[[int, int], None]  # steps done, steps in all


class Steps:
    """Watches one call of a pipeline. `on_step` may raise: that ends the call, within one step."""

    def __init__(self, on_step: OnStep, *, steps: int, passes: int = 1) -> None:
        """`steps` of one pass, as far as it is known before the pipeline says so itself."""
        self.done = 0
        self.steps = steps * passes
        self._on_step = on_step
        self._passes_left = passes
        self._begun = time.monotonic()
        self._first: float | None = None  # when the first bar was opened
        self._last = self._begun  # when a step ended last
        self._denoising = 0.0

    def watch(self, pipeline: Any) -> None:
        """From now on the pipeline's bars are ours."""
        pipeline.progress_bar = self.bar

    def bar(self, iterable: Any = None, total: int | None = None) -> Any:
        """In place of `DiffusionPipeline.progress_bar`."""
        if total is None and iterable is not None and hasattr(iterable, "__len__"):
            total = len(iterable)
        now = time.monotonic()
        self._first = self._first or now
        self._last = now
        if total is not None:  # what the pipeline makes of our steps: a scheduler may need more calls, or fewer
            self._passes_left = max(1, self._passes_left)
            self.steps = self.done + total * self._passes_left
            self._passes_left -= 1
        return _Bar(self, iterable, total)

    def step(self, count: int = 1) -> None:
        """One step has passed. Raises whatever `on_step` raises."""
        now = time.monotonic()
        self._denoising += now - self._last
        self._last = now
        self.done += count
        self.steps = max(self.steps, self.done)
        self._on_step(self.done, self.steps)

    def seconds(self) -> dict[str, float]:
        """Seconds of reading the prompt, of denoising, and of decoding, once the call has ended."""
        whole = time.monotonic() - self._begun
        prompt = (self._first or self._begun) - self._begun
        return {"prompt": prompt, "denoising": self._denoising, "decoding": max(0.0, whole - prompt - self._denoising)}


class _Bar(tqdm):  # type: ignore[misc]  # tqdm has no types
    """Draws nothing, and tells of each step."""

    def __init__(self, steps: Steps, iterable: Any, total: int | None) -> None:
        super().__init__(iterable, total=total, disable=True)
        self._steps = steps

    def update(self, n: float | None = 1) -> bool | None:
        self._steps.step(int(n or 0))
        return None

    def __iter__(self) -> Iterator[Any]:
        for item in self.iterable:
            yield item
            self.update()
