"""`flock rerender`: a video rendered again from its provenance card, and compared with it frame by frame."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from generation.adapters.file import AdapterError, adapter_path, check_adapter, check_numbers
from generation.models.config import TINY, ModelError, read_model
from generation.models.registry import Model, choose, load_models
from generation.render_messages import ReleaseAdapter, RenderRequest
from generation.video.latents import latents_path
from generation.video.provenance import OF_MODEL, OF_PRESET, CardError
from generation.worker.render_process import RenderChild

# The settings that a card may leave empty; `vae_float32` is the family's, and only compared.
MAY_BE_EMPTY = {"negative_prompt", "shift", "scheduler", "max_sequence_length"}
MAY_BE_EMPTY |= {"pipeline", "quantise", "cache", "cache_threshold", "attention"}
MOST = {"width": 4096, "height": 4096, "frames": 1025, "fps": 120, "steps": 1000, "upscale": 8}

Card = Mapping[str, Any]  # JSON from anywhere, of which `read_card` has checked the least


@dataclass(frozen=True)
class Comparison:
    """A video from a card, and the same video rendered here."""

    frames_sha256: str
    card_frames_sha256: str
    differences: list[str]  # sentences on what differs beside the frames
    latents_sha256: str | None = None  # None where the pipeline hands none over
    card_latents_sha256: str | None = None  # None on cards of older releases

    @property
    def same_frames(self) -> bool:
        """True when the frames are the same, bit by bit."""
        return self.frames_sha256 == self.card_frames_sha256

    @property
    def same_latents(self) -> bool | None:
        """True when the final latents are the same, bit by bit; None where the card does not tell."""
        if self.card_latents_sha256 is None:
            return None
        return self.latents_sha256 == self.card_latents_sha256


async def rerender(
    card: Card,
    data_dir: Path,
    models_file: Path | None,
    *,
    out: Path | None = None,
    latents: Path | None = None,
    hang_s: float = 300.0,
    load_s: float = 1800.0,
) -> Comparison:
    """Render the video of a card with the local model of the card's id.

    The new video goes to `out`, its final latents to `latents`.

    Raises CardError, ModelError, RenderError or OSError.
    """
    model = choose(load_models(data_dir, models_file), card["model"]["id"])
    model = _as_on(card, model)
    release = _release_on(card, data_dir)
    child = RenderChild(model, hang_s=hang_s, load_s=load_s)
    try:
        revision = (await child.warm()).revision
        if revision != card["model"]["revision"]:
            raise ModelError(
                f"The model {model.id} is here at the revision {revision}; the card's video was made with "
                f"{card['model']['revision']}, and another revision renders other frames."
            )
        with tempfile.TemporaryDirectory(prefix="flock-") as folder:
            path = Path(folder, "video.mp4")
            video = await child.render(replace(_request(card, path), release=release))
            if out is not None:
                shutil.copyfile(path, out)
            if latents is not None and latents_path(path).is_file():
                shutil.copyfile(latents_path(path), latents)
    finally:
        await child.close()
    new_card: Card = video.provenance
    return Comparison(
        new_card["frames_sha256"],
        card["frames_sha256"],
        _differences(card, new_card),
        latents_sha256=_latents_hash(new_card),
        card_latents_sha256=_latents_hash(card),
    )


def _request(card: Card, path: Path) -> RenderRequest:
    return RenderRequest(
        prompt=card["prompt"],
        seed=card["seed"],
        video_path=str(path),
        poster_path=str(path.with_suffix(".jpg")),
        label_frames=bool(card.get("label_in_picture")),
        latents_path=str(latents_path(path)),
    )


def _latents_hash(card: Card) -> str | None:
    latents = card.get("latents")
    sha256 = latents.get("sha256") if isinstance(latents, dict) else None
    return sha256 if isinstance(sha256, str) else None


def _release_on(card: Card, data_dir: Path) -> ReleaseAdapter | None:
    """Return the release on a card, whose adapter must be in the data folder. Raises CardError."""
    release = card["model"].get("release")
    if release is None:
        return None
    try:
        sha256, number = release["adapter_sha256"], release["number"]
        number = None if number is None else int(number)  # None: of a candidate
        path = adapter_path(data_dir, sha256)
    except (ValueError, KeyError, TypeError):
        raise CardError("This provenance card names a release that cannot be read.") from None
    try:
        check_adapter(path, sha256)
        check_numbers(path)
    except AdapterError as error:
        name = "a candidate" if number is None else f"release {number}"
        raise CardError(f"The card's video was made with {name}. {error} Its place is {path}.") from error
    return ReleaseAdapter(number, sha256, str(path))


def _as_on(card: Card, model: Model) -> Model:
    """Return the model with the card's settings: what an older card does not say stays as it is here.

    A card may come from anywhere, so its values are checked like those of a models file. Raises CardError.
    """
    settings = card.get("settings")
    if not isinstance(settings, dict):
        raise CardError("This provenance card lacks its settings.")
    for name, most in MOST.items():
        value = settings.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise CardError(f"This provenance card has no usable {name}: a whole number from 1 to {most}.")
    on_card = {name: settings[name] for name in (*OF_PRESET, *OF_MODEL) if name in settings and name != "vae_float32"}
    empty = {name for name, value in on_card.items() if value is None and name in MAY_BE_EMPTY}
    table = {name: value for name, value in on_card.items() if name not in empty}
    try:
        read = read_model(model.id, {**table, "source": TINY})
    except ModelError as error:
        raise CardError(f"This provenance card has settings that cannot be used. {error}") from None
    looks = {**read.overrides, **dict.fromkeys(empty - set(OF_MODEL))}
    fields = {name: getattr(read, name) for name in OF_MODEL if name in on_card}
    return replace(model, overrides={**model.overrides, **looks}, **fields)


def _differences(card: Card, new_card: Card) -> list[str]:
    """Return sentences on why frames may differ although model and seed are the same."""
    then, now = card.get("software"), new_card["software"]
    sentences = []
    if isinstance(then, dict):
        for name, version in now.items():
            if then.get(name) != version:
                sentences.append(f"{name} is {version} here and was {then.get(name)}.")
    before, here = card["settings"], new_card["settings"]
    if before.get("device") != here["device"]:
        sentences.append(f"It was rendered on {before.get('device')}, and here on {here['device']}.")
    names = (*OF_PRESET, *OF_MODEL)
    sentences += [
        f"{name} was {before[name]!r}, and is {here[name]!r} here."
        for name in names
        if name in before and before[name] != here[name]
    ]
    if missing := [name for name in names if name not in before]:
        sentences.append(
            f"The card is of an older release, and taken as this machine has them were {', '.join(missing)}."
        )
    return sentences
