"""`flock rerender`: a video once more from its provenance card, and whether its frames are the same."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from generation.models.config import TINY, ModelError, read_model
from generation.models.registry import Model, choose, load_models
from generation.video.provenance import OF_MODEL, OF_PRESET, CardError
from generation.worker.render_process import RenderChild

# What a card may leave empty; `vae_float32` is the family's, and only compared.
NONE = {"negative_prompt", "shift", "scheduler", "max_sequence_length"}
NONE |= {"pipeline", "quantise", "cache", "cache_threshold", "attention"}
MOST = {"width": 4096, "height": 4096, "frames": 1025, "fps": 120, "steps": 1000, "upscale": 8}

Json = dict[str, Any]


async def rerender(
    card: Json,
    data_dir: Path,
    models_file: Path | None,
    *,
    out: Path | None = None,
    hang_s: float = 300.0,
    load_s: float = 1800.0,
) -> Json:
    """Renders what the card says with the local model of that id; the new video goes to `out`.

    {"same": whether the frames are, bit by bit, "frames_sha256", "card_frames_sha256", "differs": sentences on what
    differs otherwise}. Raises CardError, ModelError, RenderError or OSError.
    """
    model = choose(load_models(data_dir, models_file), card["model"]["id"])
    model = _as_on(card, model)
    child = RenderChild(model, hang_s=hang_s, load_s=load_s)
    try:
        loaded = await child.warm()
        if loaded["revision"] != card["model"]["revision"]:
            raise ModelError(
                f"The model {model.id} is here at the revision {loaded['revision']}; the card's video was made with "
                f"{card['model']['revision']}, and another revision renders other frames."
            )
        with tempfile.TemporaryDirectory(prefix="flock-") as folder:
            video = Path(folder, "video.mp4")
            job = {
                "prompt": card["prompt"],
                "seed": card["seed"],
                "video_path": str(video),
                "poster_path": str(video.with_suffix(".jpg")),
                "label_frames": bool(card.get("label_in_picture")),
            }
            facts = await child.render(job)
            if out is not None:
                shutil.copyfile(video, out)
    finally:
        await child.close()
    new = facts["provenance"]
    return {
        "same": new["frames_sha256"] == card["frames_sha256"],
        "frames_sha256": new["frames_sha256"],
        "card_frames_sha256": card["frames_sha256"],
        "differs": _differences(card, new),
    }


def _as_on(card: Json, model: Model) -> Model:
    """The model as the card says that it rendered: what an older card does not say stays as it is here.

    A card may come from anywhere, so its values are checked like those of a models file. Raises CardError.
    """
    given = card.get("settings")
    if not isinstance(given, dict):
        raise CardError("This provenance card lacks its settings.")
    for name, most in MOST.items():
        value = given.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise CardError(f"This provenance card has no usable {name}: a whole number from 1 to {most}.")
    said = {name: given[name] for name in (*OF_PRESET, *OF_MODEL) if name in given and name != "vae_float32"}
    empty = {name for name, value in said.items() if value is None and name in NONE}
    table = {name: value for name, value in said.items() if name not in empty}
    try:
        read = read_model(model.id, {**table, "source": TINY})
    except ModelError as error:
        raise CardError(f"This provenance card has settings that cannot be used. {error}") from None
    looks = {**read.overrides, **dict.fromkeys(empty - set(OF_MODEL))}
    fields = {name: getattr(read, name) for name in OF_MODEL if name in said}
    return replace(model, overrides={**model.overrides, **looks}, **fields)


def _differences(card: Json, new: Json) -> list[str]:
    """Why frames may differ although model and seed are the same."""
    then, now = card.get("software"), new["software"]
    said = []
    if isinstance(then, dict):
        for name, version in now.items():
            if then.get(name) != version:
                said.append(f"{name} is {version} here and was {then.get(name)}.")
    before, here = card["settings"], new["settings"]
    if before.get("device") != here["device"]:
        said.append(f"It was rendered on {before.get('device')}, and here on {here['device']}.")
    names = (*OF_PRESET, *OF_MODEL)
    said += [
        f"{name} was {before[name]!r}, and is {here[name]!r} here."
        for name in names
        if name in before and before[name] != here[name]
    ]
    if silent := [name for name in names if name not in before]:
        said.append(f"The card is of an older release, and taken as this machine has them were {', '.join(silent)}.")
    return said
