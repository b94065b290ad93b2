"""Addresses and signatures as members paste them: every true form is taken, nothing else is."""

from __future__ import annotations

import pytest
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.errors import AddressError
from bot.domain.wallets import clean_address, clean_signature, wallet_state
from contracts.ledger.typed_data import Domain, link_message, signer_of
from tests.builders.accounts import high_s, member, sign

ANA = member(1)
MESSAGE = link_message(Domain(31431, "0x" + "11" * 20), ANA.address, b"v" * 32, 5, 6)


@pytest.mark.parametrize(
    "typed", [ANA.address, ANA.address.lower(), f"  {ANA.address}\n", "0x" + ANA.address[2:].upper()]
)
def test_an_address_is_read_as_wallets_copy_it(typed: str) -> None:
    """With or without its checksum, and with spaces around it."""
    assert clean_address(typed) == ANA.address


@pytest.mark.parametrize(
    "typed",
    ["", "ana.eth", ANA.address[2:], ANA.address + "0", ANA.address.swapcase(), "0x" + "0" * 40, "0x" + "g" * 40],
    ids=["nothing", "a name", "no 0x", "too long", "wrong capitals", "nobody", "other digits"],
)
def test_what_is_no_address_is_refused(typed: str) -> None:
    """A wrong capital letter is a slip of the pen; the votes would go to nobody."""
    with pytest.raises(AddressError):
        clean_address(typed)


@given(st.integers(1, 2**64))
def test_every_form_of_a_signature_comes_to_the_same(seed: int) -> None:
    """v as 0 or 1, the high s, 64 bytes (EIP-2098), capitals, without 0x: the ledger takes one form only."""
    account = Account.from_key(seed.to_bytes(32, "big"))
    plain = sign(account, MESSAGE)
    odd = plain[64] - 27
    s = int.from_bytes(plain[32:64], "big")
    short = plain[:32] + (s | odd << 255).to_bytes(32, "big")
    forms = [plain, plain[:64] + bytes([odd]), high_s(plain), short]
    texts = [*("0x" + form.hex() for form in forms), plain.hex(), f' "0x{plain.hex().upper()}"\n']
    assert {clean_signature(text) for text in texts} == {plain}
    assert signer_of(MESSAGE, plain) == account.address


@pytest.mark.parametrize("text", ["", "0x", "0x12", "0x" + "z" * 130, "0x" + "1" * 131, "0x" + "11" * 2049, "my vote"])
def test_what_cannot_be_a_signature_is_told_apart(text: str) -> None:
    """Before anything is asked of the chain."""
    assert clean_signature(text) is None


def test_a_smart_accounts_signature_stays_as_it_is() -> None:
    """Whatever it means, only the account knows."""
    assert clean_signature("0x" + "ab" * 100) == b"\xab" * 100
    assert clean_signature("0x" + "ab" * 65) == b"\xab" * 65  # v is none of ours


@pytest.mark.parametrize(
    ("link", "unlink", "state"),
    [
        ("pending", None, "linking"),
        ("batched", None, "linking"),
        ("final", None, "linked"),
        ("rejected", None, "refused"),
        ("final", "pending", "unlinking"),
        ("final", "batched", "unlinking"),
        ("final", "final", "unlinked"),
        ("final", "rejected", "linked"),
        ("batched", "pending", "unlinking"),
    ],
)
def test_how_far_a_wallet_is_follows_from_its_entries(link: str, unlink: str | None, state: str) -> None:
    """An unlink that the ledger refused leaves the wallet linked."""
    assert wallet_state(link, unlink) == state
