"""Two videos of a battle: no word, no time and no size tells them apart, and their pictures stay as they are."""

from __future__ import annotations

import pytest

from bot.files.blind import NotBlindError, blind_pair


def box(kind: bytes, body: bytes) -> bytes:
    """A box as ISO 14496-12 has it."""
    return (8 + len(body)).to_bytes(4) + kind + body


def mp4(pictures: bytes, words: bytes, when: int) -> bytes:
    """A file with words of its maker at every place where workers write some, and the time of its making."""
    head = box(b"mvhd", bytes(4) + when.to_bytes(4) * 2 + b"rest of it")
    moov = box(b"moov", head + box(b"udta", box(b"meta", words)) + box(b"trak", box(b"udta", words)))
    return box(b"ftyp", b"isom") + box(b"uuid", words) + moov + box(b"mdat", pictures)


def test_nothing_in_a_file_names_its_model() -> None:
    """The words and times are gone from wherever they stood; the pictures stand where they stood before."""
    files = mp4(b"pictures one", b"by candidate", 7777), mp4(b"pictures 2", b"by the live model", 8888)
    shown = blind_pair(*files)
    for before, after, pictures in zip(files, shown, (b"pictures one", b"pictures 2"), strict=True):
        assert b"candidate" not in after
        assert b"live model" not in after
        assert (7777).to_bytes(4) not in after
        assert (8888).to_bytes(4) not in after
        assert b"rest of it" in after
        assert after.index(pictures) == before.index(pictures)
    assert b"by candidate" in files[0]  # as it was before


def test_both_files_are_equally_long() -> None:
    """However different they were; what is added is free space, a box of its own."""
    short, long = mp4(b"p", b"w", 1), mp4(b"p" * 5000, b"w", 1)
    assert len(short) != len(long)
    a, b = blind_pair(short, long)
    assert len(a) == len(b)
    assert a[len(short) + 4 : len(short) + 8] == b"free"
    same = blind_pair(short, short)
    assert same[0] == same[1]


@pytest.mark.parametrize("data", [b"", b"an mp4", b"\0\0\0\x08ftyp\0\0\0\x02moov", b"\0\0\0\x08ftyp\0\1\0\0moov"])
def test_what_is_no_mp4_is_not_shown(data: bytes) -> None:
    """Neither on the one side nor on the other."""
    good = mp4(b"p", b"w", 1)
    for pair in ((data, good), (good, data)):
        with pytest.raises(NotBlindError):
            blind_pair(*pair)
