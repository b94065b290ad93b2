"""The way from frames to the finished file: watermark, hash of the frames, mp4, signature, and the provenance card."""

from __future__ import annotations

import logging
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from generation.models.presets import Preset
from generation.models.registry import Model
from generation.render_messages import RenderRequest, Signing
from generation.strict_json import JsonObject
from generation.video import c2pa_manifest, provenance
from generation.video.certificates import Certificate, certificate_of
from generation.video.encode import Encoded, Fit, encode, enlarge
from generation.video.latents import describe_latents, write_latents
from generation.video.motion import motion_of
from generation.video.watermark import WORDS, add_watermark

if TYPE_CHECKING:
    from generation.video.latents import Latents

log = logging.getLogger(__name__)


def finalize(
    frames: NDArray[np.uint8],
    request: RenderRequest,
    *,
    model: Model,
    revision: str,
    preset: Preset,
    device: str,
    latents: Latents | None = None,
    choice: JsonObject | None = None,
) -> tuple[Encoded, provenance.Card]:
    """Write video, poster and latents as the request says, and return the facts of the file and its provenance card.

    `choice` is what the card says of how the video was chosen, where there were several.

    Raises CertificateError, and whatever `encode` raises.
    """
    frames_sha256 = provenance.frames_hash(frames)
    certificate = _certificate(request.signing)
    card = _card(request, certificate, frames_sha256, model=model, revision=revision, preset=preset, device=device)
    card = {**card, "motion": motion_of(frames), "latents": describe_latents(latents)}
    card |= {} if choice is None else {"best_of": choice}
    if latents is not None and request.latents_path is not None:
        _keep(latents, Path(request.latents_path))
    facts = {
        "model": model.id,
        "revision": revision,
        "seed": str(request.seed),  # as text: some readers of JSON round numbers beyond 2^53
        "prompt_hmac_sha256": provenance.prompt_hash(request.prompt, frames_sha256),
    }
    named = f"{model.id} at {revision}"
    if request.release is not None:
        facts["adapter_sha256"] = request.release.adapter_sha256
        number = request.release.number
        named += ", a candidate" if number is None else f", release {number}"

    def sign(draft: Path) -> None:
        if certificate is not None:
            c2pa_manifest.sign(draft, certificate, facts, version=str(card["software"]["flock"]))

    upscale = preset.upscale
    if request.label_frames:
        if upscale > 1:  # legible letters need the final size
            frames, upscale = enlarge(frames, upscale), 1
        frames = add_watermark(frames)
    write = partial(
        encode,
        frames,
        preset.fps,
        Path(request.video_path),
        Path(request.poster_path),
        upscale=upscale,
        fit=_fit(request.fit_bytes, certificate),
        tags={"title": f"{WORDS} video", "comment": f"{WORDS} by FLock with the model {named}"},
        seal=sign,
    )
    try:
        encoded = write()
    except OSError:
        # The latents may have taken the last room of the disk, and a member waits for the video.
        if request.latents_path is None or not _deleted(Path(request.latents_path)):
            raise
        encoded = write()
    return encoded, {**card, "file": asdict(encoded)}


def _keep(latents: Latents, path: Path) -> None:
    """Write the latents before the video, so that whoever has the video has them. No video fails for them."""
    try:
        write_latents(path, latents)
    except OSError as error:
        log.warning("The latents of a video could not be kept (%s): its card can make them again.", error.strerror)


def _deleted(path: Path) -> bool:
    """Delete kept latents, and return True if there were any."""
    if not path.is_file():
        return False
    path.unlink()
    log.warning("The latents of a video were deleted again, to make room for it: its card can make them again.")
    return True


def _certificate(signing: Signing | None) -> Certificate | None:
    if signing is None:
        return None
    chain, key = (Path(name) if name else None for name in (signing.chain, signing.key))
    return certificate_of(Path(signing.data_dir), chain, key)


def _fit(most_bytes: int | None, certificate: Certificate | None) -> Fit | None:
    if not most_bytes:
        return None
    return Fit(most_bytes, c2pa_manifest.room_for(certificate) if certificate else 0)


def _release(request: RenderRequest) -> provenance.Card:
    """Return what a card says of the release; nothing where the model rendered by itself."""
    release = request.release
    if release is None:
        return {}
    return {"release": {"number": release.number, "adapter_sha256": release.adapter_sha256}}


def _card(
    request: RenderRequest,
    certificate: Certificate | None,
    frames_sha256: str,
    *,
    model: Model,
    revision: str,
    preset: Preset,
    device: str,
) -> provenance.Card:
    """Return the card of a video whose file is yet to be written."""
    return {
        "format": provenance.FORMAT,
        "ai_generated": True,
        "prompt": request.prompt.encode("utf-8", "replace").decode(),  # no file can hold half characters
        "seed": request.seed,
        "model": {
            "id": model.id,
            "source": model.source,
            "revision": revision,
            "family": preset.family,
            "adapters": [
                {name: adapter.get(name) for name in ("source", "revision", "weight_name", "scale")}
                for adapter in model.adapters
            ],
            "components": {
                part: {name: component.get(name) for name in ("source", "revision", "subfolder")}
                for part, component in model.components.items()
            },
            **_release(request),
        },
        "settings": {
            **{name: getattr(preset, name) for name in provenance.OF_PRESET},
            **{name: getattr(model, name) for name in provenance.OF_MODEL},
            "device": device,
        },
        "software": provenance.software_versions(),
        "frames_sha256": frames_sha256,
        "file": {},  # its facts, once it is written
        "label_in_picture": request.label_frames,
        "signed_by": provenance.signed_by(certificate),
    }
