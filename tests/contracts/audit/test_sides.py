"""The sides of a round follow from its salt, by the same draws that dealt them."""

from __future__ import annotations

from dataclasses import replace

from contracts.audit import sides
from contracts.audit.attempts import read_attempts
from contracts.audit.registrations import prompts_of
from contracts.manifests import SALT_PREFIX, document_hash
from generation.feedback import registration
from tests.builders.registered_round import SALT, RegisteredRound


def problems_of(game: RegisteredRound, *, swapped: int | None = None, twice: bool = False) -> list[str]:
    replay = game.log.replay()
    battles = dict(replay.battles)
    if swapped is not None:
        models = battles[swapped].models
        assert models is not None
        battles[swapped] = replace(battles[swapped], models=(models[1], models[0]))
    if twice:
        battles[109] = next(iter(battles.values()))
    attempt = read_attempts(replay, game.log.documents, [])[document_hash(game.text)]
    prompts = prompts_of(game.log.documents, attempt.registration.prompts_root)
    assert prompts is not None
    salt = sides.master_salt(game.log.documents, attempt.registration)
    assert salt == SALT
    return list(sides.check_sides(1, attempt.registration, battles, prompts, salt))


def a_round() -> RegisteredRound:
    game = RegisteredRound()
    game.end()
    return game


def test_the_draws_are_the_registration_s() -> None:
    """Two implementations of one coin; and the text that shows the salt has the hash that was registered."""
    for pair in ("1", "2", "catch 7"):
        assert sides.pair_salt(SALT, pair) == registration.pair_salt(SALT, pair)
        assert sides.first_is_a(SALT, pair) == registration.candidate_is_a(SALT, pair)
    assert document_hash(SALT_PREFIX + SALT) == registration.commitment_of(SALT)


def test_drawn_sides_are_no_contradiction() -> None:
    """Of battles and of the catch pair."""
    assert problems_of(a_round()) == []


def test_sides_that_were_chosen_are_found() -> None:
    """One battle shows its models the other way round than the salt draws."""
    assert problems_of(a_round(), swapped=1025) == [
        "Battle 1025 was shown with other sides than the salt of round 1 draws."
    ]


def test_a_pair_that_was_entered_twice_is_found() -> None:
    """Its votes would count twice."""
    assert problems_of(a_round(), twice=True) == ["Battles 1025 and 109 are the same registered pair of round 1."]


def test_a_salt_that_nobody_shows_is_none() -> None:
    """A text of the same hash that is no salt cannot exist; without the text there is nothing to draw with."""
    game = RegisteredRound()
    game.end(show_salt=False)
    attempt = read_attempts(game.log.replay(), game.log.documents, [])[document_hash(game.text)]
    assert sides.master_salt(game.log.documents, attempt.registration) is None
