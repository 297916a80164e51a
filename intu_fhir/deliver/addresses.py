"""The addresses behind a name, and how long each may be tried within one deadline.

``socket.create_connection`` gives each address all of the time: a name with three dead ones takes
three times as long as allowed. Here each has an equal share of what is left, so that one which
never answers does not keep the others from being tried either.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

Resolve: TypeAlias = Callable[[str, int], Sequence[Any]]


def resolve(host: str, port: int) -> Sequence[Any]:
    """Look a name up.

    Raises:
        OSError: there is no such name.
    """
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


def each_address(
    host: str, port: int, left: Callable[[], float], resolved: Resolve = resolve
) -> Iterator[tuple[str, float]]:
    """Yield each address of a name with the seconds that it may be tried for.

    Args:
        left: how many seconds are left for all of them; raises where there are none.

    Raises:
        OSError: there is no such name.
    """
    found = list(dict.fromkeys(info[4][0] for info in resolved(host, port)))
    for number, address in enumerate(found):
        yield address, left() / (len(found) - number)


def connect(
    address: tuple[str, int], left: Callable[[], float], resolved: Resolve = resolve
) -> socket.socket:
    """Connect to the first address of a name that answers.

    Args:
        left: as for ``each_address``.

    Raises:
        OSError: none of them does.
    """
    host, port = address
    failed = OSError("no address")
    for one, seconds in each_address(host, port, left, resolved):
        try:
            return socket.create_connection((one, port), timeout=seconds)
        except OSError as error:
            failed = error
    raise failed
