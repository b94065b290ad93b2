"""The state of a training between two processes: one safetensors file, whole or not there; and the log of metrics.

Nothing is pickled. With torch.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from generation.feedback.tensor_files import read_tensors, write_tensors
from generation.feedback.whole_files import write_whole
from generation.models.weights import WeightsError

log = logging.getLogger(__name__)

MOMENTS = ("exp_avg", "exp_avg_sq")  # of AdamW


class CheckpointError(Exception):
    """A checkpoint is of another training; the message is a sentence."""


@dataclass(frozen=True)
class Place:
    """The place in a training: which phase, and how many of its steps have been taken."""

    phase: int
    step: int


def save(
    path: Path, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer, place: Place, identity: str
) -> None:
    """Write parameters, the optimizer's moments, and the place."""
    arrays = {}
    for key, parameter in parameters.items():
        arrays[f"value/{key}"] = parameter.detach().float().cpu().numpy()
        state = optimizer.state.get(parameter, {})
        for moment in MOMENTS:
            if moment in state:
                arrays[f"{moment}/{key}"] = state[moment].float().cpu().numpy()
        if "step" in state:
            arrays[f"taken/{key}"] = state["step"].float().reshape(1).cpu().numpy()
    metadata = {"identity": identity, "phase": str(place.phase), "step": str(place.step)}
    write_tensors(path, arrays, metadata)


def load(
    path: Path, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer, identity: str
) -> Place | None:
    """Put parameters and optimizer where they were; return the place, or None where no checkpoint can be read.

    Raises CheckpointError where the file is of other data, another model or another recipe.
    """
    try:
        arrays, metadata = read_tensors(path)
    except FileNotFoundError:
        return None
    except (WeightsError, OSError) as error:
        log.warning("The checkpoint cannot be read, and the training begins anew: %s", error)
        return None
    if metadata.get("identity") != identity:
        raise CheckpointError(
            f"{path} is of a training with other data, another model or another recipe. Name another folder with --out."
        )
    for key, parameter in parameters.items():
        parameter.data.copy_(torch.from_numpy(np.array(arrays[f"value/{key}"])))
        if f"exp_avg/{key}" in arrays:
            moments = {m: torch.from_numpy(np.array(arrays[f"{m}/{key}"])).to(parameter.device) for m in MOMENTS}
            optimizer.state[parameter] = {"step": torch.tensor(float(arrays[f"taken/{key}"][0])), **moments}
    return Place(int(metadata["phase"]), int(metadata["step"]))


class Metrics:
    """The metrics of a training: a JSON line each, and TensorBoard's events where that is installed."""

    def __init__(self, folder: Path, *, keep: Place | None, writes: bool = True) -> None:
        """Go on with the lines up to the place `keep`; those after it are of steps that are taken again."""
        self._path = folder / "metrics.jsonl"
        self._writes = writes
        if writes:
            lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.is_file() else []
            write_whole(self._path, "".join(f"{line}\n" for line in lines if _is_before(line, keep)).encode())
        self._board: Any = None
        if writes and find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"))

    def write(self, place: Place, **values: float | str) -> None:
        """Add a line."""
        if not self._writes:
            return
        line = json.dumps({"phase": place.phase, "step": place.step, **values}, sort_keys=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
        if self._board is not None:
            for name, value in values.items():
                if isinstance(value, float | int):
                    self._board.add_scalar(f"phase-{place.phase}/{name}", value, place.step)

    def close(self) -> None:
        """Write what TensorBoard has still in memory."""
        if self._board is not None:
            self._board.close()


def _is_before(line: str, keep: Place | None) -> bool:
    try:
        said = json.loads(line)
        return keep is not None and (int(said["phase"]), int(said["step"])) <= (keep.phase, keep.step)
    except (ValueError, KeyError, TypeError):  # half a line, of a process that was killed
        return False
