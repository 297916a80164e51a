"""The stand-in EHR and PACS of demonstrations and tests."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from intu_fhir.demo.ehr import Fault, Features, StandInEhr
from intu_fhir.demo.pacs import StandInPacs
from tests.support.outgoing import Sending, outgoing, outgoing_study
from tests.support.publications import imaging_study
from tests.support.studies import uid

UID = "identifier=urn%3Adicom%3Auid%7Curn%3Aoid%3A1.2.3"


@pytest.fixture
def ehr(tmp_path: Path) -> Iterator[StandInEhr]:
    """A stand-in EHR."""
    with StandInEhr(tmp_path / "ehr") as server:
        yield server


@pytest.fixture
def http(ehr: StandInEhr) -> Iterator[httpx.Client]:
    """A plain HTTP client of its base URL."""
    with httpx.Client(base_url=ehr.base_url, trust_env=False) as client:
        yield client


def test_create_read_update_and_history(http: httpx.Client) -> None:
    """Versions count up, old ones stay readable, ETag and Location tell them."""
    made = http.post("/ImagingStudy", json=imaging_study())
    assert made.status_code == 201
    assert made.headers["etag"] == 'W/"1"'
    place = made.headers["location"].removesuffix("/_history/1")
    changed = {**made.json(), "description": "b"}
    assert http.put(place, json=changed).headers["etag"] == 'W/"2"'
    assert http.get(place).json()["description"] == "b"
    assert "description" not in http.get(f"{place}/_history/1").json()
    assert [
        e["resource"]["meta"]["versionId"] for e in http.get(f"{place}/_history").json()["entry"]
    ] == ["2", "1"]
    assert http.get(f"{place}/_history/3").status_code == 404


def test_if_match(http: httpx.Client) -> None:
    """An update of an old version is refused with 412."""
    made = http.post("/ImagingStudy", json=imaging_study()).json()
    path = f"/ImagingStudy/{made['id']}"
    assert http.put(path, json=made, headers={"If-Match": 'W/"1"'}).status_code == 200
    assert http.put(path, json=made, headers={"If-Match": 'W/"1"'}).status_code == 412


def test_conditional_update_and_create(ehr: StandInEhr, http: httpx.Client) -> None:
    """No match creates, one match updates, several match nothing."""
    assert http.put(f"/ImagingStudy?{UID}", json=imaging_study()).status_code == 201
    assert http.put(f"/ImagingStudy?{UID}", json=imaging_study()).status_code == 200
    found = http.post("/ImagingStudy", json=imaging_study(), headers={"If-None-Exist": UID})
    assert (found.status_code, found.headers["etag"]) == (200, 'W/"2"')
    assert http.put(f"/ImagingStudy?{UID}", json={**imaging_study(), "id": "x"}).status_code == 400
    ehr.store.write(imaging_study())
    assert http.put(f"/ImagingStudy?{UID}", json=imaging_study()).status_code == 412
    again = http.post("/ImagingStudy", json=imaging_study(), headers={"If-None-Exist": UID})
    assert again.status_code == 412


def test_search(http: httpx.Client) -> None:
    """Identifiers are found with and without system, by GET and POST; a bare | is refused."""
    http.post("/ImagingStudy", json=imaging_study())
    value = "urn%3Aoid%3A1.2.3"
    for query, total in [
        (UID, 1), (f"identifier={value}", 1), (f"identifier=other%7C{value}", 0),
        ("identifier=urn%3Adicom%3Auid%7Curn%3Aoid%3A1.2", 0), ("_id=nothing", 0), ("", 1),
    ]:  # fmt: skip
        assert http.get(f"/ImagingStudy?{query}").json()["total"] == total, query
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        posted = http.post("/ImagingStudy/_search", content=query, headers=form)
        assert posted.json()["total"] == total, query
    assert httpx.get(f"{http.base_url}ImagingStudy?foo=1").status_code == 400


INVALID: dict[str, dict[str, Any]] = {
    "no status": {"status": None},
    "unknown element": {"colour": "red"},
    "a code that is none": {"status": "final"},
    "R5 modality": {"modality": [{"coding": [{"code": "CT"}]}]},
    "time without zone": {"started": "2024-03-01T10:15:30"},
    "negative count": {"numberOfSeries": -1},
    "a patient that is not there": {"subject": {"reference": "Patient/nobody"}},
}


@pytest.mark.parametrize("what", INVALID)
def test_invalid_resources_are_refused(ehr: StandInEhr, http: httpx.Client, what: str) -> None:
    """What FHIR does not allow is answered with 422 and an OperationOutcome, and not stored."""
    resource = {k: v for k, v in {**imaging_study(), **INVALID[what]}.items() if v is not None}
    answer = http.post("/ImagingStudy", json=resource)
    assert answer.status_code == 422
    assert answer.json()["resourceType"] == "OperationOutcome"
    assert ehr.resources() == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/ImagingStudy", b"{", 400),
        ("POST", "/ImagingStudy", b"[]", 400),
        ("POST", "/ImagingStudy", b'{"resourceType": "Patient"}', 400),
        ("PUT", "/ImagingStudy/a", b'{"resourceType": "ImagingStudy", "id": "b"}', 422),
        ("GET", "/ImagingStudy/nothing", b"", 404),
        ("GET", "/Nonsense", b"", 404),
        ("GET", "/../../etc/passwd", b"", 404),
        ("DELETE", "/ImagingStudy", b"", 405),
        ("GET", "/ImagingStudy/a/b/c/d", b"", 405),
        ("POST", "", b'{"resourceType": "Bundle", "type": "batch"}', 400),
    ],
)
def test_bad_requests(
    ehr: StandInEhr, http: httpx.Client, method: str, path: str, body: bytes, status: int
) -> None:
    """A request that makes no sense gets its status and an OperationOutcome."""
    answer = http.request(method, f"{ehr.base_url}{path}", content=body)
    assert answer.status_code == status
    assert answer.json()["resourceType"] == "OperationOutcome"


def test_transaction_is_all_or_nothing(ehr: StandInEhr, http: httpx.Client) -> None:
    """One bad entry keeps the good ones out."""
    good = {"resource": imaging_study(), "request": {"method": "POST", "url": "ImagingStudy"}}
    bad = {"resource": imaging_study(status="no"), "request": good["request"]}
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [good, bad]}
    assert http.post(ehr.base_url, json=bundle).status_code == 422
    assert ehr.resources() == []
    answer = http.post(ehr.base_url, json={**bundle, "entry": [good]})
    assert answer.json()["entry"][0]["response"]["status"] == "201"
    assert len(ehr.resources()) == 1


def test_what_it_offers_can_be_made_less(tmp_path: Path) -> None:
    """Features that are off are neither declared nor carried out."""
    with StandInEhr(tmp_path, "r5", features=Features(conditional_update=False)) as ehr:
        statement = httpx.get(f"{ehr.base_url}/metadata").json()
        assert statement["fhirVersion"] == "5.0.0"
        assert statement["rest"][0]["resource"][0]["conditionalUpdate"] is False
        answer = httpx.put(f"{ehr.base_url}/ImagingStudy?{UID}", json=imaging_study())
        assert answer.status_code == 400


def test_resources_outlive_the_server(tmp_path: Path) -> None:
    """Every version is a JSON file, and is there again after a restart."""
    with StandInEhr(tmp_path) as ehr:
        kept = ehr.store.write(imaging_study())
        ehr.store.write(kept, kept["id"])
        gone = ehr.store.write(imaging_study("1.2.4"))
        ehr.store.delete("ImagingStudy", gone["id"])
    path = tmp_path / "ImagingStudy" / kept["id"] / "2.json"
    assert json.loads(path.read_text())["meta"]["versionId"] == "2"
    with StandInEhr(tmp_path) as ehr:
        assert [r["id"] for r in ehr.resources("ImagingStudy")] == [kept["id"]]
        assert httpx.get(f"{ehr.base_url}/ImagingStudy/{gone['id']}").status_code == 410
        assert len(ehr.versions("ImagingStudy", kept["id"])) == 2


def test_start_page_escapes_what_it_shows(ehr: StandInEhr, http: httpx.Client) -> None:
    """Text of resources is text on the page, never markup, and scripts are forbidden anyway."""
    ehr.store.write(imaging_study(description="<script>alert(1)</script>"))
    ehr.store.write(
        {"resourceType": "Patient", "name": [{"family": "<b>x"}], "identifier": [{"value": "'\""}]}
    )
    page = http.get(ehr.url)
    assert "<script>" not in page.text
    assert "<b>x" not in page.text
    assert "&lt;script&gt;" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    (link,) = re.findall(r'href="(fhir/ImagingStudy/[^"/]*)"', page.text)
    assert http.get(f"{ehr.url}{link}").status_code == 200


def test_faults_befall_the_requests_they_are_for(ehr: StandInEhr, http: httpx.Client) -> None:
    """A scripted fault waits for its request, happens once and does nothing else."""
    ehr.fail_next(Fault(503, {"Retry-After": "3"}))
    assert http.get("/metadata").status_code == 200
    answer = http.post("/ImagingStudy", json=imaging_study())
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")
    assert http.post("/ImagingStudy", json=imaging_study()).status_code == 201
    ehr.fail_next(Fault(drop="after"))
    with pytest.raises(httpx.RemoteProtocolError):
        http.post("/ImagingStudy", json=imaging_study("1.2.4"))
    assert len(ehr.resources()) == 2


def test_faults_that_have_not_happened_are_called_off(ehr: StandInEhr, http: httpx.Client) -> None:
    """Of many faults only those happen that came before it was told to fail no more."""
    ehr.fail_next(*[Fault(503)] * 3)
    assert http.post("/ImagingStudy", json=imaging_study()).status_code == 503
    ehr.fail_no_more()
    assert http.post("/ImagingStudy", json=imaging_study()).status_code == 201


def test_authorization(ehr: StandInEhr, http: httpx.Client) -> None:
    """With a judge, whoever it does not know gets 401."""
    ehr.authorize = lambda header: header == "Bearer good"
    assert http.get("/metadata").status_code == 401
    assert http.get("/metadata", headers={"Authorization": "Bearer good"}).status_code == 200


def test_pacs_keeps_what_it_takes(tmp_path: Path) -> None:
    """Instances are told by study, however often they came; refused ones are not kept."""
    objects = outgoing_study(tmp_path / "out", 3)
    with StandInPacs(tmp_path / "pacs") as pacs:
        sending = Sending(pacs.port)
        sending.send(objects)
        pacs.answer_next(0xA900)
        sending.scu.send([*objects[:2], outgoing(tmp_path / "out", "1.2", b"")], print)
        assert len(pacs.received) == 5
        assert len(pacs.instances) == 4
    studies = [one.study_instance_uid for one in pacs.instances]
    assert studies == [uid("study")] * 3 + [""]
    assert {path.suffix for path in (tmp_path / "pacs").iterdir()} == {".dcm"}
