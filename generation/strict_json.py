"""JSON to frozen dataclasses, strictly: an unknown, missing or wrong field is an error that names it.

A dataclass says by its annotations what its JSON looks like. Imports nothing of ours.
"""

from __future__ import annotations

import enum
import functools
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, TypeAlias, TypeVar, Union, get_args, get_origin
from typing import get_type_hints as type_hints_of

if TYPE_CHECKING:
    JsonValue: TypeAlias = bool | int | float | str | Sequence["JsonValue"] | Mapping[str, "JsonValue"] | None
else:
    JsonValue = object  # the decoder takes such a value as it stands
JsonObject: TypeAlias = dict[str, JsonValue]


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Field[object]]]


T = TypeVar("T", bound=_Dataclass)


class ShapeError(ValueError):
    """JSON has not the shape that its reader expects; str() names the field, and never shows its value."""


def read_dataclass(kind: type[T], data: object, where: str = "") -> T:
    """Build a dataclass from a JSON object; `where` stands before the names of its fields. Raises ShapeError."""
    if not isinstance(data, dict):
        raise ShapeError(f"{where.rstrip('.') or kind.__name__} is no JSON object.")
    hints = _hints(kind)
    known_fields = {field.name: field for field in fields(kind)}
    if unknown := sorted(str(name) for name in set(data) - set(known_fields)):
        raise ShapeError(f"{kind.__name__} has no field {where}{unknown[0][:64]!r}.")
    for name, field in known_fields.items():
        if name not in data and field.default is MISSING and field.default_factory is MISSING:
            raise ShapeError(f"{kind.__name__} lacks the field {where}{name!r}.")
    return kind(**{name: _read(hints[name], value, f"{where}{name}") for name, value in data.items()})


@functools.cache
def _hints(kind: type[object]) -> dict[str, object]:
    return dict(type_hints_of(kind))


def _read(hint: object, value: object, where: str) -> object:
    """Return a value in the form that a type hint asks for; a hint of an unknown form takes any value as it stands."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _read_union(arguments, value, where)
    if origin is Literal:
        return _checked(value in arguments and type(value) in {type(choice) for choice in arguments}, value, where)
    if origin in (dict, Mapping):
        if not isinstance(value, dict):
            raise ShapeError(f"{where} is of the wrong type.")
        return {str(name): _read(arguments[1], each, f"{where}.{name}"[:200]) for name, each in value.items()}
    if origin in (list, tuple, Sequence):
        if not isinstance(value, list):
            raise ShapeError(f"{where} is of the wrong type.")
        items = [_read(arguments[0], each, f"{where}[{index}]") for index, each in enumerate(value)]
        return tuple(items) if origin is tuple else items
    if hint is None or hint is type(None):
        return _checked(value is None, value, where)
    if isinstance(hint, type):
        return _read_plain(hint, value, where)
    return value


def _read_plain(hint: type, value: object, where: str) -> object:
    if is_dataclass(hint):
        return read_dataclass(hint, value, f"{where}.")
    if issubclass(hint, enum.Enum):
        try:
            return hint(value)
        except ValueError:
            raise ShapeError(f"{where} is none of {', '.join(str(member.value) for member in hint)}.") from None
    if hint is float:  # a whole number stays one: it is written as it was read
        return _checked(isinstance(value, int | float) and not isinstance(value, bool), value, where)
    if hint is int:
        return _checked(isinstance(value, int) and not isinstance(value, bool), value, where)
    if hint in (bool, str, list, dict):
        return _checked(isinstance(value, hint), value, where)
    return value


def _read_union(hints: Sequence[object], value: object, where: str) -> object:
    errors = []
    for hint in hints:
        try:
            return _read(hint, value, where)
        except ShapeError as error:
            errors.append(error)
    specific = [error for error in errors if "wrong type" not in str(error)]
    raise (specific or errors)[0]


def _checked(fits: bool, value: object, where: str) -> object:
    if not fits:
        raise ShapeError(f"{where} is of the wrong type.")
    return value
