"""The store of files of the embedded Discord."""

from __future__ import annotations

import stat
from pathlib import Path

import av
import pytest
from aiohttp import web

from bot.demo.discord.attachments import Attachments, _still_of, safe_name
from tests.generation.hosting.conftest import make_video


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        ("a clip.mp4", "a_clip.mp4"),
        ("../../etc/passwd", "_.._etc_passwd"),
        (".hidden", "hidden"),
        ("", "file"),
        ("é" * 200 + ".mp4", "_" * 96 + ".mp4"),
    ],
)
def test_a_name_holds_only_what_an_address_can(filename: str, name: str) -> None:
    """Whatever a file is called, its name leads nowhere else, and is not hidden."""
    assert safe_name(filename) == name


def test_a_file_is_found_by_its_id_and_name_alone(tmp_path: Path) -> None:
    """The bytes come back by the address; no other address leads out of the folder."""
    store = Attachments(tmp_path / "attachments", "http://127.0.0.1:1")
    attachment = store.store_attachment(7, 1, "words.txt", b"hello", "some words")
    assert (attachment["size"], attachment["description"]) == (5, "some words")
    assert "width" not in attachment
    assert store.get(str(attachment["url"])) == b"hello"
    path = store.path("7", "words.txt")
    assert path is not None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for attachment_id, name in (("7", "other.txt"), ("8", "words.txt"), ("../7", "words.txt"), ("7", "../words.txt")):
        assert store.path(attachment_id, name) is None


def test_a_picture_has_its_size_and_a_broken_one_none(tmp_path: Path) -> None:
    """Width and height are measured, as on Discord; what only has the name of a video has none."""
    store = Attachments(tmp_path / "attachments", "http://127.0.0.1:1")
    clip = make_video(tmp_path / "clip.mp4", frames=2).read_bytes()
    video = store.store_attachment(1, 1, "clip.mp4", clip, None)
    assert (video["width"], video["height"]) == (128, 96)
    assert "width" not in store.store_attachment(2, 1, "clip.mp4", b"no video", None)


def test_a_video_has_a_still_and_a_broken_one_none(tmp_path: Path) -> None:
    """The first frame comes as a JPEG of the video's size, which is made once; what cannot be read is not found."""
    still = _still_of(make_video(tmp_path / "clip.mp4", frames=2))
    with av.open(str(still)) as picture:
        frame = next(picture.decode(video=0))
    assert (frame.width, frame.height) == (128, 96)
    made = still.stat().st_mtime_ns
    assert _still_of(tmp_path / "clip.mp4").stat().st_mtime_ns == made
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(web.HTTPNotFound):
        _still_of(tmp_path / "broken.mp4")
