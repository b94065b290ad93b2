"""Keys in a key service: its own wire format over loopback, with real keys; who lies is found out."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from eth_account import Account
from eth_keys.datatypes import PrivateKey

from contracts.relayer.attempts import call_of
from contracts.signers.keystore import SignerError
from contracts.signers.kms import ORDER, SPKI, KmsSigner, open_kms, public_key, recoverable
from tests.builders.accounts import TRANSACTION

ROOT = Path(__file__).parents[3]
KEY = PrivateKey(bytes.fromhex("4c" * 32))
NAME = "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1"


def integer(value: int) -> bytes:
    octets = value.to_bytes(value.bit_length() // 8 + 1, "big")
    return bytes([2, len(octets)]) + octets


def der(r: int, s: int) -> bytes:
    body = integer(r) + integer(s)
    return bytes([0x30, len(body)]) + body


class KeyServices:
    """AWS KMS and Google Cloud KMS as far as one key goes. `high` signs with the s that chains refuse."""

    def __init__(self) -> None:
        self.high = False
        self.key = KEY
        self.denied = False
        self.asked: list[tuple[str, Any]] = []

    def sign(self, digest: bytes) -> bytes:
        assert len(digest) == 32
        signature = self.key.sign_msg_hash(digest)
        return der(signature.r, ORDER - signature.s if self.high else signature.s)

    async def aws(self, request: web.Request) -> web.Response:
        """https://docs.aws.amazon.com/kms/latest/APIReference/: JSON 1.1, the action in a header."""
        target, body = request.headers["X-Amz-Target"], json.loads(await request.read())
        assert request.content_type == "application/x-amz-json-1.1"
        assert request.headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
        self.asked.append((target, body))
        if self.denied:
            told = {"__type": "AccessDeniedException", "message": "User: arn:aws:iam::123456789012:user/x is denied"}
            return web.json_response(told, status=400)
        if target == "TrentService.GetPublicKey":
            told = {"KeyId": body["KeyId"], "PublicKey": base64.b64encode(SPKI + KEY.public_key.to_bytes()).decode()}
        else:
            assert target == "TrentService.Sign"
            assert (body["MessageType"], body["SigningAlgorithm"]) == ("DIGEST", "ECDSA_SHA_256")
            signed = self.sign(base64.b64decode(body["Message"]))
            told = {"KeyId": body["KeyId"], "Signature": base64.b64encode(signed).decode()}
        return web.json_response(told, content_type="application/x-amz-json-1.1")

    async def google(self, request: web.Request) -> web.Response:
        """https://cloud.google.com/kms/docs/reference/rest: publicKey and :asymmetricSign of a key version."""
        self.asked.append((request.path, await request.text()))
        if self.denied:
            told: dict[str, Any] = {"error": {"code": 403, "message": "denied to 123456789012", "status": "DENIED"}}
            return web.json_response(told, status=403)
        if request.method == "GET":
            assert request.path == f"/v1/{NAME}/publicKey"
            text = base64.b64encode(SPKI + KEY.public_key.to_bytes()).decode()
            lines = [text[start : start + 64] for start in range(0, len(text), 64)]
            pem = "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""])
            return web.json_response({"pem": pem, "algorithm": "EC_SIGN_SECP256K1_SHA256", "name": NAME})
        assert request.path == f"/v1/{NAME}:asymmetricSign"
        digest = base64.b64decode((await request.json())["digest"]["sha256"])
        return web.json_response({"signature": base64.b64encode(self.sign(digest)).decode(), "name": NAME})


class Served:
    """Both services on loopback, and how the libraries are pointed there."""

    def __init__(self, services: KeyServices, url: str) -> None:
        self.services = services
        self.url = url

    async def open(self, kind: str) -> KmsSigner:
        if kind == "aws-kms":
            pytest.importorskip("boto3", reason="boto3 is not installed: pip install 'flock[kms-aws]'")
            from botocore.config import Config

            secrets = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "a secret of ours"}
            config = Config(retries={"total_max_attempts": 1})
            return await open_kms(
                "aws-kms:alias/flock", endpoint_url=self.url + "/aws", region_name="eu-west-1", config=config, **secrets
            )
        reason = "google-cloud-kms is not installed: pip install 'flock[kms-gcp]'"
        kms = pytest.importorskip("google.cloud.kms_v1", reason=reason)
        from google.auth.credentials import AnonymousCredentials

        transport = kms.services.key_management_service.transports.KeyManagementServiceRestTransport(
            host=self.url.removeprefix("http://"), url_scheme="http", credentials=AnonymousCredentials()
        )
        return await open_kms(f"gcp-kms:{NAME}", transport=transport)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    services = KeyServices()
    app = web.Application()
    app.router.add_post("/aws", services.aws)
    app.router.add_post("/aws/", services.aws)
    app.router.add_route("*", "/v1/{tail:.*}", services.google)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield Served(services, f"http://127.0.0.1:{runner.addresses[0][1]}")
    await runner.cleanup()


KINDS = pytest.mark.parametrize("kind", ["aws-kms", "gcp-kms"])


@KINDS
@pytest.mark.parametrize("high", [False, True])
async def test_a_key_service_signs_as_the_key_itself_would(served: Served, kind: str, high: bool) -> None:
    """The very bytes that the key in memory gives, whichever of the two possible s the service chose."""
    signer = await served.open(kind)
    served.services.high = high
    for nonce in range(8):  # both parities come up
        transaction = {**TRANSACTION, "nonce": nonce, "data": b"\x01\x02", "chainId": 42161}
        signed = await signer.sign(transaction)
        own = Account.from_key(KEY.to_bytes()).sign_transaction(transaction)
        assert (signed.raw, signed.tx) == (bytes(own.raw_transaction), "0x" + bytes(own.hash).hex())
        assert Account.recover_transaction(signed.raw) == signer.address == Account.from_key(KEY.to_bytes()).address
    assert "a secret" not in repr(signer)


@KINDS
async def test_a_signature_of_another_key_is_found_out(served: Served, kind: str) -> None:
    """Nothing leaves that the chain would take for somebody else's."""
    signer = await served.open(kind)
    served.services.key = PrivateKey(bytes.fromhex("4d" * 32))
    with pytest.raises(SignerError, match="not of its own public key"):
        await signer.sign(TRANSACTION)


@KINDS
async def test_a_refusal_is_a_sentence_without_names(served: Served, kind: str) -> None:
    """What the service says may name accounts: only its kind is told, and what to check."""
    signer = await served.open(kind)
    served.services.denied = True
    for asking in (signer.sign(TRANSACTION), served.open(kind)):
        with pytest.raises(SignerError, match="check its credentials") as caught:
            await asking
        assert "123456789012" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_no_library_of_a_key_service_is_loaded_unasked() -> None:
    """Whoever signs with a keystore neither waits for them nor has to trust them."""
    code = (
        "import sys, bot.app, contracts.signers.kms; print({'boto3', 'botocore', 'google', 'grpc'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "set()\n"


async def test_a_service_whose_library_is_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to guess what to install; and what is no service is told as such."""
    monkeypatch.setitem(__import__("sys").modules, "boto3", None)
    with pytest.raises(SignerError, match=r"pip install 'flock\[kms-aws\]'"):
        await open_kms("aws-kms:alias/flock")
    for wanted in ("keystore", "aws-kms:", "vault:x", ""):
        with pytest.raises(SignerError, match="must be keystore, aws-kms:KEY_ID or gcp-kms:RESOURCE"):
            await open_kms(wanted)


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"\x30\x06\x02\x01\x01\x02\x01",
        der(1, 1)[:-1],
        der(1, 1) + b"\x00",
        der(0, 1),
        der(ORDER, 1),
        b"\x30\x03\x02\x01\x01",
        b"\x31" + der(1, 1)[1:],
    ],
)
def test_a_malformed_signature_is_refused(broken: bytes) -> None:
    """Truncated, too long, zero, or no sequence of two integers."""
    with pytest.raises(SignerError, match="cannot be read"):
        recoverable(broken, bytes(32), KEY.public_key)


def test_a_key_of_another_curve_is_refused() -> None:
    """P-256 is what key services offer first; a chain cannot use it."""
    assert public_key(SPKI + KEY.public_key.to_bytes()) == KEY.public_key
    p256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004") + bytes(64)
    with pytest.raises(SignerError, match="must be ECC_SECG_P256K1"):
        public_key(p256)


def test_what_was_signed_can_be_signed_again() -> None:
    """A replacement is the same call: it is read back from the bytes, and bytes of another kind are refused."""
    signed = Account.from_key(KEY.to_bytes()).sign_transaction({**TRANSACTION, "data": b"\x05"})
    call, offer = call_of(bytes(signed.raw_transaction))
    assert offer == (2, 1)
    again = {**call, "maxFeePerGas": offer.most, "maxPriorityFeePerGas": offer.tip}
    assert Account.from_key(KEY.to_bytes()).sign_transaction(again).hash == signed.hash
    with pytest.raises(ValueError, match="no EIP-1559"):
        call_of(b"\x01\x02")
