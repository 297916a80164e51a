"""Receivers that are wrong in one place each, for tests that run inside of one process.

Each is entered around a test that has to fail then (``tests.reliability.wrong_receivers``).
Receivers that break the promise of durability stand in ``tests.support.mutants``.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from unittest import mock

from intu_fhir.db.instances import NewInstance
from intu_fhir.files.local import LocalFileStore, LocalSpool
from intu_fhir.model.instance import Disposition
from intu_fhir.observe.clock import Clock
from intu_fhir.receive import listener
from intu_fhir.receive.association import Association
from intu_fhir.receive.connection import Connection
from intu_fhir.receive.deadlines import Deadlines
from intu_fhir.receive.ending import Ended
from intu_fhir.receive.intake import Intake
from intu_fhir.receive.ports import EndReason
from intu_fhir.receive.service import Service
from intu_fhir.receive.slots import Slots
from intu_fhir.receive.upper_layer import Fragment, PduReader
from intu_fhir.settings.schema import ServerTls
from intu_fhir.stage import header
from intu_fhir.stage.accept import Accept
from intu_fhir.stage.encodings import Limits

Wrong = Callable[[], AbstractContextManager[Any]]


def without_limits_of_associations() -> AbstractContextManager[Any]:
    """Let everybody in."""
    return mock.patch.object(Slots, "associate", return_value="")


def without_deadlines() -> AbstractContextManager[Any]:
    """Wait for ever."""
    return mock.patch.object(Deadlines, "overdue", return_value=None)


def without_a_look_at_lengths() -> AbstractContextManager[Any]:
    """Wait for as many bytes as a PDU says that it has."""
    return mock.patch.object(PduReader, "_judge", return_value=None)


def without_a_limit_of_objects() -> AbstractContextManager[Any]:
    """Take an object however large it gets."""
    return mock.patch.object(Intake, "_check_size", return_value=None)


@contextlib.contextmanager
def without_certificates_of_clients() -> Iterator[None]:
    """Ask no client for its certificate."""
    careful = listener.__dict__["server_context"]

    def careless(tls: ServerTls) -> ssl.SSLContext:
        context: ssl.SSLContext = careful(tls)
        context.verify_mode = ssl.CERT_NONE
        return context

    with mock.patch.object(listener, "server_context", careless):
        yield


def on_any_context() -> AbstractContextManager[Any]:
    """Take whatever comes inside a data set for a piece of it."""

    def take(association: Association, fragment: Fragment) -> Fragment:
        if fragment.is_last:
            association._data_context_id = None
        return fragment

    return mock.patch.object(Association, "_take_data", take)


@dataclass(frozen=True)
class _WallClock:
    """Takes the clock that people set for one that never goes back."""

    clock: Clock

    def now(self) -> datetime:
        return self.clock.now()

    def monotonic(self) -> float:
        return self.clock.now().timestamp()


def on_the_wall_clock() -> AbstractContextManager[Any]:
    """Measure how long something takes on the clock that people set."""
    careful = Connection.__init__

    def begin(connection: Connection, service: Service, *given: Any) -> None:
        careful(connection, replace(service, clock=_WallClock(service.clock)), *given)

    return mock.patch.object(Connection, "__init__", begin)


@contextlib.contextmanager
def without_grace() -> Iterator[None]:
    """Leave what is in hand without an answer when it has to stop."""
    careful = Connection._answer

    def answer(connection: Connection, *given: Any) -> None:
        if connection._service.stopping.is_set():
            raise Ended(EndReason.STOPPED, "cut")
        careful(connection, *given)

    with mock.patch.object(Connection, "_answer", answer):
        yield


@contextlib.contextmanager
def that_mends_text() -> Iterator[None]:
    """Write a question mark where a byte is in no character set."""
    careful = LocalSpool.write

    def write(spool: LocalSpool, data: bytes | memoryview) -> None:
        careful(spool, bytes(data).replace(b"\xff", b"?"))

    with mock.patch.object(LocalSpool, "write", write):
        yield


def that_keeps_each_copy() -> AbstractContextManager[Any]:
    """Leave the file of an object that is there already."""
    return mock.patch.object(LocalFileStore, "remove", return_value=None)


def that_takes_other_bytes_for_the_same() -> AbstractContextManager[Any]:
    """Answer Success to other bytes under a UID that is staged, and drop them."""

    def quarantine(accept: Accept, row: NewInstance, _staged: object) -> object:
        return accept._accepted(row.header, Disposition.ALREADY_STORED)

    return mock.patch.object(Accept, "_quarantine", quarantine)


def without_limits_of_reading() -> AbstractContextManager[Any]:
    """Read a header whatever it costs."""
    boundless = Limits(*[1 << 40] * 3)
    return mock.patch.object(Limits, "of", classmethod(lambda _limits, _receiver: boundless))


def that_takes_any_uid() -> AbstractContextManager[Any]:
    """Take any text for a UID."""
    return mock.patch.object(header, "is_uid", return_value=True)


WRONG: dict[str, Wrong] = {
    wrong.__name__.replace("_", "-"): wrong
    for wrong in (
        without_limits_of_associations,
        without_deadlines,
        without_a_look_at_lengths,
        without_a_limit_of_objects,
        without_certificates_of_clients,
        on_any_context,
        on_the_wall_clock,
        without_grace,
        without_limits_of_reading,
        that_mends_text,
        that_keeps_each_copy,
        that_takes_other_bytes_for_the_same,
        that_takes_any_uid,
    )
}
