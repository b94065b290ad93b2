"""The way from frames to the finished file: watermark, hash of the frames, mp4, signature, and the provenance card."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from generation.models.presets import Preset
from generation.models.registry import Model
from generation.render_messages import RenderRequest, Signing
from generation.video import c2pa_manifest, provenance
from generation.video.certificates import Certificate, certificate_of
from generation.video.encode import Encoded, Fit, encode, enlarge
from generation.video.watermark import WORDS, add_watermark


def finalize(
    frames: NDArray[np.uint8], request: RenderRequest, *, model: Model, revision: str, preset: Preset, device: str
) -> tuple[Encoded, provenance.Card]:
    """Write video and poster as the request says, and return the facts of the file and its provenance card.

    Raises CertificateError, and whatever `encode` raises.
    """
    frames_sha256 = provenance.frames_hash(frames)
    certificate = _certificate(request.signing)
    card = _card(request, certificate, frames_sha256, model=model, revision=revision, preset=preset, device=device)
    facts = {
        "model": model.id,
        "revision": revision,
        "seed": str(request.seed),  # as text: some readers of JSON round numbers beyond 2^53
        "prompt_hmac_sha256": provenance.prompt_hash(request.prompt, frames_sha256),
    }

    def sign(draft: Path) -> None:
        if certificate is not None:
            c2pa_manifest.sign(draft, certificate, facts, version=str(card["software"]["flock"]))

    upscale = preset.upscale
    if request.label_frames:
        if upscale > 1:  # legible letters need the final size
            frames, upscale = enlarge(frames, upscale), 1
        frames = add_watermark(frames)
    encoded = encode(
        frames,
        preset.fps,
        Path(request.video_path),
        Path(request.poster_path),
        upscale=upscale,
        fit=_fit(request.fit_bytes, certificate),
        tags={"title": f"{WORDS} video", "comment": f"{WORDS} by FLock with the model {model.id} at {revision}"},
        seal=sign,
    )
    return encoded, {**card, "file": asdict(encoded)}


def _certificate(signing: Signing | None) -> Certificate | None:
    if signing is None:
        return None
    chain, key = (Path(name) if name else None for name in (signing.chain, signing.key))
    return certificate_of(Path(signing.data_dir), chain, key)


def _fit(most_bytes: int | None, certificate: Certificate | None) -> Fit | None:
    if not most_bytes:
        return None
    return Fit(most_bytes, c2pa_manifest.room_for(certificate) if certificate else 0)


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
