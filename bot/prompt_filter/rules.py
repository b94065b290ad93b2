"""The operator's rules for prompts: words and patterns that block a prompt, or bring it before a moderator first."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import re2

from bot.domain.errors import OperatorError
from bot.prompt_filter.confusables import (
    STAND_INS,
    bare,
    in_spaced_word,
    in_word,
    joins,
    plain,
    readings,
    spelled,
    unspaced,
)

Action = Literal["block", "review"]

MOST_WORDS = 10_000
MOST_PATTERNS = 500
LONGEST_WORD = 100
LONGEST_PATTERN = 1000
LONGEST_SAY = 300
LARGEST_PATTERN = 1 << 20  # bytes of memory that RE2 may use for one
LEAST_JOINED = 4  # letters of a word that is searched across a separator: shorter ones appear by chance
SAY: dict[Action, str] = {
    "block": "That prompt contains words that are not allowed here.",
    "review": "A moderator looks at that prompt before a video is made from it.",
}
_KEYS = {"action", "words", "patterns", "say"}
_SOFT = frozenset(c for c in STAND_INS if not c.isalnum())  # @ ! and the like: a letter's stand-in, or punctuation


class RulesError(OperatorError):
    """The rules for prompts cannot be used; the sentence names the line."""


@dataclass(frozen=True)
class Finding:
    """The verdict of one rule on a prompt."""

    action: Action
    say: str  # for the member
    rule: int  # its number in the file, from 1, for moderators


@dataclass(slots=True)
class _Node:
    ways: dict[str, list[_Node]] = field(default_factory=dict)  # by every reading of the next character
    children: dict[str, _Node] = field(default_factory=dict)  # by the character as it stands in the list
    ends: Finding | None = None
    letters: bool = False
    length: int = 0

    def add(self, word: Sequence[str], finding: Finding) -> None:
        node = self
        for character in word:
            following = node.children.get(character)
            if following is None:
                following = node.children[character] = _Node()
                # An ASCII digit in the list is that digit; only in a prompt may it also stand for a letter.
                for reading in {character} if character.isascii() else readings(character):
                    node.ways.setdefault(reading, []).append(following)
            node = following
        node.letters = any(c.isalpha() for c in word)
        node.length = len(word)
        if node.ends is None or finding.action == "block":
            node.ends = finding


def _steps(nodes: Sequence[_Node], character: str) -> list[_Node]:
    """Return the next nodes, each once, even if several readings lead to it."""
    reached = {id(way): way for node in nodes for reading in readings(character) for way in node.ways.get(reading, ())}
    return list(reached.values())


class _Compiled(Protocol):  # re2 has no types
    def search(self, text: str) -> object: ...


@dataclass(frozen=True)
class _Pattern:
    compiled: _Compiled
    finding: Finding


class PromptRules:
    """Finds the words and patterns of the rules in any spelling, in a time that grows with the prompt alone."""

    def __init__(self) -> None:
        self._spaced = _Node()
        self._unspaced = _Node()
        self._patterns: list[_Pattern] = []
        self.words = 0
        self.patterns = 0

    def add_word(self, word: str, finding: Finding) -> None:
        """Add a word or several, matched whole, or anywhere in scripts without spaces."""
        joined = " ".join(word.split())
        if unspaced(joined):
            self._unspaced.add([c.casefold() for c in spelled(joined) if in_word(c)], finding)
        else:
            parts = _parts([c.casefold() for c in spelled(joined)])
            self._spaced.add(list(" ".join("".join(part) for part in parts)), finding)
        self.words += 1

    def add_pattern(self, pattern: str, finding: Finding) -> None:
        """Add a regular expression of RE2. Raises ValueError."""
        options = re2.Options()
        options.log_errors = False
        options.case_sensitive = False
        options.max_mem = LARGEST_PATTERN
        try:
            compiled = re2.compile(pattern, options)
        except re2.error as error:
            reason = error.args[0] if error.args else ""
            raise ValueError(reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)) from None
        self._patterns.append(_Pattern(compiled, finding))
        self.patterns += 1

    def look_at(self, prompt: str) -> Finding | None:
        """Return the most severe finding in a prompt; None if no rule applies to it."""
        review = None
        for finding in self._findings(prompt):
            if finding.action == "block":
                return finding
            review = review or finding
        return review

    def _findings(self, prompt: str) -> list[Finding]:
        findings: list[Finding] = []
        characters = spelled(prompt)
        if self._spaced.ways:
            for start in _starts(characters):
                findings += _walk(self._spaced, characters, start, whole=True)
            for run in _spread(characters):
                findings += _walk(self._spaced, run, 0, whole=True)
        if self._unspaced.ways:
            dense = [c for c in characters if in_word(c)]
            for start in range(len(dense)):
                findings += _walk(self._unspaced, dense, start, whole=False)
        if self._patterns:
            texts = {bare(prompt).casefold(), plain(prompt)}
            findings += [p.finding for p in self._patterns if any(p.compiled.search(text) for text in texts)]
        return findings


# --------------------------------------------------------------------------- matching


def _letter(character: str) -> bool:
    return in_spaced_word(character) or character in _SOFT


def _starts(characters: Sequence[str]) -> list[int]:
    """Return the places where a word may begin: after a character of no word, and after leading digits."""
    starts, inside = [], False
    for n, character in enumerate(characters):
        if not inside and _letter(character):
            starts.append(n)
        inside = in_spaced_word(character) and not (character.isdigit() and not inside)
    return starts


def _ends_word(characters: Sequence[str], n: int) -> bool:
    """Return True if only digits of the word are left."""
    while n < len(characters) and characters[n].isdigit():
        n += 1
    return n >= len(characters) or not in_spaced_word(characters[n])


def _walk(root: _Node, characters: Sequence[str], start: int, *, whole: bool) -> list[Finding]:
    """Return the findings of a list's words that begin at one place; a word may have one separator in it."""
    findings = []
    paths: list[tuple[list[_Node], int, bool, bool]] = [([root], start, False, False)]
    while paths:
        nodes, n, real, joined = paths.pop()
        while nodes and n < len(characters):
            if not _letter(characters[n]):
                if whole and not joined and _inside_word(characters, n):
                    paths.append((nodes, n + 1, real, True))
                while n < len(characters) and not _letter(characters[n]):
                    n += 1
                nodes = [way for node in nodes for way in node.ways.get(" ", ())]
                continue
            real = real or characters[n].isalpha() or not characters[n].isascii()
            nodes, n = _steps(nodes, characters[n]), n + 1
            if not whole or _ends_word(characters, n):
                ends = [node for node in nodes if node.ends and (real or not node.letters)]
                findings += [node.ends for node in ends if node.ends and (not joined or node.length >= LEAST_JOINED)]
    return findings


def _inside_word(characters: Sequence[str], n: int) -> bool:
    """Return True for a separator between two letters, as in k_ill: a digit beside it is no part of a word."""
    beside = (characters[n - 1], characters[n + 1]) if 0 < n < len(characters) - 1 else ()
    return bool(beside) and joins(characters[n]) and all(in_spaced_word(c) and not c.isdigit() for c in beside)


def _parts(characters: Sequence[str]) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for character in characters:
        if _letter(character):
            parts[-1].append(character)
        elif parts[-1]:
            parts.append([])
    return [part for part in parts if part]


def _spread(characters: Sequence[str]) -> list[list[str]]:
    """Return the words that are written letter by letter, as in `s p r e a d` or `s.p.r.e.a.d`."""
    runs: list[list[str]] = [[]]
    for part in _parts(characters):
        if len(part) == 1:
            runs[-1] += part
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if len(run) >= 3]


# --------------------------------------------------------------------------- the file


def read_rules(text: str, name: str) -> PromptRules:
    """Return the rules of a TOML file, which has a table `[[rules]]` for each. Raises RulesError, naming the line."""
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        reason = str(error).replace("at end of document", f"at line {len(text.splitlines())}, the end")
        raise RulesError(f"The prompt rules {name} are no TOML: {reason}.") from None
    tables = data.get("rules", [])
    unknown = sorted(set(data) - {"rules"})
    if unknown or not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        line = _line(text, unknown[0] if unknown else "rules")
        raise RulesError(f"{name}, line {line}: each rule is a table [[rules]], and the file has nothing else.")
    rules = PromptRules()
    heads = [n for n, line in enumerate(text.splitlines(), 1) if re.match(r"\s*\[\[\s*rules\s*\]\]", line)]
    for number, table in enumerate(tables, 1):
        _Reader(rules, text, name, heads[number - 1] if number <= len(heads) else 1).read(table, number)
    return rules


def _line(text: str, value: str, after: int = 1) -> int:
    """Return the first line, from `after` on, that has the value in it."""
    forms = {value, value.replace("\\", "\\\\"), value.replace('"', '\\"')} - {""}
    for n, line in enumerate(text.splitlines()[after - 1 :], after):
        if any(form in line for form in forms):
            return n
    return after


@dataclass
class _Reader:
    rules: PromptRules
    text: str
    name: str
    head: int

    def read(self, table: Mapping[str, object], number: int) -> None:
        if unknown := sorted(set(table) - _KEYS):
            raise self._error(unknown[0], f"{unknown[0]!r} is unknown; a rule may have {', '.join(sorted(_KEYS))}")
        action = table.get("action")
        if action not in ("block", "review"):
            raise self._error("action", 'a rule needs action = "block" or action = "review"')
        say = table.get("say", SAY[action])
        if not isinstance(say, str) or not say.strip() or len(say) > LONGEST_SAY:
            raise self._error("say", f"say must be a sentence for the member, of at most {LONGEST_SAY} characters")
        words, patterns = self._list(table, "words"), self._list(table, "patterns")
        if not words and not patterns:
            raise self._error("action", "a rule needs words or patterns")
        finding = Finding(action, " ".join(say.split()), number)
        for word in words:
            if len(word) > LONGEST_WORD or not any(in_word(c) for c in spelled(word)):
                raise self._error(word, f"{word[:40]!r} is no word of 1 to {LONGEST_WORD} characters")
            self.rules.add_word(word, finding)
        for pattern in patterns:
            self._add_pattern(pattern, finding)
        if self.rules.words > MOST_WORDS or self.rules.patterns > MOST_PATTERNS:
            raise self._error("", f"at most {MOST_WORDS} words and {MOST_PATTERNS} patterns are allowed")

    def _add_pattern(self, pattern: str, finding: Finding) -> None:
        if len(pattern) > LONGEST_PATTERN:
            raise self._error(pattern[:40], f"a pattern has at most {LONGEST_PATTERN} characters")
        try:
            self.rules.add_pattern(pattern, finding)
        except ValueError as error:
            raise self._error(pattern, f"RE2 does not accept the pattern {pattern[:60]!r}: {error}") from None
        if self.rules._patterns[-1].compiled.search(""):
            raise self._error(pattern, f"the pattern {pattern[:60]!r} would match every prompt")

    def _list(self, table: Mapping[str, object], key: str) -> list[str]:
        values = table.get(key, [])
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise self._error(key, f"{key} must be a list of texts")
        return values

    def _error(self, value: str, problem: str) -> RulesError:
        return RulesError(f"{self.name}, line {_line(self.text, value, self.head)}: {problem}.")
