"""The addresses that another party may have us ask: public ones, and private ones where the operator's own host is.

A video host names addresses of files and of uploads. Without a limit it could have us ask the machine's own services,
the neighbours in its network, or the metadata service of a cloud, and post what they answer.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import StrEnum
from typing import Self, TypeAlias
from urllib.parse import urlsplit

IpAddress: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"

# Those that a home, an office or a cluster gives its machines.
_PRIVATE = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"))
)
# The metadata services of clouds that lie outside of the link-local range: they hand out credentials.
_METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200", "168.63.129.16")))
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# Names that no public resolver knows: of machines in a home or a cluster.
_INNER_SUFFIXES = (".localhost", ".local", ".internal", ".lan", ".home.arpa", ".home", ".corp", ".intranet", ".svc")


class ForbiddenAddressError(Exception):
    """The video host named an address inside our own network, or of another host than its own."""


class Kind(StrEnum):
    """The kinds of addresses that are not public."""

    LOOPBACK = "loopback"  # this machine
    PRIVATE = "private"  # its neighbours
    NEVER = "never"  # link-local, metadata, multicast, reserved: no video lies there


@dataclass(frozen=True)
class Reach:
    """The addresses that may be asked: all public ones, those of these kinds, and those of these hosts."""

    kinds: frozenset[Kind] = frozenset()
    hosts: frozenset[str] = frozenset()

    @classmethod
    def of(cls, *urls: str | None, trust_names: bool = False) -> Self:
        """Return the reach of the operator's own hosts, as their addresses are written in the settings.

        Private addresses are reached only where one of the hosts is written as one, or by a name that no public
        resolver knows: whoever runs a public name can let it point anywhere. `trust_names` is for hosts of the
        operator's alone, whose names are theirs too.
        """
        kinds: set[Kind] = set()
        hosts: set[str] = set()
        for host in filter(None, map(_host_of, urls)):
            written = _literal(host)
            if written is not None:
                kind = kind_of(written)
                kinds |= {kind} - {None, Kind.NEVER}  # type: ignore[arg-type]  # None is taken out
            elif _is_inner(host):
                kinds |= {Kind.LOOPBACK} if _is_localhost(host) else {Kind.LOOPBACK, Kind.PRIVATE}
            if trust_names or (written is not None and kind_of(written) is not None) or _is_inner(host):
                hosts.add(host)
        return cls(frozenset(kinds), frozenset(hosts))

    def allows(self, host: str, address: IpAddress) -> bool:
        """Return True if an address, to which the host's name was resolved, may be asked."""
        kind = kind_of(address)
        return kind is None or kind in self.kinds or _bare(host) in self.hosts

    def allows_url(self, url: str) -> bool:
        """Return False for an address that is refused as it is written; a name is looked at once more when resolved."""
        host = _host_of(url)
        if host is None:
            return False
        written = _literal(host)
        if written is not None:
            return self.allows(host, written)
        if not _is_inner(host) or host in self.hosts:
            return True
        return (Kind.LOOPBACK if _is_localhost(host) else Kind.PRIVATE) in self.kinds


PUBLIC = Reach()


def kind_of(address: IpAddress) -> Kind | None:
    """Return the kind of an address; None for a public one. An IPv4 address within an IPv6 one counts as that."""
    inner = _inner_ipv4(address)
    if inner is not None:
        return kind_of(inner)
    if address in _METADATA:
        return Kind.NEVER
    if address.is_loopback:
        return Kind.LOOPBACK
    if any(address in network for network in _PRIVATE if network.version == address.version):
        return Kind.PRIVATE
    return None if address.is_global and not address.is_multicast else Kind.NEVER


def _inner_ipv4(address: IpAddress) -> ipaddress.IPv4Address | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


def _host_of(url: str | None) -> str | None:
    try:
        host = urlsplit(url or "").hostname
    except ValueError:
        return None
    return _bare(host) if host else None


def _bare(host: str) -> str:
    return host.casefold().rstrip(".").partition("%")[0]


def _literal(host: str) -> IpAddress | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_localhost(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost")


def _is_inner(host: str) -> bool:
    return "." not in host or host.endswith(_INNER_SUFFIXES)
