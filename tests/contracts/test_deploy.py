"""A ledger is deployed once, whatever interrupts it, and only our own code is accepted."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from web3.types import Nonce
from web3.utils.address import get_create_address

from contracts.deploy import deploy, read_deployment, verify
from contracts.ledger.client import Ledger
from contracts.rpc.node import ChainUnreachableError, LedgerError, Node, WrongLedgerError
from contracts.signers.keystore import KeySigner


async def test_a_deployment_is_made_once_and_remembered(chain: Any, tmp_path: Path) -> None:
    """The second call returns the first ledger; the record holds no signed bytes any more."""
    record = tmp_path / "deep" / "ledger.json"
    assert read_deployment(record) is None
    first = await deploy(chain.url, chain.signer, record)
    assert await deploy(chain.url, chain.signer, record) == first == read_deployment(record)
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    assert "raw" not in json.loads(record.read_text())
    assert await verify(chain.url, first.address) == first.chain_id
    async with Ledger(chain.url, first.address) as ledger:
        assert await ledger.is_relayer(chain.signer.address)
        assert not await ledger.paused()


async def test_roles_can_be_given_to_others(chain: Any, tmp_path: Path) -> None:
    """The account that pays keeps no role that was given away."""
    cold, hot = "0x" + "0a" * 20, "0x" + "0b" * 20
    made = await deploy(chain.url, chain.signer, tmp_path / "l.json", owner=cold, guardian=cold, relayer=hot)
    async with Ledger(chain.url, made.address) as ledger:
        assert await ledger.is_relayer(hot)
        assert not await ledger.is_relayer(chain.signer.address)


async def test_roles_that_come_too_late_are_refused(chain: Any, tmp_path: Path) -> None:
    """Whoever names an owner for a ledger that is there already is told who its owner is; the true ones pass."""
    cold, record = "0x" + "0a" * 20, tmp_path / "ledger.json"
    made = await deploy(chain.url, chain.signer, record)
    for named in ({"owner": cold}, {"guardian": cold}):
        with pytest.raises(WrongLedgerError, match=f"is {chain.signer.address}, not {cold}"):
            await deploy(chain.url, chain.signer, record, **named)
    me = chain.signer.address
    assert await deploy(chain.url, chain.signer, record, owner=me, guardian=me.lower()) == made


async def test_nothing_is_written_before_it_can_be_paid(chain: Any, tmp_path: Path) -> None:
    """An empty account is a sentence, and leaves open who the owner will be."""
    poor, record = KeySigner(Account.create()), tmp_path / "ledger.json"
    with pytest.raises(LedgerError, match=f"{poor.address} lacks"):
        await deploy(chain.url, poor, record)
    assert not record.exists()


@pytest.mark.parametrize("arrives", [False, True], ids=["the bytes never left", "the answer was lost"])
async def test_an_interrupted_deployment_sends_the_same_bytes(
    chain: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arrives: bool
) -> None:
    """One ledger, at the address that was written down before anything was sent."""
    record, send = tmp_path / "ledger.json", Node.send

    async def fail(node: Node, raw: bytes) -> bool:
        if arrives:
            await send(node, raw)
        raise ChainUnreachableError("no answer")

    async with Ledger(chain.url, "0x" + "00" * 20) as any_ledger:
        before = await any_ledger.node.nonce(chain.signer.address)
        with monkeypatch.context() as patch:
            patch.setattr(Node, "send", fail)
            with pytest.raises(ChainUnreachableError):
                await deploy(chain.url, chain.signer, record)
        planned = json.loads(record.read_text())["address"]
        assert read_deployment(record) is None
        assert (await deploy(chain.url, chain.signer, record)).address == planned
        assert await any_ledger.node.nonce(chain.signer.address) == before + 1


async def test_a_record_of_another_chain_or_of_nothing_is_refused(chain: Any, tmp_path: Path) -> None:
    """Each with a sentence that says what to do; nothing is overwritten."""
    record = tmp_path / "ledger.json"
    made = await deploy(chain.url, chain.signer, record)
    record.write_text(json.dumps({**json.loads(record.read_text()), "chain_id": 1}))
    with pytest.raises(WrongLedgerError, match="tells of a ledger on chain 1"):
        await deploy(chain.url, chain.signer, record)
    record.write_text('{"hello": 1}')
    with pytest.raises(ValueError, match="move it away to deploy anew"):
        await deploy(chain.url, chain.signer, record)
    assert record.read_text() == '{"hello": 1}'
    assert made.block > 0


async def test_other_code_is_not_taken_for_the_ledger(chain: Any) -> None:
    """Neither an empty address nor a dead port passes."""
    with pytest.raises(WrongLedgerError, match="no contract at"):
        await verify(chain.url, "0x" + "ee" * 20)
    with pytest.raises(ChainUnreachableError, match=r"127\.0\.0\.1 does not answer"):
        await verify("http://127.0.0.1:1/?key=secret", "0x" + "ee" * 20)


async def test_an_older_ledger_is_named_as_such(chain: Any, tmp_path: Path) -> None:
    """Its version, and what to do: a contract that answers as version 1 did is no puzzle, and nothing is sent to it."""
    older = await _put(chain, bytes.fromhex("60206000526001602052" + "603160f81b604052" + "60606000f3"))
    with pytest.raises(WrongLedgerError, match=f"{older} on chain .* is version 1 of the ledger.*writes version 2"):
        await verify(chain.url, older)
    record = tmp_path / "ledger.json"
    record.write_text(json.dumps({"chain_id": (await deploy(chain.url, chain.signer, tmp_path / "l")).chain_id,
                                  "address": older, "tx": "0x1", "block": 1}))  # fmt: skip
    with pytest.raises(WrongLedgerError, match=f"Move {record} away first"):
        await deploy(chain.url, chain.signer, record)


@pytest.mark.parametrize("code", ["00", "60006000fd", "60ff60005260206000f3"])
async def test_other_code_at_the_address_is_not_the_ledger(chain: Any, code: str) -> None:
    """Whatever it answers when it is asked for its version: nothing, no, or nonsense."""
    other = await _put(chain, bytes.fromhex(code))
    with pytest.raises(WrongLedgerError, match="is not this version's VoteLedger"):
        await verify(chain.url, other)


async def _put(chain: Any, code: bytes) -> str:
    """A contract of this code, deployed by the chain's own account."""
    node = Node(chain.url)
    try:
        nonce = await node.nonce(chain.signer.address)
        creation = b"\x60" + bytes([len(code)]) + bytes.fromhex("80600b6000396000f3") + code
        fees = await node.fees()
        signed = await chain.signer.sign(
            {
                "chainId": await node.chain_id(), "nonce": nonce, "to": "", "data": creation, "value": 0,
                "gas": 200_000, "maxFeePerGas": fees.maximum, "maxPriorityFeePerGas": fees.tip,
            }
        )  # fmt: skip
        await node.send(signed.raw)
        return str(get_create_address(node.checksum(chain.signer.address), Nonce(nonce)))
    finally:
        await node.close()


async def test_a_providers_secret_never_shows(chain: Any) -> None:
    """The URL may carry a key: neither errors nor reprs name more than the host."""
    async with Ledger("http://127.0.0.1:1/v2/topsecret", "0x" + "ee" * 20) as ledger:
        with pytest.raises(LedgerError) as caught:
            await ledger.seq()
        assert caught.value.__cause__ is None
        assert "topsecret" not in repr(ledger) + repr(ledger.node) + str(caught.value)


@pytest.mark.parametrize("url", ["", "ftp://x", "localhost:8545", "http://"])
def test_an_address_that_is_no_url_is_refused(url: str) -> None:
    """At once, with a sentence, not at the first request."""
    with pytest.raises(ValueError, match="http:// or https:// URL"):
        Node(url)


def test_a_ledger_address_that_is_none_is_refused() -> None:
    """A typing error is found before anything is asked."""
    with pytest.raises(ValueError, match="0x and 40 hex digits"):
        Ledger("http://127.0.0.1:1", "0x1234")
