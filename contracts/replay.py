"""The ledger computed anew from its log alone: every rule of the contract that a log can show, in plain Python."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from contracts.ledger import Event, Tally
from contracts.stream import EMPTY_DIGEST, Ballot, StreamError, decode, next_digest


@dataclass
class ReplayedVideo:
    """A video as the log tells it; ballots by voter index, 1 up and 2 down, withdrawn ones absent."""

    round: int
    key: bytes
    prompt_hash: bytes
    content_hash: bytes
    model_hash: bytes
    playback_id: str
    tx: str
    ballots: dict[int, int] = field(default_factory=dict)
    votes_txs: list[str] = field(default_factory=list)

    @property
    def tally(self) -> Tally:
        choices = list(self.ballots.values())
        return Tally(choices.count(1), choices.count(2))


@dataclass
class ReplayedRound:
    """A round as the log tells it; times in seconds; `winner` is None until it is final, 0 for nobody."""

    key: bytes
    opens: int
    closes: int
    meta: bytes
    videos: list[int] = field(default_factory=list)
    closed_early: bool = False
    winner: int | None = None
    finalized_tx: str | None = None


@dataclass
class Replay:
    """The state that follows from the events, and a sentence for everything in them that cannot be."""

    rounds: dict[int, ReplayedRound] = field(default_factory=dict)
    videos: dict[int, ReplayedVideo] = field(default_factory=dict)
    voters: dict[bytes, int] = field(default_factory=dict)
    seq: int = 0
    digest: bytes = EMPTY_DIGEST
    votes: int = 0  # choices in all batches, changed and withdrawn ones included
    problems: list[str] = field(default_factory=list)

    def apply(self, events: Iterable[Event]) -> Replay:
        """Takes events in the order of the chain."""
        for event in events:
            self.take(event)
        return self

    def take(self, event: Event) -> None:
        """Takes the next event; events of roles change nothing here."""
        handler = {
            "RoundOpened": self._opened,
            "VideoAdded": self._added,
            "VotersRegistered": self._registered,
            "VotesRecorded": self._voted,
            "RoundClosed": self._closed,
            "RoundFinalized": self._finalized,
        }.get(event.name)
        if handler is not None:
            handler(event)

    def winner(self, number: int) -> int:
        """Who wins a round by the ballots: best net score, then most ups, then the lower number; 0 for nobody."""
        tallies = {video: self.videos[video].tally for video in self.rounds[number].videos}
        if not any(tally.up or tally.down for tally in tallies.values()):
            return 0
        return min(tallies, key=lambda video: (tallies[video].down - tallies[video].up, -tallies[video].up, video))

    def _opened(self, event: Event) -> None:
        args = event.args
        if args["round"] != len(self.rounds) + 1:
            self.problems.append(f"Round {args['round']} was opened where round {len(self.rounds) + 1} was next.")
        self.rounds[args["round"]] = ReplayedRound(args["key"], args["opens"], args["closes"], args["meta"])

    def _added(self, event: Event) -> None:
        args = event.args
        number = args["video"]
        if number != len(self.videos) + 1:
            self.problems.append(f"Video {number} was entered where video {len(self.videos) + 1} was next.")
        hashes = (args["prompt_hash"], args["content_hash"], args["model_hash"])
        self.videos[number] = ReplayedVideo(args["round"], args["key"], *hashes, args["playback_id"], event.tx)
        about = self.rounds.get(args["round"])
        if about is None or about.closed_early or about.winner is not None:
            self.problems.append(f"Video {number} was entered into round {args['round']}, which was not open.")
        if about is not None:
            about.videos.append(number)

    def _registered(self, event: Event) -> None:
        first, named = event.args["first"], event.args["voter_ids"]
        if first != len(self.voters) + 1:
            self.problems.append(f"Voters were registered from {first} on where {len(self.voters) + 1} was next.")
        for place, voter in enumerate(named):
            if voter in self.voters:
                self.problems.append(f"Voter {voter.hex()} was registered twice.")
            self.voters[voter] = first + place

    def _voted(self, event: Event) -> None:
        seq, words = event.args["seq"], list(event.args["words"])
        if seq != self.seq:
            self.problems.append(f"Batch {seq} was recorded where batch {self.seq} was next.")
        self.seq = seq + 1
        self.digest = next_digest(self.digest, words)
        try:
            ballots = decode(words)
        except StreamError as error:
            self.problems.append(f"Batch {seq} cannot be read: {error}")
            return
        for ballot in ballots:
            self._cast(ballot, seq, event.tx)
        self.votes += len(ballots)

    def _cast(self, ballot: Ballot, seq: int, tx: str) -> None:
        video = self.videos.get(ballot.video)
        about = None if video is None else self.rounds.get(video.round)
        if video is None or about is None or ballot.voter > len(self.voters):
            self.problems.append(f"Batch {seq} holds a vote of voter {ballot.voter} on video {ballot.video}: unknown.")
            return
        if about.closed_early or about.winner is not None:
            self.problems.append(f"Batch {seq} holds a vote on video {ballot.video}, whose round was closed.")
        if ballot.choice:
            video.ballots[ballot.voter] = ballot.choice
        else:
            video.ballots.pop(ballot.voter, None)
        if tx not in video.votes_txs[-1:]:
            video.votes_txs.append(tx)

    def _closed(self, event: Event) -> None:
        about = self.rounds.get(event.args["round"])
        if about is None or about.closed_early:
            self.problems.append(f"Round {event.args['round']} was closed, but it was not open.")
            return
        about.closed_early, about.closes = True, event.args["closes"]

    def _finalized(self, event: Event) -> None:
        number = event.args["round"]
        about = self.rounds.get(number)
        if about is None or about.winner is not None:
            self.problems.append(f"Round {number} was finalized, but it was unknown or final already.")
            return
        about.winner, about.finalized_tx = event.args["winner"], event.tx
        if self.winner(number) != about.winner:
            self.problems.append(
                f"Round {number} names video {about.winner} as its winner; by the votes it is {self.winner(number)}."
            )
        elif about.winner:
            told = Tally(event.args["up"], event.args["down"])
            if told != self.videos[about.winner].tally:
                self.problems.append(f"Round {number} was finalized with {told}, which the votes do not give.")
