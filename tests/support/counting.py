"""Far sides that count: who came when, how many were there at once, what came how often."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pynetdicom
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import evt

from intu_fhir.demo.ehr import StandInEhr
from intu_fhir.demo.fhir_http import Asked, Reply
from intu_fhir.demo.pacs import StandInPacs

Delay = Callable[[], float]


class Visits:
    """Visits of a far side.

    Args of the result:
        begun: when each began, in seconds of the monotonic clock.
        most: how many were there at the same time, at most.
        met: what each met: how many were there, itself included, and how many had gone.
    """

    def __init__(self) -> None:
        self.begun: list[float] = []
        self.met: list[tuple[int, int]] = []
        self.inside, self.most, self._gone = 0, 0, 0
        self._lock = threading.Lock()

    def enter(self) -> None:
        """Count one in."""
        with self._lock:
            self.begun.append(time.monotonic())
            self.inside += 1
            self.most = max(self.most, self.inside)
            self.met.append((self.inside, self._gone))

    def leave(self) -> None:
        """Count one out."""
        with self._lock:
            self.inside -= 1
            self._gone += 1

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """Count one in and out."""
        self.enter()
        try:
            yield
        finally:
            self.leave()

    def most_within(self, seconds: float) -> int:
        """Return how many began within any span of time, at most."""
        times, begin, most = sorted(self.begun), 0, 0
        for end, at in enumerate(times):
            while times[begin] < at - seconds:
                begin += 1
            most = max(most, end - begin + 1)
        return most


class CountingEhr(StandInEhr):
    """A FHIR server that takes its time for each request.

    Args:
        delay: seconds for one request.
    """

    def __init__(
        self,
        folder: Path,
        *,
        delay: Delay = lambda: 0.0,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        super().__init__(folder, host=host, port=port)
        self.visits = Visits()
        self.arrived: dict[tuple[str, int], float] = {}
        self._delay = delay

    def answer(self, asked: Asked) -> Reply:
        """Answer when the time is up."""
        with self.visits.one():
            self.stopping.wait(self._delay())
            reply = super().answer(asked)
        if reply.status in {200, 201} and asked.method in {"PUT", "POST"}:
            self._note(reply.resource or {})
        return reply

    def _note(self, resource: dict[str, Any]) -> None:
        if resource.get("resourceType") == "ImagingStudy":
            key = (study_of(resource), int(resource["numberOfInstances"]))
            self.arrived.setdefault(key, time.monotonic())

    def generations(self) -> dict[str, list[list[int]]]:
        """Return, for each study, the generation of each version of each of its resources."""
        found: dict[str, list[list[int]]] = {}
        for resource in self.resources("ImagingStudy"):
            versions = self.versions("ImagingStudy", resource["id"])
            told = [int(one["numberOfInstances"]) for one in versions if one]
            found.setdefault(study_of(resource), []).append(told)
        return found


def study_of(resource: dict[str, Any]) -> str:
    """Return the Study Instance UID of an ImagingStudy."""
    value: str = resource["identifier"][0]["value"]
    return value.removeprefix("urn:oid:")


class CountingPacs:
    """A PACS by pynetdicom that keeps nothing but who came, and what came when.

    Args:
        delay: seconds for one instance, by its UID.
        host: address to listen on.
    """

    def __init__(
        self, *, delay: Callable[[str], float] = lambda uid: 0.0, host: str = "127.0.0.1"
    ) -> None:
        self._host = host
        self.visits = Visits()
        self.received: list[tuple[str, float]] = []
        self.port = 0
        self._delay, self._over = delay, threading.Event()
        self._entity = pynetdicom.AE("PACS")
        self._entity.maximum_associations = 200
        self._entity.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
        self._server: Any = None

    def counts(self) -> Counter[str]:
        """Return how often each instance came."""
        return Counter(uid for uid, _ in self.received)

    def _store(self, event: evt.Event) -> int:
        request: Any = event.request
        uid = str(request.AffectedSOPInstanceUID)
        self._over.wait(self._delay(uid))
        self.received.append((uid, time.monotonic()))
        return 0x0000

    def _accepted(self, event: evt.Event) -> None:
        self.visits.enter()
        # The default of 10 ms between two looks at the socket makes a slow PACS.
        event.assoc.dul._run_loop_delay = 0.001

    def _closed(self, event: evt.Event) -> None:
        if event.assoc.is_acceptor:
            self.visits.leave()

    def __enter__(self) -> Self:
        self._server = self._entity.start_server(
            (self._host, 0),
            block=False,
            evt_handlers=[
                (evt.EVT_C_STORE, self._store),
                (evt.EVT_ACCEPTED, self._accepted),
                (evt.EVT_CONN_CLOSE, self._closed),
            ],
        )
        self.port = self._server.socket.getsockname()[1]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._server.shutdown()
        self._entity.shutdown()
        self._server.server_close()


class VisitedPacs(StandInPacs):
    """A PACS that keeps what it gets, and counts how many images come at the same time."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.visits = Visits()

    def _store(self, event: evt.Event) -> int:
        with self.visits.one():
            return super()._store(event)


def between(least: float, most: float) -> Delay:
    """Return what gives a random number of seconds."""
    chance = random.Random(1)
    return lambda: chance.uniform(least, most)
