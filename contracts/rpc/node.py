"""One Ethereum node over JSON-RPC, with errors of our own. Knows nothing of the ledger.

LedgerError                 any trouble on the chain's side; the message is a sentence
├── ChainUnreachableError   no usable answer: try again, nothing is lost
├── NodeRefusedError        the node declined a request (its code and words)
├── LedgerRefusedError      the contract refused; `reason` is its own text, such as "ledger: round closed"
└── WrongLedgerError        another chain, another contract, or another writer: a person must look
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
from eth_typing import ChecksumAddress
from web3 import AsyncWeb3
from web3.exceptions import (
    BadFunctionCallOutput,
    BadResponseFormat,
    BlockNotFound,
    ContractLogicError,
    TransactionIndexingInProgress,
    TransactionNotFound,
    Web3RPCError,
)

from contracts.rpc.endpoints import BUSY, INTERNAL, Endpoints, NoJsonError, NoUsableNodeError, Patience

MAYBE_SENT = (
    "already known",
    "already imported",
    "known transaction",
    "already exists",
    "nonce too low",
    "underpriced",
)


BATCH = 50  # reads in one request: some nodes take no more, and a slow one has to answer in time


class LedgerError(Exception):
    """Something on the chain's side went wrong."""


class ChainUnreachableError(LedgerError):
    """The chain gave no usable answer; asking again later is safe."""


class NodeRefusedError(LedgerError):
    """The node declined a request."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"The chain's node refused: {message}")
        self.code = code
        self.message = message


class LedgerRefusedError(LedgerError):
    """The contract refused; `reason` is its own text."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The ledger refused: {reason.removeprefix('ledger: ')}.")
        self.reason = reason


class WrongLedgerError(LedgerError):
    """The other end is not the ledger that we write to."""


@dataclass(frozen=True)
class Receipt:
    """The receipt of a mined transaction; gas in units, contract only for a deployment."""

    tx: str
    ok: bool
    block_number: int
    block_hash: str
    gas_used: int
    contract: str | None


@dataclass(frozen=True)
class Fees:
    """EIP-1559 fees, in wei for a unit of gas."""

    base: int
    tip: int
    maximum: int


class Node:
    """A node at an HTTP URL, or several of one chain with commas between their URLs (see `contracts.rpc.endpoints`).

    URLs may carry a provider's secret, so that only hosts are ever named.
    """

    def __init__(self, rpc_url: str, *, timeout_s: float = 10.0, patience: Patience | None = None) -> None:
        self._provider = Endpoints(rpc_url, timeout_s, patience)
        # no middleware: every request below says all that it needs
        self.web3: AsyncWeb3[Endpoints] = AsyncWeb3(self._provider, middleware=[], ens=None)

    def __repr__(self) -> str:
        return f"Node({self.host})"

    @property
    def host(self) -> str:
        """The host of the node that was asked last."""
        return self._provider.asked

    def expect(self, chain_id: int) -> None:
        """Leave out nodes of any other chain from now on, where there are several."""
        self._provider.expect(chain_id)

    def doubt(self, why: str) -> None:
        """Ask other nodes than the one that was asked last for a while, where there are any, however well it is."""
        self._provider.doubt(why)

    async def close(self) -> None:
        """Close the connections."""
        await self._provider.disconnect()

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """Turn whatever a request raises into a LedgerError. Causes are cut: they may quote the URL."""
        try:
            yield
        except ContractLogicError as error:
            raise LedgerRefusedError(_reason(error)) from None
        except aiohttp.ClientResponseError as error:
            raise self._unreachable(f"HTTP {error.status}") from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(type(error).__name__) from None
        except NoJsonError as error:
            raise self._unreachable(str(error)) from None
        except NoUsableNodeError as error:
            raise ChainUnreachableError(str(error)) from None
        except BadFunctionCallOutput:
            raise WrongLedgerError(f"There is no ledger at this address on the chain at {self.host}.") from None
        except (BadResponseFormat, TransactionIndexingInProgress, UnicodeDecodeError) as error:
            raise self._unreachable(f"an answer that cannot be read, {type(error).__name__}") from None
        except BlockNotFound:
            raise self._unreachable("it does not know the block yet") from None
        except Web3RPCError as error:
            code, message = _code_and_message(error)
            if code in BUSY:
                raise self._unreachable("it is busy") from None
            raise NodeRefusedError(code if isinstance(code, int) else 0, str(message)[:200]) from None

    def _unreachable(self, why: str) -> ChainUnreachableError:
        if self._provider.several and (troubles := self._provider.troubles()):
            return ChainUnreachableError(f"The chain's nodes do not answer ({troubles}); trying again is safe.")
        return ChainUnreachableError(f"The chain at {self.host} does not answer ({why}); trying again is safe.")

    async def chain_id(self) -> int:
        """Return the id of the chain that the node serves."""
        with self.asking():
            return int(await self.web3.eth.chain_id)

    async def block_number(self, tag: str = "latest") -> int:
        """Return the number of the block that a tag (latest, safe, finalized) names."""
        with self.asking():
            block = await self.web3.eth.get_block(tag)  # type: ignore[arg-type]  # web3 wants a literal
            return int(block["number"])

    async def tagged(self, tag: str) -> int | None:
        """Return the number of the block that a tag (safe, finalized) names; None where the node knows none."""
        with self.asking():
            try:
                block = await self.web3.eth.get_block(tag)  # type: ignore[arg-type]  # web3 wants a literal
            except BlockNotFound:
                return None
            except Web3RPCError as error:
                code, _ = _code_and_message(error)
                if code not in (*BUSY, INTERNAL, None):
                    return None
                raise
            return int(block["number"])

    async def block_hash(self, number: int) -> str | None:
        """Return the hash of the chain's own block of a number; None when there is none (yet)."""
        with self.asking():
            try:
                block = await self.web3.eth.get_block(number)
            except BlockNotFound:
                return None
            return "0x" + bytes(block["hash"]).hex()

    async def ask_many(self, calls: Sequence[tuple[str, Sequence[object]]]) -> list[Any]:
        """Return the results of many reads (method, parameters), in order, as JSON has them: `BATCH` in a request."""
        results: list[Any] = []
        for start in range(0, len(calls), BATCH):
            with self.asking():
                try:
                    results += await self._provider.batch(calls[start : start + BATCH])
                except ValueError:
                    raise BadResponseFormat("no JSON") from None
        return results

    async def code(self, address: str, at: int | str = "latest") -> bytes:
        """Return the code of an account after a block; empty where it is no contract."""
        with self.asking():
            return bytes(await self.web3.eth.get_code(self.checksum(address), at))  # type: ignore[arg-type]  # web3 wants its own type

    async def call(self, to: str, data: bytes) -> bytes:
        """Return a contract's answer. Raises LedgerRefusedError where it refuses."""
        with self.asking():
            return bytes(await self.web3.eth.call({"to": self.checksum(to), "data": "0x" + data.hex()}))  # type: ignore[typeddict-item]  # hex is fine

    async def balance(self, address: str) -> int:
        """Return an account's balance, in wei."""
        with self.asking():
            return int(await self.web3.eth.get_balance(self.checksum(address)))

    async def nonce(self, address: str, tag: str = "latest") -> int:
        """Return the number of an account's transactions in the chain, up to the block that a tag names."""
        with self.asking():
            count = await self.web3.eth.get_transaction_count(
                self.checksum(address),
                tag,  # type: ignore[arg-type]  # web3 wants a literal
            )
            return int(count)

    async def fees(self) -> Fees:
        """Return the fees that a transaction should offer now: twice the base fee and a tip, as usual for EIP-1559."""
        with self.asking():
            block = await self.web3.eth.get_block("latest")
            base = int(block["baseFeePerGas"])
            try:
                tip = int(await self.web3.eth.max_priority_fee)
            except Web3RPCError:  # not every node has the method
                tip = 1_000_000
            return Fees(base=base, tip=tip, maximum=2 * base + tip)

    async def estimate(self, sender: str, to: str | None, data: bytes) -> int:
        """Return the gas that a transaction would need. Raises LedgerRefusedError when the contract would refuse it."""
        call: dict[str, str] = {"from": self.checksum(sender), "data": "0x" + data.hex()}
        if to is not None:
            call["to"] = self.checksum(to)
        with self.asking():
            return int(await self.web3.eth.estimate_gas(call))  # type: ignore[arg-type]  # a TxParams by its fields

    async def simulate(self, sender: str, to: str, data: bytes, gas: int, fees: Fees) -> None:
        """Run a transaction with this gas and price, which changes nothing. Raises LedgerRefusedError."""
        call: dict[str, str] = {
            "from": self.checksum(sender),
            "to": self.checksum(to),
            "data": "0x" + data.hex(),
            "gas": hex(gas),
            "maxFeePerGas": hex(fees.maximum),
            "maxPriorityFeePerGas": hex(fees.tip),
        }
        with self.asking():
            await self.web3.eth.call(call)  # type: ignore[arg-type]  # a TxParams by its fields

    async def send(self, raw: bytes) -> bool:
        """Broadcast signed bytes. False when the node has seen this nonce before: the receipt is then the truth.

        Raises ChainUnreachableError, after which the bytes may or may not have arrived.
        """
        try:
            with self.asking():
                await self.web3.eth.send_raw_transaction(raw)
        except NodeRefusedError as refusal:
            if any(words in refusal.message.lower() for words in MAYBE_SENT):
                return False
            raise
        return True

    async def receipt(self, tx: str) -> Receipt | None:
        """Return the receipt of a mined transaction, None while there is none."""
        with self.asking():
            try:
                receipt = await self.web3.eth.get_transaction_receipt(tx)  # type: ignore[arg-type]  # hex is fine
            except TransactionNotFound:
                return None
        contract = receipt.get("contractAddress")
        return Receipt(
            tx=tx,
            ok=receipt["status"] == 1,
            block_number=int(receipt["blockNumber"]),
            block_hash="0x" + bytes(receipt["blockHash"]).hex(),
            gas_used=int(receipt["gasUsed"]),
            contract=str(contract) if contract else None,
        )

    async def wait(self, tx: str, *, timeout_s: float = 120.0) -> Receipt:
        """Return the receipt as soon as there is one. Raises ChainUnreachableError when there is none in time."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        pause = 0.05
        while True:
            if (receipt := await self.receipt(tx)) is not None:
                return receipt
            if asyncio.get_running_loop().time() > deadline:
                raise ChainUnreachableError(f"Transaction {tx} was not mined within {timeout_s:.0f} seconds.")
            await asyncio.sleep(pause)
            pause = min(2.0, pause * 1.5)

    def checksum(self, address: str) -> ChecksumAddress:
        """Return an address with its checksum in the case of its letters (EIP-55). Raises ValueError."""
        return self.web3.to_checksum_address(address)


def _code_and_message(error: Web3RPCError) -> tuple[object, object]:
    """Return code and message of a JSON-RPC error; a node may answer with a mere text."""
    answer: object = (error.rpc_response or {}).get("error") or {}
    return (answer.get("code"), answer.get("message")) if isinstance(answer, dict) else (None, answer)


def _reason(error: ContractLogicError) -> str:
    message = str(error.message or "")
    for prefix in ("execution reverted: ", "execution reverted"):
        message = message.removeprefix(prefix)
    return message.strip() or "no reason given"
