"""Words of seven languages for the tokenizer: each form that people write becomes one English word of the captions.

The tables are in lexicon/, a file a language:

- the sections phrases, guarded, colours, shapes, motions, rest: an English word, and the forms that become
  it, as alternatives of a regular expression. Sections apply in this order, and words in the order of the file.
- Forms in `guarded` are English words too ("rot", "rose", "links"). They change only in a prompt that has one of the
  language's `cues`, which no English text has.
- A letter with an accent stands for the same letter without it as well ("ü" for "u" and "ue"); "ẞ" for "ß" alone.
- `<name>` stands for the part of that name in `parts`.
- `particles` are words that mean nothing to the model and stay in the text, and `examples` are as natives write.

The rules are normalizers of the `tokenizers` library. The saved tokenizer.json holds them, and needs no code of ours.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers.normalizers import Normalizer

SPACED = ("de", "es", "fr", "ru")  # words end at spaces
UNSPACED = ("ja", "ko", "zh")  # words touch one another, or their particles
LANGUAGES = (*SPACED, *UNSPACED)
SECTIONS = ("phrases", "colours", "shapes", "motions", "rest")
WIDER = {
    "ä": "(?:ä|ae|a)", "ö": "(?:ö|oe|o)", "ü": "(?:ü|ue|u)", "ß": "(?:ß|ss)", "ẞ": "ß", "ё": "[ёе]", "œ": "(?:œ|oe)",
    "á": "[áa]", "à": "[àa]", "â": "[âa]", "ç": "[çc]", "é": "[ée]", "è": "[èe]", "ê": "[êe]", "í": "[íi]",
    "î": "[îi]", "ñ": "[ñn]", "ó": "[óo]", "ô": "[ôo]", "ú": "[úu]", "û": "[ûu]", "'": "['’]",
}  # fmt: skip
# A word of English is put between two of these where the text has no spaces; they become single spaces at the end.
EDGE = "\ue000"
FAR = 300  # characters between a guarded word and its cue


def _read(language: str) -> dict[str, Any]:
    path = Path(__file__).with_name("lexicon") / f"{language}.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))


_TABLES = {language: _read(language) for language in LANGUAGES}
PARTICLES: dict[str, tuple[str, ...]] = {
    language: tuple(dict.fromkeys(table["particles"].split())) for language, table in _TABLES.items()
}
EXAMPLES: dict[str, tuple[tuple[str, dict[str, str]], ...]] = {
    language: tuple(
        (str(example["text"]), {name: str(value) for name, value in example.items() if name != "text"})
        for example in table["examples"]
    )
    for language, table in _TABLES.items()
}


@cache
def rules() -> tuple[tuple[str, str], ...]:
    """Return the replacements in their order: a regular expression in Oniguruma's syntax, and the English for it."""
    out = []
    for section in SECTIONS:
        if section == "colours":  # phrases are whole yet, and no cue is English yet
            out += [(_guarded(word), word) for word in _words(SPACED, "guarded")]
        for word in _words(SPACED, section):
            forms = "|".join(_forms(language, section, word) for language in SPACED if _has(language, section, word))
            out.append((rf"\b(?:{forms})\b", word))
        for word in _words(UNSPACED, section):
            forms = "|".join(_unspaced(language, section, word) for language in UNSPACED)
            out.append((forms.strip("|").replace("||", "|"), f"{EDGE}{word}{EDGE}"))
    edges = rf"[{EDGE}\s]*{EDGE}[{EDGE}\s]*"
    # Digits, Latin letters and marks of punctuation keep their own gaps.
    return (*out, (rf"^{edges}|{edges}$", ""), (edges, " "))


def normalizer() -> Normalizer:
    """Return what the tokenizer does to a prompt first: one form for each letter, small letters, English words."""
    from tokenizers import Regex, normalizers

    replacements = [normalizers.Replace(Regex(pattern), english) for pattern, english in rules()]
    return normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), *replacements])


def english_words() -> set[str]:
    """Return every English word or phrase that a rule writes."""
    return {english.strip(EDGE) for _, english in rules()} - {"", " "}


def _words(languages: tuple[str, ...], section: str) -> list[str]:
    """Return the English words of a section, each once, in the order of the files."""
    return list(dict.fromkeys(word for language in languages for word in _TABLES[language].get(section, ())))


def _has(language: str, section: str, word: str) -> bool:
    return word in _TABLES[language].get(section, ())


def _forms(language: str, section: str, word: str) -> str:
    parts = _TABLES[language].get("parts", {})
    text = str(_TABLES[language][section][word])
    while "<" in (plain := text.replace("(?<!", "(?‹!").replace("(?<=", "(?‹=")):
        text = re.sub(r"<(\w+)>", lambda match: str(parts[match[1]]), plain).replace("‹", "<")
    return _widen(text)


def _widen(text: str) -> str:
    return "".join(WIDER.get(letter, letter) for letter in text)


def _unspaced(language: str, section: str, word: str) -> str:
    """Return the forms; Korean words begin where no other syllable stands before, words in katakana stand alone."""
    if not _has(language, section, word):
        return ""
    forms = _forms(language, section, word)
    if language == "ko":
        return rf"(?<!\p{{Hangul}})(?:{forms})"
    return forms


def _guarded(word: str) -> str:
    """Return a pattern of the word's forms behind a cue, or before one, of the same language."""
    out = []
    for language in SPACED:
        if _has(language, "guarded", word):
            forms, cues = _forms(language, "guarded", word), _widen(_TABLES[language]["cues"])
            out.append(rf"\b(?:{cues})\b[\s\S]{{0,{FAR}}}?\K\b(?:{forms})\b")
            out.append(rf"\b(?:{forms})\b(?=[\s\S]{{0,{FAR}}}\b(?:{cues})\b)")
    return "|".join(out)
