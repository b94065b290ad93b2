"""JSON-RPC's methods over the embedded chain's blocks: https://ethereum.org/developers/docs/apis/json-rpc/"""

from __future__ import annotations

import re
from collections.abc import Callable

from bot.demo.chain.blocks import GAS_LIMIT, Blocks, Call
from bot.demo.chain.blockstore import ChainError, RpcObject, octets, quantity, transaction_hashes

NOTICE = "dev chain, not immutable: whoever owns its directory can rewrite it"
MAX_LOGS = 10_000  # in one answer; a client asks for fewer blocks then
TIP = 1_000_000  # wei: what eth_maxPriorityFeePerGas proposes
HEX = re.compile(r"0x[0-9a-fA-F]*")


class BadParamsError(ChainError):
    """The parameters of a request are not what its method takes."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code=-32602)


def _octets(value: object, size: int | None = None) -> bytes:
    if not isinstance(value, str) or not HEX.fullmatch(value) or len(value) % 2:
        raise BadParamsError("invalid argument: bytes are written as 0x and an even number of hex digits")
    data = bytes.fromhex(value[2:])
    if size is not None and len(data) != size:
        raise BadParamsError(f"invalid argument: want {size} bytes, got {len(data)}")
    return data


def _number(value: object) -> int:
    if not isinstance(value, str) or not HEX.fullmatch(value) or not 3 <= len(value) <= 66:
        raise BadParamsError("invalid argument: numbers are written as 0x and hex digits")
    return int(value, 16)


class Methods:
    """JSON-RPC's methods over the blocks, each under its own name. Runs in the blocks' thread."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._methods: dict[str, Callable[..., object]] = {
            name: getattr(self, name) for name in dir(self) if re.match("eth_|net_|web3_|evm_", name)
        }

    def run(self, method: str, params: list[object]) -> object:
        """Return the answer to one request. Raises ChainError, with JSON-RPC's code, for whatever is refused."""
        try:
            function = self._methods[method]
        except KeyError:
            raise ChainError(f"the method {method} does not exist/is not available", code=-32601) from None
        try:
            return function(*params)
        except TypeError as error:
            if error.__traceback__ is not None and error.__traceback__.tb_next is None:  # the call itself
                raise BadParamsError(f"wrong number of arguments for {method}") from error
            raise

    # ------------------------------------------------------------------- chain

    def web3_clientVersion(self) -> str:  # noqa: N802  # the wire's own name
        return f"FLock embedded chain ({NOTICE})"

    def net_version(self) -> str:
        return str(self._blocks.chain_id)

    def net_listening(self) -> bool:
        return True

    def eth_chainId(self) -> str:  # noqa: N802  # the wire's own name
        return quantity(self._blocks.chain_id)

    def eth_syncing(self) -> bool:
        return False

    def eth_accounts(self) -> list[str]:
        return []  # it signs nothing

    def eth_blockNumber(self) -> str:  # noqa: N802  # the wire's own name
        return quantity(self._blocks.head().block_number)

    def evm_mine(self) -> str:
        return self._blocks.mine_empty()

    # -------------------------------------------------------------------- fees

    def eth_gasPrice(self) -> str:  # noqa: N802  # the wire's own name
        return quantity(self._blocks.base_fee() + TIP)

    def eth_maxPriorityFeePerGas(self) -> str:  # noqa: N802  # the wire's own name
        return quantity(TIP)

    def eth_feeHistory(self, count: object, newest: object, percentiles: object = None) -> RpcObject:  # noqa: N802  # the wire's own name
        length = count if isinstance(count, int) else _number(count)
        if not 1 <= length <= 1024:
            raise BadParamsError("invalid argument: a fee history has 1 to 1024 blocks")
        last = self._at(newest)
        first = max(0, last - length + 1)
        headers = [self._blocks.header(number) for number in range(first, last + 1)]
        head = self._blocks.head().block_number
        after = self._blocks.base_fee() if last == head else self._blocks.header(last + 1).base_fee_per_gas
        history: RpcObject = {
            "oldestBlock": quantity(first),
            "baseFeePerGas": [quantity(fee) for fee in [*(h.base_fee_per_gas for h in headers), after]],
            "gasUsedRatio": [h.gas_used / h.gas_limit for h in headers],
        }
        if percentiles:
            if not isinstance(percentiles, list):
                raise BadParamsError("invalid argument: percentiles are a list")
            history["reward"] = [[quantity(TIP)] * len(percentiles) for _ in headers]
        return history

    # ------------------------------------------------------------------- state

    def _at(self, tag: object) -> int:
        """Return the block that a tag names. Safe and finalized are the latest: there is no consensus to wait for."""
        head = int(self._blocks.head().block_number)
        if tag is None or tag in ("latest", "pending", "safe", "finalized"):
            return head
        if tag == "earliest":
            return 0
        if isinstance(tag, dict):  # EIP-1898
            if "blockHash" in tag:
                number = self._blocks.store.number_of(octets(_octets(tag["blockHash"], 32)))
                if number is None:
                    raise ChainError("header not found")
                return number
            tag = tag.get("blockNumber")
        number = _number(tag)
        if number > head:
            raise ChainError("header not found")
        return number

    def eth_getBalance(self, address: object, tag: object = None) -> str:  # noqa: N802  # the wire's own name
        return quantity(self._blocks.balance(_octets(address, 20), self._at(tag)))

    def eth_getTransactionCount(self, address: object, tag: object = None) -> str:  # noqa: N802  # the wire's own name
        if tag == "pending":
            return quantity(self._blocks.next_nonce(_octets(address, 20)))
        return quantity(self._blocks.nonce(_octets(address, 20), self._at(tag)))

    def eth_getCode(self, address: object, tag: object = None) -> str:  # noqa: N802  # the wire's own name
        return octets(self._blocks.code(_octets(address, 20), self._at(tag)))

    def eth_getStorageAt(self, address: object, slot: object, tag: object = None) -> str:  # noqa: N802  # the wire's own name
        return octets(self._blocks.storage(_octets(address, 20), _number(slot), self._at(tag)))

    def _call(self, call: object) -> Call:
        if not isinstance(call, dict):
            raise BadParamsError("invalid argument: a call is an object")
        data = call.get("input", call.get("data"))
        return Call(
            sender=_octets(call["from"], 20) if call.get("from") else bytes(20),
            to=_octets(call["to"], 20) if call.get("to") else b"",
            data=_octets(data) if data else b"",
            value=_number(call["value"]) if call.get("value") else 0,
            gas=min(_number(call["gas"]), GAS_LIMIT) if call.get("gas") else None,
            price=self._price(call),
        )

    def _price(self, call: RpcObject) -> int:
        """Return what the call would pay for a unit of gas (EIP-1559); 0 where it names no price, as on other nodes."""
        if call.get("gasPrice"):
            return _number(call["gasPrice"])
        if not call.get("maxFeePerGas"):
            return 0
        most, tip = _number(call["maxFeePerGas"]), _number(call.get("maxPriorityFeePerGas") or "0x0")
        base = self._blocks.base_fee()
        if most < base:
            raise ChainError("max fee per gas less than block base fee")
        return min(most, base + tip)

    def _call_at(self, tag: object) -> int | None:
        # "latest" runs in the block that would come next, now: without traffic the latest block's time stands still
        return None if tag is None or tag in ("latest", "pending", "safe", "finalized") else self._at(tag)

    def eth_call(self, call: object, tag: object = None, _overrides: object = None) -> str:
        return octets(self._blocks.call(self._call(call), self._call_at(tag)))

    def eth_estimateGas(self, call: object, tag: object = None) -> str:  # noqa: N802  # the wire's own name
        return quantity(self._blocks.estimate(self._call(call), self._call_at(tag)))

    # ----------------------------------------------------------------- history

    def eth_sendRawTransaction(self, raw: object) -> str:  # noqa: N802  # the wire's own name
        return self._blocks.send_raw(_octets(raw))

    def eth_getTransactionByHash(self, name: object) -> RpcObject | None:  # noqa: N802  # the wire's own name
        return self._blocks.transaction(octets(_octets(name, 32)))

    def eth_getTransactionReceipt(self, name: object) -> RpcObject | None:  # noqa: N802  # the wire's own name
        return self._blocks.store.receipt(octets(_octets(name, 32)))

    def eth_getBlockByNumber(self, tag: object, full: object = False) -> RpcObject | None:  # noqa: N802  # the wire's own name
        try:
            return self._block(self._at(tag), full)
        except BadParamsError:
            raise
        except ChainError:
            return None  # that block is not there yet

    def eth_getBlockByHash(self, name: object, full: object = False) -> RpcObject | None:  # noqa: N802  # the wire's own name
        number = self._blocks.store.number_of(octets(_octets(name, 32)))
        return None if number is None else self._block(number, full)

    def _block(self, number: int, full: object) -> RpcObject | None:
        block = self._blocks.store.block(number)
        if block is not None and full:
            block["transactions"] = [self._blocks.transaction(name) for name in transaction_hashes(block)]
        return block

    def eth_getBlockReceipts(self, tag: object) -> list[RpcObject | None]:  # noqa: N802  # the wire's own name
        block = self._blocks.store.block(self._at(tag))
        return [self._blocks.store.receipt(name) for name in transaction_hashes(block)] if block else []

    def eth_getLogs(self, query: object) -> list[RpcObject]:  # noqa: N802  # the wire's own name
        if not isinstance(query, dict):
            raise BadParamsError("invalid argument: a filter is an object")
        if query.get("blockHash"):
            first = last = self._at({"blockHash": query["blockHash"]})
        else:
            head = self._blocks.head().block_number
            first = self._at(query.get("fromBlock"))
            upto = query.get("toBlock")
            last = min(head, _number(upto)) if isinstance(upto, str) and upto[:2] == "0x" else self._at(upto)
        if first > last:
            raise BadParamsError("invalid block range params")
        address = query.get("address") or []
        addresses = [octets(_octets(item, 20)) for item in (address if isinstance(address, list) else [address])]
        places = query.get("topics") or []
        if not isinstance(places, list) or len(places) > 4:
            raise BadParamsError("invalid argument: at most 4 topics")
        topics = [
            [octets(_octets(item, 32)) for item in (topic if isinstance(topic, list) else [topic])] if topic else []
            for topic in places
        ]
        return self._blocks.store.logs(first, last, addresses, topics, MAX_LOGS)
