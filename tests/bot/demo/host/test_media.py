"""From uploaded bytes to what browsers play."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from bot.demo.host import media
from tests.generation.hosting.conftest import make_video


def test_a_video_is_probed_and_laid_out_as_livepeer_does(tmp_path: Path) -> None:
    """Facts, HLS, the very same mp4, and a poster that an index names."""
    source = make_video(tmp_path / "clip.mp4", frames=24)
    probed = media.probe(source)
    assert (probed.format, probed.width, probed.height, probed.codec, probed.audio) == ("mp4", 128, 96, "h264", None)
    assert probed.duration_s == pytest.approx(1.0, abs=0.1)
    assert probed.video_spec()["tracks"][0]["type"] == "video"
    folder = tmp_path / "media"
    media.write_hls(source, probed.format, folder)
    assert "segment_0000.ts" in (folder / "index.m3u8").read_text()
    assert (folder / "segment_0000.ts").is_file()
    media.write_poster(source, probed, folder)
    assert (folder / media.POSTER).read_bytes()[:2] == b"\xff\xd8"
    assert "keyframes_0.jpg" in (folder / "thumbnails/thumbnails.vtt").read_text()
    media.write_mp4(source, probed.format, folder / "static96p0.mp4")
    assert media.sha256(folder / "static96p0.mp4") == hashlib.sha256(source.read_bytes()).hexdigest()
    facts = media.mp4_facts(folder / "static96p0.mp4", probed)
    assert (facts["file"], facts["size"], facts["height"]) == ("static96p0.mp4", source.stat().st_size, 96)


@pytest.mark.parametrize("data", [b"", b"#EXTM3U\nfile:///etc/passwd\n", b"\0\0\0\x18ftypisom" + bytes(64)])
def test_what_is_no_video_is_never_opened_as_one(tmp_path: Path, data: bytes) -> None:
    """By their first bytes only mp4 and Matroska are opened; a broken one is a sentence."""
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(media.UnplayableError):
        media.probe(tmp_path / "file")
