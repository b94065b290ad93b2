"""The contract's storage, compared with what follows from its log: whatever one of its getters can answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from contracts.audit.chain.entries import Lookups
from contracts.audit.chain.roles import NOBODY
from contracts.audit.replay import Replay
from contracts.audit.report import tally_words
from contracts.ledger.artifact import ledger_artefact
from contracts.ledger.bulk import read_many, stored_words
from contracts.ledger.client import Ledger, Tally
from contracts.manifests import KIND_NUMBERS, commitment_key

COUNTS = {
    "rounds": "rounds_count", "voters": "voters_count", "batches": "seq", "linked wallets": "linked_count",
    "signed ballots": "signed_count", "commitments": "commitments_count",
}  # fmt: skip


async def compare_storage(
    ledger: Ledger, replay: Replay, numbers: Sequence[int], at: int, lookups: Lookups
) -> AsyncIterator[str]:
    """Yield a sentence for everything in which the storage differs from the log, in the rounds of these numbers."""
    storage = _Storage(ledger, at, lookups)
    for part in (_counts(storage, replay), _roles(storage, replay), _commitments(storage, replay)):
        async for problem in part:
            yield problem
    for part in (_rounds(storage, replay, numbers), _items(storage, replay, numbers)):
        async for problem in part:
            yield problem
    for part in (_voters(storage, replay), _seats(storage, replay, numbers)):
        async for problem in part:
            yield problem


class _Storage:
    """The contract's getters after one block."""

    def __init__(self, ledger: Ledger, at: int, lookups: Lookups) -> None:
        self.ledger, self.at, self.lookups = ledger, at, lookups

    async def one(self, getter: str) -> Any:
        """Return the answer of a getter that takes nothing."""
        return (await read_many(self.ledger, getter, [()], self.at))[0]

    async def differing(self, getter: str, expected: Mapping[tuple[Any, ...], Any], noun: str) -> list[tuple[Any, Any]]:
        """Return arguments and answer wherever the contract answers otherwise than expected, of those looked up."""
        asked = self.lookups.draw(noun, expected)
        answers = zip(asked, await read_many(self.ledger, getter, asked, self.at), strict=True)
        return [(arguments, answer) for arguments, answer in answers if answer != expected[arguments]]


async def _counts(storage: _Storage, replay: Replay) -> AsyncIterator[str]:
    logged = (
        len(replay.rounds), len(replay.voters), replay.seq, len(replay.wallets), replay.signed, replay.commitments,
    )  # fmt: skip
    for (plural, getter), count in zip(COUNTS.items(), logged, strict=True):
        if (stored := await storage.one(getter)) != count:
            yield f"The log holds {count} {plural}, the contract {stored}."
    if await storage.one("digest") != replay.digest:
        yield "The digest over all batches in the log is not the contract's: the log is incomplete or altered."
    if await storage.one("signed_digest") != replay.signed_digest:
        yield "The digest over all signed ballots in the log is not the contract's: the log is incomplete or altered."


async def _roles(storage: _Storage, replay: Replay) -> AsyncIterator[str]:
    roles = replay.roles
    for getter, logged in (
        ("owner", roles.owner), ("pending_owner", roles.pending_owner), ("guardian", roles.guardian),
    ):  # fmt: skip
        if (stored := await storage.one(getter)) != logged:
            yield f"The contract's {getter.replace('_', ' ')} is {stored}; by the log it is {logged}."
    if await storage.one("paused") != roles.paused:
        yield f"By the log the ledger is {'' if roles.paused else 'not '}paused; in the contract it is otherwise."
    relayers = {(relayer,): allowed for relayer, allowed in roles.relayers.items()}
    for (relayer,), stored in await storage.differing("is_relayer", relayers, "relayers"):
        yield f"By the contract {relayer} is {'' if stored else 'not '}a relayer; by the log it is otherwise."


async def _commitments(storage: _Storage, replay: Replay) -> AsyncIterator[str]:
    committed = replay.committed.values()
    facts = {(old.number,): (old.kind, old.root, old.parent) for old in committed}
    for (number,), _ in await storage.differing("commitment", facts, "commitments"):
        yield f"Commitment {number} has another kind, root or parent in the contract than in the log."
    kind_of = {number: kind for kind, number in KIND_NUMBERS.items()}
    by_key = {(commitment_key(kind_of[old.kind], old.root),): old.number for old in committed if old.kind in kind_of}
    for key, stored in await storage.differing("commitment_of", by_key, "roots of commitments"):
        yield f"The contract knows commitment {by_key[key]} as commitment {stored}."


async def _rounds(storage: _Storage, replay: Replay, numbers: Sequence[int]) -> AsyncIterator[str]:
    by_key = {(replay.rounds[number].key,): number for number in numbers}
    for key, stored in await storage.differing("round_of", by_key, "keys of rounds"):
        yield f"The contract knows round {by_key[key]} as round {stored}."
    infos = await read_many(storage.ledger, "round_info", [(number,) for number in numbers], storage.at)
    for number, (opens, closes, grace, items, seats, final, winner) in zip(numbers, infos, strict=True):
        about = replay.rounds[number]
        if (opens, closes, grace) != (about.opens, about.closes, about.grace):
            yield f"Round {number} has other times in the contract than in the log."
        if final != (about.winner is not None) or winner != (about.winner or 0):
            yield f"Round {number} has another result in the contract than in the log."
        if seats != about.seats:
            yield f"Round {number} has {seats} seats in the contract, {about.seats} in the log."
        if [number << 10 | place for place in range(1, items + 1)] != about.items:
            yield f"Round {number} has other videos in the contract than in the log."


async def _items(storage: _Storage, replay: Replay, numbers: Sequence[int]) -> AsyncIterator[str]:
    items = [item for number in numbers for item in dict.fromkeys(replay.rounds[number].items)]
    by_key = {((replay.battles.get(item) or replay.videos[item]).key,): item for item in items}
    for key, stored in await storage.differing("video_of", by_key, "keys of videos"):
        yield f"The contract knows video {by_key[key]} as video {stored}."
    kinds = {(item,): 2 if item in replay.battles else 1 for item in items}
    for (item,), _ in await storage.differing("kind_of", kinds, "videos"):
        yield f"Number {item} names something else in the contract than in the log."
    tallies = await read_many(storage.ledger, "tally", [(item,) for item in items], storage.at)
    for item, stored_tally in zip(items, tallies, strict=True):
        if item in replay.battles:
            if stored_tally != replay.battles[item].tally:
                yield f"Battle {item} has another tally in the contract than in the log."
        elif stored_tally != (*replay.videos[item].tally, 0):
            there, here = tally_words(Tally(*stored_tally[:2])), tally_words(replay.videos[item].tally)
            yield f"Video {item} has {there} in the contract; its log gives {here}."
    battles = {item: replay.battles[item] for item in items if item in replay.battles}
    slot = ledger_artefact().storage["sides"]
    for (item, battle), stored in zip(
        battles.items(), await stored_words(storage.ledger, slot, battles, storage.at), strict=True
    ):
        if stored != (bytes(32) if battle.models else battle.sides):
            yield f"Battle {item} has other sides in the contract than in the log, or was revealed in one of them only."


async def _voters(storage: _Storage, replay: Replay) -> AsyncIterator[str]:
    indices = {(voter,): index for voter, index in replay.voters.items()}
    for (voter,), stored in await storage.differing("voter_index", indices, "voters"):
        yield f"The contract knows voter {replay.voters[voter]} ({voter.hex()[:8]}…) as voter {stored}."
    # Those who never linked a wallet are the many; of them a draw is enough, since the count of links is compared.
    linked = {(voter,): replay.wallets.get(voter, NOBODY) for voter in replay.ever_linked}
    others = {(voter,): NOBODY for voter in replay.indices if voter not in replay.ever_linked}
    for group, noun in ((linked, "voters with wallets"), (others, "voters without wallets")):
        for (voter,), stored in await storage.differing("wallet_of", group, noun):
            there, here = (None if wallet == NOBODY else wallet for wallet in (stored, group[voter,]))
            yield f"Voter {voter} has wallet {there} in the contract, {here} in the log."
    voter_of = {wallet: voter for voter, wallet in replay.wallets.items()}
    wallets = {(wallet,): (voter_of.get(wallet, 0), nonce) for wallet, nonce in replay.nonces.items()}
    for (wallet,), _ in await storage.differing("voter_of", wallets, "wallets"):
        yield f"Wallet {wallet} has another voter or nonce in the contract than in the log."


async def _seats(storage: _Storage, replay: Replay, numbers: Sequence[int]) -> AsyncIterator[str]:
    own: dict[tuple[int, int], tuple[bool, int]] = {}
    seated: dict[tuple[int, int], bool] = {}
    votes: dict[tuple[int, int], int] = {}
    for number in numbers:
        about = replay.rounds[number]
        mine = replay.by_wallet(number)
        seats = {voter: seat for seat, voter in about.voters.items()}
        for voter in {*mine, *(replay.ever_linked & replay.indices)}:
            own[number, voter] = (True, seats[voter]) if voter in mine else (False, 0)
            seated[number, voter] = voter in about.seated
        for voter in about.seated:
            seated[number, voter] = True
        for item in about.items:
            ballots = (replay.battles.get(item) or replay.videos[item]).ballots
            votes |= {(item, seats[voter]): choice for voter, choice in ballots.items() if voter in seats}
    for (number, voter), _ in await storage.differing("own_seat", own, "seats of wallets"):
        yield f"Voter {voter} has another seat for a wallet in round {number} in the contract than in the log."
    for (number, voter), stored in await storage.differing("is_seated", seated, "seats"):
        yield f"Voter {voter} has {'a' if stored else 'no'} seat in round {number} in the contract, unlike in the log."
    for (item, seat), stored in await storage.differing("vote_of", votes, "ballots"):
        yield f"Seat {seat} chose {stored} about video {item} in the contract, {votes[item, seat]} in the log."
