"""The rules that values of settings keep beyond their types, for the fields of `bot.settings`.

The text of each ValueError continues the name of the setting, and never quotes the value, which may be a secret.
"""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr

from contracts.rpc.urls import addresses, is_address
from migrations.database import parse_url


def check_database_url(value: str) -> str:
    """Allow a SQLite file or PostgreSQL."""
    try:
        parse_url(value)
    except ValueError as error:
        raise ValueError(f"cannot be used. {str(error).rstrip('.')}") from None
    return value


def check_address(value: str) -> str:
    """Allow an http or https address, or none."""
    if value and not is_address(value):
        raise ValueError("must be an http or https address")
    return value


def check_signing_address(value: str) -> str:
    """Allow https, and http on this machine alone."""
    parts = urlsplit(check_address(value))
    if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise ValueError("must begin with https://, so that nobody on the way can read what members sign")
    return value


def check_node_addresses(value: str) -> str:
    """Allow one http or https address or several."""
    try:
        addresses(value or "http://none.invalid")
    except ValueError:
        raise ValueError("must be an http or https address, or several with commas between them") from None
    return value


def check_signer(value: str) -> str:
    """Allow the keystore, or a key service with the name of its key."""
    if not re.fullmatch(r"keystore|(aws-kms|gcp-kms):\S+", value):
        raise ValueError("must be keystore, aws-kms:KEY_ID or gcp-kms:RESOURCE")
    return value


def contains(part: str, *, optional: bool = True) -> AfterValidator:
    """Return the rule that a part stands in the value; an optional value may be empty."""

    def check(value: str) -> str:
        if part not in value and (value or not optional):
            raise ValueError(f"must contain {part}")
        return value

    return AfterValidator(check)


def has_length(least: int) -> AfterValidator:
    """Return the rule that a secret, if there is one, has this length at least."""

    def check(value: SecretStr) -> SecretStr:
        if 0 < len(value.get_secret_value()) < least:
            raise ValueError(f"is too short: use at least {least} random characters")
        return value

    return AfterValidator(check)


Address = Annotated[str, AfterValidator(check_address)]
