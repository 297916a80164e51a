"""Who may send: by address before a byte is read, by user identity in the negotiation."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from intu_fhir.observe.metrics import RECEIVE_CONNECTIONS
from intu_fhir.receive.ending import ADDRESS_REFUSED
from intu_fhir.settings.schema import User
from tests.integration.receive.conftest import StartReceiving
from tests.support.clock import FakeClock
from tests.support.programs import require
from tests.support.raw_peer import ASSOCIATE_RJ, RawPeer, associate_request, item, status_of
from tests.support.studies import write_study
from tests.support.waiting import wait_until

SECRET = "correct horse"
USERS = (User(name="scanner", passcode=SECRET), User(name="viewer"))


def identity(kind: int, name: str, passcode: str = "", *, answer: bool = False) -> bytes:
    """Return a user identity sub-item."""
    parts = [part.encode() for part in (name, passcode)]
    fields = b"".join(len(part).to_bytes(2, "big") + part for part in parts)
    return item(0x58, bytes((kind, answer)) + fields)


def test_other_addresses_get_no_byte(start_receiving: StartReceiving, clock: FakeClock) -> None:
    """An address outside the list is closed unread, told once a minute; a listed one is served."""
    receiving = start_receiving(clock=clock, allowed_addresses=("127.0.0.2/32",))
    counted = RECEIVE_CONNECTIONS.labels("test", ADDRESS_REFUSED)
    before = counted._value.get()
    with capture_logs() as logs:
        for _ in range(3):
            with RawPeer(receiving.port) as stranger:
                assert stranger.read()[0] == 0
        clock.advance(60)
        with RawPeer(receiving.port) as stranger:
            assert stranger.read()[0] == 0
        with RawPeer(receiving.port, source="127.0.0.2") as peer:
            peer.associate()
            assert status_of(peer.echo()) == 0x0000
    told = [line for line in logs if line["event"] == ADDRESS_REFUSED]
    assert [line["peer"] for line in told] == ["127.0.0.1", "127.0.0.1"]
    assert counted._value.get() - before == 4


KNOWN = {
    "name and passcode": identity(2, "scanner", SECRET),
    "name where it is enough": identity(1, "viewer"),
    "name with a passcode nobody asked for": identity(2, "viewer", "any"),
}
UNKNOWN: dict[str, bytes] = {
    "nobody": b"",
    "wrong passcode": identity(2, "scanner", "wrong"),
    "no passcode": identity(1, "scanner"),
    "empty passcode": identity(2, "scanner", ""),
    "unknown name": identity(2, "stranger", SECRET),
    "a token": identity(5, "scanner", SECRET),
}


@pytest.mark.parametrize("case", KNOWN)
def test_known_user_is_served(case: str, start_receiving: StartReceiving) -> None:
    """A user that is configured gets an association."""
    receiving = start_receiving(users=USERS)
    with RawPeer(receiving.port) as peer:
        peer.associate(user_items=KNOWN[case])
        assert status_of(peer.echo()) == 0x0000


@pytest.mark.parametrize("case", UNKNOWN)
def test_unknown_user_is_rejected(case: str, start_receiving: StartReceiving) -> None:
    """Without a configured user, or with a wrong passcode, the association is rejected."""
    receiving = start_receiving(users=USERS)
    with capture_logs() as logs, RawPeer(receiving.port) as peer:
        peer.send(associate_request(user_items=UNKNOWN[case]))
        assert peer.read() == (ASSOCIATE_RJ, bytes((0, 1, 2, 1)))
        wait_until(lambda: _said(logs, "user_identity"))
    assert not _said(logs, SECRET)
    assert not _said(logs, "wrong")


def test_a_rejected_modality_is_told_from_what_it_should_call(
    start_receiving: StartReceiving,
) -> None:
    """The log names the AE title that was called and the one that this channel has."""
    receiving = start_receiving()
    with capture_logs() as logs, RawPeer(receiving.port) as peer:
        peer.send(associate_request(called="WRONG"))
        assert peer.read() == (ASSOCIATE_RJ, bytes((0, 1, 1, 7)))
        wait_until(lambda: _said(logs, "called_ae_title, called WRONG calling"))
    assert _said(logs, ", but this is INTU_SCP")


def _said(logs: list[Any], text: str) -> bool:
    return any(text in str(line) for line in logs)


def test_passcode_is_in_no_text() -> None:
    """Neither the configuration nor a request shows the passcode when it is printed."""
    assert SECRET not in repr(USERS)


def test_no_user_is_asked_for_by_default(start_receiving: StartReceiving) -> None:
    """Without users in the configuration any identity, and none, is served."""
    receiving = start_receiving()
    for items in (b"", identity(2, "anyone", "anything")):
        with RawPeer(receiving.port) as peer:
            peer.associate(user_items=items)
            assert status_of(peer.echo()) == 0x0000


@pytest.mark.parametrize(("passcode", "code"), [(SECRET, 0), ("wrong", 1)])
def test_storescu_says_who_it_is(
    passcode: str, code: int, start_receiving: StartReceiving, tmp_path: Path
) -> None:
    """DCMTK's storescu stores with the right passcode and is told to go with a wrong one."""
    receiving = start_receiving(users=USERS)
    (path,) = write_study(tmp_path, series=1, instances=1)
    identity = ["--user", "scanner", "--password", passcode, "--pos-response"]
    done = subprocess.run(
        [
            require("storescu"),
            *identity,
            "-aec",
            "INTU_SCP",
            "127.0.0.1",
            str(receiving.port),
            path,
        ],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert bool(done.returncode) is bool(code), done.stderr
    assert len(receiving.recorder.objects) == 1 - code
