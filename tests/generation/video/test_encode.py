"""Encoding, read back by another reader of mp4."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from generation.video.encode import Fit, best_frame, encode, enlarge
from tests.builders.clips import boxes, clip


def test_it_plays_everywhere(tmp_path: Path) -> None:
    """H.264 High, yuv420p, constant frame rate, bt709, a key frame every two seconds, and the index comes first."""
    video = tmp_path / "clips" / "a.mp4"
    facts = encode(clip(40), 8, video, tmp_path / "clips" / "a.jpg")
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        assert (stream.codec_context.name, stream.codec_context.profile) == ("h264", "High")
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.average_rate == stream.base_rate == facts.fps == 8
        assert (stream.width, stream.height) == (facts.width, facts.height) == (96, 64)
        assert len(frames) == facts.frames == 40
        assert [round(f.time * 8) for f in frames] == list(range(40))
        assert [n for n, f in enumerate(frames) if f.key_frame] == [0, 16, 32]
        assert {(int(f.colorspace), int(f.color_range)) for f in frames} == {(1, 1)}
    kinds = boxes(video)
    assert kinds.index(b"moov") < kinds.index(b"mdat")
    assert facts.sha256 == hashlib.sha256(video.read_bytes()).hexdigest()
    assert facts.size_bytes == video.stat().st_size
    assert video.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("colour", "luma"), [((255, 0, 0), 63), ((0, 255, 0), 173), ((0, 0, 255), 32)])
def test_colours_are_those_of_their_tags(tmp_path: Path, colour: tuple[int, int, int], luma: int) -> None:
    """Luma follows BT.709 in the limited range (ITU-R BT.709-6), as the file says; BT.601 would give 81, 145, 41."""
    pictures = np.empty((3, 32, 32, 3), np.uint8)
    pictures[:] = colour
    encode(pictures, 8, tmp_path / "a.mp4", tmp_path / "a.jpg")
    with av.open(str(tmp_path / "a.mp4")) as container:
        picture = next(container.decode(video=0)).to_ndarray()
    assert abs(int(picture[10, 10]) - luma) <= 2


def test_odd_sizes_become_even(tmp_path: Path) -> None:
    """What yuv420p cannot hold loses a row or a column; enlarging comes first."""
    odd = encode(clip(height=65, width=97), 8, tmp_path / "a.mp4", tmp_path / "a.jpg")
    assert (odd.width, odd.height) == (96, 64)
    larger = encode(clip(height=65, width=97), 8, tmp_path / "b.mp4", tmp_path / "b.jpg", upscale=2)
    assert (larger.width, larger.height) == (194, 130)


def test_enlarging_is_smooth() -> None:
    """An edge becomes a slope of several shades, an even colour stays as it is, and sizes are whole multiples."""
    halves = np.zeros((2, 8, 8, 3), np.uint8)
    halves[:, :, 4:] = 255
    larger = enlarge(halves, 4)
    assert larger.shape == (2, 32, 32, 3)
    across = larger[0, 16, :, 0].astype(int)
    assert across[2] < 8 and across[-3] > 247
    shades = {int(value) for value in across[10:22]}
    assert len(shades) > 4, "repeated pixels would have two shades"
    even = np.full((1, 5, 7, 3), (200, 30, 90), np.uint8)
    assert int(np.abs(enlarge(even, 3).astype(int) - even[0, 0, 0]).max()) <= 2


def test_the_poster_shows_something(tmp_path: Path) -> None:
    """A clip that fades in from black and out again has a poster that is not black."""
    pictures = clip(9)
    pictures[:6] = 0
    encode(pictures, 8, tmp_path / "a.mp4", tmp_path / "a.jpg")
    with av.open(str(tmp_path / "a.jpg")) as container:
        poster = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert poster.shape == (64, 96, 3)
    assert poster.max() > 200
    assert best_frame(clip(9)) == 4


def test_the_same_frames_give_the_same_file(tmp_path: Path) -> None:
    """Encoding is repeatable; another frame makes another file."""
    first = encode(clip(), 8, tmp_path / "a.mp4", tmp_path / "a.jpg")
    assert encode(clip(), 8, tmp_path / "b.mp4", tmp_path / "b.jpg").sha256 == first.sha256
    assert encode(clip()[:-1], 8, tmp_path / "c.mp4", tmp_path / "c.jpg").sha256 != first.sha256


def test_key_frames_come_at_fixed_distances(tmp_path: Path) -> None:
    """A cut in the pictures makes no key frame, and each one stands alone (IDR): segments can begin at every one."""
    pictures = clip(40)
    pictures[11:] = 255 - pictures[11:]
    encode(pictures, 8, tmp_path / "a.mp4", tmp_path / "a.jpg")
    with av.open(str(tmp_path / "a.mp4")) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    keys = [packet for packet in packets if packet.is_keyframe]
    assert [int(packet.pts * packet.time_base * 8) for packet in keys] == [0, 16, 32]
    assert all(5 in nal_types(bytes(packet)) for packet in keys)
    assert not any(5 in nal_types(bytes(packet)) for packet in packets if not packet.is_keyframe)


def nal_types(packet: bytes) -> list[int]:
    """The kinds of NAL units in a packet of an mp4, which have their length before them (ITU-T H.264, table 7-1)."""
    at, kinds = 0, []
    while at < len(packet):
        kinds.append(packet[at + 4] & 31)
        at += 4 + int.from_bytes(packet[at : at + 4], "big")
    return kinds


def test_a_file_that_must_fit_does(tmp_path: Path) -> None:
    """Noise is made coarser, then smaller, until it fits with room for its seal; without a limit it is left alone."""
    noise = np.random.default_rng(1).integers(0, 255, (9, 96, 128, 3), np.uint8)
    whole = encode(noise, 8, tmp_path / "a.mp4", tmp_path / "a.jpg")
    assert whole.size_bytes > 60_000
    coarser = encode(noise, 8, tmp_path / "b.mp4", tmp_path / "b.jpg", fit=Fit(whole.size_bytes // 2, reserved=1000))
    assert coarser.size_bytes <= whole.size_bytes // 2 - 1000
    assert (coarser.width, coarser.height) == (128, 96)
    smaller = encode(noise, 8, tmp_path / "c.mp4", tmp_path / "c.jpg", fit=Fit(9_000))
    assert smaller.size_bytes <= 9_000
    assert (smaller.width, smaller.height) < (128, 96)
    with av.open(str(tmp_path / "c.mp4")) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == 9
    assert (frames[0].width, frames[0].height) == (smaller.width, smaller.height)
    roomy = encode(noise, 8, tmp_path / "d.mp4", tmp_path / "d.jpg", fit=Fit(whole.size_bytes))
    assert roomy.sha256 == whole.sha256
    impossible = encode(noise, 8, tmp_path / "e.mp4", tmp_path / "e.jpg", fit=Fit(100))
    assert 100 < impossible.size_bytes < smaller.size_bytes


def test_tags_and_seal(tmp_path: Path) -> None:
    """The container carries its tags; what the seal adds is part of the file's hash; a seal that fails leaves none."""

    def seal(draft: Path) -> None:
        draft.write_bytes(draft.read_bytes() + b"\0\0\0\x0cfreeseal")

    sealed = encode(clip(), 8, tmp_path / "a.mp4", tmp_path / "a.jpg", tags={"comment": "AI-generated"}, seal=seal)
    assert sealed.sha256 == hashlib.sha256((tmp_path / "a.mp4").read_bytes()).hexdigest()
    assert (tmp_path / "a.mp4").read_bytes().endswith(b"seal")
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.metadata["comment"] == "AI-generated"

    def fail(_draft: Path) -> None:
        raise ValueError("no seal")

    with pytest.raises(ValueError, match="no seal"):
        encode(clip(), 8, tmp_path / "b.mp4", tmp_path / "b.jpg", seal=fail)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg", "a.mp4"]


@pytest.mark.parametrize("blank", [0, 255, 128])
def test_blank_frames_are_no_posters(blank: int) -> None:
    """Neither black nor white nor grey, nor a few dots on black, where one frame shows something."""
    pictures = np.full((9, 64, 96, 3), blank, np.uint8)
    pictures[5, 3, 3] = 255
    pictures[7] = np.linspace(60, 140, 96, dtype=np.uint8)[None, :, None]
    assert best_frame(pictures) == 7
    assert best_frame(np.full((9, 64, 96, 3), blank, np.uint8)) == 4


@pytest.mark.parametrize("shape", [(0, 32, 32, 3), (4, 32, 32, 4), (32, 32, 3)], ids=str)
def test_other_shapes_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """What is no clip leaves no file behind."""
    with pytest.raises(ValueError, match="shape"):
        encode(np.zeros(shape, np.uint8), 8, tmp_path / "a.mp4", tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="shape"):
        encode(np.zeros((4, 32, 32, 3)), 8, tmp_path / "a.mp4", tmp_path / "a.jpg")  # type: ignore[arg-type]  # on purpose
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_replaced_whole(tmp_path: Path) -> None:
    """A second encoding replaces the first, and no draft stays behind."""
    encode(clip(), 8, tmp_path / "a.mp4", tmp_path / "a.jpg")
    second = encode(clip(6), 8, tmp_path / "a.mp4", tmp_path / "a.jpg")
    assert hashlib.sha256((tmp_path / "a.mp4").read_bytes()).hexdigest() == second.sha256
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jpg", "a.mp4"]


@pytest.mark.parametrize("shape", [(4, 1, 32, 3), (4, 32, 1, 3), (4, 1, 1, 3)], ids=str)
def test_a_single_row_or_column_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """Nothing would be left of it in yuv420p; enlarged, it is a clip like any other."""
    with pytest.raises(ValueError, match="at least two pixels"):
        encode(np.zeros(shape, np.uint8), 8, tmp_path / "a.mp4", tmp_path / "a.jpg")
    assert list(tmp_path.iterdir()) == []
    larger = encode(np.zeros(shape, np.uint8), 8, tmp_path / "a.mp4", tmp_path / "a.jpg", upscale=2)
    assert (larger.height, larger.width) == (2 * shape[1], 2 * shape[2])


# In a process of its own, since a limit that was lowered cannot be raised again.
ON_A_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from generation.video.encode import encode
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
noise = np.random.default_rng(1).integers(0, 255, (40, 64, 64, 3), np.uint8)
try:
    encode(noise, 8, Path(sys.argv[1], "a.mp4"), Path(sys.argv[1], "a.jpg"))
except OSError:
    print("full")
else:
    print("written")
"""


@pytest.mark.parametrize(("limit", "said"), [(20_000, "full"), (2_000_000, "written")])
def test_a_full_disk_leaves_no_half_file(tmp_path: Path, limit: int, said: str) -> None:
    """What was there before is untouched and no draft stays; with room enough the same frames replace it."""
    before = encode(clip(), 8, tmp_path / "a.mp4", tmp_path / "a.jpg")
    command = [sys.executable, "-c", ON_A_FULL_DISK, str(tmp_path), str(limit)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == said, found.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jpg", "a.mp4"]
    kept = hashlib.sha256((tmp_path / "a.mp4").read_bytes()).hexdigest() == before.sha256
    assert kept == (said == "full")
    assert {p.stat().st_mode & 0o777 for p in tmp_path.iterdir()} == {0o600}
