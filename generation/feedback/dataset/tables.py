"""The tables of a data set, from a community's rows: who and what is left out, pseudonyms, scores, pairs, reliability.

Pure: no database, no files. Rows come out sorted, and floats rounded, so that the same votes give the same bytes.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from generation.feedback.dataset import pairs
from generation.feedback.dataset.prompts import Split, names_member, prompt_id, split_of, without_members
from generation.feedback.dataset.rows import BattleVoteRow, Community, Consent, RoundRow, VideoRow, VoteRow
from generation.feedback.dataset.scores import Count, Score, scores
from generation.feedback.dataset.video_facts import facts_of_card, seed_of
from generation.feedback.reliability import Ballot, Estimate, estimate

Row = dict[str, object]
LeftOut = dict[str, dict[str, int]]
DIGITS = 9  # of a float

LEFT_OUT: Mapping[str, tuple[str, ...]] = {
    "videos": ("removed", "rejected", "author_opted_out", "author_not_asked", "prompt_names_a_member"),
    "votes": ("voter_opted_out", "voter_not_asked", "rejected_by_ledger"),  # on the videos that are not left out
    "feedback": ("member_opted_out", "member_not_asked", "before_notice"),  # likewise
    "battle_votes": ("voter_opted_out", "voter_not_asked"),  # likewise
}


@dataclass(frozen=True)
class Tables:
    """The rows of a data set by table and split, its rounds, and the numbers of what is left out, by reason."""

    rounds: Sequence[RoundRow]
    rows: Mapping[tuple[str, Split], Sequence[Row]]
    left_out: LeftOut


def pseudonym_key(pepper: bytes, guild_id: int, round_keys: Iterable[str]) -> bytes:
    """Return the key of a data set's pseudonyms: another guild or other rounds have others, the same votes the same."""
    message = "\0".join(["flock data set 1", str(guild_id), *sorted(round_keys)])
    return hmac.new(pepper, message.encode(), hashlib.sha256).digest()


def pseudonym(key: bytes, member: str) -> str:
    """Return a member's pseudonym: 16 hex digits, which nobody can turn back without the key."""
    return hmac.new(key, member.encode(), hashlib.sha256).hexdigest()[:16]


def tables_of(community: Community, key: bytes) -> Tables:
    """Return the tables; `key` makes the pseudonyms."""
    left_out: LeftOut = {table: dict.fromkeys(reasons, 0) for table, reasons in LEFT_OUT.items()}
    numbers = {each.key: each.number for each in community.rounds}
    videos = {each.key: each for each in _videos(community, left_out["videos"])}
    votes = _votes(community, videos, left_out["votes"])
    estimated = estimate(
        Ballot(vote.video_key, vote.voter, vote.choice == "up")
        for vote in votes
        if split_of(videos[vote.video_key].prompt) == "train"
    )
    counts, weighted = _counts(videos, votes, estimated)
    plain_scores, weighted_scores = scores(counts), scores(weighted)
    per_prompt = Counter(each.prompt_id for each in counts)
    rows: defaultdict[tuple[str, Split], list[Row]] = defaultdict(list)
    for count in counts:
        video, score = videos[count.video], plain_scores[count.video]
        rows["videos", split_of(video.prompt)].append(
            {
                **_video_row(video, numbers[video.round_key]),
                "up": int(count.up),
                "down": int(count.down),
                "share": _rounded(score.share),
                "raw_score": _rounded(score.raw),
                "score": _rounded(score.score),
                "weighted_score": _rounded(weighted_scores[count.video].score),
                "prompt_videos": per_prompt[count.prompt_id],
            }
        )
    battles = _battles(community, videos, left_out["battle_votes"])
    for pair in (*_thumb_pairs(counts, plain_scores), *pairs.of_battles(battles)):
        rows["pairs", split_of(videos[pair.video_a].prompt)].append(_pair_row(pair, videos[pair.video_a]))
    for row in _vote_rows(community, votes, videos, left_out["feedback"], key):
        rows["votes", split_of(videos[str(row["video"])].prompt)].append(row)
    rows["voters", "train"] = _voter_rows(votes, videos, estimated, key)
    return Tables(sorted(community.rounds, key=lambda each: each.number), dict(rows), left_out)


# --------------------------------------------------------------------------- who and what is left out


def _videos(community: Community, left_out: dict[str, int]) -> Iterable[VideoRow]:
    """Yield the videos that are in, sorted by key; count the others by their first reason."""
    reasons = {Consent.OPTED_OUT: "author_opted_out", Consent.NOT_ASKED: "author_not_asked"}
    for video in sorted(community.videos, key=lambda each: each.key):
        consent = community.consents.get(video.author, Consent.NOT_ASKED)
        if video.exclusion is not None:
            left_out[video.exclusion] += 1
        elif consent in reasons:
            left_out[reasons[consent]] += 1
        elif names_member(video.prompt):
            left_out["prompt_names_a_member"] += 1
        else:
            yield video


def _votes(community: Community, videos: Mapping[str, VideoRow], left_out: dict[str, int]) -> list[VoteRow]:
    """Return the votes that are in, sorted by video and voter; count those on the same videos that are not."""
    kept = []
    for vote in sorted(community.votes, key=lambda each: (each.video_key, each.voter)):
        if vote.video_key not in videos:
            continue
        if reason := _reason(community, vote.voter, "voter"):
            left_out[reason] += 1
        elif vote.rejected_by_ledger:
            left_out["rejected_by_ledger"] += 1
        else:
            kept.append(vote)
    return kept


def _battles(community: Community, videos: Mapping[str, VideoRow], left_out: dict[str, int]) -> list[BattleVoteRow]:
    kept = []
    for vote in community.battles:
        if vote.video_a not in videos or vote.video_b not in videos:
            continue
        if reason := _reason(community, vote.voter, "voter"):
            left_out[reason] += 1
        else:
            kept.append(vote)
    return kept


def _reason(community: Community, member: str, word: str) -> str | None:
    """Return the reason why nothing of a member's is used; None where they agree."""
    consent = community.consents.get(member, Consent.NOT_ASKED)
    return None if consent is Consent.GIVEN else f"{word}_{consent}"


# --------------------------------------------------------------------------- rows


def _rounded(value: float) -> float:
    """Return a float as the tables have it: without the last bits, and without a negative zero."""
    return round(value, DIGITS) + 0.0


def _counts(
    videos: Mapping[str, VideoRow], votes: Sequence[VoteRow], estimated: Estimate
) -> tuple[list[Count], list[Count]]:
    """Return the counts of each video, plain and with each vote weighted by its voter's reliability.

    The mean weight is 1, so that the shrinking is as strong as among plain votes.
    """
    weights = {vote.voter: estimated.of(vote.voter).weight for vote in votes}
    whole = sum(weights[vote.voter] for vote in votes)
    if whole:
        scale = len(votes) / whole
        weights = {voter: scale * weight for voter, weight in weights.items()}
    else:
        weights = dict.fromkeys(weights, 1.0)
    return _sums(videos, votes, dict.fromkeys(weights, 1.0)), _sums(videos, votes, weights)


def _sums(videos: Mapping[str, VideoRow], votes: Sequence[VoteRow], weights: Mapping[str, float]) -> list[Count]:
    up: defaultdict[str, float] = defaultdict(float)
    down: defaultdict[str, float] = defaultdict(float)
    for vote in votes:
        (up if vote.choice == "up" else down)[vote.video_key] += weights[vote.voter]
    return [Count(key, video.round_key, prompt_id(video.prompt), up[key], down[key]) for key, video in videos.items()]


def _video_row(video: VideoRow, round_number: int) -> Row:
    return {
        "video": video.key,
        "round": video.round_key,
        "round_number": round_number,
        "prompt": video.prompt,
        "prompt_id": prompt_id(video.prompt),
        "seed": seed_of(video.card, video.seed),
        "model": video.model_id,
        "model_revision": video.model_revision,
        "model_license": video.model_license,
        "mp4_sha256": video.mp4_sha256,
        **facts_of_card(video.card, video.prompt),
        "motion": None if video.motion is None else _rounded(video.motion),
        "motion_source": video.motion_source,
    }


def _thumb_pairs(counts: Sequence[Count], of: Mapping[str, Score]) -> Iterable[pairs.Pair]:
    groups: defaultdict[tuple[str, str], list[pairs.Thumbs]] = defaultdict(list)
    for each in counts:
        thumbs = pairs.Thumbs(each.video, int(each.up), int(each.down), of[each.video].share)
        groups[each.round_key, each.prompt_id].append(thumbs)
    for group in groups.values():
        yield from pairs.of_thumbs(group)


def _pair_row(pair: pairs.Pair, video: VideoRow) -> Row:
    facts = {name: value for name, value in vars(pair).items() if name != "label"}
    whose = {"prompt_id": prompt_id(video.prompt), "prompt": video.prompt, "round": video.round_key}
    return {**whose, **facts, "label": _rounded(pair.label)}


def _vote_rows(
    community: Community,
    votes: Sequence[VoteRow],
    videos: Mapping[str, VideoRow],
    left_out: dict[str, int],
    key: bytes,
) -> Iterable[Row]:
    """Yield a row for each voter and video that has a vote or feedback."""
    texts: dict[tuple[str, str], str] = {}
    for feedback in community.feedback:
        if feedback.video_key not in videos:
            continue
        if reason := _reason(community, feedback.member, "member"):
            left_out[reason] += 1
        elif not feedback.after_notice:
            left_out["before_notice"] += 1
        else:
            texts[feedback.video_key, feedback.member] = without_members(feedback.text)
    thumbs = {(vote.video_key, vote.voter): vote for vote in votes}
    for video_key, member in sorted({*texts, *thumbs}):
        vote = thumbs.get((video_key, member))
        yield {
            "voter": pseudonym(key, member),
            "video": video_key,
            "choice": vote.choice if vote else None,
            "reasons": sorted(vote.reasons) if vote else [],
            "feedback": texts.get((video_key, member)),
        }


def _voter_rows(votes: Sequence[VoteRow], videos: Mapping[str, VideoRow], estimated: Estimate, key: bytes) -> list[Row]:
    in_train = [vote for vote in votes if split_of(videos[vote.video_key].prompt) == "train"]
    ups = Counter(vote.voter for vote in in_train if vote.choice == "up")
    rows: list[Row] = []
    for voter, number in sorted(Counter(vote.voter for vote in in_train).items()):
        coins = estimated.of(voter)
        rows.append(
            {
                "voter": pseudonym(key, voter),
                "votes": number,
                "ups": ups[voter],
                "up_of_good": _rounded(coins.up_of_good),
                "up_of_bad": _rounded(coins.up_of_bad),
                "reliability": _rounded(coins.reliability),
            }
        )
    return rows
