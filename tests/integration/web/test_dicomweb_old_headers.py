"""DICOMweb after and while headers are removed: answers are whole, or say what they lack."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from intu_fhir.app.importing import import_paths
from intu_fhir.db.session import Database
from intu_fhir.db.tables import headers, instances
from tests.support.images import PATH, serving_images, texts, write_all
from tests.support.old_headers import end_part, remove_all, settle
from tests.support.rejections import rejection_note
from tests.support.rows import rows_of
from tests.support.studies import make_instance, make_study, uid
from tests.support.waiting import wait_until
from tests.support.web import Served

pytestmark = pytest.mark.usefixtures("small_spans")

STUDY = f"{PATH}/studies/{uid('study')}"
PRUNED = uid("study", 1, 2)
VISIBLE = sorted([PRUNED, uid("study", 2, 1), uid("study", 2, 2)])
JSON = {"accept": "application/dicom+json"}
ROUNDS = 8
_UID, _COMMENTS = "00080018", "00184000"


@contextmanager
def _serving(folder: Path, database: str) -> Iterator[Served]:
    """Serve a study of three images to be seen, of which one has lost its file, and a rejected one.

    What is behind it lies in another part.
    """
    note = rejection_note("113001", uid("study", 1, 1))
    data = [*make_study(series=2, instances=2, AcquisitionComments="first try"), note]
    files = write_all(folder / "in", [*data, make_instance("behind")])
    with serving_images(folder / "site", database, files[:-1]) as served:
        _end_behind(served, files[-1])
        _prune(served, instances.c.sop_instance_uid == PRUNED)
        yield served


def _end_behind(served: Served, file: Path) -> None:
    """Let what is there be finished, and something come into a part behind it."""
    settle(served.app.database)
    end_part(served.app.database)
    import_paths(served.app, [file])


def _prune(served: Served, which: sa.ColumnElement[bool]) -> None:
    with served.app.database.write() as connection:
        gone = sa.update(instances).values(pruned_at=served.app.clock.now())
        connection.execute(gone.where(which))


def _unprune(served: Served) -> None:
    with served.app.database.write() as connection:
        connection.execute(sa.update(instances).values(pruned_at=None))


def test_viewers_are_told_what_is_gone(tmp_path: Path, migrated_database_url: str) -> None:
    """Metadata comes from files as it was, then not at all; rejected images stay hidden."""
    with _serving(tmp_path, migrated_database_url) as served, served.client() as client:

        def get(what: str) -> httpx.Response:
            return client.get(f"{STUDY}/{what}", headers=JSON)

        before, found = get("metadata"), get("instances")
        assert (before.status_code, _uids(before)) == (200, VISIBLE)
        remove_all(served.app.database)
        now = get("instances")
        assert "Of 3 results no complete header is staged" in now.headers["warning"]
        assert _uids(now) == _uids(found) == VISIBLE
        _unprune(served)
        again = get("metadata")
        assert (again.status_code, again.json()) == (200, before.json())
        _prune(served, instances.c.sop_instance_uid == PRUNED)
        some = get("metadata")
        assert (some.status_code, len(some.json())) == (206, 2)
        assert "1 instances are left out" in some.headers["warning"]
        _prune(served, sa.true())
        nothing = get("metadata")
        assert nothing.status_code == 410
        assert "removed by retention" in nothing.text


@dataclass
class _Asker:
    """Asks the same again and again, and keeps what was answered; a broken answer is None."""

    served: Served
    path: str
    answers: list[httpx.Response | None] = field(default_factory=list)

    def ask(self, done: threading.Event) -> None:
        with self.served.client() as client:
            while not done.is_set():
                try:
                    self.answers.append(client.get(self.path, headers=JSON))
                except httpx.RemoteProtocolError:
                    self.answers.append(None)

    def wait_for_more(self) -> None:
        """Wait until something was asked and answered after this call."""
        wanted = len(self.answers) + 2
        wait_until(lambda: len(self.answers) >= wanted, 60, self.path)

    def by_status(self) -> dict[int, list[httpx.Response]]:
        """Return the answers that came to their end."""
        found: dict[int, list[httpx.Response]] = {}
        for one in self.answers:
            if one is not None:
                found.setdefault(one.status_code, []).append(one)
        return found


def _while_headers_come_and_go(served: Served, *paths: str) -> list[_Asker]:
    """Ask for all of these while headers are removed and put back, some times."""
    database, rows = served.app.database, rows_of(served.app.database, headers)
    done, askers = threading.Event(), [_Asker(served, path) for path in paths]
    threads = [threading.Thread(target=one.ask, args=(done,)) for one in askers]
    for thread in threads:
        thread.start()
    try:
        for change in (remove_all, lambda database: _put_back(database, rows)) * ROUNDS:
            change(database)
            for asker in askers:
                asker.wait_for_more()
    finally:
        done.set()
        for thread in threads:
            thread.join(60)
    return askers


def _put_back(database: Database, rows: list[Any]) -> None:
    there = {row.instance_key for row in rows_of(database, headers)}
    gone = [row._asdict() for row in rows if row.instance_key not in there]
    with database.write() as connection:
        connection.execute(sa.insert(headers), gone)


def _uids(answer: httpx.Response) -> list[str]:
    return sorted(texts(one, _UID)[0] for one in answer.json())


def test_metadata_is_whole_or_says_what_it_lacks(
    tmp_path: Path, migrated_database_url: str
) -> None:
    """200 with every header, 206 with all that can be had, 410 where that is none: never less."""
    with _serving(tmp_path, migrated_database_url) as served:
        with served.client() as client:
            whole = client.get(f"{STUDY}/metadata", headers=JSON).json()
        of_one = f"{STUDY}/series/{uid('study', 1)}/instances/{PRUNED}/metadata"
        study, one = _while_headers_come_and_go(served, f"{STUDY}/metadata", of_one)
    some = [data_set for data_set in whole if texts(data_set, _UID) != [PRUNED]]
    assert (len(whole), len(some)) == (3, 2)
    found = study.by_status()
    assert found.keys() == {200, 206}
    assert all(answer.json() == whole for answer in found[200])
    assert all(answer.json() == some for answer in found[206])
    assert all("1 instances are left out" in answer.headers["warning"] for answer in found[206])
    found = one.by_status()
    assert found.keys() == {200, 410}
    assert all(_uids(answer) == [PRUNED] for answer in found[200])


def test_a_search_says_of_how_many_it_lacks_something(
    tmp_path: Path, migrated_database_url: str
) -> None:
    """Each answer has the same images, no rejected one, and counts those that lack an element."""
    path = f"{STUDY}/instances?includefield=AcquisitionComments"
    with _serving(tmp_path, migrated_database_url) as served:
        [asker] = _while_headers_come_and_go(served, path)
    found = asker.by_status()
    assert found.keys() == {200}
    assert len(found[200]) == len(asker.answers)
    assert all(_uids(answer) == VISIBLE for answer in found[200])
    lacking = {(_said(answer), _lacking(answer)) for answer in found[200]}
    assert {(0, 0), (3, 3)} <= lacking
    assert all(said == lacks for said, lacks in lacking)


def _said(answer: httpx.Response) -> int:
    found = re.search(r"Of (\d+) results", answer.headers.get("warning", ""))
    return int(found[1]) if found else 0


def _lacking(answer: httpx.Response) -> int:
    return sum(_COMMENTS not in data_set for data_set in answer.json())


def test_what_goes_while_it_is_sent_breaks_the_answer(
    tmp_path: Path, migrated_database_url: str
) -> None:
    """A reader who was promised everything gets no end instead of a part that looks whole."""
    images = [*make_study(series=1, instances=22), make_instance("behind")]
    files = write_all(tmp_path / "in", images)
    with serving_images(tmp_path / "site", migrated_database_url, files[:-1]) as served:
        _make_large(served.app.database)
        _end_behind(served, files[-1])
        _prune(served, sa.true())
        got: list[bytes] = []
        with served.client() as client:
            with client.stream("GET", f"{STUDY}/metadata", headers=JSON) as answer:
                assert answer.status_code == 200
                blocks = answer.iter_raw()
                got.append(next(blocks))
                remove_all(served.app.database)
                with pytest.raises(httpx.RemoteProtocolError):
                    got.extend(blocks)
            with pytest.raises(json.JSONDecodeError):
                json.loads(b"".join(got))
            assert client.get(f"{STUDY}/metadata", headers=JSON).status_code == 410


def _make_large(database: Database) -> None:
    """Let headers be so large that the last ones are read when much was taken by the reader."""
    large = {_COMMENTS: {"vr": "LT", "Value": ["x" * 1_000_000]}}
    with database.write() as connection:
        connection.execute(sa.update(headers).values(dicom_json=large))
