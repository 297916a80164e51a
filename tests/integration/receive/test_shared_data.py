"""Real files through the wire: the data set arrives byte for byte."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info, read_preamble

from intu_fhir.model.uid import is_uid
from tests.integration.receive.conftest import StartReceiving
from tests.support.data import pydicom_files, shared_data
from tests.support.raw_peer import RawPeer, status_of, store_command
from tests.support.receiving import limits


def real_files() -> list[Path]:
    """Return the shared files that open, or where they are absent pydicom's own."""
    folder = shared_data()
    if folder is None:
        return pydicom_files()
    with (folder / "MANIFEST.csv").open(newline="") as manifest:
        return [folder / row["file"] for row in csv.DictReader(manifest)]


def data_set_of(path: Path) -> tuple[str, str, str, bytes] | None:
    """Return SOP class, SOP instance, transfer syntax and data set of a DICOM file, if it is one.

    Where the data set begins is found by the group length of the meta information alone.
    """
    with path.open("rb") as file:
        try:
            read_preamble(file, force=False)
            file.read(8)
            length = int.from_bytes(file.read(4), "little")
            file.seek(length, 1)
            rest = file.read()
            meta = read_file_meta_info(path)
            return (
                str(meta.MediaStorageSOPClassUID),
                str(meta.MediaStorageSOPInstanceUID),
                str(meta.TransferSyntaxUID),
                rest,
            )
        except (InvalidDicomError, AttributeError, EOFError):
            return None


@pytest.mark.filterwarnings("ignore")
def test_real_data_sets_arrive_byte_for_byte(start_receiving: StartReceiving) -> None:
    """Every data set at hand, in its own transfer syntax, is handed on as it was sent."""
    files = [found for path in real_files() if (found := data_set_of(path)) is not None]
    assert len(files) > 60
    classes = tuple({sop_class for sop_class, *_ in files})
    receiving = start_receiving(
        private_sop_classes=classes, receiver=limits(max_pdu_bytes=65_536, idle_seconds=60)
    )
    pairs = sorted({(sop_class, syntax) for sop_class, _, syntax, _ in files})
    contexts = {pair: 2 * i + 1 for i, pair in enumerate(pairs[:128])}
    sent = []
    with RawPeer(receiving.port) as peer:
        peer.associate(tuple((i, pair[0], (pair[1],)) for pair, i in contexts.items()))
        for sop_class, sop_instance, syntax, data in files:
            context_id = contexts.get((sop_class, syntax))
            if context_id is None:
                continue
            peer.send_command(store_command(sop_instance, sop_class_uid=sop_class), context_id)
            for begin in range(0, len(data), 60_000):
                peer.send_data(data[begin : begin + 60_000], context_id, last=False)
            peer.send_data(b"", context_id)
            named = is_uid(sop_instance)  # one file has a UID of 65 characters
            assert status_of(peer.response()) == (0x0000 if named else 0x0117)
            if named:
                sent.append((sop_class, sop_instance, syntax, data))
        peer.release()
    assert [
        (got.sop_class_uid, got.sop_instance_uid, got.transfer_syntax_uid, data)
        for got, data in receiving.recorder.objects
    ] == sent
