"""Communities whose votes become data sets: small ones by hand, and simulated voters with hostile ones among them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import Any

from generation.feedback.dataset.rows import (
    BattleVoteRow,
    Community,
    Consent,
    Exclusion,
    FeedbackRow,
    RoundRow,
    VideoRow,
    VoteRow,
)
from generation.feedback.reliability import Ballot

ROUND, NEXT_ROUND = "aa" * 32, "bb" * 32
MEMBERS = ("ana", "ben", "emi", "kai")
CARD: dict[str, Any] = {
    "format": "flock-provenance/1",
    "ai_generated": True,
    "prompt": "a red ball",
    "seed": 5,
    "model": {
        "id": "tiny",
        "source": "/home/somebody/models/tiny",
        "revision": "r1",
        "family": "LTX",
        "adapters": [{"source": "org/style", "revision": "1" * 40, "weight_name": None, "scale": 0.5}],
        "components": {"vae": {"source": "/srv/vae", "revision": None, "subfolder": None}},
    },
    "settings": {"steps": 16, "guidance": 3.0, "width": 64},
    "software": {"torch": "2.13.0"},
    "frames_sha256": "f" * 64,
    "motion": 0.0125,
    "latents": {"sha256": "e" * 64, "dtype": "float16", "shape": [1, 60, 84]},
    "file": {"sha256": "d" * 64},
    "label_in_picture": False,
    "signed_by": {"kind": "self-made", "name": "somebody's machine"},
}


def key_of(name: str) -> str:
    """The ledger's key of a video that a test names."""
    return hashlib.sha256(name.encode()).hexdigest()


def video(name: str, prompt: str = "a red ball", **values: Any) -> VideoRow:
    """A video of ana's in the first round."""
    whole: dict[str, Any] = {
        "round_key": ROUND,
        "author": "ana",
        "seed": 5,
        "model_id": "tiny",
        "model_revision": "r1",
        "mp4_sha256": "d" * 64,
        "card": {**CARD, "seed": values.get("seed", CARD["seed"])},
        "model_license": "MIT",
        "motion": 0.0125,
        "motion_source": "frames",
    }
    return VideoRow(key=key_of(name), prompt=prompt, **{**whole, **values})


def vote(name: str, voter: str, choice: Any = "up", **values: Any) -> VoteRow:
    return VoteRow(key_of(name), voter, choice, **values)


def feedback(name: str, member: str, text: str, *, after_notice: bool = True) -> FeedbackRow:
    return FeedbackRow(key_of(name), member, text, after_notice)


def battle(a: str, b: str, voter: str, choice: Any) -> BattleVoteRow:
    return BattleVoteRow(key_of(a), key_of(b), voter, choice)


def community(
    videos: Sequence[VideoRow] = (),
    votes: Sequence[VoteRow] = (),
    texts: Sequence[FeedbackRow] = (),
    battles: Sequence[BattleVoteRow] = (),
    **consents: Consent,
) -> Community:
    """Four members who have read the notice, but for those named."""
    said = {**dict.fromkeys(MEMBERS, Consent.GIVEN), **consents}
    return Community([RoundRow(ROUND, 1), RoundRow(NEXT_ROUND, 2)], videos, votes, texts, battles, said)


def busy_community(seed: int = 0) -> Community:
    """One with everything that a data set knows of, and with everything that it leaves out."""
    rng = random.Random(seed)  # noqa: S311  # no secret
    prompts = [
        f"a {colour} {shape}" for colour in ("red", "blue", "green") for shape in ("ball", "star", "heart", "cube")
    ]
    videos = []
    for prompt in prompts:
        for number in range(4):
            values = {"author": rng.choice(MEMBERS), "seed": number, "round_key": (ROUND, NEXT_ROUND)[number % 2]}
            videos.append(video(f"{prompt} {number}", prompt, **values))
    videos.append(video("gone", exclusion=Exclusion.REMOVED))
    names = [f"{prompt} {number}" for prompt in prompts for number in range(4)]
    votes = [vote(name, voter, rng.choice(("up", "down"))) for name in names for voter in (*MEMBERS, "zoe")]
    texts = [feedback(name, "ben", f"Too slow, <@123456789> ({name}).") for name in names[::7]]
    choices = zip(MEMBERS, ("a", "b", "tie", "a"), strict=True)
    battles = [battle(names[0], names[2], voter, choice) for voter, choice in choices]
    return community(videos, votes, texts, battles)


def simulated(
    *, honest: int, hostile: int, videos: int, votes_each: int, right: float = 0.8, seed: int = 1
) -> tuple[list[Ballot], dict[str, bool]]:
    """Ballots of voters who are right so often, and of hostile ones who say the opposite; and which videos are good."""
    rng = random.Random(seed)  # noqa: S311  # no secret
    good = {f"v{number}": rng.random() < 0.5 for number in range(videos)}
    voters = [f"h{number}" for number in range(honest)] + [f"x{number}" for number in range(hostile)]
    ballots = []
    for voter in voters:
        for item in rng.sample(sorted(good), votes_each):
            honest_word = good[item] if rng.random() < right else not good[item]
            ballots.append(Ballot(item, voter, honest_word if voter.startswith("h") else not honest_word))
    return ballots, good
