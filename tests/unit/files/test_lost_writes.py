"""What a disk loses is told to whom it concerns: no file is kept of which that is not sure."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from intu_fhir.errors import StoreUnavailable
from intu_fhir.files.leftovers import MOST
from intu_fhir.files.local import LocalFileStore
from intu_fhir.files.writers import somebody_writes
from tests.support.clock import START
from tests.support.telling_disk import TellingDisk

LATER = START + timedelta(minutes=1)


@pytest.fixture
def disk() -> Iterator[TellingDisk]:
    """A disk that tells of losses as Linux does."""
    with TellingDisk().in_place() as one:
        yield one


def place(files: LocalFileStore, when: datetime = START) -> str:
    """Place one small file."""
    spool = files.open_spool(b"head")
    return files.place(spool.finish().path, when)


def keep(files: LocalFileStore) -> str:
    """Keep one small file."""
    name = place(files)
    files.make_durable(name)
    return name


def test_each_process_is_told_of_a_folder_that_lost_entries(
    tmp_path: Path, disk: TellingDisk
) -> None:
    """What two processes renamed into a folder before its loss is refused by both of them."""
    two = [LocalFileStore(tmp_path), LocalFileStore(tmp_path)]
    kept = keep(two[0])
    names = [place(files) for files in two]
    disk.lose((tmp_path / kept).parent)
    for files, name in zip(two, names, strict=True):
        with pytest.raises(StoreUnavailable):
            files.make_durable(name)
    assert list((tmp_path / "instances").rglob("*.dcm")) == [tmp_path / kept]


def test_a_folder_that_lost_entries_takes_the_next_one(tmp_path: Path, disk: TellingDisk) -> None:
    """A loss costs those whom it concerns; an entry that is made later is synced like any."""
    files = LocalFileStore(tmp_path)
    name = place(files)
    disk.lose((tmp_path / name).parent)
    with pytest.raises(StoreUnavailable):
        files.make_durable(name)
    assert Path(keep(files)).parent == Path(name).parent
    assert files.without_row() == 1


def test_a_file_that_lost_content_before_its_sync_is_refused(
    tmp_path: Path, disk: TellingDisk
) -> None:
    """What the disk did not take between the last byte and the sync is heard of."""
    files = LocalFileStore(tmp_path)
    done = files.open_spool(b"head").finish()
    disk.lose(done.path)
    os.close(os.open(done.path, os.O_RDONLY))
    name = files.place(done.path, START)
    with pytest.raises(StoreUnavailable):
        files.make_durable(name)


def failing_once(
    monkeypatch: pytest.MonkeyPatch, call: str, fails: Callable[..., bool], error: int = errno.EIO
) -> None:
    """Let the first call of ``os`` that ``fails`` picks fail."""
    really = getattr(os, call)
    done: list[bool] = []

    def maybe(*given: object, **named: object) -> object:
        if not done and fails(*given):
            done.append(True)
            raise OSError(error, os.strerror(error))
        return really(*given, **named)

    monkeypatch.setattr(os, call, maybe)


def is_folder(path: Path) -> Callable[[int], bool]:
    """Return what tells whether a descriptor is that of a folder."""
    return lambda descriptor: os.readlink(f"/proc/self/fd/{descriptor}") == str(path)


def test_a_new_folder_whose_entry_is_not_sure_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next sync of its parent would succeed for an entry that was lost; so it goes."""
    files = LocalFileStore(tmp_path)
    day = tmp_path / f"instances/{START:%Y/%m/%d}"
    failing_once(monkeypatch, "fsync", is_folder(day))
    with pytest.raises(StoreUnavailable):
        place(files)
    assert list(day.iterdir()) == []
    assert (tmp_path / keep(files)).exists()


def test_a_writer_stays_locked_when_its_entry_is_not_surely_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A living process is taken for dead by nobody, and lists a folder until that is synced."""
    files = LocalFileStore(tmp_path)
    keep(files)
    writers = tmp_path / "writers"
    failing_once(monkeypatch, "fsync", is_folder(writers))
    with pytest.raises(StoreUnavailable):
        place(files, LATER)
    assert somebody_writes(writers)
    with LocalFileStore(tmp_path).abandoned() as (left, _):
        assert left.folders == {}
    synced: list[int] = []
    failing_once(
        monkeypatch, "fsync", lambda one: bool(is_folder(writers)(one) and synced.append(1))
    )
    place(files, LATER)
    assert synced


def test_a_file_that_was_never_placed_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the writer's entry cannot be written, no file counts as one without a row."""
    files = LocalFileStore(tmp_path)
    files.enter()
    failing_once(monkeypatch, "rename", lambda *_: True, errno.ENOSPC)
    with pytest.raises(StoreUnavailable):
        place(files)
    assert files.without_row() == 0
    files.close()
    assert list((tmp_path / "writers").iterdir()) == []


def test_a_folder_stays_listed_until_what_was_removed_there_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut may bring a removed file back; then a start has to know where to look."""
    files = LocalFileStore(tmp_path)
    name = keep(files)
    files.remove(name)
    folder = (tmp_path / name).parent
    failing_once(monkeypatch, "fsync", is_folder(folder))
    later = place(files, LATER)
    assert listed(tmp_path) == {str(Path(name).parent), str(Path(later).parent)}
    last = place(files, LATER + timedelta(minutes=1))
    assert listed(tmp_path) == {str(Path(one).parent) for one in (later, last)}


def test_an_orderly_end_leaves_no_removal_unsynced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entry of a process goes with its end only if nothing it removed can come back."""
    files = LocalFileStore(tmp_path)
    name = keep(files)
    files.remove(name)
    failing_once(monkeypatch, "fsync", is_folder((tmp_path / name).parent))
    files.close()
    assert listed(tmp_path) == {str(Path(name).parent)}


def test_what_recovery_removed_is_synced_before_it_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where that fails, the next start looks at the same folders again."""
    files = LocalFileStore(tmp_path)
    name = keep(files)
    files.close()
    failing_once(monkeypatch, "fsync", is_folder((tmp_path / name).parent))
    for seen in ({name}, {name}, set()):
        with LocalFileStore(tmp_path).abandoned() as (left, _):
            assert set(left.files(tmp_path)) == seen
    assert list((tmp_path / "writers").iterdir()) == []


def listed(root: Path) -> set[str]:
    """Return the folders that the one entry lists."""
    [entry] = (root / "writers").iterdir()
    return set(entry.read_text().split())


@pytest.mark.parametrize("error", [errno.EIO, errno.EROFS])
def test_what_cannot_be_removed_now_is_removed_before_the_next_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    """A spool that is dropped never raises; its file, and a kept one, go when the disk lets go."""
    files = LocalFileStore(tmp_path)
    kept = keep(files)
    spool = files.open_spool(b"head")
    with monkeypatch.context() as patch:
        failing = OSError(error, os.strerror(error))
        patch.setattr(os, "unlink", lambda *_: (_ for _ in ()).throw(failing))
        spool.discard()
        with pytest.raises(StoreUnavailable):
            files.remove(kept)
        assert files.without_row() == 1
    assert len(list((tmp_path / "incoming").iterdir())) == 1
    files.open_spool(b"head").discard()
    assert list((tmp_path / "incoming").iterdir()) == []
    assert list((tmp_path / "instances").rglob("*.dcm")) == []
    assert files.without_row() == 0


def test_a_disk_that_lets_nothing_go_is_given_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so many files that should be gone nothing is taken, until they are."""
    files = LocalFileStore(tmp_path)
    with monkeypatch.context() as patch:
        failing = OSError(errno.EIO, os.strerror(errno.EIO))
        patch.setattr(os, "unlink", lambda *_: (_ for _ in ()).throw(failing))
        for _ in range(MOST):
            files.open_spool(b"head").discard()
        with pytest.raises(StoreUnavailable, match=f"{MOST} files cannot be removed"):
            files.open_spool(b"head")
    files.open_spool(b"head").discard()
    assert list((tmp_path / "incoming").iterdir()) == []


def test_a_read_only_file_system_has_no_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Objects are refused before they come where a kernel lets nothing be written any more."""
    files = LocalFileStore(tmp_path)
    assert files.free_bytes() > 0
    found = list(os.statvfs(tmp_path))
    found[8] |= os.ST_RDONLY
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(found))
    with pytest.raises(StoreUnavailable, match="Read-only file system"):
        files.free_bytes()


def test_the_way_to_the_store_is_on_disk_before_the_first_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each folder above it is synced once per process, up to where the file system is mounted."""
    synced: list[Path] = []
    really = os.fsync

    def sync(descriptor: int) -> None:
        really(descriptor)
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))

    monkeypatch.setattr(os, "fsync", sync)
    root = tmp_path / "site" / "data" / "files"
    files = LocalFileStore(root)
    keep(files)
    way = [root, *root.parents]
    way = way[: next(number for number, one in enumerate(way, 1) if one.is_mount())]
    assert [synced.count(one) for one in way[1:]] == [1] * len(way[1:])
    keep(files)
    assert [synced.count(one) for one in way[1:]] == [1] * len(way[1:])
    assert root in synced


def test_descriptors_go_with_their_files(tmp_path: Path) -> None:
    """Nothing stays open of what is kept, removed, dropped, or left alone."""
    before = len(os.listdir("/proc/self/fd"))
    files = LocalFileStore(tmp_path)
    keep(files)
    files.remove(place(files))
    files.open_spool(b"head").discard()
    files.open_spool(b"head").finish()
    place(files)
    files.close()
    assert len(os.listdir("/proc/self/fd")) == before
