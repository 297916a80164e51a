"""Far sides that misbehave on purpose, on real sockets."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

Behaviour = Callable[["Peer"], None]


class Gone(Exception):
    """The other side closed, or the test is over."""


class Peer:
    """One connection that a test's server has accepted.

    Args:
        number: which connection it is, counted from 1.
    """

    def __init__(self, connection: socket.socket, number: int, over: threading.Event) -> None:
        self.socket, self.number, self._over = connection, number, over
        self.received = b""

    def send(self, data: bytes) -> None:
        """Send bytes."""
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Gone from error

    def receive(self, size: int = 65_536) -> bytes:
        """Return some bytes.

        Raises:
            Gone: the other side closed.
        """
        try:
            data = self.socket.recv(size)
        except OSError as error:
            raise Gone from error
        if not data:
            raise Gone
        self.received += data
        return data

    def exactly(self, size: int) -> bytes:
        """Return exactly so many bytes."""
        data = b""
        while len(data) < size:
            data += self.receive(size - len(data))
        return data

    def wait(self, seconds: float = 60.0) -> None:
        """Do nothing for a while, or until the test is over."""
        if self._over.wait(seconds):
            raise Gone

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    # ---- HTTP

    def request(self) -> tuple[str, bytes]:
        """Return the head of an HTTP request as text, and its body."""
        head = b""
        while b"\r\n\r\n" not in head:
            head += self.receive(1)
        text = head.decode("latin-1")
        sizes = [
            int(line.partition(":")[2])
            for line in text.split("\r\n")
            if line.lower().startswith("content-length:")
        ]
        return text, self.exactly(sizes[0]) if sizes else b""

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Send an HTTP answer."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named = {"Content-Length": str(len(body)), **named}
        lines = [f"HTTP/1.1 {status} Scripted", *(f"{n}: {v}" for n, v in named.items())]
        self.send("\r\n".join([*lines, "", ""]).encode() + body)

    # ---- DICOM

    def pdu(self) -> tuple[int, bytes]:
        """Return type and body of one PDU."""
        kind, length = struct.unpack(">BxI", self.exactly(6))
        return kind, self.exactly(length)


class RawServer:
    """Gives each connection to a behaviour, in a thread of its own."""

    def __init__(
        self, behaviour: Behaviour, *, receive_buffer: int | None = None, port: int = 0
    ) -> None:
        self._behaviour = behaviour
        self._over = threading.Event()
        self._listener = socket.socket()
        if receive_buffer:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", port))
        self._listener.listen(16)
        self._threads: list[threading.Thread] = []
        self.peers: list[Peer] = []
        self.port: int = self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        """Where HTTP clients find it."""
        return f"http://127.0.0.1:{self.port}"

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            peer = Peer(connection, len(self.peers) + 1, self._over)
            self.peers.append(peer)
            thread = threading.Thread(target=self._serve, args=(peer,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, peer: Peer) -> None:
        with contextlib.suppress(Gone), contextlib.closing(peer.socket):
            self._behaviour(peer)

    def __enter__(self) -> Self:
        accepting = threading.Thread(target=self._accept, daemon=True)
        self._threads.append(accepting)
        accepting.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for peer in self.peers:
            with contextlib.suppress(OSError):
                peer.socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
