"""The rules that values of settings keep beyond their types, for the fields of `bot.settings`.

The text of each ValueError continues the name of the setting, and never quotes the value, which may be a secret.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

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
    parts = urlsplit(check_shown_address(check_address(value)))
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


def is_random(least: int) -> AfterValidator:
    """Return the rule that a secret, if there is one, has this length at least and cannot be guessed."""

    def check(value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if 0 < len(text) < least:
            raise ValueError(f"is too short: use at least {least} random characters")
        if text and bits(text) < LEAST_BITS * least:
            raise ValueError("is too easy to guess: use random characters")
        return value

    return AfterValidator(check)


LEAST_BITS = 1.8  # for each character that a secret must have; sixteen random hex digits have 2.1 or more


def bits(text: str) -> float:
    """Return an upper bound of a text's entropy: of its characters and of the steps between them, without repetition.

    "aaaa…", "abcabc…" and "abcdefg…" have next to none.
    """
    period = next((size for size in range(1, len(text)) if text[size:] == text[:-size]), len(text))
    unit = text[:period]
    steps = [ord(after) - ord(before) for before, after in pairwise(unit)]
    return min(_entropy(unit), _entropy(steps)) * len(unit)


def _entropy(symbols: Iterable[object]) -> float:
    """Return Shannon's entropy of a symbol, in bits."""
    counts = Counter(symbols)
    total = counts.total()
    return -sum(count / total * math.log2(count / total) for count in counts.values())


# --------------------------------------------------------------------------- addresses that members read


def check_shown_address(value: str) -> str:
    """Allow an address without a user or a password; it may have a part that is filled in later, such as {key}."""
    try:
        parts = urlsplit(value)
    except ValueError:  # its own words quote the value
        raise ValueError("must be an address") from None
    if parts.username or parts.password:
        raise ValueError("must not have a user or a password in it, since members read it")
    return value


def check_public_node(value: str) -> str:
    """Allow a node's address that has neither a password nor a key, in the forms in which providers give keys."""
    parts = urlsplit(check_shown_address(check_address(value)))
    queries = [*parse_qsl(parts.query), *parse_qsl(parts.fragment)]
    places = [*parts.path.split("/"), *(content for _, content in queries)]
    subdomains = (parts.hostname or "").split(".")[:-2]
    if (
        any(_KEY_NAME.search(name) for name, _ in queries)
        or any(_looks_like_a_key(place) for place in places)
        or any(re.fullmatch(r"[0-9a-f]{32,}", label) for label in subdomains)
    ):
        raise ValueError("must not have a key in it, since members read it: use a node that anybody may use")
    return value


_KEY_NAME = re.compile(
    r"(^|[-_.])(d?key|api-?key|token|secret|auth|passw\w*|access|sig(nature)?)($|[-_.])", re.IGNORECASE
)


def _looks_like_a_key(part: str) -> bool:
    if re.fullmatch(r"[0-9a-fA-F]{16,}", part.replace("-", "")):  # also a UUID
        return True
    if not re.fullmatch(r"[\w.~=-]{20,}", part):
        return False
    if all(any(test(letter) for letter in part) for test in (str.isdigit, str.islower, str.isupper)):
        return True
    # names have words between their dashes
    return any(len(word) >= 16 and sum(map(str.isdigit, word)) > 1 for word in re.split(r"[\W_]", part))


# --------------------------------------------------------------------------- remedies

_STORE = "Take it from the page of your S3-compatible store, and set it in .env."
_RANDOM = "Run `openssl rand -hex 32`, and set what it prints in .env."
# The way to a value, for each setting that a command may miss.
REMEDIES: Mapping[str, str] = {
    "discord_token": "Make an application at https://discord.com/developers/applications, and copy its bot's token "
    "into .env.",
    "livepeer_api_key": "Make a key at https://livepeer.studio/dashboard/developers, and set it in .env.",
    "webhook_secret": f"{_RANDOM} Give the same secret to the webhook in Livepeer Studio.",
    "s3_bucket": "Make a bucket in your S3-compatible store, and set its name in .env.",
    "s3_access_key": _STORE,
    "s3_secret_key": _STORE,
    "s3_public_url": "Set the address under which everybody can read the bucket, with {key} in the place of a "
    "file's name.",
    "rpc_url": "Set the address of a node of your chain, such as https://sepolia-rollup.arbitrum.io/rpc for Arbitrum's "
    "test network.",
    "ledger_address": "Run `flock deploy`, and set the address that it prints in .env.",
    "keystore": "Set FLOCK_KEYSTORE=keys/relayer.json and a FLOCK_KEYSTORE_PASSWORD, then run `flock deploy "
    "--new-key`.",
    "voter_pepper": f"{_RANDOM} Keep a copy of it.",
}
WRONG_VALUE = "Correct it in .env; .env.example describes it."
# For values that break their rule in a way that has a remedy of its own.
FOR_WRONG = {
    "voter_pepper": f"{_RANDOM} Everybody counts as a new voter then: change it while no round is open.",
    "webhook_secret": REMEDIES["webhook_secret"],
    "public_rpc_url": "Set a node that anybody may use, such as https://sepolia-rollup.arbitrum.io/rpc, or none.",
}

Address = Annotated[str, AfterValidator(check_address)]
