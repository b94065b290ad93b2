"""Addresses of chain nodes: one or several in a setting, named without the secrets that they may carry. No web3."""

from __future__ import annotations

import re
from collections import Counter
from urllib.parse import urlsplit


def addresses(text: str) -> list[str]:
    """The addresses in a text, in their order and each once; commas or spaces stand between them.

    Raises ValueError, without quoting it, for whatever is no http:// or https:// URL.
    """
    found = list(dict.fromkeys(part for part in re.split(r"[\s,]+", text) if part))
    for address in found or [""]:
        if not is_address(address):
            raise ValueError("The chain's address must be an http:// or https:// URL.")
    return found


def is_address(address: str) -> bool:
    """Whether it is an http or https URL with a host and, if any, a port that there is."""
    try:
        parts = urlsplit(address)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def names(urls: list[str]) -> list[str]:
    """What each address is called where people read it: its host; with port or place where several share that.

    User, password, path and query stay out: providers put their keys there.
    """
    hosts = [urlsplit(url).hostname or "" for url in urls]
    shared = Counter(hosts)
    named = []
    for url, host in zip(urls, hosts, strict=True):
        port = urlsplit(url).port
        named.append(f"{host}:{port}" if shared[host] > 1 and port else host)
    doubles = Counter(named)
    return [f"{name} (no. {place})" if doubles[name] > 1 else name for place, name in enumerate(named, 1)]
