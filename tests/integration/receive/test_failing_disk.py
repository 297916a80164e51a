"""A disk that fails ends in an answer, or at the least in an A-ABORT; never in silence."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from intu_fhir.errors import StoreUnavailable
from intu_fhir.files.local import LocalFileStore
from intu_fhir.files.store import Spool
from intu_fhir.model.instance import Accepted, ReceivedObject
from tests.integration.receive.conftest import StartReceiving
from tests.support.raw_peer import RawPeer, status_of, store_command
from tests.support.receiving import Recorder
from tests.support.studies import data_set_bytes, make_instance, uid

UID = uid("study", 1, 1)
OBJECT = data_set_bytes(make_instance())
ABORT = 7


@pytest.mark.parametrize("error", [errno.EIO, errno.EROFS])
def test_the_object_in_hand_is_answered_when_the_disk_turns_read_only(
    start_receiving: StartReceiving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    """Where neither a write nor a removal works any more, the answer is A700 all the same."""
    files = LocalFileStore(tmp_path / "disk")

    def decide(received: ReceivedObject, data: bytes) -> Accepted:
        raise StoreUnavailable("Keeping a file failed")

    receiving = start_receiving(recorder=Recorder(decide), files=files)
    with RawPeer(receiving.port) as peer, monkeypatch.context() as patch:
        peer.associate()
        failing = OSError(error, os.strerror(error))
        patch.setattr(os, "unlink", lambda *_: (_ for _ in ()).throw(failing))
        assert status_of(peer.store(OBJECT, UID)) == 0xA700
        assert status_of(peer.echo()) == 0x0000
    files.open_spool(b"").discard()
    assert list((tmp_path / "disk" / "incoming").iterdir()) == []


class BrokenDisk(LocalFileStore):
    """A real store with an error of the disk that nobody has translated."""

    def open_spool(self, head: bytes) -> Spool:
        """Fail."""
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_an_error_of_the_disk_is_not_taken_for_the_end_of_a_connection(
    start_receiving: StartReceiving, tmp_path: Path
) -> None:
    """Should one ever come through, the peer hears A-ABORT and the log of a fault."""
    receiving = start_receiving(files=BrokenDisk(tmp_path / "disk"))
    with RawPeer(receiving.port) as peer:
        peer.associate()
        peer.send_command(store_command(UID))
        peer.send_data(OBJECT)
        kind, _ = peer.read()
        assert kind == ABORT
    assert receiving.recorder.wait_for_ends() == ["aborted_by_us"]
