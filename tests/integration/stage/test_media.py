"""Finding objects on media: folders, DICOMDIR, archives."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pydicom
import pytest

from intu_fhir.stage.media import (
    ArchiveLimits,
    Candidate,
    Found,
    Missing,
    NotDicom,
    Unreadable,
    find_objects,
)
from tests.support.elements import write_directory
from tests.support.studies import make_instance, write_file, write_study


def _names(found: list[Found]) -> list[str]:
    return [Path(item.name).name for item in found if isinstance(item, Candidate)]


def _problems(found: list[Found]) -> dict[str, str]:
    return {
        Path(item.name).name: "missing" if isinstance(item, Missing) else item.reason
        for item in found
        if not isinstance(item, Candidate)
    }


def _zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_a_folder_is_walked_in_order_of_name(tmp_path: Path) -> None:
    """Files of a folder come in order, those of its folders after them."""
    write_study(tmp_path / "b", series=1, instances=2)
    write_study(tmp_path / "a", series=1, instances=1)
    (tmp_path / "notes.txt").write_text("nothing medical")
    found = list(find_objects([tmp_path]))
    assert _names(found) == ["1-1.dcm", "1-1.dcm", "1-2.dcm"]
    assert _problems(found) == {"notes.txt": "not a DICOM file"}
    assert [Path(item.name).parent.name for item in found][1:] == ["a", "b", "b"]


def test_private_information_may_be_long(tmp_path: Path) -> None:
    """A file whose meta information is longer than most files is one all the same (PS3.10 7.1)."""
    (path,) = write_study(tmp_path, series=1, instances=1)
    file = pydicom.dcmread(path)
    data_set = path.stat().st_size
    file.file_meta.PrivateInformationCreatorUID = pydicom.uid.UID("1.2.3.4")
    file.file_meta.PrivateInformation = b"x" * 300_000
    file.save_as(path)
    zipped = _zipped(tmp_path / "all.zip", {"1.dcm": path.read_bytes()})
    for one in (path, zipped):
        (found,) = find_objects([one])
        assert isinstance(found, Candidate)
        assert 300_000 < found.place.offset < 300_000 + data_set
        assert found.place.sop_instance_uid == file.SOPInstanceUID


def test_each_file_is_met_once_whatever_leads_to_it(tmp_path: Path) -> None:
    """Links, loops of links and repeated arguments do not multiply anything."""
    (path,) = write_study(tmp_path / "study", series=1, instances=1)
    (tmp_path / "study" / "loop").symlink_to(tmp_path)
    (tmp_path / "study" / "self").symlink_to(tmp_path / "study" / "self")
    (tmp_path / "study" / "again.dcm").symlink_to(path)
    (tmp_path / "study" / "hard.dcm").hardlink_to(path)
    found = list(find_objects([tmp_path, path, tmp_path / "study"]))
    assert _names(found) == ["1-1.dcm"]
    assert list(_problems(found)) == ["self"]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Missing files, pipes and broken links are named with a reason and stop nothing."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    write_file(make_instance(), tmp_path / "good.dcm")
    found = list(find_objects([tmp_path / "absent", tmp_path]))
    assert _names(found) == ["good.dcm"]
    assert _problems(found) == {
        "absent": "No such file or directory",
        "broken": "No such file or directory",
        "pipe": "not a regular file",
    }


def test_names_are_fit_for_terminals(tmp_path: Path) -> None:
    """Control characters and undecodable bytes in file names cannot forge output."""
    hostile = os.fsencode(tmp_path) + b"/a\x1b[31m\nforged\xff"
    Path(os.fsdecode(hostile)).write_bytes(b"x")
    (found,) = find_objects([tmp_path])
    assert found.name.isprintable()
    found.name.encode("utf-8")


def test_a_directory_leads_to_its_files(tmp_path: Path) -> None:
    """A DICOMDIR named itself gives what it refers to, in the case the media has."""
    write_file(make_instance(number=1), tmp_path / "IMAGES" / "A")
    write_file(make_instance(number=2), tmp_path / "images2" / "b.;1")
    write_file(make_instance(number=3), tmp_path / "IMAGES" / "UNLISTED")
    path = write_directory(tmp_path, "IMAGES\\A", "IMAGES2\\B", "IMAGES\\LOST")
    found = list(find_objects([path]))
    assert _names(found) == ["A", "b.;1"]
    assert set(_problems(found)) == {"DICOMDIR", "LOST"}
    assert _problems(found)["LOST"] == "missing"


def test_a_directory_in_a_walked_folder_counts_nothing_twice(tmp_path: Path) -> None:
    """Walking a folder finds its files once and names what its DICOMDIR misses."""
    write_file(make_instance(number=1), tmp_path / "IMAGES" / "A")
    write_directory(tmp_path, "IMAGES\\A", "IMAGES\\LOST")
    found = list(find_objects([tmp_path]))
    assert _names(found) == ["A"]
    assert set(_problems(found)) == {"DICOMDIR", "LOST"}


@pytest.mark.parametrize("reference", ["..\\secret", "\\etc\\passwd", "a\\..\\..\\secret", "link"])
def test_a_directory_never_leads_outside_its_folder(tmp_path: Path, reference: str) -> None:
    """References that climb out, by name or by link, are reported and not followed."""
    write_file(make_instance(), tmp_path / "secret")
    (tmp_path / "media" / "a").mkdir(parents=True)
    (tmp_path / "media" / "link").symlink_to(tmp_path / "secret")
    found = list(find_objects([write_directory(tmp_path / "media", reference)]))
    assert _names(found) == []
    assert "outside the folder of its DICOMDIR: not followed" in _problems(found).values()


def test_a_reference_that_no_file_can_have_stops_nothing(tmp_path: Path) -> None:
    """A Referenced File ID too long for a name is named, and the references behind it followed."""
    write_file(make_instance(), tmp_path / "1")
    found = list(find_objects([write_directory(tmp_path, "A" * 300, "1")]))
    assert _problems(found)["A" * 300] == "File name too long"
    assert _names(found) == ["1"]


def test_a_folder_in_lower_case_is_looked_into_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Media that Linux shows in lower case costs one look, however many files lie in a folder."""
    content = write_file(make_instance(), tmp_path / "x").read_bytes()
    (tmp_path / "x").unlink()
    names = [f"im{number:03}" for number in range(200)]
    (tmp_path / "images").mkdir()
    for name in names:
        (tmp_path / "images" / name).write_bytes(content)
    directory = write_directory(tmp_path, *(f"IMAGES\\{name.upper()}" for name in names))
    looked: list[Path] = []
    look = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: looked.append(path) or look(path))
    assert _names(list(find_objects([directory]))) == names
    assert looked == [tmp_path, tmp_path / "images"]


def test_a_damaged_directory_is_named(tmp_path: Path) -> None:
    """A DICOMDIR that cannot be read to its end gives what it gave and says so."""
    write_file(make_instance(), tmp_path / "A")
    path = write_directory(tmp_path, "A")
    path.write_bytes(path.read_bytes()[:-1] + b"\0\0\0")
    problems = [item.reason for item in find_objects([path]) if isinstance(item, Unreadable)]
    assert "damaged" in problems[0]


def test_real_media_is_found_whole() -> None:
    """Each of the file sets that pydicom ships is found alike by DICOMDIR and by folder."""
    folder = Path(pydicom.__file__).parent / "data" / "test_files" / "dicomdirtests"
    by_directory = _names(list(find_objects([folder / "DICOMDIR"])))
    in_folders = _names(
        list(find_objects([folder / n for n in ("77654033", "98892001", "98892003")]))
    )
    assert sorted(by_directory) == sorted(in_folders)
    assert len(by_directory) == 31


def test_archives_are_opened(tmp_path: Path) -> None:
    """Members of a zip archive are found by name, folders and other files apart."""
    content = write_file(make_instance(), tmp_path / "x.dcm").read_bytes()
    (tmp_path / "x.dcm").unlink()
    path = _zipped(
        tmp_path / "study.zip", {"b/2.dcm": content, "a/": b"", "a/1.dcm": content, "LIES": b"x"}
    )
    opened = []
    for item in find_objects([path]):
        if isinstance(item, Candidate):
            with item.open() as file:
                opened.append((item.name.rpartition("!")[2], file.read() == content))
        else:
            assert item.name.endswith("!LIES")
    assert opened == [("a/1.dcm", True), ("b/2.dcm", True)]


def test_hostile_archives_are_bounded(tmp_path: Path) -> None:
    """Too many, too large or too well packed members are named and not unfolded."""
    content = write_file(make_instance(), tmp_path / "x").read_bytes()
    bomb = _zipped(tmp_path / "bomb.zip", {f"{n}.dcm": content + bytes(100_000) for n in range(9)})
    large = ArchiveLimits(max_member_bytes=50_000)
    assert not _names(list(find_objects([bomb], large)))
    dense = ArchiveLimits(max_ratio=1, free_bytes=300_000)
    assert len(_names(list(find_objects([bomb], dense)))) == 2
    many = list(find_objects([bomb], ArchiveLimits(max_members=8)))
    assert [type(item) for item in many] == [Unreadable]


def test_names_inside_archives_are_never_paths(tmp_path: Path) -> None:
    """Members that try to climb out are only shown by name."""
    content = write_file(make_instance(), tmp_path / "x").read_bytes()
    path = _zipped(tmp_path / "z.zip", {"../../evil.dcm": content, "/etc/evil\n.dcm": content})
    found = [item.name for item in find_objects([path])]
    assert len(found) == 2
    assert all(name.startswith(str(path)) and name.isprintable() for name in found)


def test_damaged_archives_are_named(tmp_path: Path) -> None:
    """An archive that is cut, or whose member is, is reported and stops nothing."""
    content = write_file(make_instance(), tmp_path / "x").read_bytes()
    path = _zipped(tmp_path / "z.zip", {"1.dcm": content})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    (found,) = find_objects([path])
    assert isinstance(found, Unreadable)
    path.write_bytes(whole.replace(b"\x08\x00", b"\x63\x00", 2))
    assert all(isinstance(item, Unreadable) for item in find_objects([path]))


@pytest.mark.parametrize("place", ["central", "local", "packed"])
def test_no_damage_of_an_archive_stops_the_others(tmp_path: Path, place: str) -> None:
    """Names that are no UTF-8, and damaged LZMA: the next archive is still opened."""
    content = write_file(make_instance(), tmp_path / "x").read_bytes()
    (tmp_path / "x").unlink()
    path, name = tmp_path / "1.zip", "ä.dcm".encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("ä.dcm", content)
    whole = path.read_bytes()
    local, central = whole.index(name), whole.rindex(name)
    at = {"central": central, "local": local, "packed": local + len(name) + 4}[place]
    path.write_bytes(whole[:at] + b"\xff" + whole[at + 1 :])
    _zipped(tmp_path / "2.zip", {"2.dcm": content})
    first, second = find_objects([tmp_path])
    assert isinstance(first, Unreadable)
    assert isinstance(second, Candidate)


def test_an_archive_inside_an_archive_stays_closed(tmp_path: Path) -> None:
    """Archives are opened one level deep."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("1.dcm", b"x")
    (found,) = find_objects([_zipped(tmp_path / "outer.zip", {"inner.zip": inner.getvalue()})])
    assert isinstance(found, NotDicom)
