"""Signed files and their cards, read back by C2PA's own reader and by the file's own bytes."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from numpy.typing import NDArray

from generation.models.presets import Preset
from generation.models.registry import Model
from generation.render_messages import RenderRequest, Signing
from generation.video import c2pa_manifest as manifest
from generation.video import provenance
from generation.video.certificates import CertificateError, certificate_of
from generation.video.finalize import finish
from generation.video.watermark import labelled
from tests.generation.video.test_encode import boxes, clip

Json = dict[str, Any]

MODEL = Model(id="tiny", source="tiny", adapters=[{"source": "org/style", "revision": "1" * 40, "scale": 0.5}])
PRESET = Preset(family="Tiny", width=96, height=64, frames=12, fps=8, steps=2, guidance=1.0)
PROMPT = "a red circle moves right"


def made(folder: Path, frames: NDArray[np.uint8], **more: Any) -> Json:
    paths = (str(folder / "videos" / "1.mp4"), str(folder / "videos" / "1.jpg"))
    request = RenderRequest(PROMPT, 2**62 + 1, *paths, **{"signing": Signing(str(folder)), **more})
    encoded, card = finish(frames, request, model=MODEL, revision="r" * 40, preset=PRESET, device="cpu")
    return {**asdict(encoded), "provenance": card}


def decoded(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray().tobytes() for frame in container.decode(video=0)]


def test_a_finished_file_says_that_a_model_made_it(tmp_path: Path) -> None:
    """The manifest is valid and names model, revision, seed and the prompt's hash; the file plays, index first."""
    facts = made(tmp_path, clip())
    video = tmp_path / "videos" / "1.mp4"
    found = manifest.read(video)
    assert found is not None
    assert found["state"] == "Valid"
    assert found["problems"] == ["signingCredential.untrusted"]  # self-made: vouched for by nobody
    assertions = {each["label"]: each["data"] for each in found["manifest"]["assertions"]}
    action = assertions["c2pa.actions.v2"]["actions"][0]
    assert (action["action"], action["digitalSourceType"]) == ("c2pa.created", manifest.AI_MADE)
    render, card = assertions["flock.render"], facts["provenance"]
    assert (render["model"], render["revision"], int(render["seed"])) == ("tiny", "r" * 40, 2**62 + 1)
    assert render["prompt_hmac_sha256"] == provenance.prompt_hash(PROMPT, card["frames_sha256"])
    assert render["prompt_hmac_sha256"] != provenance.prompt_hash("a blue circle", card["frames_sha256"])
    assert PROMPT.encode() not in video.read_bytes()
    kinds = boxes(video)
    assert kinds.index(b"moov") < kinds.index(b"mdat")
    made(tmp_path / "unsigned", clip(), signing=None)
    unsigned = tmp_path / "unsigned" / "videos" / "1.mp4"
    assert decoded(video) == decoded(unsigned)
    assert manifest.read(unsigned) is None
    assert sorted(path.name for path in video.parent.iterdir()) == ["1.jpg", "1.mp4"]
    assert video.stat().st_mode & 0o777 == 0o600
    changed = bytearray(video.read_bytes())
    changed[-100] ^= 1  # a byte of the pictures
    video.write_bytes(changed)
    found = manifest.read(video)
    assert found is not None
    assert found["state"] == "Invalid"
    assert "assertion.bmffHash.mismatch" in found["problems"]


def test_the_card_is_of_this_file(tmp_path: Path) -> None:
    """It reads back from JSON, names everything that a re-render needs, and who signed; other frames, another card."""
    facts = made(tmp_path, clip())
    card = provenance.read_card(json.dumps(facts["provenance"]))
    assert card["file"]["sha256"] == facts["sha256"]
    assert (card["prompt"], card["seed"], card["ai_generated"]) == (PROMPT, 2**62 + 1, True)
    assert card["model"]["adapters"] == [
        {"source": "org/style", "revision": "1" * 40, "weight_name": None, "scale": 0.5}
    ]
    assert (card["settings"]["steps"], card["settings"]["fps"], card["software"]["av"]) == (2, 8, av.__version__)
    assert card["signed_by"]["kind"] == "self-made"
    assert made(tmp_path / "again", clip())["provenance"]["frames_sha256"] == card["frames_sha256"]
    assert made(tmp_path / "other", clip()[:-1])["provenance"]["frames_sha256"] != card["frames_sha256"]
    for broken in ("no json", "[]", "{}", json.dumps({**card, "seed": "1"}), json.dumps({**card, "model": {}})):
        with pytest.raises(provenance.CardError, match="provenance card"):
            provenance.read_card(broken)


def test_a_signed_file_fits_too(tmp_path: Path) -> None:
    """The room for the manifest is kept free within the limit."""
    noise = np.random.default_rng(1).integers(0, 255, (9, 96, 128, 3), np.uint8)
    assert made(tmp_path / "whole", noise)["size_bytes"] > 80_000
    facts = made(tmp_path, noise, fit_bytes=80_000)
    assert facts["size_bytes"] <= 80_000
    found = manifest.read(tmp_path / "videos" / "1.mp4")
    assert found is not None
    assert found["state"] == "Valid"


def test_the_label_can_be_in_the_picture(tmp_path: Path) -> None:
    """White letters on a dark ground in the lower left corner at every size, and nothing else changes."""
    for height, width in ((64, 64), (480, 832), (64, 24)):
        frames = np.full((2, height, width, 3), 120, np.uint8)
        shown = labelled(frames)
        assert shown.shape == frames.shape
        corner = shown[0, height // 2 :]
        assert corner.max() > 200  # smoothed letters
        assert corner.min() < 40
        assert (shown[:, : height // 2] == 120).all()
        assert (frames == 120).all()
    facts = made(tmp_path, clip(), label_frames=True)
    assert facts["provenance"]["label_in_picture"] is True
    plain = made(tmp_path / "plain", clip())
    assert plain["provenance"]["label_in_picture"] is False
    assert plain["provenance"]["frames_sha256"] == facts["provenance"]["frames_sha256"]
    assert decoded(tmp_path / "videos" / "1.mp4") != decoded(tmp_path / "plain" / "videos" / "1.mp4")


def authority(folder: Path, *, days: int = 100) -> tuple[Path, Path]:
    """An operator's files: a chain of two RSA certificates, as an authority would give them, and the key (0600)."""
    keys = [rsa.generate_private_key(65537, 2048) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("Studio", "Authority")]
    names = [x509.Name([*name, x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Studio")]) for name in names]
    chain = []
    for number, (key, name) in enumerate(zip(keys, names, strict=True)):
        is_ca = number == 1
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(names[1])
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.now(UTC) - timedelta(days=200))
            .not_valid_after(datetime.now(UTC) + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(not is_ca, False, False, False, False, is_ca, is_ca, False, False), critical=True
            )
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[1].public_key()), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        if not is_ca:
            builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
        chain.append(builder.sign(keys[1], hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    folder.mkdir(exist_ok=True)
    (folder / "chain.pem").write_bytes(b"".join(chain))
    (folder / "key.pem").touch(0o600)
    (folder / "key.pem").write_bytes(
        keys[0].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
    return folder / "chain.pem", folder / "key.pem"


def test_the_operators_certificate_signs(tmp_path: Path) -> None:
    """Named as the operator's; a key that others can read, of another chain, or past its end, is refused in words."""
    chain, key = authority(tmp_path / "ours")
    signing = Signing(str(tmp_path), str(chain), str(key))
    facts = made(tmp_path, clip(), signing=signing)
    assert facts["provenance"]["signed_by"]["kind"] == "operator"
    assert facts["provenance"]["signed_by"]["name"] == "Studio"
    found = manifest.read(tmp_path / "videos" / "1.mp4")
    assert found is not None
    assert found["state"] == "Valid"
    assert found["manifest"]["signature_info"]["common_name"] == "Studio"
    certificate = certificate_of(tmp_path, chain, key)
    assert "PRIVATE" not in repr(certificate)
    key.chmod(0o640)
    with pytest.raises(CertificateError, match="chmod 600"):
        certificate_of(tmp_path, chain, key)
    key.chmod(0o600)
    with pytest.raises(CertificateError, match="both its chain and its key"):
        certificate_of(tmp_path, chain, None)
    with pytest.raises(CertificateError, match="cannot be read"):
        certificate_of(tmp_path, tmp_path / "none.pem", key)
    old_chain, old_key = authority(tmp_path / "old", days=-1)
    with pytest.raises(CertificateError, match="ended on"):
        certificate_of(tmp_path, old_chain, old_key)
    with pytest.raises(CertificateError, match="not that of the chain"):
        certificate_of(tmp_path, chain, old_key)
    with pytest.raises(CertificateError, match="cannot sign"):
        manifest.room_for(replace(certificate, algorithm="es256"))


def test_a_self_made_certificate_is_made_once(tmp_path: Path) -> None:
    """Its file is ours alone, and the next worker finds it; another data folder has another one."""
    first = certificate_of(tmp_path)
    assert (first.kind, first.name) == ("self-made", "FLock worker, self-made")
    assert (tmp_path / "certificate.pem").stat().st_mode & 0o777 == 0o600
    assert certificate_of(tmp_path) == first
    assert certificate_of(tmp_path / "other").fingerprint != first.fingerprint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["certificate.pem", "other"]
    (tmp_path / "certificate.pem").write_text("damaged")
    with pytest.raises(CertificateError, match="no PEM file"):
        certificate_of(tmp_path)
