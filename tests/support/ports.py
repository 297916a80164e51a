"""Ports for servers that tests start."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_LOWEST = 20_000
_RANGE_OF_CLIENTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
_given: set[int] = set()


def free_port() -> int:
    """Return a loopback port that is free; prefer port 0 where a server takes it.

    It lies below those that the system gives to clients: no connection takes it before the server
    does, and no port is given twice.
    """
    for _ in range(1_000):
        port = random.randrange(_LOWEST, _first_of_clients())
        if port not in _given and _is_free(port):
            _given.add(port)
            return port
    raise AssertionError("no port is free")


def _first_of_clients() -> int:
    if _RANGE_OF_CLIENTS.exists():
        first = int(_RANGE_OF_CLIENTS.read_text().split()[0])
        if first > _LOWEST + 1_000:
            return first
    return 32_768


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
