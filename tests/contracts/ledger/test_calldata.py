"""Calldata: what was written is read back, and nothing else is taken for it."""

from __future__ import annotations

from contracts.ledger import calldata


def test_what_the_relayer_wrote_is_read_back() -> None:
    """After a reorganisation the stored bytes say whom a registration and a claim were for."""
    voters = [bytes([number]) * 32 for number in (1, 2, 3)]
    assert calldata.registered_by(calldata.register(voters)) == voters
    assert calldata.claimed_by(calldata.claim(7, 112, 100, [5, 6])) == 112


def test_only_a_batch_has_a_sequence_number() -> None:
    """Other calls, an empty call among them, are no batch."""
    assert calldata.batch_of(calldata.batch(2**40, 1, [1], [2])) == 2**40
    assert calldata.batch_of(calldata.finalize(1)) is None
    assert calldata.batch_of(b"") is None
