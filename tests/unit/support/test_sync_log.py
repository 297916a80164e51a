"""The judge of what was on disk at an answer, on logs that are written here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.raw_peer import CT_ID, LAST, P_DATA, STATUS, command, element, pdu, pdv, us
from tests.support.sync_log import judge

UID = "1.2.826.0.1.3680043.9.9999.1.1" + "0" * 25
FOLDER, LOG = "/files/instances/minute", "/db/staging.db-wal"


def stored(name: str) -> list[str]:
    """Return the calls that put a file on disk."""
    return [
        f'write(5</files/incoming/{name}.part>, "x", 1) = 1',
        f'rename("/files/incoming/{name}.part", "{FOLDER}/{name}.dcm") = 0',
        f"fsync(5<{FOLDER}/{name}.dcm>) = 0",
        f"fsync(6<{FOLDER}>) = 0",
    ]


ROW = f'pwrite64(7<{LOG}>, "{UID}", 10, 0) = 10'
SYNC, BAD_SYNC = f"fdatasync(7<{LOG}>) = 0", f"fdatasync(7<{LOG}>) = -1 EIO (Input/output error)"


def success() -> str:
    """Return the call that sends Success."""
    response = command(us(0x0100, 0x8001), us(STATUS, 0), element(0x1000, UID.encode()))
    data = pdu(P_DATA, pdv(CT_ID, 1 | LAST, response))
    text = "".join(f"\\x{byte:02x}" for byte in data)
    return f'sendto(9<socket:[1]>, "{text}", {len(data)}, 0, NULL, 0) = {len(data)}'


def early(folder: Path, calls: Sequence[str], *files: str) -> list[str]:
    """Return what was not on disk when Success was sent, as the judge sees it."""
    log = folder / "log"
    log.write_text("".join(f"{number}.0 {call}\n" for number, call in enumerate(calls, 1)))
    verdict = judge([log], {UID: [Path(f"{FOLDER}/{name}.dcm") for name in files]})
    assert verdict.answers == calls.count(success())
    return sorted(verdict.early)


GOOD = [*stored("a"), ROW, SYNC, success()]


@pytest.mark.parametrize(
    ("calls", "missing"),
    [
        (GOOD, []),
        ([*GOOD, success()], []),
        ([*stored("a"), ROW, success()], ["row"]),
        ([*stored("a"), ROW, BAD_SYNC, SYNC, success()], ["row"]),
        ([*stored("a"), ROW, BAD_SYNC, ROW, SYNC, success()], []),
        ([*stored("a")[:2], ROW, SYNC, *stored("a")[2:], success()], ["file before row"]),
        ([*stored("a")[:3], ROW, SYNC, success()], ["file before row", "folder"]),
        (
            [*stored("a"), f'write(5<{FOLDER}/a.dcm>, "y", 1) = 1', ROW, SYNC, success()],
            ["file", "file before row"],
        ),
    ],
)
def test_success_is_held_against_file_folder_and_row(
    tmp_path: Path, calls: Sequence[str], missing: list[str]
) -> None:
    """What was written and not synced, or synced in vain, was not on disk."""
    assert early(tmp_path, calls, "a") == missing


def test_an_object_that_is_stored_anew_needs_a_row_of_its_new_file(tmp_path: Path) -> None:
    """The row of the file that it had before says nothing of the one that replaced that."""
    again = [*GOOD, *stored("b"), success()]
    assert early(tmp_path, again, "a", "b") == ["row"]
    again[-1:-1] = [ROW, SYNC]
    assert early(tmp_path, again, "a", "b") == []
