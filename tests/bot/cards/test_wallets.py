"""The messages to members with a wallet."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
from eth_utils.address import to_checksum_address

from bot.cards.wallets import (
    ballot_words,
    chosen_words,
    link_words,
    short,
    signed_words,
    unlink_words,
    wallet_words,
    whole,
)
from bot.domain.votes import Choice, Standing
from bot.domain.wallets import SigningRequest, Wallet, WalletState

ADDRESS = "0x" + "Ab" * 20


def wallet(state: WalletState, reason: str | None = None) -> Wallet:
    return Wallet(1, 2, "v", ADDRESS, state, reason)


def request(kind: str, choices: int = 0) -> SigningRequest:
    return cast(SigningRequest, SimpleNamespace(kind=kind, wallet=ADDRESS, choices=("",) * choices))


@pytest.mark.parametrize(
    ("state", "reason", "words"),
    [
        (WalletState.LINKING, None, "votes for you already. The link will be on the ledger in about a minute."),
        (WalletState.LINKED, None, "votes for you. `/wallet sign` shows what there is to sign."),
        (WalletState.LINKED, "It was late.", "⚠️ It could not be unlinked: It was late."),
        (WalletState.UNLINKING, None, "is being unlinked. This takes about a minute."),
        (WalletState.UNLINKED, None, "You have no linked wallet, so you vote with the buttons."),
        (WalletState.REFUSED, "It was taken.", "could not be linked: It was taken. You vote with the buttons."),
    ],
)
def test_each_state_has_its_sentence(state: WalletState, reason: str | None, words: str) -> None:
    assert words in wallet_words(wallet(state, reason))


def test_a_member_without_a_wallet_reads_how_to_link_one() -> None:
    assert "`/wallet link`" in wallet_words(None)


@pytest.mark.parametrize(
    ("kind", "count", "words"),
    [
        ("link", 0, "This will be on the ledger in about a minute."),
        ("unlink", 0, "The ledger will show this in about a minute."),
        ("ballot", 1, "Recorded: 1 choice signed by"),
        ("ballot", 2, "Recorded: 2 choices signed by"),
    ],
)
def test_a_signature_is_answered_with_what_comes_next(kind: str, count: int, words: str) -> None:
    assert words in signed_words(request(kind, count), "about a minute")


def test_a_choice_counts_only_once_it_is_signed() -> None:
    standing = Standing(Choice.WITHDRAWN, True, 5, 7_000, "a prompt", wallet=ADDRESS)
    assert "Saved: you chose **no vote** on" in chosen_words(standing)
    assert f"It counts once {short(ADDRESS)} has signed it." in chosen_words(standing)
    assert ballot_words(request("ballot", 1)) == f"### 1 choice to sign with {whole(ADDRESS)}"


LOOK_ALIKE = "0xABaBc0FFee00C0FFee00C0FFee00c0fFEe00abab"  # the same ends


@pytest.mark.parametrize("address", [ADDRESS, ADDRESS.lower(), "0x" + ADDRESS[2:].upper()])
def test_an_address_that_is_chosen_or_confirmed_has_all_its_digits(address: str) -> None:
    """With the checksum, however it was typed: a look-alike with the same ends reads otherwise."""
    plain = SimpleNamespace(kind="link", wallet=address, choices=("",))
    asked = cast(SigningRequest, plain)
    texts = [link_words(asked), unlink_words(asked), ballot_words(asked)]
    texts += [signed_words(request(kind, 1), "a minute") for kind in ("link", "unlink", "ballot")]
    texts += [wallet_words(wallet(state)) for state in WalletState if state != WalletState.UNLINKED]
    for text in texts:
        assert to_checksum_address(ADDRESS) in text
    assert short(LOOK_ALIKE).lower() == short(ADDRESS).lower()
    assert whole(LOOK_ALIKE).lower() != whole(ADDRESS).lower()
