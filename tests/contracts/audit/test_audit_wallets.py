"""What wallets did, audited on a real chain: smart accounts that sign as a key does, forgeries, old seats."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from eth_account.signers.local import LocalAccount
from web3.types import Nonce
from web3.utils.address import get_create_address

from contracts.audit.audit import audit
from contracts.audit.chain import storage
from contracts.audit.chain.roles import NOBODY
from contracts.ledger import calldata
from contracts.ledger.batch_codec import Ballot, encode, encode_arrivals, number_of
from contracts.ledger.client import Event, Ledger
from contracts.ledger.typed_data import Domain, ballot_message, link_message
from contracts.rpc.node import Node, NodeRefusedError
from migrations.database import now_ms
from tests.builders.accounts import YES, member, sign

FIRST = number_of(1, 1)
ANA, BEN, EMI = member(1), member(2), member(3)
NAMED = [bytes([number]) * 32 for number in (1, 2, 3)]  # the pseudonyms of voters 1, 2, 3


class Scene:
    """A round with a video and three voters, written by hand with the relayer's account."""

    def __init__(self, ledger: Ledger, chain: Any) -> None:
        self.ledger, self.chain = ledger, chain
        self.deadline = now_ms() // 1000 + 3600

    async def begin(self) -> Scene:
        now = now_ms() // 1000
        self.domain = Domain(await self.ledger.node.chain_id(), self.ledger.address)
        await self.send(calldata.open_round(b"r" * 32, now - 60, now + 3600, 0, b"m" * 32))
        await self.send(calldata.add_video(b"v" * 32, 1, b"p" * 32, b"c" * 32, b"o" * 32, "play"))
        await self.send(calldata.register(NAMED))
        return self

    async def send(self, data: bytes, to: str | None = None) -> None:
        node, signer = self.ledger.node, self.chain.signer
        fees = await node.fees()
        transaction = {
            "chainId": await node.chain_id(), "nonce": await node.nonce(signer.address), "data": data, "value": 0,
            "to": self.ledger.address if to is None else to, "gas": 3_000_000, "maxFeePerGas": fees.maximum,
            "maxPriorityFeePerGas": fees.tip,
        }  # fmt: skip
        signed = await signer.sign(transaction)
        await node.send(signed.raw)
        assert (await node.wait(signed.tx)).ok

    async def smart_account(self) -> str:
        """A contract that takes any word for its owner's, as a wallet of one owner takes that owner's 65 bytes."""
        signer = self.chain.signer
        nonce = Nonce(await self.ledger.node.nonce(signer.address))
        await self.send(b"\x60" + bytes([len(YES)]) + bytes.fromhex("80600b6000396000f3") + YES, to="")
        return str(get_create_address(signer.address, nonce))

    async def link(self, voter: int, wallet: str, signer: LocalAccount) -> None:
        told = (NAMED[voter - 1], 1, self.deadline)
        signature = sign(signer, link_message(self.domain, wallet, *told))
        await self.send(calldata.link(told[0], wallet, *told[1:], signature))

    async def cast(self, wallet: str, signer: LocalAccount) -> None:
        """A ballot for the video, under the 65 bytes of a key."""
        ballot = (1, [(FIRST, 1)], 2, self.deadline)
        signature = sign(signer, ballot_message(self.domain, wallet, *ballot))
        assert len(signature) == 65
        await self.send(calldata.cast_signed(wallet, *ballot, signature))

    async def vote(self, seq: int, ballot: Ballot, arrivals: list[int]) -> None:
        await self.send(calldata.batch(seq, 1, encode_arrivals(arrivals), encode([ballot])))

    async def audit(self) -> Any:
        return await audit(self.chain.url, self.ledger.address)


@pytest.fixture
async def scene(ledger: Ledger, chain: Any) -> Scene:
    return await Scene(ledger, chain).begin()


def altered(monkeypatch: pytest.MonkeyPatch, change: Callable[[Event], Event]) -> None:
    """From now on the node tells signed ballots otherwise."""
    honest = Ledger.events

    async def events(self: Ledger, *args: Any, **options: Any) -> AsyncIterator[Event]:
        async for event in honest(self, *args, **options):
            yield change(event) if event.name == "BallotCast" else event

    monkeypatch.setattr(Ledger, "events", events)


async def test_a_smart_account_of_one_owner_is_not_accused(scene: Scene) -> None:
    """Its signature is 65 bytes long as a key's is, and recovers to the owner instead of the account."""
    account = await scene.smart_account()
    await scene.link(1, account, ANA)
    await scene.cast(account, ANA)
    await scene.link(2, BEN.address, BEN)
    await scene.cast(BEN.address, BEN)
    report = await scene.audit()
    assert report.ok, report.problems
    assert (report.signed, report.smart, report.videos[0].up) == (2, 1, 2)


async def test_the_signature_of_another_key_is_a_forgery(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """An account without code has nobody to say yes for it: neither 65 bytes of another key's pass, nor any others."""
    await scene.link(2, BEN.address, BEN)
    await scene.cast(BEN.address, BEN)
    for forged in (sign(EMI, ballot_message(scene.domain, BEN.address, 1, [(FIRST, 1)], 2, 9)), b"passkey"):
        with monkeypatch.context() as patch:
            altered(patch, lambda event, forged=forged: replace(event, args={**event.args, "signature": forged}))  # type: ignore[misc]  # bound now
            report = await scene.audit()
        assert report.problems == [
            f"Signed ballot 0 was not signed by wallet {BEN.address}, which is no smart account."
        ]
        assert report.smart == 0


async def test_an_account_that_became_smart_later_did_not_say_yes_before(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts is whether it had code when its ballot came; a node without history is asked about now."""
    before = await scene.ledger.node.block_number()
    account = await scene.smart_account()
    await scene.link(1, account, ANA)
    await scene.cast(account, ANA)
    with monkeypatch.context() as patch:
        altered(patch, lambda event: replace(event, block=before))
        assert any(problem.endswith(", which is no smart account.") for problem in (await scene.audit()).problems)
    honest = Node.code

    async def forgetful(self: Node, address: str, at: int | str = "latest") -> bytes:
        if at != "latest":
            raise NodeRefusedError(-32000, "missing trie node")
        return await honest(self, address, at)

    monkeypatch.setattr(Node, "code", forgetful)
    report = await scene.audit()
    assert report.ok, report.problems
    assert (report.smart, report.since) == (1, 0)
    assert [note.split(":")[0] for note in report.notes] == [
        "The node keeps no history in which to look for the ledger's first block",
        "The node keeps no history",
    ]


async def test_what_the_relayer_writes_into_an_old_seat_is_counted(scene: Scene) -> None:
    """Until it is claimed a seat from before the link can be written, which is no fault, and nobody's secret either."""
    await scene.vote(0, Ballot(FIRST, 0, 1), [3])
    await scene.link(3, EMI.address, EMI)
    assert (await scene.audit()).unclaimed == 0
    await scene.vote(1, Ballot(FIRST, 0, 2), [])
    report = await scene.audit()
    assert report.ok, report.problems
    assert report.unclaimed == 1
    assert report.notes == [
        "Choices that the relayer wrote for members who had linked a wallet, into seats from before the link that "
        "nobody had claimed yet: 1."
    ]
    await scene.send(calldata.claim(1, 0, 0, encode_arrivals([3])))
    assert (await scene.audit()).unclaimed == 1


@pytest.mark.parametrize(
    ("getter", "lie", "sentence"),
    [
        ("voter_index", 7, "The contract knows voter 1 (01010101…) as voter 7."),
        ("video_of", 1026, "The contract knows video 1025 as video 1026."),
        ("round_of", 2, "The contract knows round 1 as round 2."),
        ("wallet_of", NOBODY, f"Voter 2 has wallet None in the contract, {BEN.address} in the log."),
        ("wallet_of", "0xX", "Voter 1 has wallet 0xX in the contract, None in the log."),
        ("voter_of", (2, 9), f"Wallet {BEN.address} has another voter or nonce in the contract than in the log."),
        ("own_seat", (True, 5), "Voter 2 has another seat for a wallet in round 1 in the contract than in the log."),
        ("is_seated", True, "Voter 2 has a seat in round 1 in the contract, unlike in the log."),
        ("kind_of", 2, "Number 1025 names something else in the contract than in the log."),
        ("pending_owner", BEN.address, f"The contract's pending owner is {BEN.address}; by the log it is {NOBODY}."),
        ("paused", True, "By the log the ledger is not paused; in the contract it is otherwise."),
    ],
)
async def test_numbers_and_wallets_are_looked_up(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, getter: str, lie: Any, sentence: str
) -> None:
    """A contract that gives other numbers than its log did is betrayed by its own getters."""
    await scene.link(2, BEN.address, BEN)
    assert (await scene.audit()).ok

    honest = storage.read_many

    async def lies(ledger: Ledger, name: str, questions: Any, at: int) -> list[Any]:
        answers = await honest(ledger, name, questions, at)
        return [lie] * len(answers) if name == getter else answers

    monkeypatch.setattr(storage, "read_many", lies)
    assert sentence in (await scene.audit()).problems
