"""The C2PA manifest inside an mp4, signed, written last: it says that a model made the video, which one, and from what.

Any later change of the file, also a remux, breaks or drops it. https://spec.c2pa.org
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from generation.video.certificates import Certificate, CertificateError

if TYPE_CHECKING:
    import c2pa

AI_MADE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
RENDER_LABEL = "flock.render"  # an assertion of FLock's own
MP4 = "video/mp4"
BESIDE_SIGNATURE = 16 * 1024  # bytes of a manifest beside what its signature reserves; ours have about 3 KiB


class Verification(TypedDict):
    """The verdict of a verifier without a list of trusted certificates."""

    state: str  # Valid, Invalid or Trusted
    problems: list[str]  # C2PA's own codes
    manifest: dict[str, object]


def sign(path: Path, certificate: Certificate, facts: Mapping[str, object], *, version: str) -> None:
    """Write a signed manifest into the mp4 at `path`. Raises CertificateError with a sentence for the operator."""
    import c2pa

    action = {
        "action": "c2pa.created",
        "digitalSourceType": AI_MADE,
        "softwareAgent": {"name": "FLock", "version": version},
    }
    definition = {
        "claim_generator_info": [{"name": "FLock", "version": version}],
        "title": "AI-generated video",
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [action]}},
            {"label": RENDER_LABEL, "data": facts},
        ],
    }
    signed = io.BytesIO()  # in memory: a second file would not fit on every disk that the first one fits on
    try:
        with (
            path.open("rb") as source,
            _signer(certificate) as signer,
            c2pa.Builder(json.dumps(definition)) as builder,
        ):
            builder.sign(signer, MP4, source, signed)
    except c2pa.C2paError as error:
        raise CertificateError(f"The video could not be signed with {certificate.name}: {error}") from None
    path.write_bytes(signed.getbuffer())


def room_for(certificate: Certificate) -> int:
    """Return the most bytes that a manifest takes. Raises CertificateError for a certificate that cannot sign."""
    import c2pa

    try:
        with _signer(certificate) as signer:
            return int(signer.reserve_size()) + BESIDE_SIGNATURE
    except c2pa.C2paError as error:
        raise CertificateError(f"The certificate {certificate.name} cannot sign: {error}") from None


def read(path: Path) -> Verification | None:
    """Return the verdict on an mp4's manifest; None if it has none. Raises c2pa.C2paError for any other file."""
    import c2pa

    try:
        with path.open("rb") as file, c2pa.Reader(MP4, file) as reader:
            store = json.loads(reader.json())
    except c2pa.C2paError.ManifestNotFound:
        return None
    return {
        "state": store["validation_state"],
        "problems": [problem["code"] for problem in store.get("validation_status", [])],
        "manifest": store["manifests"][store["active_manifest"]],
    }


def _signer(certificate: Certificate) -> c2pa.Signer:
    import c2pa

    return c2pa.Signer.from_info(
        c2pa.C2paSignerInfo(certificate.algorithm, certificate.chain.encode(), certificate.key.encode(), None)
    )
