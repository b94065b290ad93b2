"""From frames to the finished file: label, hash of the frames, mp4, signature, and the provenance card."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generation.models.presets import Preset
from generation.models.registry import Model
from generation.video import c2pa_manifest as manifest
from generation.video import provenance
from generation.video.certificates import certificate_of
from generation.video.encode import Fit, encode
from generation.video.watermark import WORDS, labelled

Json = dict[str, Any]


def finish(frames: NDArray[np.uint8], job: Json, *, model: Model, revision: str, preset: Preset, device: str) -> Json:
    """Writes video and poster as the job says; the facts of the file, with its card under `provenance`.

    Of the job: prompt, seed, video_path, poster_path, and where there are any fit_bytes (the most that the file may
    have), label_frames, and certificate: {"data_dir", "chain", "key"}; without a certificate nothing is signed.
    Raises CertificateError, and what `encode` raises.
    """
    frames_sha256 = provenance.frames_hash(frames)
    software = provenance.software()
    label = bool(job.get("label_frames"))
    named = job.get("certificate")
    certificate = None
    if named:
        chain, key = (Path(named[name]) if named.get(name) else None for name in ("chain", "key"))
        certificate = certificate_of(Path(named["data_dir"]), chain, key)
    facts = {
        "model": model.id,
        "revision": revision,
        "seed": str(job["seed"]),  # as text: some readers of JSON round numbers beyond 2^53
        "prompt_hmac_sha256": provenance.prompt_hash(job["prompt"], frames_sha256),
    }

    def seal(draft: Path) -> None:
        if certificate is not None:
            manifest.sign(draft, certificate, facts, version=str(software["flock"]))

    upscale = preset.upscale
    if label and upscale > 1:  # legible letters need the final size
        frames, upscale = frames.repeat(upscale, axis=1).repeat(upscale, axis=2), 1
    limit = job.get("fit_bytes")
    encoded = encode(
        labelled(frames) if label else frames,
        preset.fps,
        Path(job["video_path"]),
        Path(job["poster_path"]),
        upscale=upscale,
        fit=Fit(int(limit), manifest.room_for(certificate) if certificate else 0) if limit else None,
        tags={"title": f"{WORDS} video", "comment": f"{WORDS} by FLock with the model {model.id} at {revision}"},
        seal=seal,
    )
    card = {
        "format": provenance.FORMAT,
        "ai_generated": True,
        "prompt": job["prompt"].encode("utf-8", "replace").decode(),  # half characters can be in no file
        "seed": int(job["seed"]),
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
    return {**asdict(encoded), "provenance": card}
