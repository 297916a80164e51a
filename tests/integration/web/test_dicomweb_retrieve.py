"""WADO-RS over real HTTP, on both databases and on a bucket (PS3.18 10.4)."""

from __future__ import annotations

import email.parser
import email.policy
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pydicom
import pytest
import sqlalchemy as sa
from PIL import Image as Pictures
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, generate_frames

from intu_fhir.db.tables import audit_events, instances
from tests.support.images import PATH, client_of, serving_images, texts, write_all
from tests.support.studies import make_instance, make_study, uid
from tests.support.web import Served

DICOM = 'multipart/related; type="application/dicom"'
CT, RLE, JPEG, J2K, DOSE, BIG, BITS, DEFLATED = (
    "CT_small.dcm",
    "SC_rgb_rle.dcm",
    "examples_ybr_color.dcm",
    "JPEG2000.dcm",
    "rtdose_expb.dcm",
    "MR_small_expb.dcm",
    "liver_1frame.dcm",
    "image_dfl.dcm",
)

ICON = "1.2.826.0.1.3680043.8.498.77"


def _path(name: str) -> Path:
    found = get_testdata_file(name, download=False)
    if found is None:
        pytest.skip(f"pydicom's wheel has no {name}")
    return Path(str(found))


def _with_icon(file: Path) -> Path:
    """Write a compressed image that has another one inside, and sequences of unknown length."""
    dataset = pydicom.dcmread(_path(J2K))
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = ICON
    icon = pydicom.Dataset()
    icon.Rows = icon.Columns = 1
    icon.PixelData = encapsulate([b"\xff\x4ficon"])
    icon["PixelData"].VR, icon["PixelData"].is_undefined_length = "OB", True
    dataset.IconImageSequence = [icon]
    dataset["IconImageSequence"].is_undefined_length = True
    dataset.save_as(file)
    return file


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Real files of many transfer syntaxes, and a made study."""
    folder = tmp_path_factory.mktemp("retrieve")
    names = [CT, RLE, JPEG, J2K, DOSE, BIG, BITS, DEFLATED]
    real = [Path(str(p)) for n in names if (p := get_testdata_file(n, download=False))]
    made = [*write_all(folder / "in", make_study("made")), _with_icon(folder / "icon.dcm")]
    database = f"sqlite:///{folder}/staging.db"
    with serving_images(folder / "site", database, [*real, *made]) as one:
        yield one


def address(dataset: pydicom.Dataset) -> str:
    """Return the path of an instance."""
    return (
        f"{PATH}/studies/{dataset.StudyInstanceUID}/series/{dataset.SeriesInstanceUID}"
        f"/instances/{dataset.SOPInstanceUID}"
    )


def get(served: Served, path: str, accept: str = "*/*") -> httpx.Response:
    """Ask for something."""
    with served.client() as client:
        return client.get(path, headers={"accept": accept})


def parts(answer: httpx.Response) -> list[tuple[str, bytes]]:
    """Return type and content of the parts, as a library of others reads them."""
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    parser = email.parser.BytesParser(policy=email.policy.HTTP)
    message = parser.parsebytes(head + answer.content)
    assert message.is_multipart(), answer.text[:200]
    return [
        (str(part["content-type"]).replace('"', ""), part.get_payload(decode=True))
        for part in message.iter_parts()
    ]


def test_an_instance_comes_as_it_was_received(served: Served) -> None:
    """A DICOM file comes back with every byte of its data set, alone or as a part."""
    dataset = pydicom.dcmread(_path(CT))
    ((kind, content),) = parts(get(served, address(dataset), f"{DICOM}; transfer-syntax=*"))
    assert kind == f"application/dicom; transfer-syntax={dataset.file_meta.TransferSyntaxUID}"
    assert pydicom.dcmread(BytesIO(content)) == dataset
    alone = get(served, address(dataset), "application/dicom")
    assert alone.headers["content-type"].startswith("application/dicom")
    assert int(alone.headers["content-length"]) == len(alone.content)
    assert alone.content == content


def test_series_and_studies_come_whole(served: Served) -> None:
    """dicomweb-client gets each instance of a study and of a series once."""
    client = client_of(served)
    study = client.retrieve_study(uid("made"))
    assert sorted(one.SOPInstanceUID for one in study) == sorted(
        uid("made", s, n) for s in (1, 2) for n in (1, 2, 3)
    )
    assert len(client.retrieve_series(uid("made"), uid("made", 2))) == 3
    one = client.retrieve_instance(uid("made"), uid("made", 1), uid("made", 1, 1))
    assert one.PatientName == "Sample^Sam"
    assert bytes(one.PixelData) == bytes(range(8))


def test_transfer_syntaxes_are_negotiated(served: Served) -> None:
    """The stored transfer syntax and any are given; another one is answered 406."""
    dataset = pydicom.dcmread(_path(RLE))
    stored = "1.2.840.10008.1.2.5"
    for syntax in (stored, "*"):
        assert get(served, address(dataset), f"{DICOM}; transfer-syntax={syntax}").is_success
    for accept in (
        f"{DICOM}; transfer-syntax=1.2.840.10008.1.2.4.90",
        "image/gif",
        'multipart/related; type="application/dicom+xml"',
    ):
        assert get(served, address(dataset), accept).status_code == 406


def test_metadata_are_complete_and_link_to_bulk_data(served: Served) -> None:
    """Headers come as dicomweb-client reads them, and every link in them leads to its bytes."""
    client = client_of(served)
    dataset = pydicom.dcmread(_path(CT))
    uids = (dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)
    header = client.retrieve_instance_metadata(*uids)
    assert texts(header, "00083002") == [dataset.file_meta.TransferSyntaxUID]
    read = pydicom.Dataset.from_json(header, bulk_data_uri_handler=lambda _: b"")
    assert read.PatientName == dataset.PatientName
    assert read.Rows == dataset.Rows
    (pixels,) = client.retrieve_bulkdata(header["7FE00010"]["BulkDataURI"])
    assert pixels == dataset.PixelData
    assert len(client.retrieve_study_metadata(uid("made"))) == 6
    assert len(client.retrieve_series_metadata(uid("made"), uid("made", 1))) == 3


def test_an_image_in_an_image_is_not_taken_for_it(served: Served) -> None:
    """The link to an icon gives the icon, that of a sequence nothing; neither gives the frames."""
    dataset = pydicom.dcmread(_path(J2K))
    dataset.SOPInstanceUID = ICON
    (header,) = get(served, f"{address(dataset)}/metadata").json()
    (icon,) = texts(header, "00880200")
    ((kind, content),) = parts(get(served, icon["7FE00010"]["BulkDataURI"]))
    assert kind == f"image/jp2; transfer-syntax={dataset.file_meta.TransferSyntaxUID}"
    assert content.rstrip(b"\0") == b"\xff\x4ficon"
    plain = "application/octet-stream"
    assert get(served, icon["7FE00010"]["BulkDataURI"], plain).status_code == 406
    single = get(served, icon["7FE00010"]["BulkDataURI"], f"{plain}; transfer-syntax=*")
    assert single.content == content
    assert get(served, f"{address(dataset)}/bulkdata/00880200").status_code == 404


def test_frames_of_every_kind_are_what_pydicom_reads(served: Served) -> None:
    """Native, big endian, packed and deflated frames come as uncompressed little endian bytes."""
    for name, numbers in ((CT, [1]), (BIG, [1]), (DOSE, [1, 3, 15]), (BITS, [1]), (DEFLATED, [1])):
        dataset = pydicom.dcmread(_path(name))
        every = dataset.pixel_array.reshape(
            int(dataset.get("NumberOfFrames", 1)), dataset.Rows, dataset.Columns
        )
        listed = ",".join(map(str, numbers))
        found = parts(get(served, f"{address(dataset)}/frames/{listed}"))
        assert len(found) == len(numbers)
        for number, (kind, content) in zip(numbers, found, strict=True):
            assert kind == "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1"
            frame = every[number - 1]
            if dataset.BitsAllocated == 1:
                frame = np.packbits(frame.reshape(-1), bitorder="little")
            assert content == frame.astype(frame.dtype.newbyteorder("<")).tobytes(), name


def test_compressed_frames_come_as_stored_or_decoded(served: Served) -> None:
    """What is accepted decides whether a compressed frame is unpacked; else it is 406."""
    for name, kind in ((RLE, "image/dicom-rle"), (J2K, "image/jp2"), (JPEG, "image/jpeg")):
        dataset = pydicom.dcmread(_path(name))
        syntax = dataset.file_meta.TransferSyntaxUID
        count = int(dataset.get("NumberOfFrames", 1))
        stored = next(generate_frames(dataset.PixelData, number_of_frames=count))
        path = f"{address(dataset)}/frames/1"
        octets = 'multipart/related; type="application/octet-stream"'
        for accept, said in (
            ("*/*", kind),
            (f'multipart/related; type="{kind}"', kind),
            (f"{octets}; transfer-syntax=*", "application/octet-stream"),
        ):
            assert parts(get(served, path, accept)) == [
                (f"{said}; transfer-syntax={syntax}", stored)
            ]
        ((said, plain),) = parts(get(served, path, octets))
        assert said == "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1"
        samples = dataset.SamplesPerPixel * dataset.BitsAllocated // 8
        assert len(plain) == dataset.Rows * dataset.Columns * samples
        assert get(served, path, "image/gif").status_code == 406
    rle = pydicom.dcmread(_path(RLE))
    ((_, plain),) = parts(get(served, f"{address(rle)}/frames/1", octets))
    assert plain == rle.pixel_array.tobytes()


def test_a_part_says_where_it_can_be_had_alone(served: Served) -> None:
    """The Content-Location of a part is an address that gives the same bytes (PS3.18 8.6.1.2)."""
    for name, below in ((CT, "/frames/1"), (J2K, "/bulkdata/7FE00010"), (CT, "")):
        path = f"{address(pydicom.dcmread(_path(name)))}{below}"
        whole = get(served, path, 'multipart/related; type="*/*"; transfer-syntax=*')
        (location,) = re.findall(rb"Content-Location: (\S+)", whole.content)
        assert parts(get(served, location.decode())) == parts(whole)


def test_frames_that_are_not_there_are_not_found(served: Served) -> None:
    """A frame beyond the last is 404, a list that is none is 400."""
    path = f"{address(pydicom.dcmread(_path(DOSE)))}/frames"
    assert [get(served, f"{path}/{n}").status_code for n in ("16", "0", "x", "1,,2")] == [
        404,
        404,
        400,
        400,
    ]
    assert get(served, f"{path}/1,2").is_success


def test_frames_are_rendered_through_their_window(served: Served) -> None:
    """A picture has the size of the frame and the shades of the window that was asked for."""
    dataset = pydicom.dcmread(_path(CT))
    path = f"{address(dataset)}/rendered"
    jpeg = get(served, path)
    assert jpeg.headers["content-type"] == "image/jpeg"
    png = get(served, f"{path}?window=40,400,linear", "image/png")
    shades = np.asarray(Pictures.open(BytesIO(png.content)))
    values = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    wanted = np.clip((values - 39.5) / 399 + 0.5, 0, 1) * 255
    assert np.abs(shades - wanted).max() <= 1
    small = get(served, f"{address(dataset)}/thumbnail?viewport=32,32", "image/png")
    assert Pictures.open(BytesIO(small.content)).size == (32, 32)
    of_study = get(served, f"{PATH}/studies/{dataset.StudyInstanceUID}/thumbnail")
    assert Pictures.open(BytesIO(of_study.content)).size == (128, 128)


def test_pictures_are_made_of_color_and_of_each_frame(served: Served) -> None:
    """Color is shown as color; a frame of many is the one that was asked for."""
    color = get(served, f"{address(pydicom.dcmread(_path(JPEG)))}/frames/2/rendered", "image/png")
    assert Pictures.open(BytesIO(color.content)).mode == "RGB"
    path = address(pydicom.dcmread(_path(DOSE)))
    found = {get(served, f"{path}/frames/{n}/rendered").content for n in (1, 5, 10)}
    assert len(found) == 3


@pytest.mark.parametrize(
    "query", ["window=a,b", "window=1,0", "window=1,2,cubic", "viewport=1", "quality=0"]
)
def test_a_picture_that_makes_no_sense_is_refused(served: Served, query: str) -> None:
    """A wrong parameter of a picture is answered 400; a kind that is not made 406."""
    path = f"{address(pydicom.dcmread(_path(CT)))}/rendered"
    assert get(served, f"{path}?{query}").status_code == 400
    assert get(served, path, "image/gif").status_code == 406


BAD_PATHS = [
    "studies/..%2f..%2fetc",
    "studies/1.2.x",
    "studies/1.2.3/series/x",
    "studies/1.2.3/series/1/instances/%00",
    f"studies/{'1' * 65}",
]


def test_only_uids_get_beyond_the_address(served: Served) -> None:
    """What is no UID is answered 400 or 404, what is not here 404; a file is never named."""
    for path in BAD_PATHS:
        assert get(served, f"{PATH}/{path}").status_code in {400, 404}, path
    for path in ("", "/metadata", "/thumbnail", "/series/1.2/instances/1.3/frames/1"):
        assert get(served, f"{PATH}/studies/1.2.3{path}").status_code == 404, path
    dataset = pydicom.dcmread(_path(CT))
    for bulk in ("../../x", "7FE0001", "00100010/1", "00081140/9/00081155", "%2e%2e"):
        assert get(served, f"{address(dataset)}/bulkdata/{bulk}").status_code in {400, 404}, bulk


def _files(served: Served) -> dict[str, Path]:
    with served.app.database.read() as connection:
        rows = connection.execute(sa.select(instances.c.sop_instance_uid, instances.c.file))
        return {row.sop_instance_uid: served.app.files.path(row.file) for row in rows}


@pytest.fixture
def small(migrated_database_url: str, tmp_path: Path) -> Iterator[Served]:
    """One study of six instances, on each database."""
    files = write_all(tmp_path / "in", make_study("one"))
    with serving_images(tmp_path / "site", migrated_database_url, files) as one:
        yield one


def test_a_damaged_file_is_never_given_as_if_it_were_sound(small: Served) -> None:
    """One changed byte: 410 for the instance; the study then comes without it, as 206."""
    damaged = _files(small)[uid("one", 1, 2)]
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    path = f"{PATH}/studies/{uid('one')}"
    with pytest.raises(httpx.RemoteProtocolError):
        get(small, path)  # found on the way: the answer breaks off
    answer = get(small, path)
    assert answer.status_code == 206
    assert "1 instances are left out: pruned or damaged" in answer.headers["warning"]
    assert len(parts(answer)) == 5
    one = get(small, f"{path}/series/{uid('one', 1)}/instances/{uid('one', 1, 2)}")
    assert one.status_code == 410
    with small.client() as client:
        found = client.get(f"{path}/series/{uid('one', 1)}/instances").json()
    said = {texts(one, "00080018")[0]: texts(one, "00080056") for one in found}
    assert said[uid("one", 1, 2)] == ["UNAVAILABLE"]
    assert said[uid("one", 1, 1)] == ["ONLINE"]


def test_a_damaged_file_is_told_before_its_frames(small: Served) -> None:
    """Frames, pictures, bulk data and the file itself of a damaged instance are 410."""
    path = f"{PATH}/studies/{uid('one')}/series/{uid('one', 1)}/instances/{uid('one', 1, 1)}"
    file = _files(small)[uid("one", 1, 1)]
    for what in ("/frames/1", "/rendered", "/bulkdata/7FE00010", ""):
        file.write_bytes(file.read_bytes()[:-1] + b"x")
        with small.app.database.write() as connection:
            connection.execute(sa.update(instances).values(damaged_at=None))
        answer = get(small, path + what)
        assert answer.status_code == 410, what
        assert "is not what was received" in answer.json()["detail"]


def test_what_was_pruned_is_gone_and_still_described(small: Served) -> None:
    """Pruned instances are 410; their headers stay."""
    with small.app.database.write() as connection:
        connection.execute(sa.update(instances).values(pruned_at=small.app.clock.now()))
    assert get(small, f"{PATH}/studies/{uid('one')}").status_code == 410
    assert len(get(small, f"{PATH}/studies/{uid('one')}/metadata").json()) == 6


def test_every_retrieval_is_audited(small: Served) -> None:
    """Files given are written down each time, frames once for some minutes."""
    study = f"{PATH}/studies/{uid('one')}"
    instance = f"{study}/series/{uid('one', 1)}/instances/{uid('one', 1, 1)}"
    for path in (study, instance, f"{instance}/frames/1", f"{instance}/frames/1"):
        assert get(small, path).is_success
    with small.app.database.read() as connection:
        rows = connection.execute(
            sa.select(audit_events.c.objects).where(
                audit_events.c.action == "viewed",
                audit_events.c.study_instance_uid == uid("one"),
            )
        ).scalars()
        assert sorted(rows) == [0, 1, 6]


def test_headers_that_are_not_staged_yet_come_soon(
    migrated_database_url: str, tmp_path: Path
) -> None:
    """Metadata of an instance that has only just come are 503 with a time to ask again."""
    files = write_all(tmp_path / "in", [make_instance("new")])
    with serving_images(tmp_path / "site", migrated_database_url, files) as served:
        with served.app.database.write() as connection:
            connection.execute(sa.update(instances).values(described_at=None))
        answer = get(served, f"{PATH}/studies/{uid('new')}/metadata")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
