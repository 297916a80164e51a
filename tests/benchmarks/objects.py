"""Objects to send: images made once, in which only UIDs change from one to the next."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from intu_fhir.files.part10 import part10_head
from tests.support.raw_peer import COMMAND, LAST, P_DATA, pdu, pdv, store_command

CONTEXT_ID = 1
_DIGITS = 20
_PDV_HEADER_BYTES = 6


def _placeholder(kind: int) -> str:
    return f"2.25.7{kind}" + "0" * _DIGITS


STUDY, SERIES, INSTANCE = (_placeholder(kind) for kind in (1, 2, 3))
"""What stands in a template where a real UID of the same length goes."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One size of image: ``rows`` by ``rows`` pixels of 16 bits, ``frames`` times."""

    name: str
    rows: int
    frames: int = 1


CT = Kind("CT", 512)
SMALL = Kind("small", 64)
LARGE = Kind("multi-frame", 512, frames=400)
KINDS = {kind.name: kind for kind in (CT, SMALL, LARGE)}

_HEADER = {
    "SpecificCharacterSet": "ISO_IR 100",
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "SOPClassUID": CTImageStorage,
    "StudyDate": "20240229",
    "SeriesDate": "20240229",
    "AcquisitionDate": "20240229",
    "ContentDate": "20240229",
    "StudyTime": "101530",
    "SeriesTime": "101600",
    "AcquisitionTime": "101601.250",
    "ContentTime": "101602",
    "AccessionNumber": "ACC0001",
    "Modality": "CT",
    "Manufacturer": "Maker",
    "InstitutionName": "General Hospital",
    "ReferringPhysicianName": "Referrer^Rita",
    "StationName": "CT1",
    "StudyDescription": "CT Thorax",
    "SeriesDescription": "Thorax 5.0",
    "InstitutionalDepartmentName": "Radiology",
    "ManufacturerModelName": "Scanner 64",
    "PatientName": "Sample^Sam",
    "PatientID": "P0000001",
    "PatientBirthDate": "19700101",
    "PatientSex": "O",
    "PatientAge": "054Y",
    "BodyPartExamined": "CHEST",
    "SliceThickness": "5",
    "KVP": "120",
    "DataCollectionDiameter": "500",
    "DeviceSerialNumber": "12345",
    "SoftwareVersions": "1.0",
    "ProtocolName": "Thorax",
    "ReconstructionDiameter": "380",
    "ExposureTime": "500",
    "XRayTubeCurrent": "120",
    "ConvolutionKernel": "SOFT",
    "PatientPosition": "HFS",
    "StudyID": "1",
    "SeriesNumber": "2",
    "AcquisitionNumber": "1",
    "InstanceNumber": "1",
    "ImagePositionPatient": ["-190", "-190", "10"],
    "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"],
    "FrameOfReferenceUID": _placeholder(4),
    "SliceLocation": "10",
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "PixelSpacing": ["0.7", "0.7"],
    "BitsAllocated": 16,
    "BitsStored": 12,
    "HighBit": 11,
    "PixelRepresentation": 0,
    "WindowCenter": "40",
    "WindowWidth": "400",
    "RescaleIntercept": "-1024",
    "RescaleSlope": "1",
}


@cache
def data_set(kind: Kind) -> bytes:
    """Return the data set of an image with the header that a scanner would give it."""
    image = Dataset()
    for keyword, value in _HEADER.items():
        setattr(image, keyword, value)
    image.SOPInstanceUID, image.StudyInstanceUID, image.SeriesInstanceUID = INSTANCE, STUDY, SERIES
    request = Dataset()
    request.ScheduledProcedureStepID, request.RequestedProcedureID = "SPS1", "RP1"
    image.RequestAttributesSequence = Sequence([request])
    image.Rows = image.Columns = kind.rows
    if kind.frames > 1:
        image.NumberOfFrames = kind.frames
    pixels = bytes(n * n * 31 + n * 7 & 0xFF for n in range(1024)) * (kind.rows * kind.rows // 512)
    image.add_new("PixelData", "OW", pixels * kind.frames)
    buffer = BytesIO()
    dcmwrite(buffer, image, implicit_vr=False, little_endian=True)
    return buffer.getvalue()


class Template:
    """A whole C-STORE request as P-DATA-TF PDUs (PS3.8 9.3.5), to be sent with other UIDs.

    Args:
        max_pdu_bytes: longest PDU the receiver takes; the UIDs must be in the first one.
    """

    def __init__(self, kind: Kind, max_pdu_bytes: int) -> None:
        command = store_command(INSTANCE, sop_class_uid=CTImageStorage)
        parts = [pdu(P_DATA, pdv(CONTEXT_ID, COMMAND | LAST, command))]
        body, room = data_set(kind), max_pdu_bytes - _PDV_HEADER_BYTES
        for begin in range(0, len(body), room):
            last = LAST if begin + room >= len(body) else 0
            parts.append(pdu(P_DATA, pdv(CONTEXT_ID, last, body[begin : begin + room])))
        self.message = bytearray(b"".join(parts))
        self._places = {what: list(self._find(what)) for what in (STUDY, SERIES, INSTANCE)}

    def _find(self, placeholder: str) -> list[int]:
        head, places, begin = bytes(self.message[:4096]), [], 0
        while (begin := head.find(placeholder.encode(), begin)) >= 0:
            begin += len(placeholder)
            places.append(begin - _DIGITS)
        return places

    def give(self, placeholder: str, number: int) -> None:
        """Put a number where ``placeholder`` (STUDY, SERIES or INSTANCE) stands."""
        for place in self._places[placeholder]:
            self.message[place : place + _DIGITS] = b"%0*d" % (_DIGITS, number)


def numbered(placeholder: str, number: int) -> str:
    """Return the UID that ``Template.give`` makes."""
    return f"{placeholder[:-_DIGITS]}{number:0{_DIGITS}d}"


def part10(kind: Kind, study: int, instance: int) -> bytes:
    """Return an image as a DICOM file (PS3.10 7.1), for senders that read files."""
    body = data_set(kind)
    for placeholder, number in ((STUDY, study), (SERIES, study), (INSTANCE, instance)):
        body = body.replace(placeholder.encode(), numbered(placeholder, number).encode())
    instance_uid = numbered(INSTANCE, instance)
    return part10_head(CTImageStorage, instance_uid, ExplicitVRLittleEndian) + body
