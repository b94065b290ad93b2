"""A voter sees a file as it is served, and reads it once; one that cannot be played is no video."""

from __future__ import annotations

import httpx
import pytest

from bot.demo.discord.people import Community, NoAnswerError
from bot.demo.learning import watching as module
from bot.demo.learning.watching import Watching
from generation.feedback.community.tastes import Facts

CLIP = Facts("red", "star", "jump", 0.7, 0.1, 0.01, 0.5, 0.05)


class Served(Community):
    """Serves files by their addresses, without a Discord."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__("http://127.0.0.1:9", "")
        self.files = files

    async def fetch(self, url: str, **headers: str) -> httpx.Response:
        return httpx.Response(200, content=self.files[url]) if url in self.files else httpx.Response(404)


async def test_the_same_file_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it is served, and whoever looks; another file is another video."""
    read: list[bytes] = []

    def watch(data: bytes) -> Facts:
        read.append(data)
        return CLIP

    monkeypatch.setattr(module, "watch", watch)
    eyes = Watching(Served({"one": b"a", "two": b"a", "three": b"b"}))
    assert [await eyes.at(url) for url in ("one", "two", "three")] == [CLIP] * 3
    assert read == [b"a", b"b"]


async def test_what_cannot_be_played_is_no_video() -> None:
    """Neither a file that is not there, nor one that is something else."""
    eyes = Watching(Served({"text": b"no video"}))
    with pytest.raises(NoAnswerError, match="HTTP 404"):
        await eyes.at("nowhere")
    with pytest.raises(NoAnswerError, match="cannot be played"):
        await eyes.at("text")
