"""The forms of a signature: one is sent to the ledger, whatever a wallet gives."""

from __future__ import annotations

from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from contracts.ledger.signatures import normalize
from contracts.ledger.typed_data import Domain, link_message, signer_of
from contracts.signers.secp256k1 import HALF_ORDER
from tests.builders.accounts import high_s, sign

MESSAGE = link_message(Domain(31431, "0x" + "11" * 20), "0x" + "22" * 20, b"v" * 32, 5, 6)


@given(st.integers(1, 2**64))
def test_every_form_of_a_keys_signature_becomes_the_same_65_bytes(seed: int) -> None:
    """With the high s, with v as 0 or 1, and in 64 bytes (EIP-2098): the low s and v 27 or 28 come of it."""
    account = Account.from_key(seed.to_bytes(32, "big"))
    plain = sign(account, MESSAGE)
    odd = plain[64] - 27
    compact = plain[:32] + (int.from_bytes(plain[32:64], "big") | odd << 255).to_bytes(32, "big")
    forms = [plain, plain[:64] + bytes([odd]), high_s(plain), compact]
    assert {normalize(form) for form in forms} == {plain}
    assert int.from_bytes(plain[32:64], "big") <= HALF_ORDER
    assert signer_of(MESSAGE, normalize(compact)) == account.address


@given(st.binary(max_size=200).filter(lambda signature: len(signature) not in (64, 65)))
def test_a_signature_of_another_length_is_left_alone(signature: bytes) -> None:
    """A smart account has signatures of its own."""
    assert normalize(signature) == signature
    assert normalize(bytes(64) + b"\x1d") == bytes(64) + b"\x1d"  # 65 bytes, and v is none of a key's
