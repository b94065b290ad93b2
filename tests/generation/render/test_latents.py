"""The final latents of a call, from pipelines of every kind that hands them over, and none from the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from generation.render.latents import FinalLatents

STEPS = (torch.full((1, 2, 3), 4.0), torch.tensor([[[0.1, -2.0, 3.5]]]))


class Today:
    """As most pipelines of diffusers."""

    _callback_tensor_inputs = ("latents", "prompt_embeds")

    def __call__(
        self,
        prompt: str = "",
        callback_on_step_end: Callable[..., dict[str, Any]] | None = None,
        callback_on_step_end_tensor_inputs: list[str] | None = None,
    ) -> None:
        assert callback_on_step_end_tensor_inputs == ["latents"]
        assert callback_on_step_end is not None
        for number, latents in enumerate(STEPS):
            assert callback_on_step_end(self, number, None, {"latents": latents}) == {}


class Earlier:
    """As the oldest ones."""

    def __call__(
        self, prompt: str = "", callback: Callable[..., None] | None = None, callback_steps: int | None = None
    ) -> None:
        assert (callback is None, callback_steps) == (False, 1)
        assert callback is not None
        for number, latents in enumerate(STEPS):
            callback(number, None, latents)


class Silent:
    """One that hands nothing over."""

    def __call__(self, prompt: str = "") -> None: ...


class Without:
    """One whose callback is given other things."""

    _callback_tensor_inputs = ("prompt_embeds",)

    def __call__(self, prompt: str = "", callback_on_step_end: object = None) -> None:
        assert callback_on_step_end is None


@pytest.mark.parametrize("kind", [Today, Earlier])
def test_the_last_ones_are_kept(kind: type) -> None:
    """As float16, with their batch of one; what the call does with them afterwards changes nothing."""
    final = FinalLatents()
    last = STEPS[-1].clone()
    kind()("a red ball", **final.arguments(kind))
    STEPS[-1].mul_(0)
    try:
        found = final.array()
    finally:
        STEPS[-1].copy_(last)
    assert found is not None
    assert found.dtype == np.float16
    assert np.array_equal(found, last.numpy().astype(np.float16))


@pytest.mark.parametrize("kind", [Silent, Without])
def test_where_none_are_handed_over_there_are_none(kind: type) -> None:
    """The call is made as without."""
    final = FinalLatents()
    assert final.arguments(kind) == {}
    kind()("a red ball", **final.arguments(kind))
    assert final.array() is None


def test_what_is_too_large_stays_whole_and_what_is_no_number_is_none() -> None:
    """bfloat16 becomes float16 without a loss; beyond its range float32 is kept."""
    final = FinalLatents()
    final._keep(torch.tensor([[1.5, -3.25]], dtype=torch.bfloat16))
    found = final.array()
    assert found is not None
    assert (found.dtype, found.tolist()) == (np.float16, [[1.5, -3.25]])
    final._keep(torch.tensor([[1e6]]))
    found = final.array()
    assert found is not None
    assert (found.dtype, found.tolist()) == (np.float32, [[1e6]])
    final._keep(torch.tensor([[float("nan")]]))
    assert final.array() is None
