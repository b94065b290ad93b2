"""What lies in a component's safetensors files, by their headers alone, and why they cannot be used as they are.

No torch: `flock models`, `flock doctor --worker` and the render child all ask here, before a weight is read.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LONGEST_HEADER = 100_000_000  # bytes, as safetensors has it
NAMED = 3  # tensors that a sentence names; of the others it tells how many there are
FLOAT8 = ("F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ")
INTEGERS = ("I8", "U8")
USUAL = ("diffusion_pytorch_model.safetensors", "model.safetensors")  # the names by which libraries look for them

# What quantised files hold beside their weights, under the names that ComfyUI, transformers, bitsandbytes, GPTQ, AWQ
# and nunchaku give it. No class of diffusers or transformers has a weight of such a name.
_SCALE = re.compile(
    r"(^|\.)(scale_(weight|input|output)|(weight|input|output|activation|w|s)_?scales?(_inv|_?\d)?|scaled_fp8|comfy_quant"
    r"|absmax|nested_absmax|quant_map|nested_quant_map|quant_state\.\w+|SCB|qweight|qzeros|wtscale|wcscales)$"
)
_LFS = b"version https://git-lfs"


class WeightsError(Exception):
    """A file is no safetensors file, or not all of one; the message says which, and what to do."""


@dataclass(frozen=True)
class Tensor:
    """A tensor as a header tells of it: its kind (F32, BF16, F8_E4M3, ...) and shape."""

    kind: str
    shape: tuple[int, ...]


def tensors_of(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name. Raises WeightsError with a sentence, and OSError."""
    # https://github.com/huggingface/safetensors#format: the header's length in 8 bytes, the header as JSON, the data.
    with path.open("rb") as file:
        begins = file.read(8)
        if _LFS.startswith(begins) and begins:
            raise WeightsError(f"{path.name} is a pointer of git-lfs, and not the file. Run: git lfs pull")
        try:
            (length,) = struct.unpack("<Q", begins)
            header: Any = json.loads(file.read(length)) if length <= LONGEST_HEADER else None
            entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
            tensors = {name: Tensor(str(entry["dtype"]), tuple(entry["shape"])) for name, entry in entries.items()}
            end = 8 + length + max((int(entry["data_offsets"][1]) for entry in entries.values()), default=0)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError, struct.error) as error:
            raise WeightsError(f"{path.name} is no safetensors file, or is cut off. Download it again.") from error
    if (size := path.stat().st_size) < end:
        raise WeightsError(f"{path.name} is cut off: it has {size} of {end} bytes. Download it again.")
    return tensors


def files_of_part(part: Path) -> list[str]:
    """The names of a component's weight files: those of its index, or what lies there."""
    weight_map = _weight_map(part)
    if weight_map:
        return sorted(set(weight_map.values()))
    found = [path.name for path in sorted(part.glob("*.safetensors"))]
    if usual := [name for name in found if name in USUAL]:
        return usual
    return [name for name in found if name.count(".") == 1] or found[:1]  # not those of another precision as well


def faults(part: Path) -> tuple[list[str], list[str]]:
    """Why a component's files cannot be used, and what else is to be said of them: sentences, without its name.

    What its class wants is not known here; `components` compares with that. A file that is not there is not told.
    """
    tensors: dict[str, Tensor] = {}
    wrong = []
    for name in files_of_part(part):
        try:
            tensors |= tensors_of(part / name)
        except WeightsError as error:
            wrong.append(str(error))
        except FileNotFoundError:  # `catalogue.missing_files` names it
            return wrong, []
        except OSError as error:
            wrong.append(f"{name} cannot be read ({error.strerror}).")
    if wrong:
        return wrong, []
    if lost := sorted(set(_weight_map(part)) - set(tensors)):
        wrong.append(
            f"{counted(lost)} that its index names {'is' if len(lost) == 1 else 'are'} in none of its files. "
            "Download the model again, or take a repository that is complete."
        )
    if _quantised_beforehand(part):
        return wrong, []  # its config says how, and the library that reads it knows what its scales are for
    coarse = [name for name, tensor in tensors.items() if tensor.kind in FLOAT8]
    owners = {name.removesuffix("weight") for name in coarse}
    beside = [
        name for name in tensors if name.rpartition(".")[0] + "." in owners and "scale" in name.rpartition(".")[2]
    ]
    if scales := sorted({*scales_among(tensors), *beside}):
        wrong.append(scaled(scales))
    elif whole := [name for name, tensor in tensors.items() if tensor.kind in INTEGERS and _is_weight(name, tensor)]:
        wrong.append(
            f"{counted(whole)} of its weights {'is a whole number' if len(whole) == 1 else 'are whole numbers'} of 8 "
            f"bits, and its config does not say how to read them. {REMEDY}"
        )
    said = [f"{len(coarse)} of its tensors are float8, without scales: as coarse as that, whatever its dtype."]
    return wrong, said if coarse and not wrong else []


REMEDY = "Take its files in bfloat16 or float16; `quantise` makes them small while they are loaded."


def scales_among(names: Iterable[str]) -> list[str]:
    """The names that only quantised files have: scales of weights that mean nothing without them."""
    return [name for name in names if _SCALE.search(name)]


def scaled(scales: list[str]) -> str:
    """The sentence about scales that nothing would apply."""
    return (
        f"its weights have scales ({counted(scales)}) that nothing here applies, and without them their numbers are "
        f"wrong: fp8-scaled files and others that were quantised beforehand are not read. {REMEDY}"
    )


def counted(names: Iterable[str]) -> str:
    """The number of tensors, and the names of some."""
    known = sorted(names)
    more = ", …" if len(known) > NAMED else ""
    return f"{len(known)} tensor{'' if len(known) == 1 else 's'} ({', '.join(known[:NAMED])}{more})"


def _is_weight(name: str, tensor: Tensor) -> bool:
    return name.endswith("weight") and len(tensor.shape) > 1


def _weight_map(part: Path) -> Mapping[str, str]:
    """Which file holds which tensor, as a component's index says; empty where it has none."""
    found = sorted(part.glob("*.safetensors.index.json"))
    usual = [index for index in found if index.name.removesuffix(".index.json") in USUAL]
    for index in usual or found:  # that of another precision may lie beside it
        try:
            return {str(name): str(file) for name, file in _read(index)["weight_map"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return {}


def _quantised_beforehand(part: Path) -> bool:
    try:
        return bool(_read(part / "config.json").get("quantization_config"))
    except (OSError, ValueError, AttributeError):
        return False


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
