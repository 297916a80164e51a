"""Studies straight from files or data sets, without a database."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TypeAlias

import orjson
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian

from intu_fhir.aggregate.merge import merge_headers
from intu_fhir.errors import InvalidDataSet
from intu_fhir.mappings import (
    Level,
    acquisition_modalities,
    attributes_at,
    staged_attributes,
)
from intu_fhir.model.grouping import StagedHeader, group_study
from intu_fhir.model.study import Instance, Study
from intu_fhir.model.values import text
from intu_fhir.stage.describe import describe
from intu_fhir.stage.header import read_header
from intu_fhir.stage.media import Candidate, find_objects

Source: TypeAlias = Path | str | Dataset
"""A DICOM file, a folder of them, or a data set in memory."""

_WITHOUT_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)


def read_studies(
    sources: Iterable[Source], levels: Mapping[str, Level] | None = None
) -> list[Study]:
    """Return the studies that the sources hold, merged as a site would, ordered by UID.

    Args:
        levels: the attributes to read, by default those of the shipped mapping.

    Raises:
        InvalidDataSet: nothing in the sources is a DICOM object, or one cannot be read.
        InvalidUid: a UID is missing or invalid.
    """
    attributes = attributes_at(levels or staged_attributes())
    series: dict[tuple[str, str], dict[str, StagedHeader]] = {}
    for data_set, transfer_syntax_uid in _data_sets(sources):
        study_uid, series_uid, member = _read(data_set, transfer_syntax_uid, attributes.levels)
        # An instance that comes twice counts once, as it does in staging.
        series.setdefault((study_uid, series_uid), {}).setdefault(member.instance.uid, member)
    if not series:
        raise InvalidDataSet("No DICOM object was found; name DICOM files, folders or archives")
    acquired = acquisition_modalities()
    studies: dict[str, dict[str, list[StagedHeader]]] = {}
    for (study_uid, series_uid), members in series.items():
        studies.setdefault(study_uid, {})[series_uid] = list(members.values())
    return [
        merge_headers(uid, group_study(of, acquired), (), 1, attributes=attributes)
        for uid, of in sorted(studies.items())
    ]


def _read(
    data_set: bytes, transfer_syntax_uid: str, levels: Mapping[str, Level]
) -> tuple[str, str, StagedHeader]:
    header = read_header(data_set, transfer_syntax_uid)
    seen = describe(data_set, transfer_syntax_uid, levels)
    canonical = orjson.dumps(seen.shared, option=orjson.OPT_SORT_KEYS)
    instance = Instance(
        header.sop_instance_uid, header.sop_class_uid, transfer_syntax_uid, seen.instance
    )
    member = StagedHeader(
        instance=instance,
        shared=seen.shared,
        group=hashlib.sha256(canonical).hexdigest(),
        modality=text(header.values, "Modality"),
        series_number=text(header.values, "SeriesNumber"),
        instance_number=text(header.values, "InstanceNumber"),
    )
    return header.study_instance_uid, header.series_instance_uid, member


def _data_sets(sources: Iterable[Source]) -> Iterator[tuple[bytes, str]]:
    for source in sources:
        if isinstance(source, Dataset):
            yield _encode(source), str(ExplicitVRLittleEndian)
        else:
            yield from _from_files([Path(source)])


def _from_files(paths: Sequence[Path]) -> Iterator[tuple[bytes, str]]:
    for found in find_objects(paths):
        if not isinstance(found, Candidate):
            continue
        with found.open() as file:
            content = file.read(found.max_bytes)
        yield content[found.place.offset :], found.place.transfer_syntax_uid


def _encode(dataset: Dataset) -> bytes:
    """Return a data set's bytes; its pixels say nothing about the study."""
    plain = Dataset({e.tag: e for e in dataset if e.tag not in _WITHOUT_PIXELS})
    buffer = BytesIO()
    dcmwrite(buffer, plain, implicit_vr=False, little_endian=True)
    return buffer.getvalue()
