"""Calldata of the VoteLedger contract, made and read back. Signs nothing and sends nothing."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from web3 import Web3

from contracts.ledger.artifact import ledger_artefact

MAX_VOTERS = 256  # in one registration


@functools.cache
def _encoder() -> Any:  # web3 makes the contract's class at run time
    return Web3().eth.contract(abi=ledger_artefact().abi)


def _calldata(function: str, *args: object) -> bytes:
    return bytes.fromhex(_encoder().encode_abi(function, args=list(args)).removeprefix("0x"))


def open_round(key: bytes, opens: int, closes: int, grace: int, meta: bytes) -> bytes:
    """Return calldata that opens a round; times in seconds since the epoch, the grace in seconds."""
    return _calldata("open_round", key, opens, closes, grace, meta)


def add_video(
    key: bytes, round_number: int, prompt_hash: bytes, content_hash: bytes, model_hash: bytes, playback_id: str
) -> bytes:
    """Return calldata that enters a video into a round; the playback id has at most 128 bytes."""
    return _calldata("add_video", key, round_number, prompt_hash, content_hash, model_hash, playback_id)


def add_battle(
    key: bytes, round_number: int, prompt_hash: bytes, content_a: bytes, content_b: bytes, sides: bytes
) -> bytes:
    """Return calldata that enters a blind battle; `contracts.manifests.sides_hash` makes the last argument."""
    return _calldata("add_battle", key, round_number, prompt_hash, content_a, content_b, sides)


def reveal_battle(battle: int, model_a: bytes, model_b: bytes, salt: bytes) -> bytes:
    """Return calldata that says which model was which side, after the round."""
    return _calldata("reveal_battle", battle, model_a, model_b, salt)


def register(voter_ids: Sequence[bytes]) -> bytes:
    """Return calldata that gives up to 256 new voters their indices."""
    return _calldata("register", list(voter_ids))


def registered_by(data: bytes) -> list[bytes]:
    """Return the voter ids in calldata that `register` made."""
    _, arguments = _encoder().decode_function_input(data)
    return [bytes(voter) for voter in arguments["voter_ids"]]


def claimed_by(data: bytes) -> int:
    """Return the seat in calldata that `claim` made."""
    _, arguments = _encoder().decode_function_input(data)
    return int(arguments["seat"])


def batch(seq: int, round_number: int, arrivals: Sequence[int], words: Sequence[int]) -> bytes:
    """Return calldata that seats voters and records votes; `contracts.ledger.batch_codec` makes the arrivals and the
    words.
    """
    return _calldata("batch", seq, round_number, list(arrivals), list(words))


def batch_of(data: bytes) -> int | None:
    """Return the sequence number in calldata that `batch` made; None for any other calldata."""
    return int.from_bytes(data[4:36], "big") if data[:4] == _batch_selector() else None


@functools.cache
def _batch_selector() -> bytes:
    return batch(0, 0, [], [])[:4]


def link(voter_id: bytes, wallet: str, nonce: int, deadline: int, signature: bytes) -> bytes:
    """Return calldata that hands a voter's votes to a wallet; `contracts.ledger.typed_data` makes what the wallet
    signs.
    """
    return _calldata("link", voter_id, wallet, nonce, deadline, signature)


def unlink(voter_id: bytes, nonce: int, deadline: int, signature: bytes) -> bytes:
    """Return calldata that takes a link back."""
    return _calldata("unlink", voter_id, nonce, deadline, signature)


def claim(round_number: int, seat: int, first: int, arrivals: Sequence[int]) -> bytes:
    """Return calldata that hands a linked voter's seat in a round to the wallet; the last two are its batch's."""
    return _calldata("claim", round_number, seat, first, list(arrivals))


def cast_signed(
    wallet: str, round_number: int, choices: Sequence[tuple[int, int]], nonce: int, deadline: int, signature: bytes
) -> bytes:
    """Return calldata that records a signed ballot: (number, choice) of each video and battle."""
    return _calldata("cast_signed", wallet, round_number, list(choices), nonce, deadline, signature)


def commit(kind: int, root: bytes, parent: int, meta: bytes) -> bytes:
    """Return calldata that commits to a dataset (1) or a model release (2)."""
    return _calldata("commit", kind, root, parent, meta)


def close_round(round_number: int) -> bytes:
    """Return calldata that closes a round before its time."""
    return _calldata("close_round", round_number)


def finalize(round_number: int) -> bytes:
    """Return calldata that names a closed round's winner."""
    return _calldata("finalize", round_number)
