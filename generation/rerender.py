"""`flock rerender`: a video once more from its provenance card, and whether its frames are the same."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from generation.modelfile import ModelError
from generation.models import choose, load_models
from generation.provenance import CardError
from generation.supervise import RenderChild

MOST = {"width": 8192, "height": 8192, "frames": 10_000, "fps": 240, "steps": 10_000, "upscale": 16}

Json = dict[str, Any]


async def rerender(
    card: Json, data_dir: Path, models_file: Path | None, *, out: Path | None = None, hang_s: float = 300.0
) -> Json:
    """Renders what the card says with the local model of that id; the new video goes to `out`.

    {"same": whether the frames are, bit by bit, "frames_sha256", "card_frames_sha256", "differs": sentences on what
    differs otherwise}. Raises CardError, ModelError, RenderError or OSError.
    """
    model = choose(load_models(data_dir, models_file), card["model"]["id"])
    model = replace(model, overrides={**model.overrides, **_settings(card)})
    child = RenderChild(model, hang_s=hang_s)
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


def _settings(card: Json) -> Json:
    """What the card says of the call, within bounds: a card may come from anywhere. Raises CardError."""
    given = card.get("settings")
    if not isinstance(given, dict):
        raise CardError("This provenance card lacks its settings.")
    settings: Json = {}
    for name, most in MOST.items():
        value = given.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise CardError(f"This provenance card has no usable {name}: a whole number from 1 to {most}.")
        settings[name] = value
    guidance, negative = given.get("guidance"), given.get("negative_prompt")
    if not isinstance(guidance, int | float) or isinstance(guidance, bool) or not 0 <= guidance <= 1000:
        raise CardError("This provenance card has no usable guidance: a number from 0 to 1000.")
    if negative is not None and not isinstance(negative, str):
        raise CardError("This provenance card has no usable negative prompt.")
    return {**settings, "guidance": guidance, "negative_prompt": negative}


def _differences(card: Json, new: Json) -> list[str]:
    """Why frames may differ although model and seed are the same."""
    then, now = card.get("software"), new["software"]
    said = []
    if isinstance(then, dict):
        for name, version in now.items():
            if then.get(name) != version:
                said.append(f"{name} is {version} here and was {then.get(name)}.")
    dtype = card["settings"].get("dtype")
    if dtype != new["settings"]["dtype"]:
        said.append(f"Its dtype was {dtype}, and is {new['settings']['dtype']} here: set dtype in the models file.")
    device = card["settings"].get("device")
    if device != new["settings"]["device"]:
        said.append(f"It was rendered on {device}, and here on {new['settings']['device']}.")
    return said
