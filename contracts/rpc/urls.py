"""URLs of chain nodes: one or several in a setting, named without the secrets that they may carry. No web3."""

from __future__ import annotations

import re
from collections import Counter
from urllib.parse import urlsplit


def addresses(text: str) -> list[str]:
    """Return the addresses in a text, in their order and each once; commas or spaces stand between them.

    Raises ValueError, without quoting it, for whatever is no http:// or https:// URL.
    """
    urls = list(dict.fromkeys(part for part in re.split(r"[\s,]+", text) if part))
    for address in urls or [""]:
        if not is_address(address):
            raise ValueError("The chain's address must be an http:// or https:// URL.")
    return urls


def is_address(address: str) -> bool:
    """Return True for an http or https URL with a host and, if it has one, a valid port."""
    try:
        parts = urlsplit(address)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def names(urls: list[str]) -> list[str]:
    """Return the name of each address for people: its host; with port or place where several share that.

    User, password, path and query stay out: providers put their keys there.
    """
    hosts = [urlsplit(url).hostname or "" for url in urls]
    shared = Counter(hosts)
    readable = []
    for url, host in zip(urls, hosts, strict=True):
        port = urlsplit(url).port
        readable.append(f"{host}:{port}" if shared[host] > 1 and port else host)
    doubles = Counter(readable)
    return [f"{name} (no. {place})" if doubles[name] > 1 else name for place, name in enumerate(readable, 1)]
