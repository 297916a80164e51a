"""One address for several receivers: passes TCP on to those that say that they are ready."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import httpx

_LOOK_SECONDS, _PATIENCE = 0.2, 2.0


@dataclass
class Behind:
    """A receiver behind the balancer.

    Args:
        watch: URL of its ``/readyz``.
        passed: connections that it was given.
    """

    name: str
    address: tuple[str, int]
    watch: str
    is_ready: bool = False
    passed: int = field(default=0)

    def look(self, client: httpx.Client) -> None:
        """Ask whether it is ready; no answer is a no."""
        try:
            self.is_ready = client.get(self.watch).status_code == httpx.codes.OK
        except httpx.HTTPError:
            self.is_ready = False


class Balancer:
    """Gives each connection to the next receiver that is ready."""

    def __init__(self, behind: Sequence[Behind]) -> None:
        self.behind = tuple(behind)
        self._turn = itertools.cycle(self.behind)
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        watching = [threading.Thread(target=self._watch, args=(one,)) for one in self.behind]
        self._threads = [*watching, threading.Thread(target=self._accept)]

    def is_ready(self, name: str) -> bool:
        """Say what it last heard of a receiver."""
        return next(one.is_ready for one in self.behind if one.name == name)

    def passed(self) -> dict[str, int]:
        """Return how many connections each was given."""
        return {one.name: one.passed for one in self.behind}

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _watch(self, one: Behind) -> None:
        with httpx.Client(timeout=_PATIENCE, trust_env=False) as client:
            while not self._over.wait(_LOOK_SECONDS):
                one.look(client)

    def _accept(self) -> None:
        self._listener.settimeout(_LOOK_SECONDS)
        while not self._over.is_set():
            try:
                caller, _ = self._listener.accept()
            except TimeoutError:
                continue
            self._pass_on(caller)

    def _pass_on(self, caller: socket.socket) -> None:
        for one in itertools.islice(self._turn, len(self.behind)):
            if not one.is_ready:
                continue
            with contextlib.suppress(OSError):
                receiver = socket.create_connection(one.address, timeout=_PATIENCE)
                receiver.settimeout(None)
                one.passed += 1
                threading.Thread(target=_join, args=(caller, receiver), daemon=True).start()
                return
        caller.close()


def _join(caller: socket.socket, receiver: socket.socket) -> None:
    """Pass bytes on in both directions until the connection ends."""
    with caller, receiver:
        back = threading.Thread(target=_copy, args=(receiver, caller), daemon=True)
        back.start()
        _copy(caller, receiver)
        back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Pass bytes on until either side ends; then end both."""
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    for one in (source, target):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
