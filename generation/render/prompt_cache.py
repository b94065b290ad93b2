"""The cache of a pipeline's text encoders, so that the same prompt is not read twice. With torch.

Any pipeline with an `encode_prompt` is served: all of its arguments are the key. An output is used again only where it
is sure to be the same: every argument is plain, nothing random was drawn, and all that came out are tensors.
"""

from __future__ import annotations

import inspect
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import torch
    from diffusers import DiffusionPipeline

log = logging.getLogger(__name__)

ENTRIES = 32
MOST_MIB = 256  # of the machine's memory, not the GPU's

# Tensors in lists and tuples, as an `encode_prompt` returns them: checked when the program runs.
Encoding: TypeAlias = object


class PromptCache:
    """The last prompts of one loaded pipeline, the least recently used forgotten first."""

    def __init__(self, pipeline: DiffusionPipeline, *, entries: int = ENTRIES, most_mib: float = MOST_MIB) -> None:
        """Take the place of the pipeline's `encode_prompt`, if it has one."""
        self.hits = self.misses = 0
        self._entries, self._most = entries, int(most_mib * (1 << 20))
        self._encodings: OrderedDict[str, tuple[Encoding, int]] = OrderedDict()  # copies, and their bytes
        self._encode: Callable[..., Encoding] | None = getattr(pipeline, "encode_prompt", None)
        if callable(self._encode):
            self._signature = inspect.signature(self._encode)
            pipeline.encode_prompt = self.encode_prompt

    def encode_prompt(self, *args: object, **kwargs: object) -> Encoding:
        """Encode a prompt, or return what came of it before, in place of the pipeline's own method."""
        assert self._encode is not None  # noqa: S101  # else nobody calls this
        key = self._key(args, kwargs)
        if key is not None and key in self._encodings:
            self._encodings.move_to_end(key)
            self.hits += 1
            log.debug("The text encoder is skipped: this prompt was read before.")
            return _copy(self._encodings[key][0])
        self.misses += 1
        before = _random_state()
        encoding = self._encode(*args, **kwargs)
        size = _size(encoding)
        if key is not None and size is not None and size <= self._most and before == _random_state():
            self._encodings[key] = _copy(encoding), size
            while (
                len(self._encodings) > self._entries or sum(each for _, each in self._encodings.values()) > self._most
            ):
                self._encodings.popitem(last=False)
        return encoding

    def _key(self, args: tuple[object, ...], kwargs: dict[str, object]) -> str | None:
        """Return all arguments by name, as text; None when one of them is not plain."""
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError:  # the encoder itself will say so
            return None
        bound.apply_defaults()
        return repr(sorted(bound.arguments.items())) if _is_plain(bound.arguments) else None


class _Stored:
    """A tensor in the machine's memory, and the device that it came from."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.device = tensor.device
        self.tensor = tensor.detach().to("cpu", copy=True)


def _is_plain(value: object) -> bool:
    import torch

    if isinstance(value, dict):
        return all(isinstance(name, str) and _is_plain(each) for name, each in value.items())
    if isinstance(value, list | tuple):
        return all(_is_plain(each) for each in value)
    return value is None or isinstance(value, str | bool | int | float | torch.device | torch.dtype)


def _size(encoding: Encoding) -> int | None:
    """Return the bytes of the tensors; None when there is anything else."""
    import torch

    if encoding is None:
        return 0
    if isinstance(encoding, torch.Tensor):
        return int(encoding.numel() * encoding.element_size())
    if type(encoding) in (list, tuple) and isinstance(encoding, list | tuple):
        sizes = [_size(each) for each in encoding]
        return None if None in sizes else sum(size for size in sizes if size is not None)
    return None


def _copy(encoding: Encoding) -> Encoding:
    """Store tensors, and return stored ones, each as a copy: a pipeline may write into what it is given."""
    if isinstance(encoding, list | tuple):
        return type(encoding)(_copy(each) for each in encoding)
    if encoding is None:
        return None
    return encoding.tensor.to(encoding.device, copy=True) if isinstance(encoding, _Stored) else _Stored(encoding)


def _random_state() -> bytes:
    import torch

    state = bytes(torch.get_rng_state().numpy())
    if torch.cuda.is_available():
        state += bytes(torch.cuda.get_rng_state().numpy())
    return state
