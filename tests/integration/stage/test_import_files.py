"""The batch door, from media to the hands of ``accept``."""

from __future__ import annotations

import hashlib
import re
import warnings
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydicom import dcmread

from intu_fhir.errors import IdentityMismatch, StoreUnavailable
from intu_fhir.files.local import LocalFileStore
from intu_fhir.files.part10 import PREFIX
from intu_fhir.model.instance import Accepted, Disposition, Origin, ReceivedObject
from intu_fhir.stage.import_files import Imported, ImportReport, Result, import_objects
from intu_fhir.stage.media import find_objects
from tests.support.data import INCOMPLETE, shared_data
from tests.support.elements import EXPLICIT, element, uids, write_directory
from tests.support.studies import data_set_bytes, make_instance, write_file, write_study

ORIGIN = Origin(association_id="a" * 32, channel="import", kind="import")


@dataclass
class Staging:
    """Accepts objects into a folder, as staging does, and remembers them."""

    files: LocalFileStore
    data_sets: dict[str, bytes] = field(default_factory=dict)
    heads: list[bytes] = field(default_factory=list)
    error: Exception | None = None

    def __call__(self, received: ReceivedObject) -> Accepted:
        """Take an object; the first one of a UID stays."""
        if self.error:
            raise self.error
        content = received.path.read_bytes()
        data_set = content[received.data_set_offset :]
        assert len(data_set) == received.size
        assert hashlib.sha256(data_set).hexdigest() == received.sha256
        self.heads.append(content[: received.data_set_offset])
        known = self.data_sets.setdefault(received.sop_instance_uid, data_set)
        if known is data_set:
            return Accepted(Disposition.STORED, received.sop_instance_uid)
        what = Disposition.ALREADY_STORED if known == data_set else Disposition.QUARANTINED
        return Accepted(what, received.sop_instance_uid, reason="known")

    def run(self, *paths: Path) -> ImportReport:
        """Import these paths."""
        return import_objects(find_objects(paths), files=self.files, accept=self, origin=ORIGIN)


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    """An empty place to import into."""
    return Staging(LocalFileStore(tmp_path / "store"))


def _counts(report: ImportReport) -> dict[str, int]:
    return {result.value: count for result, count in report.counts.items() if count}


def _spool(staging: Staging) -> list[Path]:
    return list(staging.files.root.rglob("*.part"))


def test_a_study_is_imported_byte_by_byte(staging: Staging, tmp_path: Path) -> None:
    """Data sets arrive exactly as they stand in their files, and nothing stays in the spool."""
    paths = write_study(tmp_path / "media")
    report = staging.run(tmp_path / "media")
    assert _counts(report) == {"stored": 6}
    pairs = zip(paths, staging.data_sets.values(), strict=True)
    assert all(path.read_bytes().endswith(data_set) for path, data_set in pairs)
    assert _spool(staging) == []


def test_importing_twice_changes_nothing(staging: Staging, tmp_path: Path) -> None:
    """What is there already is counted as such."""
    write_study(tmp_path / "media")
    staging.run(tmp_path / "media")
    assert _counts(staging.run(tmp_path / "media")) == {"already_stored": 6}


def test_everything_that_is_found_is_counted_once(staging: Staging, tmp_path: Path) -> None:
    """Stored, duplicate, quarantined, refused and foreign things add up to what was found."""
    media = tmp_path / "media"
    write_file(make_instance(number=1), media / "1.dcm")
    write_file(make_instance(number=1), media / "2-copy.dcm")
    write_file(make_instance(number=1, PatientID="OTHER"), media / "3-changed.dcm")
    truncated = write_file(make_instance(number=4), media / "4-truncated.dcm")
    truncated.write_bytes(truncated.read_bytes()[:-1])
    invalid = write_file(make_instance(number=5, StudyInstanceUID="1.2.3.4"), media / "5-uid.dcm")
    invalid.write_bytes(invalid.read_bytes().replace(b"1.2.3.4", b"1.2..34"))
    (media / "6-letter.txt").write_text("Dear colleague")
    seen: list[Imported] = []
    report = import_objects(
        find_objects([media]),
        files=staging.files,
        accept=staging,
        origin=ORIGIN,
        on_progress=seen.append,
    )
    assert _counts(report) == {
        "stored": 1,
        "duplicate": 1,
        "quarantined": 1,
        "refused": 2,
        "not_dicom": 1,
    }
    assert report.total == len(seen) == 6
    assert [(Path(p.name).name, p.reason) for p in report.problems] == [
        ("3-changed.dcm", "known"),
        ("4-truncated.dcm", "invalid_data_set"),
        ("5-uid.dcm", "invalid_uid"),
        ("6-letter.txt", "not a DICOM file"),
    ]
    assert _spool(staging) == []


def test_meta_information_is_written_anew(staging: Staging, tmp_path: Path) -> None:
    """A preamble with a program in it never reaches the store."""
    path = write_file(make_instance(), tmp_path / "x.dcm")
    path.write_bytes(b"MZ".ljust(128, b"\x90") + path.read_bytes()[128:])
    staging.run(path)
    assert staging.heads[0].startswith(PREFIX)


def test_the_data_set_wins_over_meta_information(staging: Staging, tmp_path: Path) -> None:
    """Meta information with other UIDs than the data set is corrected and remarked (E08)."""
    dataset = make_instance(number=1)
    path = write_file(dataset, tmp_path / "x.dcm")
    path.write_bytes(path.read_bytes().replace(dataset.SOPInstanceUID.encode(), b"2.25.1", 1))
    content = path.read_bytes()
    shorter = len(dataset.SOPInstanceUID) - len("2.25.1")
    at = content.index(b"\2\0\3\0UI") + 6
    size = int.from_bytes(content[at : at + 2], "little") - shorter
    path.write_bytes(content[:at] + size.to_bytes(2, "little") + content[at + 2 :])
    report = staging.run(path)
    assert _counts(report) == {"stored": 1}
    assert [(f.code, f.uid) for f in report.findings] == [
        ("meta_information_differs", dataset.SOPInstanceUID)
    ]
    uid = dataset.SOPInstanceUID
    (tmp_path / "kept.dcm").write_bytes(staging.heads[0] + staging.data_sets[uid])
    assert dcmread(tmp_path / "kept.dcm").file_meta.MediaStorageSOPInstanceUID == uid


def test_files_without_meta_information_are_imported(staging: Staging, tmp_path: Path) -> None:
    """A bare data set gets its meta information from its own elements, without a remark."""
    content = data_set_bytes(make_instance())
    (tmp_path / "bare").write_bytes(content)
    report = staging.run(tmp_path / "bare")
    assert _counts(report) == {"stored": 1}
    assert list(staging.data_sets.values()) == [content]
    assert report.findings == ()


def test_archives_are_imported_byte_by_byte(staging: Staging, tmp_path: Path) -> None:
    """Members of an archive arrive as they are; a damaged one is refused and leaves nothing."""
    path = tmp_path / "study.zip"
    padding = element(0xFFFCFFFC, "OB", bytes(100_000))
    contents = [data_set_bytes(make_instance(number=n)) + padding for n in (1, 2)]
    with zipfile.ZipFile(path, "w") as archive:
        for n, content in enumerate(contents):
            archive.writestr(f"{n}.dcm", content)
    damaged = path.read_bytes().replace(contents[1], contents[1][:-1] + b"?")
    path.write_bytes(damaged)
    report = staging.run(path)
    assert _counts(report) == {"stored": 1, "refused": 1}
    assert report.problems[0].detail.endswith("(damaged); copy it again")
    assert list(staging.data_sets.values()) == contents[:1]
    assert [p.reason for p in report.problems] == ["unreadable"]
    assert _spool(staging) == []


def test_what_accept_refuses_is_counted(staging: Staging, tmp_path: Path) -> None:
    """A refusal is counted with its reason and leaves nothing in the spool."""
    staging.error = IdentityMismatch("another UID")
    report = staging.run(write_file(make_instance(), tmp_path / "x.dcm"))
    assert [(p.result, p.reason) for p in report.problems] == [
        (Result.REFUSED, "identity_mismatch")
    ]
    assert _spool(staging) == []


def test_a_full_store_stops_the_import(staging: Staging, tmp_path: Path) -> None:
    """When the store cannot take more the import ends at once, and leaves no spool file."""
    staging.error = StoreUnavailable("disk full")
    with pytest.raises(StoreUnavailable):
        staging.run(write_file(make_instance(), tmp_path / "x.dcm"))
    assert _spool(staging) == []


def test_an_empty_data_set_is_refused(staging: Staging, tmp_path: Path) -> None:
    """Meta information with nothing behind it is refused."""
    path = write_file(make_instance(), tmp_path / "x.dcm")
    content = path.read_bytes()
    path.write_bytes(content[: content.index(element(0x00080005, "CS", b"ISO_IR 192"))])
    assert _counts(staging.run(path)) == {"refused": 1}


def test_a_file_that_grows_is_read_up_to_the_size_it_had(staging: Staging, tmp_path: Path) -> None:
    """Bytes that are added while the import runs are not taken for a part of the object."""
    path = tmp_path / "x.dcm"
    path.write_bytes(uids())
    candidates = find_objects([path])
    found = next(candidates)
    path.write_bytes(uids() + b"later")
    report = import_objects([found], files=staging.files, accept=staging, origin=ORIGIN)
    assert _counts(report) == {"stored": 1}
    assert list(staging.data_sets.values()) == [uids()]


def test_the_transfer_syntax_stays(staging: Staging, tmp_path: Path) -> None:
    """The head of a kept file states the transfer syntax of the source."""
    staging.run(write_file(make_instance(), tmp_path / "x.dcm"))
    assert EXPLICIT.encode() in staging.heads[0]


def test_missing_files_of_a_directory_are_counted_apart(staging: Staging, tmp_path: Path) -> None:
    """What a DICOMDIR refers to and the media lacks is neither stored nor refused."""
    write_file(make_instance(), tmp_path / "A")
    report = staging.run(write_directory(tmp_path, "A", "LOST"))
    assert _counts(report) == {"stored": 1, "not_dicom": 1, "missing": 1}
    assert [p.name for p in report.problems if p.result is Result.MISSING] == [
        str(tmp_path / "LOST")
    ]


def test_every_real_file_is_stored_or_refused_by_name(staging: Staging) -> None:
    """Of real files each whole instance is stored; an independent reading counts the same."""
    folder = shared_data()
    if folder is None:
        pytest.skip("no folder of real studies beside this checkout")
    report = staging.run(folder / "dicom")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {uid for path in sorted((folder / "dicom").rglob("*")) if (uid := _whole(path))}
    assert set(staging.data_sets) == expected
    files = sum(1 for path in (folder / "dicom").rglob("*") if path.is_file())
    assert report.total - report.counts[Result.MISSING] == files
    assert _spool(staging) == []


def _whole(path: Path) -> str | None:
    """Return the UID of a file that pydicom reads as an instance, and DCMTK to its end."""
    if not path.is_file() or path.name in INCOMPLETE:
        return None
    try:
        dataset = dcmread(path, force=True, stop_before_pixels=True)
    except OSError:
        return None
    keywords = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    uids = [str(dataset.get(keyword, "")) for keyword in keywords]
    return uids[1] if all(re.fullmatch(r"[0-9.]{1,64}", uid) for uid in uids) else None
