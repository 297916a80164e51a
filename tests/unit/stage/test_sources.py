"""A data set that is read a window at a time is read as one that is in memory."""

from __future__ import annotations

import os
import tracemalloc
import zlib
from pathlib import Path

import pytest

from intu_fhir.errors import InvalidDataSet, InvalidUid, LimitPassed
from intu_fhir.model.instance import InstanceHeader
from intu_fhir.stage import elements
from intu_fhir.stage.encodings import DEFAULT_LIMITS, Limits
from intu_fhir.stage.file_source import opened_source
from intu_fhir.stage.header import read_header
from intu_fhir.stage.sources import BytesSource, Inflated
from tests.support.data import pydicom_files
from tests.support.elements import DEFLATED, EXPLICIT, data_set_of, deflated, element, uids

PIXELS = 0x7FE00010


def _outcome(content: object, syntax: str) -> InstanceHeader | tuple[type, str]:
    try:
        return read_header(content, syntax)  # type: ignore[arg-type]
    except (InvalidDataSet, InvalidUid) as error:
        return type(error), str(error)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("window", [(16, 16), (40, 20), (65_536, 4_096)])
def test_windows_change_nothing(
    window: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every real file, whole or cut, has the same header, or is refused for the same reason."""
    monkeypatch.setattr(elements, "_WINDOW", window[0])
    monkeypatch.setattr(elements, "_PEEK", window[1])
    compared = 0
    for path in pydicom_files():
        found = data_set_of(path)
        if found is None or len(found.content) > 400_000:
            continue
        for cut in (0, 1, 9, len(found.content) // 2):
            content = found.content[: len(found.content) - cut]
            file = tmp_path / "file"
            file.write_bytes(b"head" + content)
            with opened_source(file, 4, len(content)) as source:
                seen = _outcome(source, found.transfer_syntax_uid)
            assert seen == _outcome(content, found.transfer_syntax_uid), (path.name, cut)
            compared += 1
    assert compared > 200


def test_a_file_that_shrank_is_refused(tmp_path: Path) -> None:
    """A file with fewer bytes than it had ends the walk, and nothing else."""
    content = uids() + element(PIXELS, "OW", bytes(200_000)) + element(0xFFFCFFFC, "OB", b"ab")
    file = tmp_path / "file"
    file.write_bytes(content[:100_000])
    with opened_source(file, 0, len(content)) as source, pytest.raises(InvalidDataSet):
        read_header(source, EXPLICIT)


def test_values_and_elements_behind_pixels_are_read(tmp_path: Path) -> None:
    """What stands behind a long value is read, from a file and from a deflated data set."""
    content = uids() + element(0x00091010, "OB", bytes(3_000_000))
    content += element(0x00100020, "LO", b"behind") + element(PIXELS, "OW", bytes(500_000))
    file = tmp_path / "file"
    file.write_bytes(content)
    with opened_source(file, 0, len(content)) as source:
        assert read_header(source, EXPLICIT).values["PatientID"] == "behind"
    assert read_header(deflated(content), DEFLATED).values["PatientID"] == "behind"


def test_a_file_is_read_in_few_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The header of a plain image of any size costs one call for its head."""
    content = uids() + element(PIXELS, "OW", bytes(4_000_000))
    file = tmp_path / "file"
    file.write_bytes(content)
    read: list[int] = []
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda *args: (read.append(args[1]), real(*args))[1])
    with opened_source(file, 0, len(content)) as source:
        read_header(source, EXPLICIT)
    assert len(read) <= 2
    assert sum(read) < 70_000


def test_a_deflated_data_set_is_never_whole_in_memory() -> None:
    """Of 60 MB that a data set inflates to, about a megabyte is held at any time."""
    packer = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
    head = uids() + element(PIXELS, "OW", length=60 << 20)
    packed = packer.compress(head) + b"".join(packer.compress(bytes(1 << 20)) for _ in range(60))
    packed += packer.flush()
    tracemalloc.start()
    assert read_header(packed, DEFLATED).sop_instance_uid == "1.2.3.4"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_the_size_of_a_deflated_data_set_is_limited() -> None:
    """One that inflates to more than the limit is refused by the name of the setting."""
    content = uids() + element(PIXELS, "OW", bytes(100_000))
    assert Inflated(BytesSource(deflated(content)), len(content)).size == len(content)
    with pytest.raises(LimitPassed, match=r"receiver\.max_inflated_bytes"):
        read_header(deflated(content), DEFLATED, Limits(max_inflated_bytes=len(content) - 1))


def test_inflated_bytes_are_read_forwards() -> None:
    """Any steps forwards, overlapping or not, give the bytes that stand there."""
    content = os.urandom(1_000_000)
    source = Inflated(BytesSource(deflated(content)), DEFAULT_LIMITS.max_inflated_bytes)
    for offset, count in ((0, 8), (0, 65_536), (10, 300_000), (299_000, 10), (900_000, 200_000)):
        assert source.read(offset, count) == content[offset : offset + count]
    assert source.read(1_000_000, 10) == b""
