"""Which addresses are one peer: limits and news for each must not be had many times over."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

_OF_ONE_NETWORK = 64  # a host takes any address of its link's network (RFC 4291 2.5.1, RFC 8981)


def plain_address(address: str) -> IPv4Address | IPv6Address:
    """Read an address; one of version 4 on a version 6 socket is what it was (RFC 4291 2.5.5.2).

    Raises:
        ValueError: it is none.
    """
    peer = ip_address(address.partition("%")[0])
    mapped = getattr(peer, "ipv4_mapped", None)
    return mapped if mapped is not None else peer


def peer_key(address: str) -> str:
    """Return what the peer at an address is counted by.

    An IPv4 address counts for itself. An IPv6 address counts as its network of 64 bits, in which
    one host takes as many addresses as it likes. What is no address counts for itself.
    """
    try:
        peer = plain_address(address)
    except ValueError:
        return address
    if isinstance(peer, IPv4Address):
        return str(peer)
    return str(IPv6Network((peer, _OF_ONE_NETWORK), strict=False))
