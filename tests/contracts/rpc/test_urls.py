"""URLs of nodes: told apart by names that hold no secret."""

from __future__ import annotations

import pytest

from contracts.rpc.urls import addresses, names


def test_addresses_are_told_apart_without_their_secrets() -> None:
    """By host; by port where they share it; by place where they share both. Doubles count once."""
    told = addresses("https://a.example/k1,https://b.example/k2\n https://a.example/k1  http://h:1/x,http://h:2,")
    assert told == ["https://a.example/k1", "https://b.example/k2", "http://h:1/x", "http://h:2"]
    assert names(told) == ["a.example", "b.example", "h:1", "h:2"]
    assert names(["https://a.example/k1", "https://a.example/k2"]) == ["a.example (no. 1)", "a.example (no. 2)"]


@pytest.mark.parametrize("text", ["", " , ", "https://a.example ftp://b", "https://a.example,b", "http://x:99999"])
def test_what_is_no_address_is_refused_without_being_quoted(text: str) -> None:
    """A list with one bad address is bad."""
    with pytest.raises(ValueError, match="must be an http:// or https:// URL") as caught:
        addresses(text)
    assert "example" not in str(caught.value)
