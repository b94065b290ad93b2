"""The answers of workers: what an honest one says is taken, and any other JSON ends its job with a sentence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generation.answers import MOST_REASON, UNREADABLE, Done, FilmstripResult, read_answer
from generation.jobs import JobEnd, RenderResult, TrainingResult

RENDERED = RenderResult(
    video_path="/data/videos/42.mp4", poster_path="/data/videos/42.jpg", sha256="ab" * 32, size_bytes=9, width=96,
    height=96, fps=8.0, frames=17, seconds=1.5, model_id="tiny", model_revision="r1", machine="0a1b",
    provenance={"seed": 7}, findings=None, release={"number": 1, "adapter_sha256": "cd" * 32},
)  # fmt: skip
TRAINED = TrainingResult(
    adapter_sha256="ab" * 32, size_bytes=9, machine="0a1b", videos=84, drift=0.07, seconds=100.0, guards_passed=True,
    guards=["Motion: 0.99."], vetoes=[], notes=["A note."], taste_sha256="cd" * 32, taste_bytes=5,
)  # fmt: skip
KINDS = (RenderResult, TrainingResult, FilmstripResult, Done)
NOTHING = "It is hot."
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def test_honest_answers_are_taken() -> None:
    """Also those of newer workers, which say more, and of older ones, which have no card."""
    assert read_answer(RenderResult, RENDERED.to_json()) == RENDERED
    assert read_answer(RenderResult, {**RENDERED.to_json(), "watts": 300}) == RENDERED
    older = replace(RENDERED, provenance=None, release=None, poster_path="")
    assert read_answer(RenderResult, older.to_json()) == older
    assert read_answer(TrainingResult, TRAINED.to_json()) == TRAINED
    assert read_answer(FilmstripResult, {"outcome": "done", "png": "aGk="}) == FilmstripResult("aGk=")
    assert read_answer(Done, {"outcome": "done"}) == Done()


@pytest.mark.parametrize("kind", KINDS)
def test_an_end_is_told_with_its_reason(kind: Any) -> None:
    """Cut to a length, on one line, and with no letter that moves anything on a screen."""
    assert read_answer(kind, {"outcome": "failed", "reason": NOTHING}) == JobEnd("failed", NOTHING)
    said = read_answer(kind, {"outcome": "cancelled", "reason": "a\n\x1b[2J" + "x" * 1000})
    assert isinstance(said, JobEnd)
    assert (said.outcome, len(said.reason)) == ("cancelled", MOST_REASON)
    assert said.reason.isprintable()


@pytest.mark.parametrize(
    "lie",
    [
        {"video_path": "a\nb"}, {"video_path": ""}, {"video_path": "x" * 5000}, {"sha256": "AB" * 32},
        {"sha256": "../x"}, {"size_bytes": 0}, {"size_bytes": -1}, {"size_bytes": 1 << 60}, {"size_bytes": True},
        {"size_bytes": "9"}, {"width": 0}, {"height": 1 << 30}, {"fps": float("nan")}, {"fps": float("inf")},
        {"fps": 0}, {"frames": 0}, {"seconds": -1.0}, {"seconds": float("inf")}, {"machine": "../../x"},
        {"machine": "a b"}, {"machine": ""}, {"model_id": "[x](https://evil.example)"}, {"model_revision": "a\nb"},
        {"model_revision": "x" * 300}, {"provenance": {"a": "x" * 70_000}}, {"provenance": []},
        {"findings": {"a": ["x" * 70_000]}}, {"release": {"number": 0, "adapter_sha256": "cd" * 32}},
        {"release": {"number": 1, "adapter_sha256": "x"}}, {"release": {"number": 1}}, {"release": "1"},
    ],
    ids=str,
)  # fmt: skip
def test_a_lie_in_one_field_ends_the_job(lie: dict[str, Any]) -> None:
    assert read_answer(RenderResult, {**RENDERED.to_json(), **lie}) == JobEnd("failed", UNREADABLE)


@pytest.mark.parametrize(
    "lie",
    [
        {"adapter_sha256": "../x"}, {"taste_sha256": "x"}, {"size_bytes": 0}, {"taste_bytes": -1}, {"machine": "a/b"},
        {"drift": float("nan")}, {"drift": -1}, {"seconds": "1"}, {"guards_passed": "yes"}, {"guards": "x"},
        {"guards": ["x" * 3000]}, {"notes": ["x"] * 51}, {"vetoes": [1]}, {"videos": -1},
    ],
    ids=str,
)  # fmt: skip
def test_a_lie_about_a_training_ends_it(lie: dict[str, Any]) -> None:
    assert read_answer(TrainingResult, {**TRAINED.to_json(), **lie}) == JobEnd("failed", UNREADABLE)


@given(st.sampled_from(KINDS), JSON)
def test_no_answer_can_break_its_reader(kind: Any, answer: Any) -> None:
    """Any JSON: what comes out is a result of that kind, or an end whose sentence can be shown."""
    said = read_answer(kind, answer)
    assert isinstance(said, kind | JobEnd)
    if isinstance(said, JobEnd):
        assert len(said.reason) <= MOST_REASON
        assert said.reason.isprintable()


@given(st.sampled_from(sorted(RENDERED.to_json())), JSON)
def test_no_field_can_break_its_reader(name: str, value: Any) -> None:
    """Any JSON in any field of a render's answer: if it is taken, it is what the bot counts on."""
    said = read_answer(RenderResult, {**RENDERED.to_json(), name: value})
    if isinstance(said, RenderResult):
        assert len(said.sha256) == 64
        assert said.size_bytes > 0
        assert said.machine.isascii()
        assert "/" not in said.machine
        assert said.video_path.isprintable()
    else:
        assert isinstance(said, JobEnd)
