"""The embedded chain's blocks: py-evm over one SQLite file, so that a mined block is still there after a SIGKILL.

A dev chain: one writer, no consensus, nothing stops its owner from rewriting it. It never pretends otherwise.
Must run in one thread; `bot.demo.chain.server` puts a JSON-RPC port before it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from eth.abc import BlockHeaderAPI, ComputationAPI, SignedTransactionAPI, StateAPI
from eth.chains.base import MiningChain
from eth.constants import POST_MERGE_DIFFICULTY, POST_MERGE_MIX_HASH, POST_MERGE_NONCE, ZERO_ADDRESS
from eth.db.atomic import AtomicDB
from eth.exceptions import Revert, VMError
from eth.vm.chain_context import ChainContext
from eth.vm.forks.prague import PragueVM
from eth.vm.spoof import SpoofTransaction
from eth_utils.exceptions import ValidationError

from bot.demo.chain.blockstore import BlockStore, ChainError, RpcObject, octets, transaction_body

GAS_LIMIT = 30_000_000
GENESIS_BASE_FEE = 1_000_000_000  # wei; it falls while blocks are less than half full (EIP-1559)
FUNDS = 10**24  # wei: a million ether of no value


@dataclass(frozen=True)
class Call:
    """The message of an `eth_call` or `eth_estimateGas`. `price` is in wei for a unit of gas, 0 where none is named."""

    sender: bytes
    to: bytes
    data: bytes
    value: int
    gas: int | None
    price: int = 0


class SharedSecondsVM(PragueVM):  # type: ignore[misc]  # py-evm is untyped for us
    """Prague, but blocks may share a second, as on Arbitrum: mining at once must not run ahead of the clock."""

    @classmethod
    def validate_header(cls, header: BlockHeaderAPI, parent_header: BlockHeaderAPI) -> None:
        if parent_header is not None and header.timestamp == parent_header.timestamp:
            parent_header = parent_header.copy(timestamp=parent_header.timestamp - 1)
        super().validate_header(header, parent_header)


class Blocks:
    """The chain's state and history. Each transaction that is accepted is mined and on disk before it is answered.

    `clock` returns seconds since the epoch and may be replaced, so that a test need not wait for a round to close.
    """

    def __init__(self, path: Path, *, chain_id: int, funded: bytes, clock: Callable[[], float] = time.time) -> None:
        self.chain_id = chain_id
        self._clock = clock
        self.store = BlockStore(path)
        try:
            self._open(funded)
        except BaseException:
            self.store.close()
            raise
        self._future: dict[tuple[bytes, int], SignedTransactionAPI] = {}  # nonces that are not yet due
        self.paused = False  # accepted transactions then wait in memory

    def close(self) -> None:
        self.store.close()

    def _open(self, funded: bytes) -> None:
        blocks = self

        class Chain(MiningChain):  # type: ignore[misc]  # py-evm is untyped for us
            chain_id = self.chain_id
            vm_configuration = ((0, SharedSecondsVM),)

            def create_header_from_parent(self, parent_header: BlockHeaderAPI, **params: object) -> BlockHeaderAPI:
                params.setdefault("gas_limit", parent_header.gas_limit)
                params.setdefault("timestamp", max(int(blocks._clock()), parent_header.timestamp))
                return super().create_header_from_parent(parent_header, **params)

        database = AtomicDB(self.store.nodes)
        chain_id = self.store.fact("chain_id")
        if chain_id is None:
            genesis = {
                "coinbase": ZERO_ADDRESS,
                "difficulty": POST_MERGE_DIFFICULTY,
                "mix_hash": POST_MERGE_MIX_HASH,
                "nonce": POST_MERGE_NONCE,
                "extra_data": b"",
                "gas_limit": GAS_LIMIT,
                "base_fee_per_gas": GENESIS_BASE_FEE,
                "timestamp": int(self._clock()),
            }
            account = {"balance": FUNDS, "nonce": 0, "code": b"", "storage": {}}
            with self.store.whole():
                self._chain = Chain.from_genesis(database, genesis, {funded: account})
                self.store.set_fact("chain_id", str(self.chain_id))
                self.store.write_block(self._chain.get_canonical_block_by_number(0), ())
        elif int(chain_id) != self.chain_id:
            raise ValueError(f"This directory holds chain {chain_id}, not {self.chain_id}; use another directory.")
        else:
            self._chain = Chain(database)

    # ------------------------------------------------------------------ mining

    def send_raw(self, raw: bytes) -> str:
        """Accept a signed transaction and mine it; one whose nonce is not yet due waits in memory, as on a node.

        Returns its hash. Raises ChainError with the words of geth, which clients recognise.
        """
        decoder = SharedSecondsVM.get_transaction_builder()
        try:
            # a typed transaction (EIP-2718) starts with its type, a legacy one with an RLP list
            transaction = decoder.decode(raw)
            transaction.validate()
            sender = transaction.sender
        except Exception as error:
            raise ChainError(f"rlp: the transaction cannot be read ({type(error).__name__})") from error
        if transaction.chain_id not in (None, self.chain_id):
            raise ChainError("invalid chain id for signer")
        name = octets(transaction.hash)
        if self.store.transaction(name) is not None:
            raise ChainError("already known")
        self._check(transaction, sender)
        nonce = self._state(self.head()).get_nonce(sender)
        if transaction.nonce > nonce or self.paused:
            waiting = self._future.get((sender, transaction.nonce))
            if waiting is not None and waiting.hash == transaction.hash:
                raise ChainError("already known")
            self._future[sender, transaction.nonce] = transaction
            return name
        self._mine((transaction,))
        self._mine_due(sender)
        return name

    def resume(self) -> None:
        """End a pause: the transactions that have waited are mined, in the order of their nonces."""
        self.paused = False
        for sender in {sender for sender, _ in self._future}:
            self._mine_due(sender)

    def _mine_due(self, sender: bytes) -> None:
        """Mine what waits in memory, from an account's next nonce on."""
        nonce = self._state(self.head()).get_nonce(sender)
        while (due := self._future.pop((sender, nonce), None)) is not None:
            try:
                self._check(due, sender)
                self._mine((due,))
            except ChainError:
                break  # as on a node: a transaction that can no longer be paid for is dropped
            nonce += 1

    def _check(self, transaction: SignedTransactionAPI, sender: bytes) -> None:
        state = self._state(self.head())
        if transaction.nonce < state.get_nonce(sender):
            raise ChainError("nonce too low")
        if transaction.gas > GAS_LIMIT:
            raise ChainError("exceeds block gas limit")
        if transaction.gas < max(transaction.intrinsic_gas, _floor_gas(transaction.data)):
            raise ChainError("intrinsic gas too low")
        base_fee = self._next_header().base_fee_per_gas
        if transaction.max_fee_per_gas < base_fee:
            raise ChainError("max fee per gas less than block base fee")
        if state.get_balance(sender) < transaction.gas * transaction.max_fee_per_gas + transaction.value:
            raise ChainError("insufficient funds for gas * price + value")

    def mine_empty(self) -> str:
        """Mine a block without transactions; returns its hash."""
        return self._mine(())

    def _mine(self, transactions: tuple[SignedTransactionAPI, ...]) -> str:
        try:
            with self.store.whole():
                imported, receipts, computations = self._chain.mine_all(transactions, parent_header=self.head())
                block = imported.imported_block
                self.store.write_block(block, tuple(zip(receipts, computations, strict=True)))
        except ValidationError as error:
            raise ChainError(str(error)) from error
        return octets(block.hash)

    # ----------------------------------------------------------------- history

    def head(self) -> BlockHeaderAPI:
        """Return the newest block's header."""
        return self._chain.get_canonical_head()

    def transaction(self, name: str) -> RpcObject | None:
        """Return a transaction in JSON-RPC's form; one that waits for its nonce has no block yet."""
        if (mined := self.store.transaction(name)) is not None:
            return mined
        for waiting in self._future.values():
            if octets(waiting.hash) == name:
                nowhere: RpcObject = {"blockHash": None, "blockNumber": None, "transactionIndex": None}
                return transaction_body(waiting, self._next_header(), nowhere)
        return None

    # ------------------------------------------------------------------- state

    def header(self, number: int) -> BlockHeaderAPI:
        """Return the header of a mined block. Raises ChainError for a block that there is not (yet)."""
        if not 0 <= number <= self.head().block_number:
            raise ChainError("header not found")
        return self._chain.get_canonical_block_header_by_number(number)

    def _next_header(self) -> BlockHeaderAPI:
        return self._chain.create_header_from_parent(self.head())

    def base_fee(self) -> int:
        """Return the next block's base fee, in wei."""
        return int(self._next_header().base_fee_per_gas)

    def _state(self, header: BlockHeaderAPI) -> StateAPI:
        return self._priced_state(header.copy(base_fee_per_gas=0))

    def _priced_state(self, header: BlockHeaderAPI) -> StateAPI:
        ancestors = (header.parent_hash,) if header.block_number else ()
        return SharedSecondsVM.build_state(self._chain.chaindb.db, header, ChainContext(self.chain_id), ancestors)

    def balance(self, address: bytes, number: int) -> int:
        return int(self._state(self.header(number)).get_balance(address))

    def nonce(self, address: bytes, number: int) -> int:
        return int(self._state(self.header(number)).get_nonce(address))

    def next_nonce(self, address: bytes) -> int:
        """Return the nonce after those that wait in memory without a gap: JSON-RPC's "pending"."""
        nonce = self.nonce(address, self.head().block_number)
        while (address, nonce) in self._future:
            nonce += 1
        return nonce

    def code(self, address: bytes, number: int) -> bytes:
        return bytes(self._state(self.header(number)).get_code(address))

    def storage(self, address: bytes, slot: int, number: int) -> bytes:
        return int(self._state(self.header(number)).get_storage(address, slot)).to_bytes(32, "big")

    def call(self, call: Call, number: int | None) -> bytes:
        """Return what a message would answer after block `number`; None stands for the block that would come next, now.

        Raises ChainError (code 3, with the revert's data) when it reverts.
        """
        computation, _ = self._run(call, number, call.gas or GAS_LIMIT)
        _raise_if_failed(computation)
        return bytes(computation.output)

    def estimate(self, call: Call, number: int | None) -> int:
        """Return the gas that a transaction would need. Raises ChainError when it would fail whatever it is given."""
        most = call.gas or GAS_LIMIT
        computation, transaction = self._run(call, number, most)
        _raise_if_failed(computation)
        # consumption before refunds, which are only paid back afterwards (EIP-3529), or the calldata's floor (EIP-7623)
        enough = max(transaction.intrinsic_gas + computation.get_gas_used(), _floor_gas(call.data))
        if not computation.children:
            return int(enough)
        while enough < most:  # inner calls get 63/64 of what is left (EIP-150), so that more may be needed
            computation, _ = self._run(call, number, enough)
            if not computation.is_error:
                break
            enough = min(most, enough + enough // 32)
        return int(enough)

    def _run(self, call: Call, number: int | None, gas: int) -> tuple[ComputationAPI, SpoofTransaction]:
        header = self._next_header() if number is None else self.header(number)
        state = self._priced_state(header) if call.price else self._state(header)
        unsigned = SharedSecondsVM.create_unsigned_transaction(
            nonce=state.get_nonce(call.sender),
            gas_price=call.price,
            gas=min(gas, GAS_LIMIT),
            to=call.to,
            value=call.value,
            data=call.data,
        )
        transaction = SpoofTransaction(unsigned, from_=call.sender)
        try:
            return state.apply_transaction(transaction), transaction
        except ValidationError as error:
            raise ChainError(str(error)) from error


def _floor_gas(data: bytes) -> int:
    zeros = data.count(0)
    return 21_000 + 10 * (zeros + 4 * (len(data) - zeros))


def _raise_if_failed(computation: ComputationAPI) -> None:
    if not computation.is_error:
        return
    error: VMError = computation.error
    if not isinstance(error, Revert):
        raise ChainError(_plain(error))
    data = bytes(computation.output)
    reason = ""
    if data[:4] == b"\x08\xc3y\xa0" and len(data) >= 68:  # Error(string)
        length = int.from_bytes(data[36:68], "big")
        reason = ": " + data[68 : 68 + length].decode("utf-8", "replace")
    raise ChainError(f"execution reverted{reason}", code=3, data=octets(data))


def _plain(error: VMError) -> str:
    return {"OutOfGas": "out of gas", "InsufficientFunds": "insufficient funds for transfer"}.get(
        type(error).__name__, f"execution failed: {type(error).__name__}"
    )
