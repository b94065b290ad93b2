"""A data set's rows as tuning reads them: which videos teach, and which do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from generation.feedback.dataset.files import write
from generation.feedback.dataset.prompts import split_of
from generation.feedback.dataset.rows import Consent
from generation.feedback.dataset.tables import pseudonym_key, tables_of
from generation.feedback.tuning.examples import read_examples, write_examples
from generation.feedback.tuning.from_votes import TooFewVotesError, lesson_of, weights_of
from tests.builders.votes import CARD, community, key_of, video, vote

TRAIN = [prompt for prompt in (f"a prompt number {n}" for n in range(40)) if split_of(prompt) == "train"][:4]
HELD_OUT = next(prompt for prompt in (f"a prompt number {n}" for n in range(400)) if split_of(prompt) == "test")
VOTERS = [f"voter{n}" for n in range(8)]
RELEASE = {"number": 3, "adapter_sha256": "ad" * 32}


def data_set(folder: Path, *more: Any, voters: list[str] = VOTERS, down: str = "down") -> Path:
    """A data set in which everybody likes the even videos, and not the odd ones."""
    videos = [video(f"v{n}", prompt, seed=n) for n, prompt in enumerate(TRAIN)]
    names = [f"v{n}" for n in range(4)]
    votes = [vote(name, voter, *([down] if n % 2 else [])) for n, name in enumerate(names) for voter in voters]
    for each in more:
        videos.append(each)
        votes += [vote_by_key(each, voter) for voter in voters]
    consents = dict.fromkeys(voters, Consent.GIVEN)
    write(folder, tables_of(community(videos, votes, **consents), pseudonym_key(b"p" * 32, 7, ["r"])))
    return folder


def vote_by_key(each: Any, voter: str) -> Any:
    return type(vote("v0", voter))(each.key, voter, "up")


def test_rows_become_examples(tmp_path: Path) -> None:
    """Prompt, seed, thumbs and latents; what is written is read again, and the mean weight of a vote is 1."""
    lesson = lesson_of(data_set(tmp_path / "set"), "tiny")
    assert (lesson.votes, lesson.rounds, lesson.revision, lesson.held_out, lesson.left_out) == (32, 1, "r1", 0, 0)
    by_key = {each.video: each for each in lesson.examples}
    liked, disliked = by_key[key_of("v0")], by_key[key_of("v1")]
    assert (liked.prompt, liked.seed, liked.latents_sha256, liked.release) == (TRAIN[0], 0, "e" * 64, None)
    assert liked.up > 0 == liked.down
    assert disliked.down > 0 == disliked.up
    assert sum(each.up + each.down for each in lesson.examples) == pytest.approx(32)
    write_examples(tmp_path / "list", lesson.examples)
    assert read_examples(tmp_path / "list") == lesson.examples


def test_the_same_votes_give_the_same_list(tmp_path: Path) -> None:
    """Its hash names the job of a training."""
    first, again = (lesson_of(data_set(tmp_path / name), "tiny") for name in ("a", "b"))
    assert first == again


def test_a_release_that_rendered_a_video_is_named(tmp_path: Path) -> None:
    """Without it the same seed would give other latents."""
    card = {**CARD, "model": {**CARD["model"], "release": RELEASE}}
    by_key = {
        each.video: each
        for each in lesson_of(data_set(tmp_path / "set", video("w", TRAIN[0], card=card)), "tiny").examples
    }
    assert (by_key[key_of("w")].release, by_key[key_of("w")].release_number) == ("ad" * 32, 3)
    assert by_key[key_of("v0")].release is None


@pytest.mark.parametrize(
    "other",
    [{"model_id": "another"}, {"model_revision": "r0"}],
)
def test_what_another_model_made_teaches_nothing(tmp_path: Path, other: dict[str, Any]) -> None:
    """Its latents are not this model's; it is counted."""
    lesson = lesson_of(data_set(tmp_path / "set", video("w", TRAIN[0], **other)), "tiny")
    assert key_of("w") not in {each.video for each in lesson.examples}
    assert (lesson.left_out, lesson.votes) == (1, 32)


def test_held_out_prompts_stay_for_battles(tmp_path: Path) -> None:
    """They are counted, and in no list."""
    lesson = lesson_of(data_set(tmp_path / "set", video("w", HELD_OUT)), "tiny")
    assert (lesson.held_out, lesson.left_out) == (1, 0)
    assert HELD_OUT not in json.dumps([each.prompt for each in lesson.examples])


def test_too_few_votes_are_a_sentence(tmp_path: Path) -> None:
    """The moderators read how many there are, and how many are needed."""
    with pytest.raises(TooFewVotesError, match="There are 4 votes on 4 videos to learn from, and at least 20 votes"):
        lesson_of(data_set(tmp_path / "set", voters=VOTERS[:1]), "tiny")
    with pytest.raises(TooFewVotesError, match="There are 0 votes on 0 videos"):
        lesson_of(tmp_path / "set", "another")


def test_votes_that_are_all_alike_are_a_sentence(tmp_path: Path) -> None:
    """They say of no video that it is better."""
    with pytest.raises(TooFewVotesError, match="All votes are alike"):
        lesson_of(data_set(tmp_path / "set", down="up"), "tiny")


def test_a_voter_of_no_reliability_has_no_weight() -> None:
    """The others have his share; among voters who are all unknown, every vote counts the same."""
    votes = [{"voter": v, "video": "x", "choice": c} for v, c in (("a", "up"), ("b", "down"), ("c", None))]
    some = [{"voter": "a", "reliability": 0.5}, {"voter": "b", "reliability": -0.5}]
    assert weights_of(some, {"x"}, votes) == {"x": (2.0, 0.0)}
    assert weights_of([{"voter": "a", "reliability": 0.0}], {"x"}, votes) == {"x": (1.0, 1.0)}
