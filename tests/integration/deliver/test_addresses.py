"""A name with several addresses, some of which never answer: one deadline over all of them."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from intu_fhir.deliver import addresses
from intu_fhir.deliver.addresses import connect
from intu_fhir.deliver.exchange import Exchange, NoAnswer
from intu_fhir.deliver.transport import Connection, NotConnected
from tests.support.ports import free_port

SECONDS = 1.2
DEAD = ("127.0.0.2", "127.0.0.3", "127.0.0.4")


def _resolver(*names: str) -> Any:
    kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
    return lambda host, port: [(*kind, (name, port)) for name in names]


@contextmanager
def _full(address: str, port: int) -> Iterator[None]:
    """Listen without accepting until nobody more gets in: a connect is not answered."""
    with socket.create_server((address, port), backlog=0), ExitStack() as waiting:
        for _ in range(64):
            one = waiting.enter_context(socket.socket())
            one.settimeout(0.2)
            try:
                one.connect((address, port))
            except TimeoutError:
                break
        else:
            pytest.skip("this system lets everybody into a full queue")
        yield


@pytest.fixture
def port() -> Iterator[int]:
    """A port at which none of the dead addresses answers."""
    with ExitStack() as stack:
        found = free_port()  # none of those for clients: one of the tests listens on it, too
        for address in DEAD:
            stack.enter_context(_full(address, found))
        yield found


def _until() -> Any:
    end = time.monotonic() + SECONDS
    return lambda: end - time.monotonic()


@pytest.mark.timed
def test_one_deadline_over_all_addresses(port: int) -> None:
    """Three addresses that never answer take together as long as one may."""
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        connect(("pacs", port), _until(), _resolver(*DEAD))
    assert time.monotonic() - began < 1.5 * SECONDS


def test_an_address_that_never_answers_leaves_time_for_the_next(port: int) -> None:
    """The last of several addresses is reached although the first ones are dead."""
    with socket.create_server(("127.0.0.1", port)):
        names = _resolver(*DEAD[:2], "127.0.0.1")
        with contextlib.closing(connect(("pacs", port), _until(), names)) as found:
            assert found.getpeername()[0] == "127.0.0.1"


@pytest.mark.timed
def test_a_pacs_of_many_dead_addresses_is_given_up_in_time(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An association to a name is bounded as one to an address is."""
    monkeypatch.setattr(socket, "getaddrinfo", _several(socket.getaddrinfo))
    began = time.monotonic()
    with pytest.raises(NotConnected, match="no answer"):
        Connection(("pacs", port), tls=None, timeout_seconds=SECONDS, keep_going=lambda: True)
    assert time.monotonic() - began < 1.5 * SECONDS


@pytest.mark.timed
def test_a_server_of_many_dead_addresses_is_given_up_in_time(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So is a request, which is then known not to have been carried out."""
    monkeypatch.setattr(socket, "getaddrinfo", _several(socket.getaddrinfo))
    exchange = Exchange(timeout_seconds=SECONDS, max_answer_bytes=1_000)
    began = time.monotonic()
    with pytest.raises(NoAnswer) as raised:
        exchange.send("GET", f"http://pacs:{port}/")
    assert not raised.value.maybe_done
    assert time.monotonic() - began < 1.5 * SECONDS
    exchange.close()


def _several(real: Any) -> Any:
    """Let the name of the tests have the dead addresses, as a zone file would."""

    def look_up(host: str, port: int, *more: Any, **named: Any) -> Any:
        return _resolver(*DEAD)(host, port) if host == "pacs" else real(host, port, *more, **named)

    return look_up


def test_a_name_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name without an address is no connection, at a PACS and at a FHIR server."""
    with pytest.raises(OSError, match="no address"):
        addresses.connect(("pacs", 104), _until(), _resolver())
    exchange = Exchange(timeout_seconds=SECONDS, max_answer_bytes=1_000)
    with pytest.raises(NoAnswer, match=r"no connection to http://no-such-host\.invalid") as raised:
        exchange.send("GET", "http://no-such-host.invalid/")
    assert not raised.value.maybe_done
    exchange.close()
