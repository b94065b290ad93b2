"""Words of others on a terminal: they are read, and nothing else."""

from __future__ import annotations

import pytest

from generation.printable import lines, one_line

STEERING = {
    "a colour": ("\x1b[31mred", "\\x1b[31mred"),
    "the title of the window": ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
    "a C1 control": ("\x9b2J", "\\x9b2J"),
    "another line": ("a\nb\rc", "a\\nb\\rc"),
    "a line of Unicode": ("a\u2028b", "a\\u2028b"),
    "an override of the direction": ("\u202egpj.exe\u2066", "\\u202egpj.exe\\u2066"),
    "half a character": ("\ud800", "\\ud800"),
}


@pytest.mark.parametrize(("text", "shown"), STEERING.values(), ids=STEERING)
def test_what_steers_a_terminal_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert one_line(text) == shown


@pytest.mark.parametrize("text", ["a word", "größer, 日本語, עברית", "👩\u200d🚀", "می\u200cخواهم", "100 %"])
def test_what_people_write_stays_as_it_is(text: str) -> None:
    """Also joined emoji, and letters that are joined or kept apart."""
    assert one_line(text) == text


def test_spaces_of_any_width_are_spaces() -> None:
    assert one_line("a\u00a0b\u3000c") == "a b c"


def test_an_output_keeps_its_own_lines_alone() -> None:
    assert lines("first\nsecond\x1b[2J\n") == "first\nsecond\\x1b[2J\n"
