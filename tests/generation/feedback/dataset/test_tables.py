"""Who and what is in a data set, and who is not: each reason with its negative twin."""

from __future__ import annotations

from typing import Any

import pytest

from generation.feedback.dataset.rows import Community, Consent, Exclusion
from generation.feedback.dataset.schema import TABLES
from generation.feedback.dataset.tables import Row, Tables, pseudonym, pseudonym_key, tables_of
from tests.builders.votes import NEXT_ROUND, battle, busy_community, community, feedback, key_of, video, vote

KEY = pseudonym_key(b"a pepper of the tests, 32 bytes long", 7, ["r"])


def rows(tables: Tables, table: str) -> list[Row]:
    return [row for (name, _), each in tables.rows.items() if name == table for row in each]


def made(*args: Any, **consents: Consent) -> Tables:
    return tables_of(community(*args, **consents), KEY)


def test_a_video_has_its_votes_and_its_noise() -> None:
    """Counts, scores, seed, settings, revision, hashes, licence and motion, as the schema names them."""
    tables = made([video("v1"), video("v2", seed=6)], [vote("v1", "ben"), vote("v1", "emi"), vote("v2", "ben", "down")])
    by_name = {row["video"]: row for row in rows(tables, "videos")}
    first, second = by_name[key_of("v1")], by_name[key_of("v2")]
    assert (first["up"], first["down"], second["up"], second["down"]) == (2, 0, 0, 1)
    assert isinstance(first["score"], float)
    assert isinstance(second["score"], float)
    assert first["score"] == pytest.approx(-second["score"])
    assert first["score"] > 0
    assert (first["seed"], second["seed"], first["prompt_videos"]) == (5, 6, 2)
    assert (first["frames_sha256"], first["model_license"], first["motion"]) == ("f" * 64, "MIT", 0.0125)
    [pair] = rows(tables, "pairs")
    assert (pair["source"], pair["a"], pair["b"]) == ("thumbs", *([2, 0] if key_of("v1") < key_of("v2") else [0, 2]))


def test_every_row_has_exactly_the_columns_of_its_table() -> None:
    """In a community with everything that there is."""
    tables = tables_of(busy_community(), KEY)
    for table in TABLES:
        found = rows(tables, table.name)
        assert found
        names = {column.name for column in table.columns}
        assert all(set(row) == names for row in found), table.name


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"exclusion": Exclusion.REMOVED}, "removed"),
        ({"exclusion": Exclusion.REJECTED}, "rejected"),
        ({"author": "kai"}, "author_opted_out"),
        ({"author": "stranger"}, "author_not_asked"),
        ({"prompt": "<@123456> on a horse"}, "prompt_names_a_member"),
    ],
)
def test_a_video_that_is_left_out_leaves_nothing(change: dict[str, Any], reason: str) -> None:
    """Neither its prompt, nor votes, pairs, battles or feedback on it; the same video without the reason is there."""
    rest = ([vote("v1", "ben"), vote("v2", "ben")], [feedback("v1", "ben", "Nice.")], [battle("v1", "v2", "ben", "a")])
    out = made([video("v1", **change), video("v2")], *rest, kai=Consent.OPTED_OUT)
    assert (
        {row["video"] for row in rows(out, "videos")} == {row["video"] for row in rows(out, "votes")} == {key_of("v2")}
    )
    assert rows(out, "pairs") == []
    assert out.left_out["videos"] == {**dict.fromkeys(out.left_out["videos"], 0), reason: 1}
    assert "horse" not in repr(out)
    within = made([video("v1"), video("v2")], *rest)
    assert len(rows(within, "videos")) == len(rows(within, "votes")) == len(rows(within, "pairs")) == 2
    assert not any(within.left_out["videos"].values())


@pytest.mark.parametrize(
    ("consents", "values", "reason"),
    [
        ({"ben": Consent.OPTED_OUT}, {}, "voter_opted_out"),
        ({"ben": Consent.NOT_ASKED}, {}, "voter_not_asked"),
        ({}, {"rejected_by_ledger": True}, "rejected_by_ledger"),
    ],
)
def test_a_vote_that_is_left_out_counts_nowhere(
    consents: dict[str, Consent], values: dict[str, Any], reason: str
) -> None:
    """Neither in the counts, nor as a row, nor for anybody's reliability; and it is counted as left out."""
    videos = [video("v1"), video("v2")]
    votes = [vote("v1", "ben", **values), vote("v1", "emi", "down")]
    out, without = made(videos, votes, **consents), made(videos, votes[1:])
    assert out.rows == without.rows
    assert out.left_out["votes"] == {**dict.fromkeys(out.left_out["votes"], 0), reason: 1}
    [row] = [row for row in rows(made(videos, [vote("v1", "ben")]), "videos") if row["up"]]
    assert row["video"] == key_of("v1")


@pytest.mark.parametrize(
    ("consents", "after_notice", "reason"),
    [
        ({"ben": Consent.OPTED_OUT}, True, "member_opted_out"),
        ({"ben": Consent.NOT_ASKED}, True, "member_not_asked"),
        ({}, False, "before_notice"),
    ],
)
def test_words_are_there_only_with_consent(consents: dict[str, Consent], after_notice: bool, reason: str) -> None:
    """Written after the notice, by somebody who has not opted out: else the words are nowhere."""
    words = feedback("v1", "ben", "Too slow, <@99>!", after_notice=after_notice)
    out = made([video("v1")], [], [words], **consents)
    assert rows(out, "votes") == []
    assert out.left_out["feedback"] == {**dict.fromkeys(out.left_out["feedback"], 0), reason: 1}
    [row] = rows(made([video("v1")], [], [feedback("v1", "ben", "Too slow, <@99>!")]), "votes")
    assert (row["feedback"], row["choice"], row["reasons"]) == ("Too slow, [member]!", None, [])


def test_a_battle_of_somebody_who_opted_out_counts_nowhere() -> None:
    """And one across prompts or rounds counts as battles do: whoever set it up knew why."""
    videos = [video("v1"), video("v2", round_key=NEXT_ROUND)]
    battles = [battle("v1", "v2", "ben", "a"), battle("v1", "v2", "emi", "b")]
    out = made(videos, [], [], battles, ben=Consent.OPTED_OUT)
    [pair] = rows(out, "pairs")
    assert pair["source"] == "battle"
    assert {pair["a"], pair["b"]} == {0, 1}
    assert out.left_out["battle_votes"]["voter_opted_out"] == 1
    [pair] = rows(made(videos, [], [], battles), "pairs")
    assert (pair["a"], pair["b"]) == (1, 1)


def test_thumbs_of_two_rounds_are_not_compared() -> None:
    """Other people voted, at another time; within a round the same two are a pair."""
    votes = [vote("v1", "ben"), vote("v2", "ben", "down")]
    assert rows(made([video("v1"), video("v2", round_key=NEXT_ROUND)], votes), "pairs") == []
    assert len(rows(made([video("v1"), video("v2")], votes), "pairs")) == 1


def test_a_prompt_is_in_one_split_with_all_that_belongs_to_it() -> None:
    """Near duplicates too; nothing of the held-out prompts tells anything about voters."""
    prompts = [f"prompt {number}" for number in range(40)]
    videos = [video(f"{text}{near}", near or text) for text in prompts for near in ("", text.upper() + "!")]
    votes = [vote(f"{text}{near}", "ben") for text in prompts for near in ("", text.upper() + "!")]
    tables = made(videos, votes)
    test, train = ({row["video"] for row in tables.rows["videos", split]} for split in ("test", "train"))
    assert len(test) == 2 * 7
    assert {row["prompt_id"] for row in tables.rows["videos", "test"]}.isdisjoint(
        row["prompt_id"] for row in tables.rows["videos", "train"]
    )
    assert {row["video"] for row in tables.rows["votes", "test"]} == test
    assert {row["video_a"] for row in tables.rows["pairs", "train"]} <= train
    [voter] = rows(tables, "voters")
    assert voter["votes"] == len(train)


def test_a_hostile_voter_does_not_move_the_weighted_score() -> None:
    """The plain score follows every vote; the weighted one leaves out who says the opposite of all others."""
    names = [f"v{number}" for number in range(24)]
    videos = [video(name, f"prompt {number // 2}") for number, name in enumerate(names)]
    votes = [
        vote(name, voter, "up" if (number % 2 == 0) == (voter != "kai") else "down")
        for number, name in enumerate(names)
        for voter in ("ana", "ben", "emi", "kai")
    ]
    tables = made(videos, votes)
    reliability = {row["voter"]: row["reliability"] for row in rows(tables, "voters")}
    assert [voter for voter in ("ana", "ben", "emi", "kai") if float(str(reliability[pseudonym(KEY, voter)])) < 0] == [
        "kai"
    ]
    for row in rows(tables, "videos"):
        assert abs(float(str(row["weighted_score"]))) > abs(float(str(row["score"]))) > 0


def test_no_member_can_be_told_from_a_pseudonym() -> None:
    """It is of one data set alone: other rounds, another server or another pepper have others."""
    tables = tables_of(busy_community(), KEY)
    for member in ("ana", "ben", "emi", "kai", "123456789"):
        assert f"'{member}'" not in repr(tables)
    pepper = b"a pepper of the tests, 32 bytes long"
    keys = [
        pseudonym_key(pepper, 7, ["r", "s"]),
        pseudonym_key(pepper, 7, ["s", "r"]),
        pseudonym_key(pepper, 7, ["r"]),
        pseudonym_key(pepper, 8, ["r", "s"]),
        pseudonym_key(b"another pepper, also 32 bytes long!", 7, ["r", "s"]),
    ]
    assert len({pseudonym(key, "ana") for key in keys}) == 4
    assert keys[0] == keys[1]
    assert pseudonym(KEY, "ana") != pseudonym(KEY, "ben")


def test_nothing_at_all_is_no_trouble() -> None:
    """A round without videos gives tables without rows."""
    assert not any(tables_of(Community([], []), KEY).rows.values())
