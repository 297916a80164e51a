"""Images that a PACS does not take compressed: what is sent of them, and what is not."""

from __future__ import annotations

import copy
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from intu_fhir.deliver.dicom import NO_CONTEXT, NOT_TRANSCODED, ObjectToSend
from intu_fhir.demo.pacs import StandInPacs
from intu_fhir.model.outcome import Dead, Delivered
from tests.support.compressed import JPEG_BASELINE, compress, multi_frame, pixels_of, write
from tests.support.data import pydicom_files
from tests.support.outgoing import Sending, outgoing, outgoing_study
from tests.support.studies import make_instance

RLE, J2K = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90"
EXPLICIT, IMPLICIT = str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian)
CT = str(CTImageStorage)


def _arrived(
    folder: Path, objects: list[ObjectToSend], takes: str = EXPLICIT, **settings: object
) -> tuple[Sending, object, dict[str, Dataset], int]:
    """Send to a PACS that takes one transfer syntax; return what it has, read as data sets."""
    classes = {one.sop_class_uid: [takes] for one in objects}
    with StandInPacs(folder / "pacs", contexts=classes) as pacs:
        sending = Sending(pacs.port, **{"transcode": "uncompressed", **settings})
        outcome = sending.send(objects)
        kept = {one.sop_instance_uid: dcmread(one.path) for one in pacs.instances}
        return sending, outcome, kept, pacs.associations


def _only(kept: dict[str, Dataset]) -> Dataset:
    (one,) = kept.values()
    return one


@pytest.mark.parametrize("takes", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize("uid", [RLE, J2K])
def test_all_frames_arrive(tmp_path: Path, uid: str, takes: str) -> None:
    """A multi-frame image has all its frames, in their order, and an even length."""
    source = multi_frame(5, rows=41, columns=37)
    pixels = pixels_of(source)
    one = compress(source, uid, tmp_path / "one.dcm")
    sending, outcome, kept, _ = _arrived(tmp_path, [one], takes)
    assert outcome == Delivered("0000", "1 instance, 1 of them decompressed")
    assert np.array_equal(pixels_of(_only(kept)), pixels)
    assert len(_only(kept).PixelData) % 2 == 0
    assert [answer.transcoded_to for answer in sending.answers] == [takes]


def test_odd_pixel_data_are_padded(tmp_path: Path) -> None:
    """Pixel data of an odd number of bytes get one more (PS3.5 8.1.1)."""
    attributes = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelData": b"\1\2\3" + b"\0"}
    source = multi_frame(1, rows=1, columns=3, **attributes)
    source["PixelData"].VR = "OB"
    _, _, kept, _ = _arrived(tmp_path, [compress(source, RLE, tmp_path / "one.dcm")])
    assert _only(kept).PixelData == b"\1\2\3\0"


@pytest.mark.parametrize("table", ["none", "basic", "extended", "fragments"])
def test_each_way_to_find_frames(tmp_path: Path, table: str) -> None:
    """Frames are found without a table, by either table, and in several fragments each."""
    source = multi_frame(3)
    pixels = pixels_of(source)
    compress(source, J2K, tmp_path / "one.dcm")
    frames = _frames(source)
    if table == "extended":
        data, offsets, lengths = encapsulate_extended(frames)
        source.PixelData, source.ExtendedOffsetTable = data, offsets
        source.ExtendedOffsetTableLengths = lengths
    else:
        parts = 3 if table == "fragments" else 1
        source.PixelData = encapsulate(frames, fragments_per_frame=parts, has_bot=table != "none")
    source["PixelData"].is_undefined_length = True
    _, outcome, kept, _ = _arrived(tmp_path, [write(source, tmp_path / "again.dcm")])
    assert isinstance(outcome, Delivered)
    assert np.array_equal(pixels_of(_only(kept)), pixels)
    assert "ExtendedOffsetTable" not in _only(kept)


def _frames(dataset: Dataset) -> list[bytes]:
    return list(generate_frames(dataset.PixelData, number_of_frames=dataset.NumberOfFrames))


def test_icon_is_decompressed_too(tmp_path: Path) -> None:
    """An icon in the header is no longer compressed either (PS3.5 A.4), and is the same."""
    icon = multi_frame(1, rows=4, columns=4)
    pixels = pixels_of(icon)
    compress(icon, RLE, tmp_path / "icon.dcm")
    source = make_instance("icon")
    compress(source, RLE, tmp_path / "plain.dcm")
    item = Dataset()
    for element in icon:
        if element.tag.group in {0x0028, 0x7FE0} and element.keyword != "NumberOfFrames":
            item.add(element)
    source.IconImageSequence = Sequence([item])
    _, outcome, kept, _ = _arrived(tmp_path, [write(source, tmp_path / "one.dcm")])
    assert isinstance(outcome, Delivered)
    (got,) = _only(kept).IconImageSequence
    assert np.frombuffer(got.PixelData, "<u2").tolist() == pixels.ravel().tolist()
    assert np.array_equal(pixels_of(_only(kept)), pixels_of(make_instance("icon")))


def test_private_bytes_stay(tmp_path: Path) -> None:
    """Private values, of known and of unknown kind, are the same bytes in either encoding."""
    source = make_instance("private")
    source.add_new(0x00090010, "LO", "MAKER")
    source.add_new(0x00091001, "UN", b"\1\2\3\4")
    source.add_new(0x00091002, "DS", "1.50")
    one = compress(source, RLE, tmp_path / "one.dcm")
    for takes in (EXPLICIT, IMPLICIT):
        _, _, kept, _ = _arrived(tmp_path / takes, [one], takes)
        assert bytes(_only(kept).get_item(0x00091001).value) == b"\1\2\3\4"
        assert bytes(_only(kept).get_item(0x00091002).value) == b"1.50"


@pytest.mark.parametrize("takes", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize(
    "source", [EXPLICIT, str(ExplicitVRBigEndian), str(DeflatedExplicitVRLittleEndian)]
)
def test_uncompressed_ones_change_their_encoding_only(
    tmp_path: Path, source: str, takes: str
) -> None:
    """A PACS that takes one encoding gets the others in it, with the same values."""
    dataset = make_instance("encoding")
    dataset.RealWorldValueMappingSequence = Sequence([Dataset()])
    item = dataset.RealWorldValueMappingSequence[0]
    item.RealWorldValueSlope, item.LUTLabel = 1.5, "label"
    dataset.FrameIncrementPointer = 0x00181063
    data = _encoded(dataset, source)
    one = outgoing(tmp_path / "out", str(dataset.SOPInstanceUID), data, transfer_syntax_uid=source)
    _, outcome, kept, _ = _arrived(tmp_path, [one], takes)
    assert isinstance(outcome, Delivered)
    got = _only(kept)
    assert np.array_equal(pixels_of(got), pixels_of(dataset))
    assert got.RealWorldValueMappingSequence == dataset.RealWorldValueMappingSequence
    assert got.FrameIncrementPointer == 0x00181063
    assert got.PatientName == dataset.PatientName


def _encoded(dataset: Dataset, uid: str) -> bytes:
    dataset, out = copy.deepcopy(dataset), BytesIO()
    if uid == ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    dcmwrite(out, dataset, implicit_vr=False, little_endian=uid != ExplicitVRBigEndian)
    if uid != DeflatedExplicitVRLittleEndian:
        return out.getvalue()
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflate.compress(out.getvalue()) + deflate.flush()


def test_edits_are_made_in_decompressed_headers_too(tmp_path: Path) -> None:
    """What may not leave the house does not leave it decompressed."""
    source = make_instance("edits", PatientComments="tall")
    one = compress(source, RLE, tmp_path / "one.dcm")
    edits = {"set": {"InstitutionName": "Clinic"}, "remove": ["PatientComments"]}
    _, _, kept, _ = _arrived(tmp_path, [one], edits=edits)
    assert _only(kept).InstitutionName == "Clinic"
    assert "PatientComments" not in _only(kept)


def test_a_deflated_one_is_edited_where_it_is_inflated(tmp_path: Path) -> None:
    """A deflated header cannot be edited as it stands, but inflated it can."""
    source = make_instance("deflated")
    deflated = str(DeflatedExplicitVRLittleEndian)
    one = outgoing(
        tmp_path / "o", "1.2.3", _encoded(source, deflated), transfer_syntax_uid=deflated
    )
    _, outcome, kept, _ = _arrived(tmp_path, [one], edits={"set": {"StationName": "S1"}})
    assert isinstance(outcome, Delivered)
    assert _only(kept).StationName == "S1"


def test_never_is_the_default(tmp_path: Path) -> None:
    """Nothing is converted that nobody asked to be."""
    one = compress(make_instance("default"), RLE, tmp_path / "one.dcm")
    sending, outcome, kept, _ = _arrived(tmp_path, [one], transcode="never")
    assert isinstance(outcome, Dead)
    assert [answer.status for answer in sending.answers] == [NO_CONTEXT]
    assert kept == {}


def test_lossy_images_still_say_so(tmp_path: Path) -> None:
    """The traces of lossy compression and the UID stay; lossy JPEG without them gets one."""
    path = next(p for p in pydicom_files() if p.name == "SC_rgb_jpeg_dcmtk.dcm")
    dataset = dcmread(path)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    bare, told = dataset, dcmread(path)
    for keyword in ("", "Ratio", "Method"):
        if f"LossyImageCompression{keyword}" in bare:
            del bare[f"LossyImageCompression{keyword}"]
    told.SOPClassUID = told.file_meta.MediaStorageSOPClassUID = CTImageStorage
    told.SOPInstanceUID = told.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    told.LossyImageCompression, told.LossyImageCompressionRatio = "01", "12.5"
    told.LossyImageCompressionMethod = "ISO_10918_1"
    objects = [write(bare, tmp_path / "bare.dcm"), write(told, tmp_path / "told.dcm")]
    assert {one.transfer_syntax_uid for one in objects} == {JPEG_BASELINE}
    _, outcome, kept, _ = _arrived(tmp_path, objects)
    assert isinstance(outcome, Delivered)
    first, second = (kept[one.sop_instance_uid] for one in objects)
    assert first.LossyImageCompression == "01"
    assert "LossyImageCompressionMethod" not in first
    assert (second.LossyImageCompressionRatio, second.LossyImageCompressionMethod) == (
        12.5,
        "ISO_10918_1",
    )
    for one in (first, second):
        assert one.PhotometricInterpretation == "RGB"
        assert one.PlanarConfiguration == 0


def test_signed_samples_keep_their_sign(tmp_path: Path) -> None:
    """Negative values of fewer bits than are allocated arrive as they were."""
    values = (np.arange(64 * 64) - 2048).astype("<i2")
    source = multi_frame(1, PixelRepresentation=1, PixelData=values.tobytes())
    for number, uid in enumerate([RLE, J2K]):
        one = compress(copy.deepcopy(source), uid, tmp_path / f"{number}.dcm")
        _, _, kept, _ = _arrived(tmp_path / uid, [one])
        assert np.array_equal(pixels_of(_only(kept)).ravel(), values)


# ---- what cannot be decompressed


def _video(folder: Path) -> ObjectToSend:
    return outgoing(
        folder, "1.2.9", bytes(200), sop_class_uid=CT, transfer_syntax_uid="1.2.840.10008.1.2.4.102"
    )


def test_a_video_is_for_a_person_and_keeps_nobody_back(tmp_path: Path) -> None:
    """What has no uncompressed form is a dead letter with a remedy; the rest goes on."""
    others = [compress(make_instance("s", 1, n), RLE, tmp_path / f"{n}.dcm") for n in (1, 2)]
    objects = [others[0], _video(tmp_path / "out"), others[1]]
    sending, outcome, kept, associations = _arrived(tmp_path, objects)
    assert isinstance(outcome, Dead)
    assert [a.status for a in sending.answers] == ["0000", NOT_TRANSCODED, "0000"]
    assert "a video" in sending.answers[1].detail
    assert "enabled at the PACS" in sending.answers[1].detail
    assert (len(kept), associations) == (2, 1)


def test_a_frame_in_the_middle_that_is_broken(tmp_path: Path) -> None:
    """An image that breaks while it is sent is no delivery; the rest goes over a second line."""
    source = multi_frame(4, rows=64, columns=64)
    compress(source, J2K, tmp_path / "one.dcm")
    frames = _frames(source)
    frames[2] = frames[2][:40]
    source.PixelData = encapsulate(frames)
    source["PixelData"].is_undefined_length = True
    poison = write(source, tmp_path / "poison.dcm")
    others = [compress(make_instance("s", 1, n), RLE, tmp_path / f"{n}.dcm") for n in (1, 2)]
    sending, outcome, kept, associations = _arrived(tmp_path, [others[0], poison, others[1]])
    assert isinstance(outcome, Dead)
    assert [a.status for a in sending.answers] == ["0000", NOT_TRANSCODED, "0000"]
    assert sorted(kept) == sorted(one.sop_instance_uid for one in others)
    assert associations == 2


def _changed(change: str) -> Dataset:
    source = multi_frame(2)
    source.ensure_file_meta()
    source.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    source.compress(J2K, generate_instance_uid=False)
    if change == "size":
        source.Rows, source.Columns = 8, 32
    elif change == "samples":
        source.SamplesPerPixel, source.PhotometricInterpretation = 3, "RGB"
    elif change == "bits":
        source.BitsAllocated, source.BitsStored, source.HighBit = 8, 8, 7
    elif change == "one bit":
        source.BitsAllocated = 1
    elif change == "frames":
        source.NumberOfFrames = 3
    elif change == "no rows":
        del source.Rows
    elif change == "large":
        source.Rows = source.Columns = 12_000
    elif change == "too large":
        source.Rows = source.Columns = 8_000
        source.NumberOfFrames = 40
        source.PixelData = encapsulate([b"\0" * 10] * 40)
    return source


WRONG = {
    "size": "another size",
    "samples": "another size",
    "bits": "more bits",
    "one bit": "1 bits for a sample",
    "frames": "2 fragments for 3 frames",
    "no rows": "does not say rows",
    "large": "larger than 128 MiB",
    "too large": "4 GiB or more",
}


@pytest.mark.parametrize("change", WRONG)
def test_pixels_that_are_not_what_the_header_says(tmp_path: Path, change: str) -> None:
    """An image is sent as its header says or not at all: nobody gets scrambled pixels."""
    source = _changed(change)
    source["PixelData"].is_undefined_length = True
    _, outcome, kept, _ = _arrived(tmp_path, [write(source, tmp_path / "one.dcm")])
    assert isinstance(outcome, Dead)
    assert WRONG[change] in outcome.detail
    assert kept == {}


def test_image_that_is_taken_after_all(tmp_path: Path) -> None:
    """Plain images beside compressed ones go as they are, over the same association."""
    plain = outgoing_study(tmp_path / "out", 2)
    packed = compress(make_instance("other"), RLE, tmp_path / "packed.dcm")
    sending, outcome, _, associations = _arrived(tmp_path, [*plain, packed])
    assert outcome == Delivered("0000", "3 instances, 1 of them decompressed")
    assert [bool(answer.transcoded_to) for answer in sending.answers] == [False, False, True]
    assert associations == 1


def test_a_number_of_frames_without_end_keeps_no_other_back(tmp_path: Path) -> None:
    """An image whose header cannot be made sense of is a dead letter by itself."""
    hostile, good = make_instance("hostile", number=1), make_instance("hostile", number=2)
    compress(hostile, RLE, tmp_path / "hostile.dcm")
    hostile[0x00280008] = DataElement(0x00280008, "UT", "9" * 5_000)
    hostile[0x00280008].VR = "IS"
    objects = [write(hostile, tmp_path / "hostile.dcm"), compress(good, RLE, tmp_path / "good.dcm")]
    sending, outcome, _, _ = _arrived(tmp_path, objects)
    assert isinstance(outcome, Dead)
    assert [answer.status for answer in sending.answers] == [NOT_TRANSCODED, "0000"]
