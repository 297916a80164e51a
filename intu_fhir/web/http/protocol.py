"""HTTP/1.1 with bounds: how many connections, and how long a request may take to arrive.

uvicorn itself waits for the head of a request as long as the other side likes.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


class Bounds:
    """How many connections there are, all together and by address."""

    def __init__(self, limit: int, per_address: int) -> None:
        self._limit, self._per_address = limit, per_address
        self._open: Counter[str] = Counter()
        self._all = 0

    def enter(self, address: str) -> bool:
        """Count a connection in, or say that it is one too many."""
        if self._all >= self._limit or self._open[address] >= self._per_address:
            return False
        self._open[address] += 1
        self._all += 1
        return True

    def leave(self, address: str) -> None:
        """Count a connection out."""
        self._all -= 1
        self._open[address] -= 1
        if self._open[address] <= 0:
            del self._open[address]


class BoundedProtocol(H11Protocol):
    """One connection; closed where no whole head of a request comes in time."""

    bounds: Bounds
    request_seconds: float
    _address: str | None = None
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection in; one too many is closed."""
        address = str((transport.get_extra_info("peername") or ("",))[0])
        super().connection_made(transport)
        if not self.bounds.enter(address):
            transport.abort()
            return
        self._address = address
        self._wait_for_request()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        # The first byte of the next request stops uvicorn's own timer, so this one stays.
        self._wait_for_request()

    def _wait_for_request(self) -> None:
        self._stop_waiting()
        self._deadline = self.loop.call_later(self.request_seconds, self._give_up, self.cycle)

    def _give_up(self, cycle: Any) -> None:
        """Close where nothing has come since the answer of ``cycle``, or since the beginning."""
        is_waiting = self.cycle is cycle and getattr(cycle, "response_complete", True)
        if is_waiting and not self.transport.is_closing():
            self.transport.abort()

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count the connection out."""
        self._stop_waiting()
        if self._address is not None:
            self.bounds.leave(self._address)
            self._address = None
        super().connection_lost(exc)


def bounded_protocol(bounds: Bounds, request_seconds: float) -> type[BoundedProtocol]:
    """Return the protocol of one server, which makes one instance for each connection."""
    return type(
        "Bounded", (BoundedProtocol,), {"bounds": bounds, "request_seconds": request_seconds}
    )
