"""Blocked words are found however they are spelled, and ordinary words that hold them are left alone."""

from __future__ import annotations

import json
import unicodedata
from collections import defaultdict
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.prompt_filter.rules import Finding, PromptRules, RulesError, read_rules
from bot.prompt_filter.rules_file import open_rules

WORDS = ["zorp", "kibble", "grawlix", "mild oath"]
INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u034f\u180e\u2062\u3164\ufe0f"
MARKS = "\u0300\u0301\u0327\u0336\u20dd\u0489"


def _alike() -> dict[str, list[str]]:
    """Every character of Unicode's table that looks like an ASCII letter, read from it on its own."""
    table = json.loads(files("homoglyphs_fork").joinpath("confusables.json").read_text("utf-8"))
    found = defaultdict(list)
    for character, others in table.items():
        for other in others:
            if len(other) == 1 and other.isascii() and other.isalpha() and not character.isascii():
                found[other.lower()].append(character)
    found["f"].remove("ſ")  # the long s, which is one
    return found


ALIKE = _alike()


def rules_of(*words: str, action: str = "block", patterns: tuple[str, ...] = ()) -> PromptRules:
    return read_rules(
        f'[[rules]]\naction = "{action}"\nwords = {json.dumps(words)}\npatterns = {json.dumps(patterns)}\n', "x.toml"
    )


RULES = rules_of(*WORDS)
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine


@st.composite
def disguised(draw: st.DrawFn) -> str:
    """A blocked word in any spelling."""
    written = ""
    for letter in draw(st.sampled_from(WORDS)):
        if letter == " ":
            written += draw(st.sampled_from([" ", "  ", "-", "_", "\u3000"]))
            continue
        wide = chr(ord(letter) - 0x20 + 0xFF00)
        forms = [letter, letter.upper(), wide, *ALIKE[letter]]
        written += draw(st.sampled_from(forms)) + draw(st.text(INVISIBLE + MARKS, max_size=2))
    return written


@PATIENT
@given(disguised(), st.sampled_from(["", "a red ", "ein, (", "一只 "]), st.sampled_from(["", " cat", "!", ") 42"]))
def test_any_spelling_is_caught(word: str, before: str, after: str) -> None:
    """With invisible characters, look-alikes, full width, combining marks and mixed case."""
    assert RULES.look_at(before + word + after) is not None


@PATIENT
@given(st.sampled_from(WORDS), st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=5), st.booleans())
def test_ordinary_words_that_contain_one_are_not(word: str, more: str, before: bool) -> None:
    """Scunthorpe is a town."""
    assert RULES.look_at(f"the {more + word if before else word + more} of it") is None


SMALL = {
    letter: chr(code)
    for code in range(0x250, 0x11000)
    for letter in "abcdefghijklmnopqrstuvwxyz"
    if unicodedata.name(chr(code), "") == f"LATIN LETTER SMALL CAPITAL {letter.upper()}"
}
SEPARATORS = "-_.*~·:+^‐–—•★🙂"


@PATIENT
@given(st.sampled_from(WORDS), st.sets(st.integers(0, 8)))
def test_small_capitals_are_letters(word: str, which: set[int]) -> None:
    """All or some of a word, in what looks like print; another letter in its place is another word."""
    written = "".join(SMALL.get(letter, letter) if n in which else letter for n, letter in enumerate(word))
    assert RULES.look_at(f"a {written}!") is not None
    assert RULES.look_at(f"a {SMALL['y']}{written[1:]}!") is None


def test_nearly_all_letters_have_a_small_capital() -> None:
    """Unicode has none for X, and what is turned or barred is not one."""
    assert set("abcdefghijklmnopqrstuvwxyz") - set(SMALL) == {"x"}


@PATIENT
@given(st.sampled_from(WORDS[:3]), st.integers(1, 3), st.sampled_from(SEPARATORS), st.sampled_from(["", "very-", "a "]))
def test_one_separator_does_not_hide_a_word(word: str, at: int, separator: str, before: str) -> None:
    """Wherever in the word it stands, and whatever it is; a space makes two words of it, and a letter more another."""
    assert RULES.look_at(f"{before}{word[:at]}{separator}{word[at:]} cat") is not None
    assert RULES.look_at(f"{before}{word[:at]} {word[at:]} cat") is None
    assert RULES.look_at(f"{before}{word[:at]}{separator}{word[at:]}y cat") is None
    assert RULES.look_at(f"{before}y{word[:at]}{separator}{word[at:]} cat") is None


@PATIENT
@given(st.lists(st.text("abcdefghij", min_size=1, max_size=6), min_size=2, max_size=5), st.sampled_from(SEPARATORS))
def test_joined_words_are_only_those_of_the_list(parts: list[str], separator: str) -> None:
    """However ordinary words are put together, none of them comes to a word that has other letters."""
    assert RULES.look_at(f"a {separator.join(parts)} thing") is None


@PATIENT
@given(st.text(max_size=500))
def test_any_text_can_be_looked_at(text: str) -> None:
    """Whatever a member can write is read without an error, and an empty list has nothing against it."""
    RULES.look_at(text)
    assert read_rules("", "x.toml").look_at(text) is None


@pytest.mark.parametrize(
    "prompt",
    [
        "a z0rp",
        "a k1bb1e",
        "Z O R P",
        "z.o.r.p",
        "zorp99",
        "2zorp",
        "zоrр",
        "\U0001f179 🆉🅾🆁🅿",
        "🇿🇴🇷🇵",
        "ᶻorp",
        "z\u0338orp",
    ],
)
def test_other_disguises(prompt: str) -> None:
    """Digits for letters, letters one by one, digits beside it, Cyrillic, boxes, flags, superscripts, strokes."""
    assert RULES.look_at(prompt) is not None


@pytest.mark.parametrize(
    "prompt",
    [
        "a zorpish cat",
        "zo rp",
        "2026 videos",
        "1088",
        "a c@t & a d0g!",
        "mild",
        "an oath, mild",
        "corn",
        "зоря",
        "zürich",
    ],
)
def test_ordinary_prompts_pass(prompt: str) -> None:
    assert rules_of(*WORDS, "porn", "ios", "boob").look_at(prompt) is None


@pytest.mark.parametrize(
    ("word", "prompt"),
    [
        ("kill", "a k_ill"),
        ("kill", "ᴋɪʟʟ"),
        ("kill", "ki-ll the cat"),
        ("mild oath", "a mi_ld oath"),
        ("mild oath", "mild o-ath"),
        ("xray", "an x-ray"),
        ("naïve", "nai-ve"),
        ("kill", "a cat—kill it"),
    ],
)
def test_a_word_in_pieces_is_that_word(word: str, prompt: str) -> None:
    """Also one of several words; whoever lists xray means x-ray too."""
    assert rules_of(word).look_at(prompt) is not None


@pytest.mark.parametrize(
    ("word", "prompt"),
    [
        ("hell", "he'll come, and he’ll stay"),
        ("shed", "she'd rather not"),
        ("ass", "so a-ss is too short to say"),
        ("shit", "a 5-hit combo"),
        ("kill", "over-killing is well-known"),
        ("kill", "ki--ll, or ki- ll"),
        ("redo", "re-doing an x-ray"),
        ("onoff", "an on/off switch"),
        ("redblue", "red,blue"),
        ("inlaw", "mother-in-lawn"),
        ("endthe", "the end. The cat"),
    ],
)
def test_ordinary_text_with_separators_passes(word: str, prompt: str) -> None:
    """Apostrophes, commas and strokes part words, digits are not in them, and short words come about by chance."""
    assert rules_of(word).look_at(prompt) is None


@pytest.mark.parametrize("prompt", ["a well-known cat", "re-do it", "an x-ray of a state-of-the-art e-mail"])
def test_what_is_written_with_a_hyphen_passes(prompt: str) -> None:
    assert rules_of(*WORDS, "kill", "hell", "rays", "noun").look_at(prompt) is None


@pytest.mark.parametrize(
    ("word", "prompt", "other"),
    [
        ("爆弾", "赤い爆弾の絵", "爆発の弾"),
        ("爆弾", "爆 弾", "爆"),
        ("ระเบิด", "วางระเบิดแล้ว", "ระเบียง"),
        ("폭탄", "폭탄을 던지다", "폭포"),
        ("हथियार", "एक हथियार", "हथियारबंद"),
        ("бомба", "БОМБА!", "бомбардир"),
        ("bombă", "o BOMBA", "bombard"),
        ("straße", "STRASSE", "strasser"),
        ("קללה", "זו קללה", "קללהה"),
        ("хуй", "xyй", "xylophone"),
        ("1488", "1488", "14880 1"),
        ("カタカナ", "ｶﾀｶﾅ", "カタナ"),
    ],
)
def test_any_language(word: str, prompt: str, other: str) -> None:
    """Whole words where there are spaces, anywhere where there are none; the twin beside it passes."""
    rules = rules_of(word)
    assert rules.look_at(prompt) is not None
    if word != "1488":
        assert rules.look_at(other) is None


def test_the_severest_rule_speaks_and_patterns_see_through_disguises() -> None:
    text = """
[[rules]]
action = "review"
words = ["zorp"]
say = "Let us   look at it."

[[rules]]
action = "block"
patterns = ['k+ib{2}le\\w*']
say = "No kibble."
"""
    rules = read_rules(text, "x.toml")
    assert rules.look_at("a zorp") == Finding("review", "Let us look at it.", 1)
    assert rules.look_at("a zorp with KІBBLES") == Finding("block", "No kibble.", 2)
    assert rules.look_at("a cat") is None


def test_a_bad_pattern_cannot_stop_the_bot() -> None:
    """What takes a backtracking engine longer than the universe has is over at once."""
    assert rules_of(patterns=(r"(a+)+(a|aa)*c",)).look_at("a" * 500 + "b") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[rules]]\nwords = [", "line 2"),
        ('[[rules]]\naction = "hide"\nwords = ["x"]', 'line 2: a rule needs action = "block"'),
        ('[[rules]]\naction = "block"', "line 2: a rule needs words or patterns"),
        (
            '[[rules]]\naction = "block"\nwords = ["x"]\n\n[[rules]]\naction = "block"\nwords = ["a", "!?"]',
            r"line 7: '!\?' is no word",
        ),
        ('[[rules]]\naction = "block"\npatterns = [\n "ok",\n "(a",\n]', "line 5: RE2 does not accept the pattern"),
        ('[[rules]]\naction = "block"\npatterns = ["(?=x)"]', "line 3: RE2 does not accept the pattern"),
        ('[[rules]]\naction = "block"\npatterns = ["x*"]', "line 3: .*every prompt"),
        ('[[rules]]\naction = "block"\nwords = "x"', "line 3: words must be a list"),
        ('[[rules]]\naction = "block"\nword = ["x"]', "line 3: 'word' is unknown"),
        ('[[rules]]\naction = "block"\nwords = ["x"]\nsay = ""', "line 4: say must be a sentence"),
        ('[rule]\naction = "block"', "line 1: each rule is a table"),
    ],
)
def test_a_wrong_file_is_answered_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(RulesError, match=said):
        open_rules(path)
