"""The rules for values of settings: what each allows, and a text that goes on after the setting's name."""

from __future__ import annotations

from collections.abc import Callable
from secrets import token_hex, token_urlsafe
from uuid import uuid4

import pytest
from pydantic import SecretStr

from bot.setting_rules import (
    check_address,
    check_database_url,
    check_node_addresses,
    check_public_node,
    check_shown_address,
    check_signer,
    check_signing_address,
    is_random,
)


@pytest.mark.parametrize(
    ("rule", "allowed", "rejected"),
    [
        (
            check_database_url,
            ["sqlite:///a.db", "postgresql://u:p@h/d"],
            ["sqlite://", "mysql://u:hunter2@h/d", "hunter2"],
        ),
        (check_address, ["", "http://a", "https://a.example/path"], ["ftp://hunter2", "hunter2", "http://a:0"]),
        (
            check_signing_address,
            ["", "https://a.example", "http://127.0.0.1:9", "http://localhost", "http://[::1]:9"],
            ["http://hunter2.example", "hunter2", "http://127.0.0.1.hunter2"],
        ),
        (check_node_addresses, ["", "http://a", "http://a, https://b"], ["ws://hunter2", "http://a,hunter2"]),
        (
            check_shown_address,
            ["", "https://scan.example/tx/{tx}", "https://pub-0123456789abcdef01.r2.example/{key}"],
            ["https://hunter2@a.example", "https://u:hunter2@a.example/{key}"],
        ),
        (
            check_public_node,
            [
                "",
                "http://127.0.0.1:8545",
                "https://arb1.arbitrum.io/rpc",
                "https://arbitrum-one-rpc.publicnode.com",
                "https://eth-mainnet.g.alchemy.com/v2/demo",
                "https://arbitrum-sepolia-testnet.api.pocket.network",
                "https://a-company-of-a-long-name-2.example.org/ethereum-mainnet-archive-2",
                "https://a.example/rpc?network=arbitrum-one",
                "https://a.example/rpc?signed=1",
                "https://node-0a1b2c3d4e5f6a7b.example.org",
            ],
            [
                "https://u:hunter2@a.example",
                "https://hunter2@a.example",
                "https://[hunter2]/",
                "https://u:hun\u2100hunter2@a.example",
                "https://a.example/?api-key=hunter2",
                "https://a.example/?apikey=hunter2",
                "https://a.example/rpc?network=arbitrum&dkey=hunter2",
                "https://a.example/#token=hunter2",
                "https://a.example/v3/0123456789abcdef0123456789abcdef",
                "https://a.example/v2/aB3dE5-fG7_hI9jK1lM3nO5pQ7rS9tU1",
                "https://a.example/3f2c1b0a-1111-4222-8333-abcdefabcdef",
                "https://a.example/3twwfvotdcxyz1234567ab",
                "https://0123456789abcdef0123456789abcdef.a.example",
            ],
        ),
        (check_signer, ["keystore", "aws-kms:alias/flock", "gcp-kms:projects/p"], ["", "vault:hunter2", "aws-kms:"]),
    ],
)
def test_a_rule_allows_and_rejects(rule: Callable[[str], str], allowed: list[str], rejected: list[str]) -> None:
    """An allowed value stays as it is; of a rejected one, which may be a secret, nothing is repeated."""
    assert [rule(value) for value in allowed] == allowed
    for value in rejected:
        with pytest.raises(ValueError, match=r"^(must|cannot)") as caught:
            rule(value)
        assert "hunter2" not in str(caught.value)
        assert not str(caught.value).endswith(".")


@pytest.mark.parametrize(
    "weak",
    ["p" * 40, "abc" * 14, "0123456789" * 4, "abcdefghijklmnopqrstuvwxyz012345", "k3j5h2x9" * 5, "x" * 31 + "y"],
)
def test_a_secret_that_is_easy_to_guess_is_rejected(weak: str) -> None:
    """Equal letters, repetitions and rows of the alphabet are long, and guessed at once."""
    rule = is_random(32).func
    with pytest.raises(ValueError, match="easy to guess"):
        rule(SecretStr(weak))


def test_random_secrets_are_allowed() -> None:
    """As usual programs make them, in any alphabet; and none at all."""
    made = [token_hex(16), token_hex(32), token_urlsafe(24), str(uuid4()), "correct horse battery staple and so on"]
    for secret in [*made, ""]:
        assert is_random(32).func(SecretStr(secret)).get_secret_value() == secret  # type: ignore[call-arg]  # one argument
    assert is_random(16).func(SecretStr(token_hex(8)))  # type: ignore[call-arg]  # as above
