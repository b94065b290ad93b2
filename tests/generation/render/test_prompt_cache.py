"""What text encoders made is used again only where it is sure to be the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from generation.render.prompt_cache import PromptCache

GIVEN = torch.ones(2)


class Pipeline:
    """With a real encoder, though a small one; `noise` is a dropout that was left on."""

    def __init__(self, noise: float = 0.0) -> None:
        self.read: list[str] = []
        torch.manual_seed(0)
        self.encoder = torch.nn.Embedding(256, 64)
        self.dropout = torch.nn.Dropout(noise)

    @torch.no_grad()
    def encode_prompt(
        self,
        prompt: str | list[str],
        negative_prompt: str | None = None,
        *,
        device: torch.device | None = None,
        prompt_embeds: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        self.read.append(str(prompt))
        made = self.dropout(self.encoder(torch.tensor([list(str(prompt).encode())])))
        return made, None if negative_prompt is None else made * 0


def test_the_same_arguments_are_read_once() -> None:
    """By position or by name; another prompt, another negative prompt and another device are read."""
    pipeline = Pipeline()
    cache = PromptCache(pipeline)
    first = pipeline.encode_prompt("a red circle", None)
    again = pipeline.encode_prompt(negative_prompt=None, prompt="a red circle")
    assert torch.equal(first[0], again[0])
    assert again[1] is None
    pipeline.encode_prompt("a red circle", "blurred")
    pipeline.encode_prompt(["a red circle"])
    pipeline.encode_prompt("a red circle", device=torch.device("cpu"))
    assert len(pipeline.read) == 4
    assert (cache.hits, cache.misses) == (1, 4)


def test_a_pipeline_may_write_into_what_it_gets() -> None:
    """Nobody else sees that: neither the one who writes, next time, nor the first one's copy."""
    pipeline = Pipeline()
    PromptCache(pipeline)
    clean = pipeline.encode_prompt("x")[0].clone()
    for _ in range(3):
        made = pipeline.encode_prompt("x")[0]
        assert torch.equal(made, clean)
        made.zero_()
    assert len(pipeline.read) == 1


@pytest.mark.parametrize("noise", [0.0, 0.5], ids=["plain", "noisy"])
def test_what_is_drawn_at_random_is_not_kept(noise: float) -> None:
    """An encoder that draws noise would leave the denoiser another noise where it is skipped."""
    pipeline = Pipeline(noise)
    PromptCache(pipeline)
    for _ in range(2):
        torch.manual_seed(1)
        pipeline.encode_prompt("x")
    assert len(pipeline.read) == (2 if noise else 1)


def test_tensors_among_the_arguments_are_left_alone() -> None:
    """They cannot be told apart by their text."""
    pipeline = Pipeline()
    cache = PromptCache(pipeline)
    for _ in range(2):
        pipeline.encode_prompt("x", prompt_embeds=GIVEN)
    assert len(pipeline.read) == 2
    assert cache.hits == 0


def test_the_least_recently_used_is_forgotten() -> None:
    """By number, and by size; what alone is too large is not kept at all."""
    pipeline = Pipeline()
    PromptCache(pipeline, entries=2)
    for prompt in ("a", "b", "a", "c", "a", "b"):
        pipeline.encode_prompt(prompt)
    assert pipeline.read == ["a", "b", "c", "b"]
    small = Pipeline()  # a byte of prompt takes 256 bytes
    PromptCache(small, most_mib=600 / (1 << 20))
    for prompt in ("a", "b", "c", "b", "a", "long", "long", "a"):
        small.encode_prompt(prompt)
    assert small.read == ["a", "b", "c", "a", "long", "long"]


def test_a_wrong_call_is_the_encoders_own_error() -> None:
    """With the exception that it raises without us; and what has no encoder is left as it is."""
    pipeline = Pipeline()
    PromptCache(pipeline)
    with pytest.raises(TypeError):
        pipeline.encode_prompt(wrong=1)  # type: ignore[call-arg]  # on purpose
    bare: Any = type("Bare", (), {})()
    PromptCache(bare)
    assert not hasattr(bare, "encode_prompt")
