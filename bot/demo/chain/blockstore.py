"""The embedded chain's file: what py-evm stores, and every block, transaction and log in JSON-RPC's form.

One SQLite file in WAL mode, `synchronous=FULL`: a block is in it whole or not at all.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import rlp  # type: ignore[import-untyped]  # it ships no types
from eth.abc import BlockAPI, BlockHeaderAPI, ComputationAPI, ReceiptAPI, SignedTransactionAPI
from eth.db.backends.base import BaseDB

RpcObject = dict[str, object]  # an object in JSON-RPC's form: https://ethereum.org/developers/docs/apis/json-rpc/

SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS nodes (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS blocks (number INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS transactions (
    hash TEXT PRIMARY KEY, block INTEGER NOT NULL, place INTEGER NOT NULL, body TEXT NOT NULL, receipt TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS logs (
    block INTEGER NOT NULL, place INTEGER NOT NULL, address TEXT NOT NULL,
    topic0 TEXT, topic1 TEXT, topic2 TEXT, topic3 TEXT, body TEXT NOT NULL, PRIMARY KEY (block, place)
) WITHOUT ROWID;
"""


class ChainError(Exception):
    """A request that the chain refuses, with the code and the words that other nodes use for the refusal."""

    def __init__(self, message: str, code: int = -32000, data: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data


def quantity(number: int) -> str:
    """Return a number as JSON-RPC writes it."""
    return hex(number)


def octets(data: bytes) -> str:
    """Return bytes as JSON-RPC writes them."""
    return "0x" + data.hex()


class NodeStore(BaseDB):  # type: ignore[misc]  # py-evm's base is untyped for us
    """py-evm's key-value store. Writes wait in memory until the block that they belong to is committed whole."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.waiting: dict[bytes, bytes | None] = {}

    def __getitem__(self, key: bytes) -> bytes:
        if key in self.waiting:
            value = self.waiting[key]
        else:
            row = self._connection.execute("SELECT value FROM nodes WHERE key = ?", (key,)).fetchone()
            value = row[0] if row else None
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self.waiting[bytes(key)] = bytes(value)

    def __delitem__(self, key: bytes) -> None:
        self[key]
        self.waiting[bytes(key)] = None

    def _exists(self, key: bytes) -> bool:
        try:
            self[key]
        except KeyError:
            return False
        return True

    def write(self) -> None:
        """Write what waits, inside the caller's transaction."""
        changes = [(key, value) for key, value in self.waiting.items() if value is not None]
        deletions = [(key,) for key, value in self.waiting.items() if value is None]
        self._connection.executemany("INSERT OR REPLACE INTO nodes VALUES (?, ?)", changes)
        self._connection.executemany("DELETE FROM nodes WHERE key = ?", deletions)


class BlockStore:
    """The open file. `nodes` is py-evm's part of it; the rest is history in JSON-RPC's form."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")  # a mined block survives a power cut
            self._connection.executescript(SCHEMA)
        except BaseException:
            self._connection.close()
            raise
        self.nodes = NodeStore(self._connection)

    def close(self) -> None:
        self._connection.close()

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """Put all that is written inside on disk at the end, or none of it, py-evm's part included."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.nodes.write()
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
        finally:
            self.nodes.waiting.clear()

    def fact(self, name: str) -> str | None:
        row = self._connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else None

    def set_fact(self, name: str, value: str) -> None:
        self._connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def write_block(self, block: BlockAPI, outcomes: tuple[tuple[ReceiptAPI, ComputationAPI], ...]) -> None:
        """Write a block with its transactions, receipts and logs. `outcomes` has a pair for each transaction."""
        header = block.header
        number, block_hash = header.block_number, octets(header.hash)
        logs_before = gas_before = 0
        for place, (transaction, (receipt, computation)) in enumerate(zip(block.transactions, outcomes, strict=True)):
            name = octets(transaction.hash)
            where: RpcObject = {
                "blockHash": block_hash,
                "blockNumber": quantity(number),
                "transactionIndex": quantity(place),
            }
            body = transaction_body(transaction, header, where)
            common = {"transactionHash": name, "removed": False, "blockTimestamp": quantity(header.timestamp), **where}
            logs = self._write_logs(number, logs_before, receipt, common)
            logs_before += len(logs)
            facts: RpcObject = {
                "transactionHash": name,
                "from": body["from"],
                "to": body["to"],
                "type": body["type"],
                "status": quantity(0 if computation.is_error else 1),
                "gasUsed": quantity(receipt.gas_used - gas_before),
                "cumulativeGasUsed": quantity(receipt.gas_used),
                "effectiveGasPrice": body["gasPrice"],
                "contractAddress": _contract_address(transaction, computation),
                "logs": logs,
                "logsBloom": octets(receipt.bloom.to_bytes(256, "big")),
                **where,
            }
            gas_before = receipt.gas_used
            self._connection.execute(
                "INSERT INTO transactions VALUES (?, ?, ?, ?, ?)",
                (name, number, place, json.dumps(body), json.dumps(facts)),
            )
        self._connection.execute(
            "INSERT INTO blocks VALUES (?, ?, ?)", (number, block_hash, json.dumps(_block_body(block)))
        )

    def _write_logs(self, block: int, first: int, receipt: ReceiptAPI, common: RpcObject) -> list[RpcObject]:
        """Write the logs of one transaction, the first at the place `first` in the block; returns them."""
        logs: list[RpcObject] = []
        for place, log in enumerate(receipt.logs, first):
            address, topics = octets(log.address), [octets(topic.to_bytes(32, "big")) for topic in log.topics]
            facts = {"address": address, "topics": topics, "data": octets(log.data), "logIndex": quantity(place)}
            logs.append({**facts, **common})
            columns = [*topics, None, None, None, None][:4]
            self._connection.execute(
                "INSERT INTO logs VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (block, place, address, *columns, json.dumps(logs[-1])),
            )
        return logs

    def block(self, number: int) -> RpcObject | None:
        """Return a block in JSON-RPC's form, its transactions as hashes."""
        row = self._connection.execute("SELECT body FROM blocks WHERE number = ?", (number,)).fetchone()
        return json.loads(row[0]) if row else None

    def number_of(self, block_hash: str) -> int | None:
        row = self._connection.execute("SELECT number FROM blocks WHERE hash = ?", (block_hash,)).fetchone()
        return int(row[0]) if row else None

    def transaction(self, name: str) -> RpcObject | None:
        row = self._connection.execute("SELECT body FROM transactions WHERE hash = ?", (name,)).fetchone()
        return json.loads(row[0]) if row else None

    def receipt(self, name: str) -> RpcObject | None:
        row = self._connection.execute("SELECT receipt FROM transactions WHERE hash = ?", (name,)).fetchone()
        return json.loads(row[0]) if row else None

    def logs(self, first: int, last: int, addresses: list[str], topics: list[list[str]], limit: int) -> list[RpcObject]:
        """Return the logs of a range of blocks, in order. An empty list of topics at a place means any."""
        where, bound = ["block BETWEEN ? AND ?"], [first, last]
        filters = [("address", addresses)] + [(f"topic{place}", names) for place, names in enumerate(topics)]
        for column, values in filters:
            if values:
                where.append(f"{column} IN ({','.join('?' * len(values))})")
                bound += values  # type: ignore[arg-type]  # SQLite takes both kinds
        text = f"SELECT body FROM logs WHERE {' AND '.join(where)} ORDER BY block, place LIMIT ?"  # noqa: S608  # only fixed column names and question marks
        rows = self._connection.execute(text, (*bound, limit + 1)).fetchall()
        if len(rows) > limit:
            raise ChainError(f"query returned more than {limit} results", code=-32005)
        return [json.loads(row[0]) for row in rows]


def _contract_address(transaction: SignedTransactionAPI, computation: ComputationAPI) -> str | None:
    if transaction.to or computation.is_error:
        return None
    return octets(computation.msg.storage_address)


def transaction_body(transaction: SignedTransactionAPI, header: BlockHeaderAPI, where: RpcObject) -> RpcObject:
    """Return a transaction in JSON-RPC's form, in (or meant for) the block of a header."""
    base_fee = header.base_fee_per_gas
    tip = min(transaction.max_priority_fee_per_gas, transaction.max_fee_per_gas - base_fee)
    kind = transaction.type_id or 0
    body: RpcObject = {
        "hash": octets(transaction.hash),
        "type": quantity(kind),
        "chainId": quantity(transaction.chain_id) if transaction.chain_id is not None else None,
        "nonce": quantity(transaction.nonce),
        "from": octets(transaction.sender),
        "to": octets(transaction.to) if transaction.to else None,
        "value": quantity(transaction.value),
        "gas": quantity(transaction.gas),
        "gasPrice": quantity(base_fee + tip),
        "input": octets(transaction.data),
        "r": quantity(transaction.r),
        "s": quantity(transaction.s),
        **where,
    }
    if kind == 2:
        body["maxFeePerGas"] = quantity(transaction.max_fee_per_gas)
        body["maxPriorityFeePerGas"] = quantity(transaction.max_priority_fee_per_gas)
        body["accessList"] = [
            {"address": octets(address), "storageKeys": [octets(slot.to_bytes(32, "big")) for slot in slots]}
            for address, slots in transaction.access_list
        ]
        body["yParity"] = body["v"] = quantity(transaction.y_parity)
    else:
        body["v"] = quantity(transaction.v if kind == 0 else transaction.y_parity)
    return body


def transaction_hashes(block: RpcObject) -> list[str]:
    """Return the hashes of the transactions in a block that `BlockStore.block` has returned."""
    names = block["transactions"]
    return [str(name) for name in names] if isinstance(names, list) else []


def _block_body(block: BlockAPI) -> RpcObject:
    header = block.header
    return {
        "number": quantity(header.block_number),
        "hash": octets(header.hash),
        "parentHash": octets(header.parent_hash),
        "sha3Uncles": octets(header.uncles_hash),
        "miner": octets(header.coinbase),
        "stateRoot": octets(header.state_root),
        "transactionsRoot": octets(header.transaction_root),
        "receiptsRoot": octets(header.receipt_root),
        "logsBloom": octets(header.bloom.to_bytes(256, "big")),
        "difficulty": quantity(header.difficulty),
        "totalDifficulty": quantity(0),
        "gasLimit": quantity(header.gas_limit),
        "gasUsed": quantity(header.gas_used),
        "timestamp": quantity(header.timestamp),
        "extraData": octets(header.extra_data),
        "mixHash": octets(header.mix_hash),
        "nonce": octets(header.nonce),
        "baseFeePerGas": quantity(header.base_fee_per_gas),
        "size": quantity(len(rlp.encode(block))),
        "transactions": [octets(transaction.hash) for transaction in block.transactions],
        "uncles": [],
        "withdrawals": [],
        "withdrawalsRoot": octets(header.withdrawals_root),
        "blobGasUsed": quantity(header.blob_gas_used),
        "excessBlobGas": quantity(header.excess_blob_gas),
        "parentBeaconBlockRoot": octets(header.parent_beacon_block_root),
        "requestsHash": octets(header.requests_hash),
    }
