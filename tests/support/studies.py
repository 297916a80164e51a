"""Small valid studies, made of nothing: the same names give the same UIDs and bytes."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

IMPLEMENTATION_CLASS_UID = "2.25.329800735698586629295641978511506172918"


def uid(*names: object) -> str:
    """Return the UID that always belongs to these names (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, '/'.join(map(str, names))).int}"


def make_instance(
    study: object = "study", series: object = 1, number: int = 1, **attributes: Any
) -> Dataset:
    """Return a CT instance of four pixels with all attributes that staging reads.

    Args:
        study: any name; instances with the same one belong to the same study.
        series: any name within the study.
        number: Instance Number, and what tells instances of a series apart.
        attributes: DICOM keyword and value; a value of None removes the attribute.
    """
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = uid(study, series, number)
    dataset.StudyInstanceUID = uid(study)
    dataset.SeriesInstanceUID = uid(study, series)
    dataset.StudyDate, dataset.StudyTime = "20240229", "101530"
    dataset.SeriesDate, dataset.SeriesTime = "20240229", "101600"
    dataset.AccessionNumber, dataset.StudyID = "ACC1", "1"
    dataset.Modality, dataset.BodyPartExamined = "CT", "CHEST"
    dataset.StudyDescription, dataset.SeriesDescription = "Thorax", f"Series {series}"
    dataset.ReferringPhysicianName = "Referrer^Rita"
    dataset.PatientName, dataset.PatientID = "Sample^Sam", "P1"
    dataset.PatientBirthDate, dataset.PatientSex = "19700101", "O"
    dataset.SeriesNumber = series if isinstance(series, int) else 1
    dataset.InstanceNumber = number
    _add_pixels(dataset)
    for keyword, value in attributes.items():
        if value is None:
            del dataset[keyword]
        else:
            setattr(dataset, keyword, value)
    return dataset


def _add_pixels(dataset: Dataset) -> None:
    """Give the instance a 2 by 2 image (PS3.3 C.7.6.3)."""
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows = dataset.Columns = 2
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.add_new("PixelData", "OW", bytes(range(8)))


def make_study(
    study: object = "study", series: int = 2, instances: int = 3, **attributes: Any
) -> Iterator[Dataset]:
    """Give the instances of a study, series by series; ``attributes`` go to each of them."""
    for series_number in range(1, series + 1):
        for number in range(1, instances + 1):
            yield make_instance(study, series_number, number, **attributes)


def data_set_bytes(dataset: Dataset, transfer_syntax_uid: str = ExplicitVRLittleEndian) -> bytes:
    """Return the bytes that a C-STORE carries for an uncompressed, little endian data set."""
    buffer = BytesIO()
    dcmwrite(
        buffer,
        dataset,
        implicit_vr=transfer_syntax_uid == ImplicitVRLittleEndian,
        little_endian=True,
    )
    return buffer.getvalue()


def write_file(
    dataset: Dataset, path: Path, transfer_syntax_uid: str = ExplicitVRLittleEndian
) -> Path:
    """Write a DICOM file (PS3.10 7.1) and return its path."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    head = Dataset()
    head.update(dataset)
    head.file_meta = meta
    path.parent.mkdir(parents=True, exist_ok=True)
    dcmwrite(path, head, enforce_file_format=True)
    return path


def write_study(folder: Path, study: object = "study", **options: Any) -> list[Path]:
    """Write a study below ``folder``, one file an instance, and return their paths in order."""
    return [
        write_file(dataset, folder / f"{dataset.SeriesNumber}-{dataset.InstanceNumber}.dcm")
        for dataset in make_study(study, **options)
    ]
