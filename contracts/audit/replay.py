"""The ledger computed anew from its log alone: every rule of the contract that a log can show, in plain Python."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from contracts.audit.chain.roles import Roles
from contracts.audit.replayed import (
    Position,
    ReplayedBattle,
    ReplayedCommitment,
    ReplayedRound,
    ReplayedVideo,
    Unproven,
)
from contracts.ledger import typed_data
from contracts.ledger.batch_codec import (
    EMPTY_DIGEST,
    OWN_SEATS,
    Ballot,
    BatchError,
    decode,
    decode_arrivals,
    next_digest,
    round_and_place,
)
from contracts.ledger.client import BattleTally, Event, Tally, choice_of
from contracts.manifests import sides_hash

MAX_GRACE = 86_400  # seconds


@dataclass
class Replay:
    """The state that follows from the events, and a sentence for everything in them that cannot be.

    With a domain, the signatures of signed ballots are checked too. Those that a log alone cannot judge are `unproven`:
    only the chain can tell whether a wallet is a smart account.
    """

    domain: typed_data.Domain | None = None
    roles: Roles = field(default_factory=Roles)
    rounds: dict[int, ReplayedRound] = field(default_factory=dict)
    videos: dict[int, ReplayedVideo] = field(default_factory=dict)
    battles: dict[int, ReplayedBattle] = field(default_factory=dict)
    voters: dict[bytes, int] = field(default_factory=dict)
    indices: set[int] = field(default_factory=set)  # the same voters
    wallets: dict[int, str] = field(default_factory=dict)  # of linked voters
    linked: set[str] = field(default_factory=set)  # the same wallets
    ever_linked: set[int] = field(default_factory=set)  # voters who have, or had, a wallet
    claimed: dict[int, set[int]] = field(default_factory=dict)  # round -> seats that batches may no longer write
    commitments: int = 0
    committed: dict[int, ReplayedCommitment] = field(default_factory=dict)  # by number
    first_votes: dict[int, Position] = field(default_factory=dict)  # by the number of the round, known or not
    seq: int = 0
    digest: bytes = EMPTY_DIGEST
    votes: int = 0  # choices in all batches and signed ballots, changed and withdrawn ones included
    unclaimed: int = 0  # of these choices: written by batches for linked voters, before their seats were claimed
    signed: int = 0
    signed_digest: bytes = EMPTY_DIGEST
    unproven: list[Unproven] = field(default_factory=list)
    nonces: dict[str, int] = field(default_factory=dict)
    ballots: dict[tuple[int, int], set[int]] = field(default_factory=dict)  # round, voter -> nonces of signed ballots
    problems: list[str] = field(default_factory=list)

    def apply(self, events: Iterable[Event]) -> Replay:
        """Take events in the order of the chain."""
        for event in events:
            self.take(event)
        return self

    def take(self, event: Event) -> None:
        """Take the next event; those of roles go to `roles`."""
        handler = {
            "RoundOpened": self._opened,
            "VideoAdded": self._added,
            "BattleAdded": self._battle_added,
            "BattleRevealed": self._revealed,
            "VotersRegistered": self._registered,
            "VotesRecorded": self._voted,
            "WalletLinked": self._linked,
            "WalletUnlinked": self._unlinked,
            "SeatClaimed": self._claimed,
            "BallotCast": self._signed,
            "RoundClosed": self._closed,
            "BattleDecided": self._decided,
            "RoundFinalized": self._finalized,
            "Committed": self._committed,
        }.get(event.name)
        if handler is not None:
            handler(event)
        else:
            self.roles.take(event)

    def videos_of(self, number: int) -> list[int]:
        """Return the videos of a round, without its battles."""
        return [item for item in self.rounds[number].items if item in self.videos]

    def winner(self, number: int) -> int:
        """Return the winner of a round by the ballots: best net score, then most ups, then the lower number; 0 for
        nobody.
        """
        tallies = {video: self.videos[video].tally for video in self.videos_of(number)}
        if not any(tally.up or tally.down for tally in tallies.values()):
            return 0
        return min(tallies, key=lambda video: (tallies[video].down - tallies[video].up, -tallies[video].up, video))

    def by_wallet(self, number: int) -> set[int]:
        """Return the voters whose seats in a round only a wallet may write."""
        claimed = self.claimed.get(number, set())
        return {voter for seat, voter in self.rounds[number].voters.items() if seat >= OWN_SEATS or seat in claimed}

    # ------------------------------------------------------------ rounds and items

    def _opened(self, event: Event) -> None:
        args = event.args
        if args["round"] != len(self.rounds) + 1:
            self.problems.append(f"Round {args['round']} was opened where round {len(self.rounds) + 1} was next.")
        if args["grace"] > MAX_GRACE:
            self.problems.append(f"Round {args['round']} has a grace of {args['grace']} seconds, more than a day.")
        times = (args["opens"], args["closes"], args["grace"])
        self.rounds[args["round"]] = ReplayedRound(args["key"], *times, args["meta"], position(event))

    def _added(self, event: Event) -> None:
        args = event.args
        hashes = (args["prompt_hash"], args["content_hash"], args["model_hash"])
        self.videos[args["video"]] = ReplayedVideo(args["round"], args["key"], *hashes, args["playback_id"], event.tx)
        self._enter("Video", args["video"], args["round"])

    def _battle_added(self, event: Event) -> None:
        args = event.args
        about = (args["round"], args["key"], args["prompt_hash"], args["sides"])
        self.battles[args["battle"]] = ReplayedBattle(*about, event.tx)
        self._enter("Battle", args["battle"], args["round"])

    def _enter(self, noun: str, number: int, into: int) -> None:
        about = self.rounds.get(into)
        if about is None or about.over:
            self.problems.append(f"{noun} {number} was entered into round {into}, which was not open.")
        if about is None:
            return
        about.items.append(number)
        if round_and_place(number) != (into, len(about.items)):
            self.problems.append(f"{noun} {number} was entered into round {into} out of turn.")

    def _revealed(self, event: Event) -> None:
        args = event.args
        battle = self.battles.get(args["battle"])
        sides = sides_hash(args["model_a"], args["model_b"], args["salt"])
        if battle is None or battle.models is not None or sides != battle.sides:
            self.problems.append(
                f"Battle {args['battle']} was revealed twice, or with sides that were not fixed before."
            )
            return
        battle.models, battle.salt = (args["model_a"], args["model_b"]), bytes(args["salt"])

    # ------------------------------------------------------------ voters and batches

    def _registered(self, event: Event) -> None:
        first, voter_ids = event.args["first"], event.args["voter_ids"]
        if first != len(self.voters) + 1:
            self.problems.append(f"Voters were registered from {first} on where {len(self.voters) + 1} was next.")
        for place, voter in enumerate(voter_ids):
            if voter in self.voters:
                self.problems.append(f"Voter {voter.hex()} was registered twice.")
            self.voters[voter] = first + place
            self.indices.add(first + place)

    def _voted(self, event: Event) -> None:
        args = event.args
        seq, number = args["seq"], args["round"]
        arrivals, words = list(args["arrivals"]), list(args["words"])
        if seq != self.seq:
            self.problems.append(f"Batch {seq} was recorded where batch {self.seq} was next.")
        self.seq = seq + 1
        self.digest = next_digest(self.digest, number, arrivals, words)
        self.first_votes.setdefault(number, position(event))
        about = self.rounds.get(number)
        if about is None:
            self.problems.append(f"Batch {seq} is about round {number}, which is unknown.")
            return
        if about.over:
            self.problems.append(f"Batch {seq} is about round {number}, which was closed.")
        if not about.opens <= args["at"] < about.closes + about.grace:
            self.problems.append(f"Batch {seq} was recorded at {args['at']}, outside of the time of round {number}.")
        try:
            newcomers = decode_arrivals(arrivals)
            ballots = decode(number, words, self.battles.keys())
        except BatchError as error:
            self.problems.append(f"Batch {seq} cannot be read: {error}")
            return
        if args["first_seat"] != about.seats:
            self.problems.append(f"Batch {seq} gives seats from {args['first_seat']} on, not from {about.seats} on.")
        for voter in newcomers:
            self._sit(number, voter, about.seats, f"Batch {seq}")
            if voter in self.wallets:
                self.problems.append(f"Batch {seq} seats voter {voter}, who has linked a wallet.")
            about.seats += 1
        claimed = self.claimed.get(number, set())
        for ballot in ballots:
            if ballot.seat in claimed:
                self.problems.append(f"Batch {seq} writes seat {ballot.seat} of round {number}, which was claimed.")
            elif about.voters.get(ballot.seat) in self.wallets:
                self.unclaimed += 1
            self._cast(ballot, f"Batch {seq}", event)
        self.votes += len(ballots)

    def _sit(self, number: int, voter: int, seat: int, where: str) -> None:
        about = self.rounds[number]
        if not 1 <= voter <= len(self.voters):
            self.problems.append(f"{where} seats voter {voter}, who is unknown.")
        if voter in about.seated:
            self.problems.append(f"{where} seats voter {voter} a second time in round {number}.")
        about.voters[seat] = voter
        about.seated.add(voter)

    def _cast(self, ballot: Ballot, where: str, event: Event) -> None:
        item = self.videos.get(ballot.video) or self.battles.get(ballot.video)
        about = None if item is None else self.rounds.get(item.round)
        voter = None if about is None else about.voters.get(ballot.seat)
        if item is None or voter is None:
            self.problems.append(f"{where} holds a vote of seat {ballot.seat} on video {ballot.video}: unknown.")
            return
        if ballot.choice:
            item.ballots[voter] = ballot.choice
        else:
            item.ballots.pop(voter, None)
        if isinstance(item, ReplayedBattle):
            item.cast_at[voter] = position(event)
        if event.tx not in item.votes_txs[-1:]:
            item.votes_txs.append(event.tx)

    # ------------------------------------------------------------ wallets

    def _linked(self, event: Event) -> None:
        voter, account = event.args["voter"], event.args["wallet"]
        if voter in self.wallets or account in self.linked or voter not in self.indices:
            self.problems.append(f"Voter {voter} linked wallet {account}, but one of them was linked or unknown.")
        if event.args["nonce"] <= self.nonces.get(account, 0):
            self.problems.append(f"Voter {voter} linked wallet {account} with a nonce that was used before.")
        self.wallets[voter] = account
        self.linked.add(account)
        self.ever_linked.add(voter)
        self.nonces[account] = event.args["nonce"]

    def _unlinked(self, event: Event) -> None:
        voter, account = event.args["voter"], event.args["wallet"]
        if self.wallets.pop(voter, None) != account:
            self.problems.append(f"Voter {voter} unlinked wallet {account}, which was not linked.")
        if event.args["nonce"] < self.nonces.get(account, 0):  # the wallet may send it itself, without a new one
            self.problems.append(f"Voter {voter} unlinked wallet {account} with a nonce that was used before.")
        self.linked.discard(account)
        self.nonces[account] = event.args["nonce"]

    def _claimed(self, event: Event) -> None:
        voter, number, seat = (event.args[name] for name in ("voter", "round", "seat"))
        about = self.rounds.get(number)
        if about is None or about.voters.get(seat) != voter or voter not in self.wallets:
            self.problems.append(f"Seat {seat} of round {number} was claimed for voter {voter}, who has no right.")
        if seat in self.claimed.setdefault(number, set()):
            self.problems.append(f"Seat {seat} of round {number} was claimed twice.")
        self.claimed[number].add(seat)

    def _signed(self, event: Event) -> None:
        args = event.args
        voter, number, seat, account = (args[name] for name in ("voter", "round", "seat", "wallet"))
        choices = [choice_of(choice) for choice in args["choices"]]
        where = f"Signed ballot {self.signed}"
        self.signed += 1
        self.first_votes.setdefault(number, position(event))
        about = self.rounds.get(number)
        if about is None or self.wallets.get(voter) != account:
            self.problems.append(f"{where} is of wallet {account}, which does not vote for voter {voter}.")
            return
        if about.over or not about.opens <= args["at"] < about.closes:
            self.problems.append(f"{where} was cast at {args['at']}, outside of the time of round {number}.")
        if args["at"] > args["deadline"] or args["nonce"] <= self.nonces.get(account, 0):
            self.problems.append(f"{where} was late, or its nonce was used before.")
        self.nonces[account] = args["nonce"]
        self.ballots.setdefault((number, voter), set()).add(args["nonce"])
        if seat >= OWN_SEATS and about.voters.get(seat) != voter:
            if seat != OWN_SEATS + about.own_seats:
                self.problems.append(f"{where} takes seat {seat} of round {number}, which was not the next one.")
            about.own_seats += 1
            self._sit(number, voter, seat, where)
        elif about.voters.get(seat) != voter or (seat < OWN_SEATS and seat not in self.claimed.get(number, ())):
            self.problems.append(f"{where} writes seat {seat} of round {number}, which is not the wallet's.")
        for video, choice in choices:
            self._cast(Ballot(video, seat, choice), where, event)
        self.votes += len(choices)
        if self.domain is not None:
            message = typed_data.ballot_message(self.domain, account, number, choices, args["nonce"], args["deadline"])
            self.signed_digest = typed_data.next_signed_digest(self.signed_digest, account, message)
            if typed_data.signer_of(message, bytes(args["signature"])) != account:
                self.unproven.append(Unproven(account, event.block, where))

    # ------------------------------------------------------------ the end

    def _closed(self, event: Event) -> None:
        about = self.rounds.get(event.args["round"])
        if about is None or about.over or event.args["closes"] > about.closes:
            self.problems.append(f"Round {event.args['round']} was closed, but it was not open.")
            return
        about.closed_early, about.closes, about.grace = True, event.args["closes"], event.args["grace"]

    def _decided(self, event: Event) -> None:
        args = event.args
        battle = self.battles.get(args["battle"])
        decision = (args["outcome"], BattleTally(args["a"], args["b"], args["ties"]))
        about = None if battle is None else self.rounds.get(battle.round)
        later = (
            [] if about is None else [item for item in about.items if item > args["battle"] and item in self.battles]
        )
        if any(self.battles[item].outcome is not None for item in later):
            self.problems.append(f"Battle {args['battle']} was decided after one that follows it.")
        if battle is None or battle.outcome is not None or decision != (outcome(battle.tally), battle.tally):
            self.problems.append(f"Battle {args['battle']} was decided otherwise than its votes say, or twice.")
            return
        battle.outcome = args["outcome"]

    def _finalized(self, event: Event) -> None:
        number = event.args["round"]
        about = self.rounds.get(number)
        if about is None or about.winner is not None:
            self.problems.append(f"Round {number} was finalized, but it was unknown or final already.")
            return
        about.winner, about.finalized_tx, about.finalized_at = event.args["winner"], event.tx, position(event)
        if self.winner(number) != about.winner:
            self.problems.append(
                f"Round {number} names video {about.winner} as its winner; by the votes it is {self.winner(number)}."
            )
        tally = Tally(event.args["up"], event.args["down"])
        if tally != (self.videos[about.winner].tally if about.winner in self.videos else (0, 0)):
            self.problems.append(f"Round {number} was finalized with {tally}, which the votes do not give.")
        for item in about.items:
            if item in self.battles and self.battles[item].outcome is None:
                self.problems.append(f"Round {number} was finalized, and its battle {item} was not decided.")

    def _committed(self, event: Event) -> None:
        args = event.args
        number, parent = args["number"], args["parent"]
        before = self.committed.get(parent)
        if number != self.commitments + 1 or parent >= number or (parent and before is None):
            self.problems.append(f"Commitment {number} was made out of turn, or continues one that is not there.")
        elif before is not None and before.kind != args["kind"]:
            self.problems.append(f"Commitment {number} continues commitment {parent}, which is of another kind.")
        if any((old.kind, old.root) == (args["kind"], args["root"]) for old in self.committed.values()):
            self.problems.append(f"Commitment {number} has a root that was committed to before.")
        about = (number, args["kind"], args["root"], parent, args["meta"])
        self.committed[number] = ReplayedCommitment(*about, position(event), event.tx)
        self.commitments = number


def position(event: Event) -> Position:
    """Return the place of an event in the log."""
    return event.block, event.place


def outcome(tally: BattleTally) -> int:
    """Return the outcome of a battle: 1 A, 2 B, 3 a tie, 0 when nobody holds a vote."""
    if not any(tally):
        return 0
    return 3 if tally.a == tally.b else 1 if tally.a > tally.b else 2
