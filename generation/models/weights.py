"""The headers of a component's safetensors files: its tensors, and reasons why the files cannot be used as they are.

No torch: `flock models`, `flock doctor --worker` and the render child all ask here, before a weight is read.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

LONGEST_HEADER = 100_000_000  # bytes, as safetensors has it
MOST_NAMED = 3  # tensors that a sentence names; of the others it gives the number
FLOAT8 = ("F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ")
INTEGERS = ("I8", "U8")
USUAL = ("diffusion_pytorch_model.safetensors", "model.safetensors")  # the names by which libraries look for them

# The tensors that quantised files hold beside their weights, as ComfyUI, transformers, bitsandbytes, GPTQ, AWQ and
# nunchaku name them. No class of diffusers or transformers has a weight of such a name.
_SCALE = re.compile(
    r"(^|\.)(scale_(weight|input|output)|(weight|input|output|activation|w|s)_?scales?(_inv|_?\d)?|scaled_fp8|comfy_quant"
    r"|absmax|nested_absmax|quant_map|nested_quant_map|quant_state\.\w+|SCB|qweight|qzeros|wtscale|wcscales)$"
)
_LFS = b"version https://git-lfs"


class WeightsError(Exception):
    """A file is no safetensors file, or is incomplete; the message names it and says what to do."""


@dataclass(frozen=True)
class Tensor:
    """A tensor as a header describes it: its kind (F32, BF16, F8_E4M3, ...) and shape."""

    kind: str
    shape: tuple[int, ...]


class Faults(NamedTuple):
    """Sentences on a component's files: errors make them unusable, notes do not."""

    errors: list[str]
    notes: list[str]


def tensors_of(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file by name. Raises WeightsError with a sentence, and OSError."""
    # https://github.com/huggingface/safetensors#format: the header's length in 8 bytes, the header as JSON, the data.
    with path.open("rb") as file:
        start = file.read(8)
        if _LFS.startswith(start) and start:
            raise WeightsError(f"{path.name} is a pointer of git-lfs, and not the file. Run: git lfs pull")
        try:
            (length,) = struct.unpack("<Q", start)
            if length > LONGEST_HEADER:
                raise ValueError("The header is too long.")
            header = json.loads(file.read(length))
            entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
            tensors = {name: Tensor(str(entry["dtype"]), tuple(entry["shape"])) for name, entry in entries.items()}
            end = 8 + length + max((int(entry["data_offsets"][1]) for entry in entries.values()), default=0)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError, struct.error) as error:
            raise WeightsError(f"{path.name} is no safetensors file, or is cut off. Download it again.") from error
    if (size := path.stat().st_size) < end:
        raise WeightsError(f"{path.name} is cut off: it has {size} of {end} bytes. Download it again.")
    return tensors


def files_of_part(part: Path) -> list[str]:
    """Return the names of a component's weight files: those of its index, or else those in its folder."""
    weight_map = _weight_map(part)
    if weight_map:
        return sorted(set(weight_map.values()))
    names = [path.name for path in sorted(part.glob("*.safetensors"))]
    if usual := [name for name in names if name in USUAL]:
        return usual
    return [name for name in names if name.count(".") == 1] or names[:1]  # without those of another precision


def faults(part: Path) -> Faults:
    """Return the reasons why a component's files cannot be used, and notes on them: sentences, without its name.

    The tensors that its class expects are not known here; `components` compares with them. A missing file is no
    fault: `inventory.missing_files` names it.
    """
    tensors: dict[str, Tensor] = {}
    errors = []
    for name in files_of_part(part):
        try:
            tensors |= tensors_of(part / name)
        except WeightsError as error:
            errors.append(str(error))
        except FileNotFoundError:
            return Faults(errors, [])
        except OSError as error:
            errors.append(f"{name} cannot be read ({error.strerror}).")
    if errors:
        return Faults(errors, [])
    if missing := sorted(set(_weight_map(part)) - set(tensors)):
        errors.append(
            f"{list_tensors(missing)} that its index names {'is' if len(missing) == 1 else 'are'} in none of its files."
            " Download the model again, or take a repository that is complete."
        )
    if _quantised_beforehand(part):
        return Faults(errors, [])  # its config says how, and the library that reads it knows what its scales are for
    float8 = [name for name, tensor in tensors.items() if tensor.kind in FLOAT8]
    if problem := _unusable_numbers(tensors, float8):
        errors.append(problem)
    if errors or not float8:
        return Faults(errors, [])
    return Faults(
        [], [f"{len(float8)} of its tensors are float8, without scales: as coarse as that, whatever its dtype."]
    )


def _unusable_numbers(tensors: Mapping[str, Tensor], float8: list[str]) -> str | None:
    """Return a sentence on scales that nothing applies, or on whole numbers that are no weights; else None."""
    owners = {name.removesuffix("weight") for name in float8}
    beside = [
        name for name in tensors if name.rpartition(".")[0] + "." in owners and "scale" in name.rpartition(".")[2]
    ]
    if scales := sorted({*scales_among(tensors), *beside}):
        return unapplied_scales(scales)
    if whole := [name for name, tensor in tensors.items() if tensor.kind in INTEGERS and _is_weight(name, tensor)]:
        return (
            f"{list_tensors(whole)} of its weights {'is a whole number' if len(whole) == 1 else 'are whole numbers'} "
            f"of 8 bits, and its config does not say how to read them. {REMEDY}"
        )
    return None


REMEDY = "Take its files in bfloat16 or float16; `quantise` makes them small while they are loaded."


def scales_among(names: Iterable[str]) -> list[str]:
    """Return the names that only quantised files have: scales of weights that mean nothing without them."""
    return [name for name in names if _SCALE.search(name)]


def unapplied_scales(scales: list[str]) -> str:
    """Return the sentence on scales that nothing would apply."""
    return (
        f"its weights have scales ({list_tensors(scales)}) that nothing here applies, and without them their numbers "
        f"are wrong: fp8-scaled files and others that were quantised beforehand are not read. {REMEDY}"
    )


def list_tensors(names: Iterable[str]) -> str:
    """Return the number of tensors, and the names of some."""
    ordered = sorted(names)
    more = ", …" if len(ordered) > MOST_NAMED else ""
    return f"{len(ordered)} tensor{'' if len(ordered) == 1 else 's'} ({', '.join(ordered[:MOST_NAMED])}{more})"


def _is_weight(name: str, tensor: Tensor) -> bool:
    return name.endswith("weight") and len(tensor.shape) > 1


def _weight_map(part: Path) -> Mapping[str, str]:
    """Return the file of each tensor by the component's index; empty if it has none."""
    indexes = sorted(part.glob("*.safetensors.index.json"))
    usual = [index for index in indexes if index.name.removesuffix(".index.json") in USUAL]
    for index in usual or indexes:  # one of another precision may lie beside it
        try:
            weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            return {str(name): str(file) for name, file in weight_map.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return {}


def _quantised_beforehand(part: Path) -> bool:
    try:
        config = json.loads((part / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and bool(config.get("quantization_config"))
