"""Keeps the durable engine from reading anything but portable JSON, whatever its rows say of themselves.

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
from typing import Any

from dbos import _core, _serialization, _sys_db

PORTABLE = "portable_json"
DECODERS = ("deserialize_value", "deserialize_args", "deserialize_exception")
ENCODERS = ("serialize_value_as", "serialize_exception")
# Modules that run code, or may, when they decode. None of them may be within the engine's reach.
UNSAFE = frozenset({"pickle", "_pickle", "cloudpickle", "dill", "jsonpickle", "joblib", "marshal", "shelve"})
# A pickle that calls `_decoded` below: what must never happen, tried once at each start.
CANARY = base64.b64encode(f"c{__name__}\n_decoded\n(tR.".encode()).decode()

_canaries: list[bool] = []


class NotPortableError(ValueError):
    """A row of the engine is not portable JSON; it was refused before it was decoded."""

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
    """Replace the engine's decoders by ones that refuse what is not portable JSON, and make sure of it; safe to repeat.

    Raises UnsafeEngineError where the library has changed and this cannot be made sure of.
    """
    if "pickle" in vars(_serialization):
        try:
            replaced = {getattr(_serialization, name): _refusing(getattr(_serialization, name)) for name in DECODERS}
            replaced |= {getattr(_serialization, name): _portably(getattr(_serialization, name)) for name in ENCODERS}
        except AttributeError as error:
            raise UnsafeEngineError(f"no longer has {error.name}") from error
        for module in _engine_modules():
            for name, value in list(vars(module).items()):
                if callable(value) and getattr(value, "__module__", None) == _serialization.__name__:
                    setattr(module, name, replaced.get(value, value))
        del vars(_serialization)["pickle"]  # nothing else in that module has a use for it
    _make_sure()


def _make_sure() -> None:
    """Try every decoder on a pickle. Raises UnsafeEngineError unless each refuses it."""
    for module in (_serialization, _core, _sys_db):
        for name in DECODERS:
            decode = getattr(module, name, None)
            try:
                if decode is not None:
                    decode(CANARY, "py_pickle", _serialization.DBOSPortableJSON)
            except NotPortableError:
                continue
            except Exception as error:
                raise UnsafeEngineError(f"decodes rows in an unknown way ({type(error).__name__})") from error
            if decode is not None or module is _serialization:
                raise UnsafeEngineError("reads rows that are not JSON")
    if _canaries:
        raise UnsafeEngineError("still unpickles rows")
    if found := _decoders_within_reach():
        raise UnsafeEngineError(f"uses {', '.join(found)}")


def _refusing(decode: Callable[..., Any]) -> Callable[..., Any]:
    """Decode what a row says is portable JSON, and is; refuse all else before it is looked at."""

    @functools.wraps(decode)
    def decoded(text: str | None, serialization: str | None, serializer: Any) -> Any:
        if text is not None and serialization not in (None, PORTABLE):
            raise NotPortableError
        try:
            return decode(text, None if serialization is None else PORTABLE, serializer)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise NotPortableError from error

    return decoded


def _portably(encode: Callable[..., Any]) -> Callable[..., Any]:
    """Write JSON also where a row asks for something else: so ends the workflow of a row that was refused."""

    @functools.wraps(encode)
    def encoded(value: Any, _serialization_of_row: str | None, serializer: Any) -> Any:
        return encode(value, PORTABLE, serializer)

    return encoded


def _decoded() -> None:
    """Tell that a pickle was decoded: the canary's."""
    _canaries.append(True)


def _engine_modules() -> list[ModuleType]:
    return [module for name, module in list(sys.modules.items()) if name.partition(".")[0] == "dbos"]


def _decoders_within_reach() -> list[str]:
    """Return what the engine's loaded modules hold of the unsafe modules: these, or something out of them."""
    found = set()
    for module in _engine_modules():
        for name, value in vars(module).items():
            origin = getattr(value, "__module__", None)
            if getattr(value, "__name__", None) in UNSAFE or (isinstance(origin, str) and origin in UNSAFE):
                found.add(f"{module.__name__}.{name}")
    return sorted(found)
