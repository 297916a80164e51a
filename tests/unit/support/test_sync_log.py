"""What the judge of a log of system calls holds against a Success: logs that were made up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.raw_peer import CT_ID, LAST, command, element, pdu, pdv, us
from tests.support.senders import Samples
from tests.support.sync_log import judge

UID = Samples().make(1, 1).uid
FILES, WAL, PG_WAL = "/f/instances/m", "/s/staging.db-wal", "/pg/pg_wal/000000010000000000000001"
_CLIENT = "7<socket:[7]>"


def answer() -> str:
    """Return a Success for the object, on its way."""
    said = command(us(0x0100, 0x8001), us(0x0900, 0), element(0x1000, UID.encode()))
    data = pdu(4, pdv(CT_ID, 1 | LAST, said))
    text = "".join(f"\\x{byte:02x}" for byte in data)
    return f'sendto(9<socket:[9]>, "{text}", {len(data)}, 0, NULL, 0) = {len(data)}'


def sync(path: str, descriptor: int, *, fails: bool = False) -> str:
    """Return a sync."""
    return f"fsync({descriptor}<{path}>) = {'-1 EIO (Input/output error)' if fails else 0}"


def opened(path: str, descriptor: int) -> str:
    """Return an opening."""
    return f'openat(AT_FDCWD</w>, "{path}", O_RDONLY|O_CLOEXEC) = {descriptor}<{path}>'


def placed(name: str) -> list[str]:
    """Return how a file is written, opened with its folder, and renamed."""
    return [
        f'write(5</f/incoming/{name}.part>, "x", 1) = 1',
        opened(FILES, 6),
        f'rename("/f/incoming/{name}.part", "{FILES}/{name}.dcm") = 0',
    ]


def kept(name: str) -> list[str]:
    """Return how a file gets its place for good."""
    return [*placed(name), sync(f"{FILES}/{name}.dcm", 5), sync(FILES, 6)]


def row(name: str, log: str = WAL) -> str:
    """Return a write of the row that names a file."""
    return f'pwrite64(8<{log}>, "{UID} instances/m/{name}.dcm", 90, 0) = 90'


def told(message: str) -> str:
    """Return what PostgreSQL is sent."""
    return f'sendto({_CLIENT}, "{message}", 12, MSG_NOSIGNAL, NULL, 0) = 12'


INSERTED, COMMITTED = told(f"P\\0INSERT {UID}"), told(r"Q\0\0\0\vCOMMIT\0")
ROLLED_BACK = told(r"Q\0\0\0\rROLLBACK\0")
STORED = [*kept("one"), row("one"), sync(WAL, 8), answer()]


def early(folder: Path, lines: Sequence[str], *names: str) -> dict[str, int]:
    """Judge a log of one receiver, whose object had these files; return what came too early."""
    log = folder / "log"
    log.write_text("".join(f"{at}.000000 {line}\n" for at, line in enumerate(lines, 1)))
    return judge([log], {UID: [Path(f"{FILES}/{name}.dcm") for name in names or ("one",)]}).counts()


def test_an_object_whose_file_folder_and_row_are_synced_is_not_early(tmp_path: Path) -> None:
    """Success after everything is on disk is in order, and so is that for the object's repeat."""
    assert early(tmp_path, [*STORED, answer()]) == {}


def test_a_restored_object_needs_a_row_of_its_new_file(tmp_path: Path) -> None:
    """The row of a file that was replaced says nothing of the one that took its place."""
    replaced = [*STORED, *kept("two")]
    assert early(tmp_path, [*replaced, answer()], "one", "two") == {"row": 1}
    in_order = [*replaced, row("two"), sync(WAL, 8), answer()]
    assert early(tmp_path, in_order, "one", "two") == {}


def test_a_page_that_is_written_again_is_no_row_of_a_new_file(tmp_path: Path) -> None:
    """A neighbour's row brings the page to SQLite's log again, with the old file in it."""
    lines = [*STORED, *kept("two"), row("one"), sync(WAL, 8), answer()]
    assert early(tmp_path, lines, "one", "two") == {"row": 1}


def test_a_sync_after_a_failed_one_of_the_log_says_nothing_of_its_row(tmp_path: Path) -> None:
    """A row whose sync failed is on disk when it was written again and synced, not before."""
    failed = [*kept("one"), row("one"), sync(WAL, 8, fails=True), sync(WAL, 8)]
    assert early(tmp_path, [*failed, answer()]) == {"row": 1}
    assert early(tmp_path, [*failed, row("one"), sync(WAL, 8), answer()]) == {}


def test_a_sync_after_a_failed_write_to_the_log_says_nothing_of_the_rows_before_it(
    tmp_path: Path,
) -> None:
    """A transaction one of whose pages was not taken is none; the next one writes over it."""
    refused = f'pwrite64(8<{WAL}>, "x", 1, 90) = -1 ENOSPC (No space left on device)'
    failed = [*kept("one"), row("one"), refused, sync(WAL, 8)]
    assert early(tmp_path, [*failed, answer()]) == {"row": 1}
    assert early(tmp_path, [*failed, row("one"), sync(WAL, 8), answer()]) == {}
    assert early(tmp_path, [*STORED[:-1], refused, answer()]) == {}


def test_a_sync_that_fails_after_a_good_one_of_the_log_costs_its_row_nothing(
    tmp_path: Path,
) -> None:
    """What a sync has put on disk stays there, whatever becomes of later rows."""
    lines = [*STORED[:-1], sync(WAL, 8, fails=True), answer()]
    assert early(tmp_path, lines) == {}


FOLDER_EARLY = {"folder": 1, "file before row": 1}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([], [sync(FILES, 6, fails=True), sync(FILES, 6)], FOLDER_EARLY),
        ([], [sync(FILES, 6, fails=True), opened(FILES, 8), sync(FILES, 8)], FOLDER_EARLY),
        ([], [opened(FILES, 8), sync(FILES, 8)], FOLDER_EARLY),
        ([], [sync(FILES, 6, fails=True), sync(FILES, 4)], FOLDER_EARLY),
        ([opened(FILES, 8)], [sync(FILES, 6, fails=True), sync(FILES, 8)], {}),
        ([opened(FILES, 8)], [sync(FILES, 8, fails=True), sync(FILES, 6)], {}),
        ([opened(FILES, 6), sync(FILES, 6, fails=True)], [sync(FILES, 6)], {}),
    ],
    ids=[
        "the same again",
        "another that is younger",
        "one that is younger alone",
        "one of unknown age",
        "another that is older",
        "another one failed",
        "one failed before",
    ],
)
def test_a_folder_is_synced_by_a_descriptor_that_is_older_than_the_entry(
    tmp_path: Path, before: list[str], after: list[str], expected: dict[str, int]
) -> None:
    """Only who had the folder open before the rename is told of its loss, and told once."""
    lines = [*before, *placed("one"), sync(f"{FILES}/one.dcm", 5), *after]
    assert early(tmp_path, [*lines, row("one"), sync(WAL, 8), answer()]) == expected


def test_the_entry_of_a_new_folder_is_not_synced_by_who_was_told_of_a_loss(tmp_path: Path) -> None:
    """A folder whose entry may be lost has to be made anew, not synced again."""
    made = [opened("/f/instances", 4), f'mkdir("{FILES}", 0700) = 0']
    again = [sync("/f/instances", 4, fails=True), sync("/f/instances", 4)]
    assert early(tmp_path, [*made, *again, *STORED]) == {"parent folder": 1, "file before row": 1}
    assert early(tmp_path, [*made, *again[:1], *made, *again[1:], *STORED]) == {}


@pytest.mark.parametrize(("answered", "expected"), [(61, {"row": 1}), (63, {})])
def test_a_sync_that_another_log_shows_says_nothing_before_its_end(
    tmp_path: Path, answered: int, expected: dict[str, int]
) -> None:
    """A thread that is traced alone has one line for a call, which says when it began and took."""
    logs = [tmp_path / "association", tmp_path / "commit"]
    stored = "".join(f"{at}.000000 {line}\n" for at, line in enumerate(kept("one"), 1))
    logs[0].write_text(f"{stored}{answered}.000000 {answer()} <0.000010>\n")
    logs[1].write_text(f"50.000000 {row('one')}\n60.000000 {sync(WAL, 8)} <2.000000>\n")
    assert judge(logs, {UID: [Path(f"{FILES}/one.dcm")]}).counts() == expected


@pytest.mark.parametrize("call", ["write", "pwrite64", "writev"])
def test_bytes_that_are_written_under_the_final_name_are_synced_as_well(
    tmp_path: Path, call: str
) -> None:
    """The last byte of a file counts, whichever name the file had when it was written."""
    tail = f'{call}(5<{FILES}/one.dcm>, "y", 1) = 1'
    lines = [*kept("one"), tail, row("one"), sync(WAL, 8), answer()]
    assert early(tmp_path, lines) == {"file": 1, "file before row": 1}
    synced = [*kept("one"), tail, sync(f"{FILES}/one.dcm", 5), *STORED[-3:]]
    assert early(tmp_path, synced) == {}


def test_a_row_of_postgresql_is_on_disk_when_its_commit_is(tmp_path: Path) -> None:
    """A sync after the record of the row that began before the COMMIT says nothing of it."""
    begun, written, synced = [*kept("one"), INSERTED], row("one", PG_WAL), sync(PG_WAL, 8)
    assert early(tmp_path, [*begun, written, synced, COMMITTED, answer()]) == {"row": 1}
    assert early(tmp_path, [*begun, COMMITTED, written, answer()]) == {"row": 1}
    assert early(tmp_path, [*begun, written, synced, COMMITTED, synced, answer()]) == {}


def test_the_commit_of_a_row_is_the_one_that_follows_it(tmp_path: Path) -> None:
    """A COMMIT on the same connection after a rollback is of another transaction."""
    begun, written, synced = [*kept("one"), INSERTED], row("one", PG_WAL), sync(PG_WAL, 8)
    other = [ROLLED_BACK, told("P\\0INSERT"), COMMITTED, written, synced]
    assert early(tmp_path, [*begun, *other, answer()]) == {"row": 1}


def test_a_commit_to_postgresql_before_the_file_is_synced_is_early(tmp_path: Path) -> None:
    """The row may be sent while its file is synced, and its COMMIT not before that is done."""
    first, last = placed("one"), kept("one")[3:]
    written, synced = row("one", PG_WAL), sync(PG_WAL, 8)
    wrong = [*first, INSERTED, written, COMMITTED, *last, synced, answer()]
    assert early(tmp_path, wrong) == {"file before row": 1}
    assert early(tmp_path, [*first, INSERTED, written, *last, COMMITTED, synced, answer()]) == {}
