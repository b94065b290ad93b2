"""The steps of a pipeline, counted by its bars."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from generation.render.progress import Steps


def test_each_move_of_a_bar_is_a_step() -> None:
    """Moved by hand or walked through; the pipeline's own count of steps is believed from then on."""
    seen: list[tuple[int, int]] = []
    steps = Steps(lambda step, total: seen.append((step, total)), steps=9, passes=2)
    assert steps.steps == 18
    pipeline = SimpleNamespace()
    steps.watch(pipeline)
    with pipeline.progress_bar(total=2) as bar:
        bar.update()
        bar.update()
    assert list(pipeline.progress_bar(["a", "b"])) == ["a", "b"]
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert steps.passed == steps.steps == 4
    assert set(steps.seconds()) == {"prompt", "denoising", "decoding"}
    assert all(seconds >= 0 for seconds in steps.seconds().values())


def test_more_steps_than_were_known_are_counted_too() -> None:
    """The twin: a bar without a total, and one that moves further than it said."""
    seen: list[tuple[int, int]] = []
    steps = Steps(lambda step, total: seen.append((step, total)), steps=1)
    bar = steps.bar()
    bar.update()
    bar.update(2)
    assert seen == [(1, 1), (3, 3)]


def test_what_a_step_raises_ends_the_call() -> None:
    def stop(_step: int, _total: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        list(Steps(stop, steps=2).bar([1, 2]))
