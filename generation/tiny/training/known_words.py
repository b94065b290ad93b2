"""The tiny model's `known_words.json`: the words of its captions, and those that mean nothing to it.

Words of other languages need no entry: the tokenizer turns them into these.
"""

from __future__ import annotations

import json
from pathlib import Path

from generation.models.known_words import FILE, VERSION
from generation.tiny.training import captions, languages

TOPICS = "colours, shapes and motions"
EXAMPLE = "a red ball rolls left"
# Parts of phrases that stand for nothing by themselves.
_EMPTY = (  # noqa: SIM905  # easier to read than a list of strings
    "a an the to of in on at by it and from over under above before while gets getting becomes becoming goes going "
    "heads heading travels travelling crosses crossing away around day weather background white black blue green "
    "grey bright paper"
).split()
# Words that every prompt has: shown neither as known nor as unknown.
QUIET = (  # noqa: SIM905  # as above
    "a an the to of in on at by it its is are was be and or from over under above before while with that which "
    "this these those there then as for i me my you your we us our he she they his her their please show make draw "
    "give want would like could can video clip animation scene picture look watch see seen thing shape something"
).split()


def known_words() -> dict[str, object]:
    """Return the contents of the file."""
    words: dict[str, str] = {}
    tables = {
        "colour": captions.COLOUR_WORDS,
        "shape": captions.SHAPE_WORDS,
        "background": captions.PLACES,
        "size": captions.SIZE_WORDS,
        "speed": captions.SPEED_WORDS,
    }
    for attribute, table in tables.items():
        words |= {word: attribute for synonyms in table.values() for word in synonyms}
    verbs = [form for forms in captions.VERBS.values() for verb in forms for form in verb]
    words |= dict.fromkeys(verbs, "motion")
    # Single words of phrases, which people put in other orders: "left, slowly, it rolls".
    places = [place for synonyms in captions.PLACES.values() for place in synonyms]
    for attribute, phrases in (("motion", verbs), ("background", places)):
        for word in " ".join(phrases).split():
            if word not in _EMPTY:
                words.setdefault(word, attribute)
    particles = (word.lower() for some in languages.PARTICLES.values() for word in some)
    quiet = [word for word in dict.fromkeys((*QUIET, *particles)) if word not in words]
    return {"version": VERSION, "topics": TOPICS, "example": EXAMPLE, "words": words, "quiet": quiet}


def write_known_words(folder: Path) -> None:
    """Write the file into the folder of a pipeline."""
    (folder / FILE).write_text(json.dumps(known_words(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
