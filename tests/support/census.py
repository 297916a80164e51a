"""What a folder of files holds, counted with pydicom alone."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_preamble

from intu_fhir.model.uid import is_uid

MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"


@dataclass(frozen=True)
class CountedFile:
    """One file as pydicom reads it.

    Args:
        body_sha256: hash of the bytes behind the meta information.
        padded_sha256: the same of an even number of bytes, as a deflated data set is sent
            (PS3.5 A.5).
        identity: (study, series, instance, SOP class) UIDs; None where one is missing or wrong.
    """

    path: Path
    body_sha256: str
    padded_sha256: str
    identity: tuple[str, str, str, str] | None


@dataclass
class Census:
    """Every file of a folder, sorted by what it is."""

    objects: list[CountedFile] = field(default_factory=list)
    directories: list[Path] = field(default_factory=list)
    not_dicom: list[Path] = field(default_factory=list)

    def studies(self, without: Container[str] = ()) -> dict[str, dict[str, set[str]]]:
        """Return study → series → instances of what has an identity, first come first served.

        Args:
            without: names of files that do not count.
        """
        first: dict[str, tuple[str, str]] = {}
        for counted in self.objects:
            if counted.identity and counted.path.name not in without:
                study, series, instance, _ = counted.identity
                first.setdefault(instance, (study, series))
        found: dict[str, dict[str, set[str]]] = {}
        for instance, (study, series) in first.items():
            found.setdefault(study, {}).setdefault(series, set()).add(instance)
        return found


def take_census(folder: Path) -> Census:
    """Count the files below ``folder`` in order of name."""
    census = Census()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            _count(census, path)
    return census


def _count(census: Census, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        except (InvalidDicomError, OSError, ValueError, EOFError, NotImplementedError):
            census.not_dicom.append(path)
            return
        if str(dataset.file_meta.get("MediaStorageSOPClassUID", "")) == MEDIA_DIRECTORY:
            census.directories.append(path)
            return
        if len(dataset) == 0:
            census.not_dicom.append(path)
            return
        census.objects.append(CountedFile(path, *_sha256(_body(path)), _identity(dataset)))


def _identity(dataset: pydicom.Dataset) -> tuple[str, str, str, str] | None:
    uids = tuple(
        str(dataset.get(keyword, "") or "")
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
    )
    study, series, instance, sop_class = uids
    return (study, series, instance, sop_class) if all(map(is_uid, uids)) else None


def _sha256(body: bytes) -> tuple[str, str]:
    padded = body + b"\0" * (len(body) % 2)
    return hashlib.sha256(body).hexdigest(), hashlib.sha256(padded).hexdigest()


def _body(path: Path) -> bytes:
    """Return what stands behind preamble and group 2 (PS3.10 7.1)."""
    with path.open("rb") as file:
        if not read_preamble(file, force=True):
            file.seek(0)
        start = file.tell()
        group_length = file.read(12)
        if group_length[:4] == b"\2\0\0\0":
            file.seek(start + 12 + int.from_bytes(group_length[8:12], "little"))
        else:
            file.seek(start)
        return file.read()
