"""The one sender of every measurement: one outstanding C-STORE per association, Nagle off."""

from __future__ import annotations

import multiprocessing
import socket
import struct
import time
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier

from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from tests.benchmarks.objects import CONTEXT_ID, INSTANCE, SERIES, STUDY, Kind, Template
from tests.support.raw_peer import (
    ASSOCIATE_AC,
    P_DATA,
    associate_request,
    elements_of,
    pdu,
)

MAX_PDU_BYTES = 131_072
_TIMEOUT_SECONDS = 120.0
_WARM_UP = 20
_RELEASE_REQUEST = pdu(5, bytes(4))
_STATUS = 0x0900


@dataclass(frozen=True, slots=True)
class Job:
    """What to send where.

    Args:
        called: AE title of the receiver.
        count: images per association.
        run: tells the UIDs of this run from those of every other.
    """

    port: int
    called: str
    kind: Kind
    associations: int
    count: int
    run: int


def rate(job: Job) -> float:
    """Send and return how many images per second were answered with success.

    Each association is a process. The time runs from when all of them are warm until the last
    answer.
    """
    context = multiprocessing.get_context("fork")
    start = context.Barrier(job.associations)
    results: multiprocessing.SimpleQueue[tuple[float, float]] = context.SimpleQueue()
    senders = [
        context.Process(target=_send_all, args=(job, number, start, results), daemon=True)
        for number in range(job.associations)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(_TIMEOUT_SECONDS)
        if sender.exitcode != 0:
            raise RuntimeError(f"a sender to port {job.port} ended with {sender.exitcode}")
    times = [results.get() for _ in senders]
    return job.associations * job.count / (max(end for _, end in times) - min(b for b, _ in times))


def _send_all(
    job: Job,
    number: int,
    start: Barrier,
    results: multiprocessing.SimpleQueue[tuple[float, float]],
) -> None:
    with socket.create_connection(("127.0.0.1", job.port), timeout=_TIMEOUT_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = _Peer(connection)
        template = Template(job.kind, peer.associate(job.called))
        base = (job.run * 100 + number) * 1_000_000
        template.give(STUDY, base)
        template.give(SERIES, base)
        warm_up = _WARM_UP if job.count > 1 else 0
        for instance in range(base, base + warm_up):
            peer.store(template, instance)
        start.wait(_TIMEOUT_SECONDS)
        begun = time.monotonic()
        for instance in range(base + warm_up, base + warm_up + job.count):
            peer.store(template, instance)
        results.put((begun, time.monotonic()))
        connection.sendall(_RELEASE_REQUEST)
        connection.recv(10)


class _Peer:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def associate(self, called: str) -> int:
        """Ask for an association; return the longest PDU to send on it."""
        context = (CONTEXT_ID, CTImageStorage, (ExplicitVRLittleEndian,))
        request = associate_request(
            (context,), called=called, calling="BENCH", max_pdu_bytes=MAX_PDU_BYTES
        )
        self._connection.sendall(request)
        kind, body = self._read()
        if kind != ASSOCIATE_AC:
            raise RuntimeError(f"no association: PDU {kind}")
        place = body.index(b"\x51\x00\x00\x04") + 4
        (longest,) = struct.unpack_from(">I", body, place)
        return min(longest or MAX_PDU_BYTES, MAX_PDU_BYTES)

    def store(self, template: Template, instance: int) -> None:
        """Send one image and wait for its success."""
        template.give(INSTANCE, instance)
        self._connection.sendall(template.message)
        kind, body = self._read()
        if kind != P_DATA:
            raise RuntimeError(f"PDU {kind} instead of an answer")
        status = elements_of(body[6:])[_STATUS]
        if status != b"\0\0":
            raise RuntimeError(f"status {status[::-1].hex()}")

    def _read(self) -> tuple[int, bytes]:
        head = self._exactly(6)
        kind, length = struct.unpack(">BxI", head)
        return kind, self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self._connection.recv(count - len(data))
            if not part:
                raise RuntimeError("the receiver closed the connection")
            data += part
        return data
