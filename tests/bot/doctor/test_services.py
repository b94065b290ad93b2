"""The checks of the services: good and bad keys of the video host, pages where an API should be, and the relayer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.demo.host import EmbeddedHost, Fault, Faults
from bot.doctor.check import Check
from bot.doctor.services import LOOKS
from bot.settings import Settings
from tests.bot.conftest import Told
from tests.builders.doctor import checks_of

KEY = "a-good-key-of-the-host"
PAGE = "<!doctype html><html><body>Sorry, you have been blocked</body></html>"


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
async def host(tmp_path: Path, faults: Faults) -> AsyncIterator[EmbeddedHost]:
    async with EmbeddedHost(tmp_path / "host", KEY, faults=faults) as opened:
        yield opened


async def look(**values: Any) -> list[Check]:
    [found] = [each for each in LOOKS if each.name == "video host"]
    return await found.checks(Settings(_env_file=None, **values))


async def test_a_good_key_is_told_so_and_leaves_nothing_behind(host: EmbeddedHost) -> None:
    """The host is asked for something that it does not have; nothing is made there."""
    [check] = await look(livepeer_api_base=host.api_base, livepeer_api_key=KEY)
    assert check.ok
    assert "accepts the key" in check.detail


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (401, '{"errors":["no token sk-quoted found"]}', "application/json", "401"),
        (403, '{"errors":["user is suspended"]}', "application/json", "user is suspended"),
        (403, PAGE, "text/html", "403"),
        (404, PAGE, "text/html", "404"),
        (200, PAGE, "text/html", "other than JSON"),
        (502, PAGE, "text/html", "502"),
        (429, '{"errors":["slow down"]}', "application/json", "busy"),
        (302, "", "text/html", "elsewhere"),
    ],
)
async def test_whatever_else_it_answers_is_a_sentence_with_a_remedy(
    host: EmbeddedHost, faults: Faults, status: int, body: str, kind: str, words: str
) -> None:
    """A refusal in the host's words, a proxy's page without its markup; which settings to look at."""
    faults.answers = [Fault(status, body=body, content_type=kind, times=99)]
    [check] = await look(livepeer_api_base=host.api_base, livepeer_api_key=KEY)
    assert not check.ok
    assert words in check.detail
    assert "<" not in check.detail
    assert "FLOCK_LIVEPEER_API_KEY" in check.remedy
    assert ("API key" in check.detail) is (status in {401, 403})
    assert KEY not in check.detail


async def test_a_wrong_key_is_not_quoted_though_the_host_does(host: EmbeddedHost) -> None:
    """Livepeer repeats the key that it does not know."""
    [check] = await look(livepeer_api_base=host.api_base, livepeer_api_key="sk-somebody-elses")
    assert not check.ok
    assert "401" in check.detail
    assert "sk-somebody" not in check.detail


@pytest.mark.parametrize("key", ["two words", "line\nbreak"])
async def test_a_key_that_cannot_be_one_is_told_before_it_is_sent(host: EmbeddedHost, key: str) -> None:
    """A stray newline from a copied file is the usual reason."""
    [check] = await look(livepeer_api_base=host.api_base, livepeer_api_key=key)
    assert not check.ok
    assert "unusual character" in check.detail


async def test_nobody_at_the_address(tmp_path: Path) -> None:
    """Told as such, after a few seconds at most."""
    [check] = await look(livepeer_api_base="http://127.0.0.1:9/api", livepeer_api_key=KEY)
    assert not check.ok
    assert "cannot be reached" in check.detail


async def test_without_a_key_there_is_nothing_to_look_at() -> None:
    """That it is missing is told by the settings; with s3 other ones are."""
    assert await look() == []
    assert await look(video_host="s3", livepeer_api_key=KEY) == []


@pytest.mark.asyncio(loop_scope="session")
async def test_an_account_that_is_no_relayer_or_has_no_coin(
    told: Told, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A key of a stranger opens, and is told not to be the relayer's."""
    key = tmp_path / "key"
    key.write_text("22" * 32)
    key.chmod(0o600)
    found = await checks_of(monkeypatch, told.stack.bot_env, FLOCK_KEYSTORE=str(key))
    assert found["relayer's key"].ok
    assert not found["relayer"].ok
    assert "no relayer" in found["relayer"].detail
    key.chmod(0o644)
    found = await checks_of(monkeypatch, told.stack.bot_env, FLOCK_KEYSTORE=str(key))
    assert "chmod 600" in found["relayer's key"].detail
