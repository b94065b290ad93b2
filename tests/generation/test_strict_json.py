"""JSON to dataclasses: what fits is read as it is written, and what does not is named without being shown."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Literal

import pytest

from generation.models.presets import FewSteps, Preset, Repository
from generation.models.registry import Model
from generation.strict_json import JsonObject, ShapeError, read_dataclass


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Wheel:
    inches: float


@dataclass(frozen=True)
class Bicycle:
    name: str
    gears: int
    colour: Colour
    use: Literal["town", "road"] = "town"
    wheels: tuple[Wheel, ...] = ()
    bell: bool | None = None
    extras: JsonObject = field(default_factory=dict)
    tags: dict[str, list[int]] = field(default_factory=dict)


GOOD = {"name": "b", "gears": 3, "colour": "red", "wheels": [{"inches": 28}], "extras": {"a": [1, None]}, "bell": True}


def test_json_that_fits_is_read() -> None:
    """Nested dataclasses, enums and tuples as themselves; a whole number stays one where a float may stand."""
    bicycle = read_dataclass(Bicycle, GOOD)
    assert bicycle == Bicycle("b", 3, Colour.RED, wheels=(Wheel(28),), extras={"a": [1, None]}, bell=True)
    assert isinstance(bicycle.wheels[0].inches, int)
    assert read_dataclass(Bicycle, json.loads(json.dumps(asdict(bicycle)))) == bicycle


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"brakes": 2}, "Bicycle has no field 'brakes'"),
        ({"gears": "3"}, "gears is of the wrong type"),
        ({"gears": True}, "gears is of the wrong type"),
        ({"gears": 3.5}, "gears is of the wrong type"),
        ({"name": None}, "name is of the wrong type"),
        ({"colour": "secret"}, "colour is none of red, blue"),
        ({"use": "sea"}, "use is of the wrong type"),
        ({"bell": "yes"}, "bell is of the wrong type"),
        ({"wheels": {}}, "wheels is of the wrong type"),
        ({"wheels": [{"inches": "secret"}]}, r"wheels\[0\]\.inches is of the wrong type"),
        ({"wheels": [{}]}, r"Wheel lacks the field wheels\[0\]\.'inches'"),
        ({"tags": {"a": [1, "secret"]}}, r"tags\.a\[1\] is of the wrong type"),
        ({"extras": []}, "extras is of the wrong type"),
    ],
)
def test_json_that_does_not_fit_is_an_error(change: dict[str, Any], reason: str) -> None:
    """It names the field, and never shows what stands there: that may be a member's own."""
    with pytest.raises(ShapeError, match=reason) as caught:
        read_dataclass(Bicycle, {**GOOD, **change})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("data", [None, [], "x", 3])
def test_only_an_object_is_a_dataclass(data: object) -> None:
    """The twin of an object without the fields that must be there."""
    with pytest.raises(ShapeError, match="Bicycle is no JSON object"):
        read_dataclass(Bicycle, data)
    with pytest.raises(ShapeError, match="Bicycle lacks the field 'name'"):
        read_dataclass(Bicycle, {})


def test_models_and_presets_cross_as_they_are() -> None:
    """They are part of the messages between a worker and its render process."""
    preset = Preset(
        "f", 8, 8, 9, 8, 1, 1.5,
        scheduler_options={"a": {"b": [1]}}, caches=("x",), repositories=(Repository("r/r", billions=2),),
        few_steps=(FewSteps("s/s", 4, 1.0),),
    )  # fmt: skip
    assert read_dataclass(Preset, json.loads(json.dumps(asdict(preset)))) == preset
    model = Model(
        "m", "x/y", dtype={"vae": "float32"}, adapters=[{"source": "a", "scale": 1.0}], overrides={"steps": 2}
    )
    assert read_dataclass(Model, json.loads(json.dumps(asdict(model)))) == model
