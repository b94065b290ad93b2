"""The certificates that sign: an operator's, and one that a machine makes for itself."""

from __future__ import annotations

import stat
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from generation.render_messages import Signing
from generation.video import c2pa_manifest, certificates
from generation.video.certificates import CertificateError, certificate_of
from tests.builders.certificates import authority
from tests.builders.clips import clip, finalized


def test_the_operators_certificate_signs(tmp_path: Path) -> None:
    """Named as the operator's; a key that others can read, of another chain, or past its end, is refused in words."""
    chain, key = authority(tmp_path / "ours")
    signing = Signing(str(tmp_path), str(chain), str(key))
    facts = finalized(tmp_path, clip(), signing=signing)
    assert facts["provenance"]["signed_by"]["kind"] == "operator"
    assert facts["provenance"]["signed_by"]["name"] == "Studio"
    found = c2pa_manifest.read(tmp_path / "videos" / "1.mp4")
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
        c2pa_manifest.room_for(replace(certificate, algorithm="es256"))


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


@pytest.mark.parametrize("days", [-1, 29], ids=["ended", "about to end"])
def test_a_self_made_certificate_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    """Before it ends, and also where it has ended while the machine was off: nobody has to remove a file."""
    with monkeypatch.context() as patch:
        patch.setattr(certificates, "SELF_MADE_YEARS", 0)
        patch.setattr(certificates, "datetime", Clock(timedelta(days=days)))
        path = tmp_path / "certificate.pem"
        path.touch(0o600)
        path.write_bytes(certificates._make_certificate())
    old = path.read_bytes()
    renewed = certificate_of(tmp_path)
    assert renewed.not_after > datetime.now(UTC) + timedelta(days=365)
    assert path.read_bytes() != old
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert certificate_of(tmp_path) == renewed
    assert [each.name for each in tmp_path.iterdir()] == ["certificate.pem"]


class Clock:
    """A clock that is wrong by some time."""

    def __init__(self, error: timedelta) -> None:
        self.error = error

    def now(self, zone: object) -> datetime:
        assert zone is UTC
        return datetime.now(UTC) + self.error


START = """
import sys
from pathlib import Path
from generation.video.certificates import certificate_of
print("ready", flush=True)
sys.stdin.readline()
print(certificate_of(Path(sys.argv[1])).fingerprint)
"""


def test_workers_that_start_at_once_share_a_certificate(tmp_path: Path) -> None:
    """One of them makes it, and none of them is left with another."""
    command = [sys.executable, "-c", START, str(tmp_path)]
    workers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    fingerprints = [worker.communicate(timeout=60)[0].strip() for worker in workers]
    assert fingerprints == [certificate_of(tmp_path).fingerprint] * 2
