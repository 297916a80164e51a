"""Every data set at hand through a real site, and what became of each."""

from __future__ import annotations

import csv
import logging
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from intu_fhir.app.serving import RECEIVE, Site
from intu_fhir.app.wiring import open_app
from intu_fhir.db.tables import instances, quarantine
from intu_fhir.model.uid import is_uid
from intu_fhir.receive.sop_classes import STORAGE_CLASSES
from intu_fhir.settings.load import load_configuration
from intu_fhir.stage.part10 import MEDIA_STORAGE_DIRECTORY, find_data_set
from tests.support.data import INCOMPLETE, require_shared_data
from tests.support.elements import EXPLICIT, data_set_of, written
from tests.support.ports import free_port
from tests.support.raw_peer import RawPeer, status_of, store_command
from tests.support.site_folder import write_site
from tests.support.studies import uid

MOST_CONTEXTS = 128  # PS3.8 9.3.2.2: odd numbers of one byte
# Of these two nobody can say where their data set begins, or in which syntax it is.
NO_DATA_SET = {
    "GH177_D_CLUNIE_CT1_IVRLE_BigEndian_undefined_length.dcm": "big endian without VRs",
    "no_meta.dcm": "begins with a byte that belongs to nothing",
}
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")


@dataclass(frozen=True)
class One:
    """A data set as its sender has it."""

    name: str
    content: bytes
    syntax: str
    sop_class: str
    sop_instance: str
    has_uids: bool

    @property
    def pair(self) -> tuple[str, str]:
        """What a presentation context is for."""
        return self.sop_class, self.syntax


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What pydicom says of odd files is of no interest here."""
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.getLogger("pydicom").setLevel(logging.NOTSET)


def _one(name: str, path: Path) -> One | None:
    """Return the data set of a file, with or without its meta information; None: it has none."""
    found = data_set_of(path)
    if found is None:
        whole = path.read_bytes()
        place = find_data_set(whole)
        if place is None:
            return None
        content, syntax = whole[place.offset :], place.transfer_syntax_uid
    else:
        content, syntax = found
    try:
        seen = dcmread(path, force=True, stop_before_pixels=True)
    except (InvalidDicomError, OSError, ValueError, KeyError):
        return None
    uids = {keyword: str(seen.get(keyword, "")) for keyword in UIDS}
    return One(
        name,
        content,
        syntax,
        uids["SOPClassUID"],
        uids["SOPInstanceUID"],
        all(is_uid(uid) for uid in uids.values()),
    )


def _completed(one: One, path: Path) -> One:
    """Return a data set with the UIDs that it lacks, as its sender should have made them."""
    seen = dcmread(path, force=True)
    for keyword in UIDS[:3]:
        if not is_uid(str(seen.get(keyword, ""))):
            setattr(seen, keyword, uid(one.name, UIDS.index(keyword)))
    sop_instance = str(seen.SOPInstanceUID)
    return replace(one, content=written(seen, EXPLICIT), sop_instance=sop_instance, has_uids=True)


@contextmanager
def _receiving(folder: Path, url: str, private: list[str]) -> Iterator[Site]:
    port = free_port()
    source = {"type": "dicom", "host": "127.0.0.1", "port": port, "ae_title": "INTU_TEST"}
    write_site(
        folder,
        database=url,
        port=port,
        channel={"source": {**source, "private_sop_classes": private}},
        receiver={"min_free_bytes": 0},
    )
    site = Site(open_app(load_configuration(folder)), {RECEIVE})
    site.start()
    try:
        yield site
    finally:
        site.stop()


def _send_all(port: int, them: list[One]) -> Iterator[tuple[One, int | None]]:
    """Send each on a context of its own kind; give its status, None = no context for it."""
    pairs = sorted({one.pair for one in them})
    for begin in range(0, len(pairs), MOST_CONTEXTS):
        ids = {pair: 2 * n + 1 for n, pair in enumerate(pairs[begin : begin + MOST_CONTEXTS])}
        with RawPeer(port) as peer:
            peer.socket.settimeout(60)
            proposed = tuple((i, pair[0], (pair[1],)) for pair, i in ids.items())
            answered = _results(peer.associate(proposed, called="INTU_TEST"))
            granted = dict(zip(ids, answered, strict=True))
            for one in them:
                if one.pair in ids:
                    yield one, None if granted[one.pair] else _send(peer, ids[one.pair], one)
            peer.release()


def _results(body: bytes) -> list[int]:
    """Return the result of each presentation context of an A-ASSOCIATE-AC (PS3.8 9.3.3.2)."""
    at, found = 68, []
    while at < len(body):
        kind, length = struct.unpack_from(">BxH", body, at)
        if kind == 0x21:
            found.append(body[at + 6])
        at += 4 + length
    return found


def _send(peer: RawPeer, context_id: int, one: One) -> int:
    peer.send_command(store_command(one.sop_instance, sop_class_uid=one.sop_class), context_id)
    for begin in range(0, len(one.content), 60_000):
        peer.send_data(one.content[begin : begin + 60_000], context_id, last=False)
    peer.send_data(b"", context_id)
    return status_of(peer.response())


def _kept(site: Site) -> dict[str, list[bytes]]:
    """Return the data sets of all files, those in quarantine as well, by SOP Instance UID."""
    kept: dict[str, list[bytes]] = {}
    with site.app.database.read() as connection:
        for table in (instances, quarantine):
            for named, file in connection.execute(
                sa.select(table.c.sop_instance_uid, table.c.file)
            ):
                content = site.app.files.path(file).read_bytes()
                meta_bytes = int.from_bytes(content[140:144], "little")
                kept.setdefault(named, []).append(content[144 + meta_bytes :])
    return kept


def _why_not(one: One, status: int | None, seen: set[str]) -> str:
    """Return why a data set was not staged, "" where there is no reason for that."""
    if status is None:
        return "names no SOP class" if not one.sop_class else ""
    if status == 0x0117:
        return "lacks a UID, or has one that is none" if not one.has_uids else ""
    if status == 0xC000:
        return INCOMPLETE.get(Path(one.name).name, "")
    shared = status == 0xA900 and one.sop_instance in seen
    return "another data set has its UID" if shared else ""


def test_every_data_set_is_kept_byte_for_byte_or_its_refusal_has_a_reason(
    tmp_path: Path, migrated_database_url: str
) -> None:
    """Each data set, in each syntax, is on disk as it was sent, or it is said why it is not.

    Of those that share a UID the first one is staged and the others are in quarantine. Where all
    of a syntax lack a UID, they are sent once more with one.
    """
    folder = require_shared_data()
    with (folder / "MANIFEST.csv").open(newline="") as manifest:
        names = [row["file"] for row in csv.DictReader(manifest)]
    opened = {name: _one(name, folder / name) for name in names}
    assert {Path(name).name for name, one in opened.items() if one is None} == set(NO_DATA_SET)
    them = [one for one in opened.values() if one is not None]
    whole = {one.syntax for one in them if one.has_uids and one.sop_class}
    alone = [one for one in them if one.syntax not in whole]
    them += [_completed(one, folder / one.name) for one in alone]
    private = {one.sop_class for one in them} - STORAGE_CLASSES - {"", MEDIA_STORAGE_DIRECTORY}
    with _receiving(tmp_path, migrated_database_url, sorted(private)) as site:
        answers = list(_send_all(site.listeners[0].port, them))
        kept = _kept(site)
    assert len(answers) == len(them) == len(names) - len(NO_DATA_SET) + len(alone)
    syntaxes, unexplained, seen = set(), [], set()
    for one, status in answers:
        on_disk = one.content in kept.get(one.sop_instance, [])
        if status in {0x0000, 0xA900} and not on_disk:
            unexplained.append((one.name, "is not on disk as it was sent"))
        if status != 0x0000 and not _why_not(one, status, seen):
            unexplained.append((one.name, f"was answered {status}"))
        seen.add(one.sop_instance)
        if on_disk:
            syntaxes.add(one.syntax)
    assert unexplained == []
    assert syntaxes == {one.syntax for one in them}
    assert sum(status == 0x0000 for _, status in answers) > 280
