"""The rules for values of settings: what each allows, and a text that goes on after the setting's name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bot.setting_rules import (
    check_address,
    check_database_url,
    check_node_addresses,
    check_signer,
    check_signing_address,
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
