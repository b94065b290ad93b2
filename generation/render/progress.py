"""The steps of a pipeline as they pass: progress, cancellation within one step, and the seconds of each phase.

All pipelines of diffusers open a bar by their own `progress_bar` and move it once a step. A bar of ours in its place
serves them all alike, also those that take no callback, and those that render a video in several passes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TYPE_CHECKING, cast

from tqdm import tqdm

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

OnStep = Callable[[int, int], None]  # steps that have passed, steps in all


class Steps:
    """The steps of one call of a pipeline. `on_step` may raise: that ends the call, within one step."""

    def __init__(self, on_step: OnStep, *, steps: int, passes: int = 1) -> None:
        """`steps` are those of one pass, as far as they are known before the pipeline says so itself."""
        self.passed = 0
        self.steps = steps * passes
        self._on_step = on_step
        self._passes_left = passes
        self._start = time.monotonic()
        self._first: float | None = None  # when the first bar was opened
        self._last = self._start  # when a step ended last
        self._denoising = 0.0

    def watch(self, pipeline: DiffusionPipeline) -> None:
        """Put bars of ours in the place of the pipeline's."""
        pipeline.progress_bar = self.bar

    def bar(self, iterable: Iterable[object] | None = None, total: int | None = None) -> Bar:
        """Open a bar, in place of `DiffusionPipeline.progress_bar`."""
        if total is None and hasattr(iterable, "__len__"):
            total = len(cast(Sized, iterable))
        now = time.monotonic()
        self._first = self._first or now
        self._last = now
        if total is not None:  # what the pipeline makes of our steps: a scheduler may need more calls, or fewer
            self._passes_left = max(1, self._passes_left)
            self.steps = self.passed + total * self._passes_left
            self._passes_left -= 1
        return Bar(self, iterable, total)

    def step(self, count: int = 1) -> None:
        """Count a step that has passed. Raises whatever `on_step` raises."""
        now = time.monotonic()
        self._denoising += now - self._last
        self._last = now
        self.passed += count
        self.steps = max(self.steps, self.passed)
        self._on_step(self.passed, self.steps)

    def seconds(self) -> dict[str, float]:
        """Return the seconds of reading the prompt, of denoising, and of decoding, once the call has ended."""
        whole = time.monotonic() - self._start
        prompt = (self._first or self._start) - self._start
        return {"prompt": prompt, "denoising": self._denoising, "decoding": max(0.0, whole - prompt - self._denoising)}


class Bar(tqdm):  # type: ignore[misc]  # tqdm has no types
    """A bar that draws nothing, and counts each step."""

    def __init__(self, steps: Steps, iterable: Iterable[object] | None, total: int | None) -> None:
        super().__init__(iterable, total=total, disable=True)
        self._steps = steps

    def update(self, n: float | None = 1) -> bool | None:
        """Count `n` steps. Raises whatever `on_step` raises."""
        self._steps.step(int(n or 0))
        return None

    def __iter__(self) -> Iterator[object]:
        for item in self.iterable:
            yield item
            self.update()
