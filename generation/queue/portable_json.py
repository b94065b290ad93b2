"""The guard that lets the durable engine read nothing but portable JSON, whatever its rows say of themselves.

DBOS decodes a value by the `serialization` column of the value's own row, and unpickles it where that says `py_pickle`,
whichever serializer was configured. Whoever can write such a row, as a worker's database role can, or whoever made a
backup that is restored, would run code in every process that reads it.
"""

from __future__ import annotations

import base64
import functools
import sys
from collections.abc import Callable
from types import ModuleType
from typing import TypeVar

from generation.queue.dbos_private import DECODING_MODULES, SERIALIZATION

R = TypeVar("R")

PORTABLE = "portable_json"
DECODERS = ("deserialize_value", "deserialize_args", "deserialize_exception")
ENCODERS = ("serialize_value_as", "serialize_exception")
# Modules that run code, or may, when they decode. The engine may have none of them within its reach.
UNSAFE = frozenset({"pickle", "_pickle", "cloudpickle", "dill", "jsonpickle", "joblib", "marshal", "shelve"})
# A pickle that calls `_decoded` below, which must never happen: it is tried at each start.
CANARY = base64.b64encode(f"c{__name__}\n_decoded\n(tR.".encode()).decode()

_canaries: list[bool] = []


class NotPortableError(ValueError):
    """A row of the engine is not portable JSON; it was rejected before it was decoded."""

    def __init__(self) -> None:
        super().__init__(
            "A row in the engine's tables is not portable JSON and was not read. FLock writes no such rows: find out "
            "who can write to the database."
        )


class UnsafeEngineError(ValueError):
    """The installed DBOS cannot be kept from running code that stands in a row; the sentence is for the operator."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"FLock does not start: the installed dbos package {why}, so that rows of the database might run code. "
            "Install the version that requirements.lock names: pip install -c requirements.lock flock"
        )


def read_portable_json_only() -> None:
    """Replace the engine's decoders by ones that reject all but portable JSON, and try them out; safe to repeat.

    Raises UnsafeEngineError where the library has changed and a decoder may still run code.
    """
    if "pickle" in vars(SERIALIZATION):
        try:
            decoders = [getattr(SERIALIZATION, name) for name in DECODERS]
            encoders = [getattr(SERIALIZATION, name) for name in ENCODERS]
        except AttributeError as error:
            raise UnsafeEngineError(f"no longer has {error.name}") from error
        replaced = {decoder: _reading_json_only(decoder) for decoder in decoders}
        replaced |= {encoder: _writing_json_only(encoder) for encoder in encoders}
        for module in _engine_modules():
            for name, value in list(vars(module).items()):
                if callable(value) and getattr(value, "__module__", None) == SERIALIZATION.__name__:
                    setattr(module, name, replaced.get(value, value))
        del vars(SERIALIZATION)["pickle"]  # nothing else in that module has a use for it
    _try_decoders()


def _try_decoders() -> None:
    """Try every decoder on a pickle. Raises UnsafeEngineError unless each rejects it."""
    for module in DECODING_MODULES:
        for name in DECODERS:
            decode = getattr(module, name, None)
            try:
                if decode is not None:
                    decode(CANARY, "py_pickle", SERIALIZATION.DBOSPortableJSON)
            except NotPortableError:
                continue
            except Exception as error:
                raise UnsafeEngineError(f"decodes rows in an unknown way ({type(error).__name__})") from error
            if decode is not None or module is SERIALIZATION:
                raise UnsafeEngineError("reads rows that are not JSON")
    if _canaries:
        raise UnsafeEngineError("still unpickles rows")
    if names := _unsafe_names_within_reach():
        raise UnsafeEngineError(f"uses {', '.join(names)}")


def _reading_json_only(decode: Callable[..., R]) -> Callable[..., R]:
    """Return a decoder of rows that say they are portable JSON, and are; all others it rejects unread."""

    @functools.wraps(decode)
    def decode_json(text: str | None, serialization: str | None, serializer: object) -> R:
        if text is not None and serialization not in (None, PORTABLE):
            raise NotPortableError
        try:
            return decode(text, None if serialization is None else PORTABLE, serializer)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise NotPortableError from error

    return decode_json


def _writing_json_only(encode: Callable[..., R]) -> Callable[..., R]:
    """Return an encoder to JSON whatever a row asks for: the end of a workflow whose row was rejected needs it."""

    @functools.wraps(encode)
    def encode_json(value: object, _serialization_of_row: str | None, serializer: object) -> R:
        return encode(value, PORTABLE, serializer)

    return encode_json


def _decoded() -> None:
    """Record that the canary, a pickle, was decoded."""
    _canaries.append(True)


def _engine_modules() -> list[ModuleType]:
    return [module for name, module in list(sys.modules.items()) if name.partition(".")[0] == "dbos"]


def _unsafe_names_within_reach() -> list[str]:
    """Return the names in the engine's loaded modules that are an unsafe module, or something out of one."""
    names = set()
    for module in _engine_modules():
        for name, value in vars(module).items():
            origin = getattr(value, "__module__", None)
            if getattr(value, "__name__", None) in UNSAFE or (isinstance(origin, str) and origin in UNSAFE):
                names.add(f"{module.__name__}.{name}")
    return sorted(names)
