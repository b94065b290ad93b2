"""The log of a ledger on which a release was made as it should be: events that a test can leave out or alter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from contracts.audit.replay import Replay
from contracts.audit.report import AuditReport
from contracts.ledger.batch_codec import Ballot, encode, encode_arrivals, number_of
from contracts.ledger.client import Event
from contracts.manifests import ReleaseManifest, document_hash, sides_hash
from tests.builders.battles import CANDIDATE, DATASET, LIVE, PROMPTS, prompts_text, registration, salt_of

CANDIDATE_WON = ((1, 1), (2, 1), (3, 3))  # (voter, choice) of a battle in which the candidate is A


def digest(text: str) -> bytes:
    return bytes.fromhex(document_hash(text.encode()))


class Log:
    """Events in order. Each has its place, so that what came first can be told."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.documents: dict[str, bytes] = {}
        self._seq = 0
        self._rounds = 0
        self._commitments = 0
        self.add("VotersRegistered", first=1, voter_ids=[b"x", b"y", b"z"])

    def add(self, name: str, **args: Any) -> None:
        self.events.append(Event(name, args, 1, len(self.events), f"0x{len(self.events)}"))

    def keep(self, content: bytes) -> str:
        self.documents[document_hash(content)] = content
        return document_hash(content)

    def dataset(self, root: str = DATASET, parent: int = 0) -> int:
        return self.commit(1, bytes.fromhex(root), parent, bytes.fromhex(self.keep(b"data")))

    def commit(self, kind: int, root: bytes, parent: int, meta: bytes) -> int:
        self._commitments += 1
        self.add("Committed", number=self._commitments, kind=kind, root=root, parent=parent, meta=meta)
        return self._commitments

    def open(self, text: bytes, *, keep: bool = True) -> int:
        self._rounds += 1
        meta = bytes.fromhex(self.keep(text) if keep else document_hash(text))
        self.keep(prompts_text())
        key = self._rounds.to_bytes(32, "big")
        self.add("RoundOpened", round=self._rounds, key=key, opens=1, closes=9, grace=2, meta=meta)
        return self._rounds

    def battles(self, number: int, *, candidate: str = CANDIDATE, live: str = LIVE, prompts: Any = PROMPTS) -> None:
        """Battles with the candidate as A, and its victory in each."""
        for place, prompt in enumerate(prompts, start=1):
            name = f"{number} {place}"
            models = (bytes.fromhex(candidate), bytes.fromhex(live))
            self.add(
                "BattleAdded", battle=number_of(number, place), round=number, key=digest(name),
                prompt_hash=digest(prompt), content_a=b"", content_b=b"", sides=sides_hash(*models, salt_of(name)),
            )  # fmt: skip
        self.vote(number, range(1, len(prompts) + 1))

    def vote(self, number: int, places: Any) -> None:
        battles = {number_of(number, place) for place in places}
        ballots = [Ballot(battle, voter - 1, choice) for battle in battles for voter, choice in CANDIDATE_WON]
        self.add(
            "VotesRecorded", seq=self._seq, round=number, at=5, first_seat=0, arrivals=encode_arrivals([1, 2, 3]),
            words=encode(ballots, battles),
        )  # fmt: skip
        self._seq += 1

    def end(self, number: int, *, candidate: str = CANDIDATE, live: str = LIVE, prompts: Any = PROMPTS) -> None:
        for place in range(1, len(prompts) + 1):
            self.add("BattleDecided", battle=number_of(number, place), outcome=1, a=2, b=0, ties=1)
        self.add("RoundFinalized", round=number, winner=0, up=0, down=0)
        for place in range(1, len(prompts) + 1):
            self.add(
                "BattleRevealed", battle=number_of(number, place), model_a=bytes.fromhex(candidate),
                model_b=bytes.fromhex(live), salt=salt_of(f"{number} {place}"),
            )  # fmt: skip

    def attempt(self, text: bytes, **other: Any) -> int:
        """A battle round from its registration to its reveals."""
        number = self.open(text)
        self.battles(number, **other)
        self.end(number, **other)
        return number

    def release(self, number: int, text: bytes, continues: int = 0, **other: Any) -> ReleaseManifest:
        usual = ReleaseManifest(
            base_model="tiny@1", adapter=CANDIDATE, dataset=DATASET, dataset_number=1, registration=document_hash(text),
            round_key=f"{number:064x}", round_number=number,
        )  # fmt: skip
        manifest = replace(usual, **other)
        self.keep(manifest.to_bytes())
        self.commit(2, bytes.fromhex(manifest.root), continues, bytes.fromhex(self.keep(b"a release")))
        return manifest

    def replay(self) -> Replay:
        return Replay().apply(self.events)

    def report(self) -> AuditReport:
        return AuditReport(1, "0x", 0, 1, "0x", 0, 0, 0, 0)


def first_registration(attempt: int = 1, **other: Any) -> bytes:
    """Of an attempt, against the base model."""
    return registration(attempt, **({"live_release": None} | other))
