"""Credentials are known by their shape, wherever a text has them; what a log is read for stays."""

from __future__ import annotations

import base64
import json
import logging
import secrets
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.monitoring.credentials import hide_shapes
from bot.monitoring.logs import HIDDEN, JsonLines, Secrets, TextFormatter

HEX = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
PART = "Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5MA"
PAGE = "Yk3_b9Qe0rT-81mVfa2LzA"  # 16 random bytes, as the signing page has them
JWT = f"eyJhbGciOiJIUzI1NiJ9.{PART}.{PART}"
BOT = f"MTIzNDU2Nzg5MDEyMzQ1Njc4.GabCde.{PART}"
INTERACTION = base64.b64encode(b"interaction:1234567890:" + b"x" * 60).decode().rstrip("=")

SECRET = {
    "S3's signature": (f"GET https://b.s3.example/v.mp4?X-Amz-Date=1&X-Amz-Signature={HEX}&x=1", HEX),
    "S3's session": (f"?X-Amz-Security-Token={PART}%2F%2Bab&X-Amz-Expires=60", PART),
    "a header of S3's session": (f"x-amz-security-token: {PART}", PART),
    "a header of a signed request": (f"Authorization: AWS4-HMAC-SHA256 Credential=AKIA/x, Signature={HEX}", HEX),
    "Google's signature": (f"https://storage.example/b/o?X-Goog-Algorithm=A&X-Goog-Signature={HEX}", HEX),
    "Azure's signature": (f"https://x.blob.example/c/b?sv=2024&sig={PART}%3D&se=1", PART),
    "Azure's account": (f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={PART}==;", PART),
    "an address in an address": (f"?next=https%3A%2F%2Fh%2F%3FX-Amz-Signature%3D{HEX}", HEX),
    "libpq": ("connection to 'host=db user=flock password=hunter2 dbname=flock' failed", "hunter2"),
    "libpq in quotes": (r"user=flock password='hun\'ter 2' dbname=flock", "ter 2"),
    "libpq cut off": ("user=flock password='hunter2", "hunter2"),
    "a password in an address": ("postgresql://flock:hunter2@host/flock", "hunter2"),
    "a password with signs of an address": ("postgresql://flock:hun@ter/2@host/flock", "ter/2"),
    "a name that is a token": (f"https://{PART}@git.example/x", PART),
    "a setting": (f"FLOCK_VOTER_PEPPER={PART}", PART),
    "an object": (f"{{'user': 'x', 'password': '{PART}'}}", PART),
    "an object in an object": (json.dumps({"body": json.dumps({"api_key": PART})}), PART),
    "bytes": (f"Key(name='a', secret=b'{PART}')", PART),
    "bearer": (f"Authorization: Bearer {PART}", PART),
    "basic": ("authorization: Basic dTpw", "dTpw"),
    "headers of httpx": (f"[(b'host', b'h'), (b'authorization', b'Bearer {PART}')]", PART),
    "a lone scheme": (f"sent Basic {PART} to it", PART),
    "a private key": (f"Private key: 0x{HEX}", HEX),
    "a private key in a sentence": (f"the private key of the relayer is {HEX}.", HEX),
    "a private key as an argument": (f"from_key(private_key='{HEX}')", HEX),
    "a lone key": (f"key=0x{HEX}", HEX),
    "a pepper": (f"pepper {HEX}", HEX),
    "a key file": (f"-----BEGIN PRIVATE KEY-----\n{PART}\n{PART}\n-----END PRIVATE KEY-----", PART),
    "half a key file": (f"-----BEGIN EC PRIVATE KEY-----\\n{PART}", PART),
    "a signing page": (f"https://flock.example/sign#{PAGE}", PAGE),
    "another page": (f"http://127.0.0.1:8765/#{PAGE}", PAGE),
    "a button of a request": (f"no route for w1:paste:{PAGE}", PAGE),
    "a parameter": (f"[parameters: ('{PAGE}', 1)]", PAGE),
    "a Discord token": (f"login with {BOT}", BOT),
    "a web token": (f"cookie {JWT} expired", JWT),
    "an interaction": (f"Interaction(id=1, {INTERACTION})", INTERACTION),
    "an interaction's address": (f"POST /interactions/123/{PART}/callback", PART),
    "a cloud's key": ("signed by AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE"),
    "a hub's token": (f"push with hf_{PART}", PART),
    "a chain node": (f"https://eth.example/v2/{PART}xyz", PART),
}
PLAIN = [
    f"Transaction 0x{HEX} is final in block 12.",
    f"transaction {HEX}, kind votes, round 7",
    f"The file of video 1337: sha256 {HEX}",
    f"sha256={HEX} frames={HEX}",
    f"'content_hash': '{HEX}', 'tx_hash': '0x{HEX}'",
    f"The data set of root {HEX} is on the ledger.",
    f"Signing page is off. Block {HEX}",
    f"Unlinked by its signature; transaction 0x{HEX}",
    f"The seed 17 gave the file hash {HEX}",
    "Round 7 in server 1576537013513879555 has 12 votes.",
    "the wallet 0x52908400098527886E0F7030069857D2E4169EE7 for voter 41",
    "GET https://livepeer.studio/api/asset/0a1b2c3d-e4f5-6789-abcd-ef0123456789 200",
    "http://127.0.0.1:8545/health?page=2#top",
    "https://docs.example/setup#when-nothing-works",
    "https://discord.com:443/api/v10/users/@me",
    "Discord refused the token. See https://discord.com/developers",
    "Improper token has been passed.",
    'password authentication failed for user "flock"',
    "Bot is online; Basic facts about 17 frames; a bearer of news",
    "The design=bold signed=yes tokens=77 keys=3",
    "SELECT signature FROM outbox WHERE key = ?",
    "s3: wrote videos/1337.mp4, key: videos/1337.mp4",
    "'ThreadPoolExecutor' and 'flock.worker.process.one' ended",
]


@pytest.mark.parametrize(("text", "secret"), SECRET.values(), ids=SECRET)
def test_a_credential_is_hidden(text: str, secret: str) -> None:
    """By its shape alone, in a text of any library."""
    hidden = hide_shapes(text, HIDDEN)
    assert secret not in hidden
    assert HIDDEN in hidden
    assert hide_shapes(hidden, HIDDEN).count(HIDDEN) >= 1


@pytest.mark.parametrize("text", PLAIN)
def test_what_a_log_is_read_for_stays(text: str) -> None:
    """Hashes of transactions and files, roots, ids, addresses of wallets and pages, and prose."""
    assert hide_shapes(text, HIDDEN) == text


@pytest.mark.parametrize(("text", "secret"), SECRET.values(), ids=SECRET)
def test_it_is_hidden_in_an_exception_of_a_library(text: str, secret: str) -> None:
    """Message, arguments and trace, in both forms of a log, where no setting holds the value."""
    try:
        raise RuntimeError(text)
    except RuntimeError:
        for formatter in (TextFormatter(Secrets()), JsonLines(Secrets(), "bot")):
            bad = logging.getLogger("botocore.x").makeRecord(
                "botocore.x", logging.ERROR, __file__, 1, "It failed: %s", (text,), sys.exc_info()
            )
            line = formatter.format(bad)
            assert secret not in line
            assert "RuntimeError" in line


@given(st.binary(min_size=16, max_size=16))
def test_any_token_of_the_page_is_hidden_behind_its_sign(data: bytes) -> None:
    """Also one without a digit or an upper-case letter."""
    token = base64.urlsafe_b64encode(data).decode().rstrip("=")
    assert token not in hide_shapes(f"GET https://flock.example/sign#{token} 200", HIDDEN)


@pytest.mark.parametrize(
    "piece", ["://a:", "token", "key ", "://", "a-", "password='", "private key ", "authorization:"]
)
def test_the_time_grows_with_the_text_alone(piece: str) -> None:
    """A text made to be searched in vain is done in far less than a test's patience, at any length of a line."""
    text = piece * (20_000 // len(piece))
    assert isinstance(hide_shapes(text, HIDDEN), str)


def test_a_token_is_made_as_the_shape_has_it() -> None:
    """Should tokens get longer, the shape must follow."""
    assert len(PAGE) == len(secrets.token_urlsafe(16)) == 22
