"""The last steps from frames to the finished file: label, hash of the frames, mp4, signature, and provenance card."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from generation.models.presets import Preset
from generation.models.registry import Model
from generation.render_messages import RenderRequest
from generation.strict_json import JsonObject
from generation.video import c2pa_manifest as manifest
from generation.video import provenance
from generation.video.certificates import certificate_of
from generation.video.encode import Encoded, Fit, encode
from generation.video.watermark import WORDS, labelled


def finish(
    frames: NDArray[np.uint8], request: RenderRequest, *, model: Model, revision: str, preset: Preset, device: str
) -> tuple[Encoded, JsonObject]:
    """Write video and poster as the request says; return the facts of the file, and its provenance card.

    Raises CertificateError, and what `encode` raises.
    """
    frames_sha256 = provenance.frames_hash(frames)
    software = provenance.software()
    label, signing = request.label_frames, request.signing
    certificate = None
    if signing is not None:
        chain, key = (Path(path) if path else None for path in (signing.chain, signing.key))
        certificate = certificate_of(Path(signing.data_dir), chain, key)
    facts = {
        "model": model.id,
        "revision": revision,
        "seed": str(request.seed),  # as text: some readers of JSON round numbers beyond 2^53
        "prompt_hmac_sha256": provenance.prompt_hash(request.prompt, frames_sha256),
    }

    def seal(draft: Path) -> None:
        if certificate is not None:
            manifest.sign(draft, certificate, facts, version=str(software["flock"]))

    upscale = preset.upscale
    if label and upscale > 1:  # legible letters need the final size
        frames, upscale = frames.repeat(upscale, axis=1).repeat(upscale, axis=2), 1
    limit = request.fit_bytes
    encoded = encode(
        labelled(frames) if label else frames,
        preset.fps,
        Path(request.video_path),
        Path(request.poster_path),
        upscale=upscale,
        fit=Fit(limit, manifest.room_for(certificate) if certificate else 0) if limit else None,
        tags={"title": f"{WORDS} video", "comment": f"{WORDS} by FLock with the model {model.id} at {revision}"},
        seal=seal,
    )
    card: JsonObject = {
        "format": provenance.FORMAT,
        "ai_generated": True,
        "prompt": request.prompt.encode("utf-8", "replace").decode(),  # half characters can be in no file
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
                part: {name: entry.get(name) for name in ("source", "revision", "subfolder")}
                for part, entry in model.components.items()
            },
        },
        "settings": {
            **{name: getattr(preset, name) for name in provenance.OF_PRESET},
            **{name: getattr(model, name) for name in provenance.OF_MODEL},
            "device": device,
        },
        "software": software,
        "frames_sha256": frames_sha256,
        "file": asdict(encoded),
        "label_in_picture": label,
        "signed_by": provenance.signed_by(certificate),
    }
    return encoded, card
