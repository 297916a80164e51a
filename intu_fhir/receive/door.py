"""Which addresses may connect to a channel at all."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network

from intu_fhir.receive.peers import peer_key, plain_address

_NEWS_SECONDS = 60.0
_MOST_REMEMBERED = 10_000


class Door:
    """Admits connections by their address, before a byte is read from them.

    Args:
        networks: who may connect, in CIDR notation.
    """

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = tuple(ip_network(network) for network in networks)
        self._told: dict[str, float] = {}

    def admits(self, address: str) -> bool:
        """Say whether this address may connect; one that is none may not."""
        try:
            peer = plain_address(address)
        except ValueError:
            return False
        return any(peer in network for network in self._networks)

    def is_news(self, address: str, now: float) -> bool:
        """Say whether turning this peer away is worth a line: once in a minute.

        Args:
            now: seconds of the monotonic clock.
        """
        peer = peer_key(address)
        told = self._told.get(peer)
        if told is not None and now < told + _NEWS_SECONDS:
            return False
        if len(self._told) >= _MOST_REMEMBERED:
            self._told.clear()
        self._told[peer] = now
        return True
