"""The addresses that a host may have us ask: public ones, and its own where the operator's host is not public."""

from __future__ import annotations

import ipaddress

import pytest

from generation.hosting.reach import PUBLIC, Kind, Reach, kind_of

INSIDE = {
    "127.0.0.1": Kind.LOOPBACK,
    "127.8.9.10": Kind.LOOPBACK,
    "::1": Kind.LOOPBACK,
    "::ffff:127.0.0.1": Kind.LOOPBACK,
    "64:ff9b::7f00:1": Kind.LOOPBACK,
    "2002:7f00:1::": Kind.LOOPBACK,
    "10.1.2.3": Kind.PRIVATE,
    "172.31.0.1": Kind.PRIVATE,
    "192.168.0.1": Kind.PRIVATE,
    "100.64.1.1": Kind.PRIVATE,
    "fd12::1": Kind.PRIVATE,
    "::ffff:10.0.0.1": Kind.PRIVATE,
    "169.254.169.254": Kind.NEVER,
    "fe80::1": Kind.NEVER,
    "fd00:ec2::254": Kind.NEVER,
    "100.100.100.200": Kind.NEVER,
    "168.63.129.16": Kind.NEVER,
    "0.0.0.0": Kind.NEVER,  # noqa: S104  # nothing listens there
    "::": Kind.NEVER,
    "224.0.0.1": Kind.NEVER,
    "255.255.255.255": Kind.NEVER,
    "240.0.0.1": Kind.NEVER,
}
URL = "http://{}:8080/a.mp4"


def written(host: str) -> str:
    return URL.format(f"[{host}]" if ":" in host else host)


@pytest.mark.parametrize(("address", "kind"), INSIDE.items(), ids=INSIDE)
def test_no_address_inside_is_asked_for_a_public_host(address: str, kind: Kind) -> None:
    """By whatever way it is written; an operator's public name does not change that."""
    assert kind_of(ipaddress.ip_address(address)) is kind
    for reach in (PUBLIC, Reach.of("https://livepeer.studio/api")):
        assert not reach.allows("video.example", ipaddress.ip_address(address))
        assert not reach.allows_url(written(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "64:ff9b::101:101", "172.32.0.1"])
def test_public_addresses_are_asked(address: str) -> None:
    assert kind_of(ipaddress.ip_address(address)) is None
    assert PUBLIC.allows("video.example", ipaddress.ip_address(address))
    assert PUBLIC.allows_url(written(address))


@pytest.mark.parametrize(
    ("own", "reached", "not_reached"),
    [
        ("http://127.0.0.1:7001/api", ["127.0.0.1", "::1"], ["10.0.0.1", "169.254.169.254"]),
        ("http://localhost:7001/api", ["127.0.0.1"], ["10.0.0.1"]),
        ("http://192.168.1.5/api", ["192.168.1.9", "10.0.0.1"], ["127.0.0.1", "169.254.169.254", "100.100.100.200"]),
        ("http://minio:9000", ["10.0.0.1", "127.0.0.1"], ["169.254.169.254"]),
        ("https://media.internal/api", ["10.0.0.1"], ["fd00:ec2::254"]),
        ("http://169.254.7.7/api", [], ["127.0.0.1", "10.0.0.1", "169.254.169.254"]),
    ],
)
def test_a_host_inside_reaches_its_own_kind(own: str, reached: list[str], not_reached: list[str]) -> None:
    """The embedded host lies on this machine, and a bucket may lie in the network: theirs are asked, no other kind."""
    reach = Reach.of(own)
    for address in reached:
        assert reach.allows("a.example", ipaddress.ip_address(address))
    for address in not_reached:
        assert not reach.allows("a.example", ipaddress.ip_address(address))
    assert reach.allows_url(own)


def test_a_name_is_trusted_only_where_it_is_the_operators() -> None:
    """Whoever runs a public name can let it point anywhere: the bucket's name is the operator's, a service's is not."""
    inside = ipaddress.ip_address("10.0.0.1")
    url = "https://videos.example/{key}"
    assert not Reach.of(url).allows("videos.example", inside)
    assert Reach.of(url, trust_names=True).allows("VIDEOS.example.", inside)
    assert not Reach.of(url, trust_names=True).allows("other.example", inside)


@pytest.mark.parametrize(
    "url", ["http://inside/", "http://localhost/", "http://2130706433/", "http://a.internal/", "x"]
)
def test_names_of_machines_inside_are_refused_as_they_are_written(url: str) -> None:
    """Also a number, which a resolver reads as an address, and what is no address at all."""
    assert not PUBLIC.allows_url(url)


def test_missing_settings_reach_nothing_more() -> None:
    assert Reach.of(None, "") == PUBLIC
