"""Publishing to a FHIR server: one resource per study, whatever happens on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from intu_fhir.deliver.fhir import FhirClient
from intu_fhir.demo.ehr import Fault, Features, StandInEhr
from intu_fhir.model.outcome import Dead, Delivered, Retry
from tests.integration.deliver.conftest import ConnectFhir
from tests.support.publications import delivered, imaging_study, publication

WRITES = {"PUT", "POST"}


def _writes(ehr: StandInEhr) -> int:
    return sum(r.method in WRITES and "_search" not in r.path for r in ehr.received)


def test_second_publish_of_the_same_content_sends_nothing(
    ehr: StandInEhr, client: FhirClient
) -> None:
    """Equal content is not sent again."""
    first = delivered(client.publish(publication(imaging_study())))
    before = len(ehr.received)
    second = delivered(client.publish(publication(imaging_study(), known=first)))
    assert second.unchanged
    assert (second.server_id, second.version) == (first.server_id, "1")
    assert len(ehr.received) == before


def test_new_content_is_version_two_of_the_same_resource(
    ehr: StandInEhr, client: FhirClient
) -> None:
    """A late image makes a new version, not a new resource."""
    first = delivered(client.publish(publication(imaging_study())))
    grown = imaging_study(instances=3)
    second = delivered(client.publish(publication(grown, known=first)))
    assert (first.version, second.version) == ("1", "2")
    assert first.server_id == second.server_id
    assert [r["numberOfInstances"] for r in ehr.resources("ImagingStudy")] == [3]
    assert ehr.received[-1].headers["if-match"] == 'W/"1"'


def test_publish_without_memory_finds_the_resource_again(
    ehr: StandInEhr, client: FhirClient
) -> None:
    """Who lost what an earlier delivery learned updates the same resource."""
    first = delivered(client.publish(publication(imaging_study())))
    second = delivered(client.publish(publication(imaging_study(instances=3))))
    assert second.server_id == first.server_id
    assert len(ehr.resources("ImagingStudy")) == 1


@pytest.mark.parametrize(
    "features",
    [
        Features(),
        Features(conditional_create=False),
        Features(conditional_update=False, conditional_create=False),
        Features(conditional_update=False, conditional_create=False, update_create=False),
        Features(update_create=False),
    ],
)
def test_one_resource_with_whatever_the_server_offers(
    tmp_path: Path, connect: ConnectFhir, features: Features
) -> None:
    """Each way to write ends at one resource, also when nothing is remembered between."""
    with StandInEhr(tmp_path, features=features) as ehr:
        client = connect(ehr.base_url)
        first = delivered(client.publish(publication(imaging_study())))
        again = delivered(client.publish(publication(imaging_study(instances=3))))
        assert again.server_id == first.server_id
        assert again.version == "2"
        assert len(ehr.resources("ImagingStudy")) == 1


def test_an_id_of_our_own_is_the_same_every_time(tmp_path: Path, connect: ConnectFhir) -> None:
    """Where only ids of the client's are offered, the study's UID decides the id."""
    features = Features(conditional_update=False, conditional_create=False)
    found = []
    for name in ("a", "b"):
        with StandInEhr(tmp_path / name, features=features) as ehr:
            outcome = connect(ehr.base_url).publish(publication(imaging_study()))
            found.append(delivered(outcome).server_id)
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Dead), (403, Dead), (404, Dead), (405, Dead), (406, Dead), (415, Dead),
        (422, Dead), (501, Dead), (401, Dead), (412, Dead), (302, Dead), (307, Dead),
        (202, Retry), (408, Retry), (410, Retry), (425, Retry), (429, Retry), (500, Retry),
        (502, Retry), (503, Retry), (504, Retry), (507, Retry),
    ],
)  # fmt: skip
def test_status_of_a_create(
    ehr: StandInEhr, client: FhirClient, status: int, kind: type[Dead] | type[Retry]
) -> None:
    """Each status of a create has its outcome and the server's words; nothing is doubled (H-01)."""
    ehr.fail_next(Fault(status, {"Retry-After": "9"}), Fault(status))
    outcome = client.publish(publication(imaging_study()))
    assert isinstance(outcome, kind)
    assert outcome.status == str(status)
    if status != 412:
        assert "as the script says" in outcome.detail
    if isinstance(outcome, Retry):
        assert outcome.retry_after == 9.0
    assert ehr.resources("ImagingStudy") == []


@pytest.mark.parametrize("status", [200, 201, 204])
def test_success_that_shows_nothing_is_no_success(
    ehr: StandInEhr, client: FhirClient, status: int
) -> None:
    """A success without the resource and without its Location is not believed."""
    ehr.fail_next(Fault(status, body=b""))
    outcome = client.publish(publication(imaging_study()))
    assert isinstance(outcome, Retry)
    assert "neither the resource nor its Location" in outcome.detail


def test_resource_too_large_goes_without_instances(ehr: StandInEhr, client: FhirClient) -> None:
    """After 413 the series go with their counts alone, and the ledger says so."""
    ehr.fail_next(Fault(413))
    outcome = delivered(client.publish(publication(imaging_study(instances=7))))
    (stored,) = ehr.resources("ImagingStudy")
    assert "instance" not in stored["series"][0]
    assert stored["numberOfInstances"] == stored["series"][0]["numberOfInstances"] == 7
    assert "7 instances" in outcome.warning


@pytest.mark.parametrize("limit", [{"max_instances": 6}, {"max_body_bytes": 900}])
def test_limits_of_the_destination(
    ehr: StandInEhr, connect: ConnectFhir, limit: dict[str, Any]
) -> None:
    """A study over the configured limits goes without instances at once; a smaller one whole."""
    client = connect(ehr.base_url, **limit)
    over = client.publish(publication(imaging_study(instances=7)))
    under = client.publish(publication(imaging_study("1.2.4", instances=1), "1.2.4"))
    assert "7 instances" in delivered(over).warning
    assert delivered(under).warning == ""
    large, small = ehr.resources("ImagingStudy")
    assert "instance" not in large["series"][0]
    assert len(small["series"][0]["instance"]) == 1
    assert _writes(ehr) == 2


def test_too_large_even_without_instances(ehr: StandInEhr, client: FhirClient) -> None:
    """A server that takes not even the short form is for a person."""
    ehr.fail_next(Fault(413), Fault(413))
    assert isinstance(client.publish(publication(imaging_study())), Dead)


# ---- who else writes


@pytest.mark.parametrize("status", [409, 412])
def test_conflict_is_rebased(ehr: StandInEhr, client: FhirClient, status: int) -> None:
    """What another writer added stays, what we changed arrives (E36)."""
    first = delivered(client.publish(publication(imaging_study())))
    theirs = {**ehr.resources("ImagingStudy")[0], "note": [{"text": "theirs"}]}
    ehr.store.write(theirs, first.server_id)
    if status == 409:
        ehr.fail_next(Fault(409))
    second = delivered(client.publish(publication(imaging_study(instances=3), known=first)))
    (stored,) = ehr.resources("ImagingStudy")
    assert stored["note"] == [{"text": "theirs"}]
    assert stored["numberOfInstances"] == 3
    assert second.version == "3"


def test_endless_conflict_is_tried_again_later(ehr: StandInEhr, client: FhirClient) -> None:
    """After three conflicts we leave the other writer its turn."""
    first = delivered(client.publish(publication(imaging_study())))
    ehr.fail_next(*[Fault(412)] * 9)
    outcome = client.publish(publication(imaging_study(instances=3), known=first))
    assert isinstance(outcome, Retry)
    assert _writes(ehr) == 1 + 3


def test_update_that_arrived_without_our_knowing(ehr: StandInEhr, client: FhirClient) -> None:
    """A conflict with our own content is a success, and sends nothing more."""
    first = delivered(client.publish(publication(imaging_study())))
    grown = imaging_study(instances=3)
    ehr.store.write({**grown, "id": first.server_id}, first.server_id)
    outcome = delivered(client.publish(publication(grown, known=first)))
    assert outcome.version == "2"
    assert len(ehr.versions("ImagingStudy", first.server_id)) == 2


def test_deleted_resource_is_made_anew(ehr: StandInEhr, client: FhirClient) -> None:
    """Where the known id is gone, the study is written as if for the first time."""
    first = delivered(client.publish(publication(imaging_study())))
    ehr.store.delete("ImagingStudy", first.server_id)
    outcome = delivered(client.publish(publication(imaging_study(instances=3), known=first)))
    assert len(ehr.resources("ImagingStudy")) == 1
    assert outcome.server_id == ehr.resources("ImagingStudy")[0]["id"]


@pytest.mark.parametrize("conditional", [True, False])
def test_duplicates_at_the_server_are_for_a_person(
    tmp_path: Path, connect: ConnectFhir, conditional: bool
) -> None:
    """Two resources of one study are not updated and not joined by a third."""
    with StandInEhr(tmp_path, features=Features(conditional_create=conditional)) as ehr:
        for _ in range(2):
            ehr.store.write(imaging_study())
        outcome = connect(ehr.base_url).publish(publication(imaging_study(instances=3)))
        assert isinstance(outcome, Dead)
        assert "leave one of them" in outcome.detail
        assert len(ehr.resources("ImagingStudy")) == 2


# ---- what is not known


@pytest.mark.parametrize(
    "features",
    [
        Features(),
        Features(conditional_create=False),
        Features(conditional_update=False, conditional_create=False),
        Features(conditional_update=False, conditional_create=False, update_create=False),
    ],
)
@pytest.mark.parametrize("drop", ["before", "after"])
def test_unknown_outcome_is_never_doubled(
    tmp_path: Path, connect: ConnectFhir, features: Features, drop: Any
) -> None:
    """A connection that breaks around the commit leaves one resource, one version (H-01)."""
    with StandInEhr(tmp_path, features=features) as ehr:
        client = connect(ehr.base_url)
        ehr.fail_next(Fault(drop=drop))
        outcome = client.publish(publication(imaging_study()))
        assert isinstance(outcome, Delivered if drop == "after" else Retry)
        if isinstance(outcome, Retry):
            outcome = client.publish(publication(imaging_study()))
        (stored,) = ehr.resources("ImagingStudy")
        assert delivered(outcome).server_id == stored["id"]
        assert stored["meta"]["versionId"] == "1"


def test_timeout_after_commit_is_looked_up(ehr: StandInEhr, connect: ConnectFhir) -> None:
    """A server that is too slow to answer, but did it, is not asked to do it twice (H-01)."""
    client = connect(ehr.base_url, timeout_seconds=0.5)
    client.metadata()
    ehr.fail_next(Fault(delay=0.9))
    outcome = client.publish(publication(imaging_study()))
    assert isinstance(outcome, Retry)
    ehr.stopping.wait(1.0)
    again = delivered(client.publish(publication(imaging_study())))
    assert again.server_id == ehr.resources("ImagingStudy")[0]["id"]
    assert len(ehr.resources("ImagingStudy")) == 1


def test_unknown_update_is_looked_up(ehr: StandInEhr, client: FhirClient) -> None:
    """An update whose answer was lost is found done, and is not repeated."""
    first = delivered(client.publish(publication(imaging_study())))
    ehr.fail_next(Fault(drop="after"))
    grown = imaging_study(instances=3)
    outcome = delivered(client.publish(publication(grown, known=first)))
    assert outcome.version == "2"
    assert len(ehr.versions("ImagingStudy", first.server_id)) == 2


def test_nobody_listens(connect: ConnectFhir) -> None:
    """A server that is not there is tried again."""
    outcome = connect("http://127.0.0.1:9/fhir").publish(publication(imaging_study()))
    assert isinstance(outcome, Retry)
    assert "no connection" in outcome.detail


# ---- what the server can do


def test_server_without_imaging_study_is_refused_with_its_own_words(
    tmp_path: Path, connect: ConnectFhir
) -> None:
    """A strategy that the server does not declare is not started."""
    with StandInEhr(tmp_path, features=Features(types=("Patient",))) as ehr:
        outcome = connect(ehr.base_url).publish(publication(imaging_study()))
        assert isinstance(outcome, Dead)
        assert "does not list ImagingStudy" in outcome.detail
        assert _writes(ehr) == 0


def test_metadata_is_asked_for_once_an_hour(
    ehr: StandInEhr, client: FhirClient, clock: Any
) -> None:
    """What a server can do is remembered, but not for ever."""
    client.metadata()
    client.publish(publication(imaging_study()))
    assert sum(r.path == "metadata" for r in ehr.received) == 1
    clock.advance(3_601)
    client.metadata()
    assert sum(r.path == "metadata" for r in ehr.received) == 2


@pytest.mark.parametrize("status", [401, 403, 404])
def test_metadata_that_is_kept_secret(ehr: StandInEhr, client: FhirClient, status: int) -> None:
    """A server that does not say what it can do is tried with conditional update."""
    ehr.fail_next(Fault(status, on=("GET metadata",)))
    delivered(client.publish(publication(imaging_study())))


def test_metadata_that_cannot_be_had_now(ehr: StandInEhr, client: FhirClient) -> None:
    """While the server is down nothing is written by guess."""
    ehr.fail_next(Fault(503, on=("GET metadata",)))
    assert isinstance(client.publish(publication(imaging_study())), Retry)
    assert _writes(ehr) == 0


def test_minimal_answer_is_read_back(ehr: StandInEhr, client: FhirClient) -> None:
    """A server that shows only a Location is asked for the resource itself."""
    first = delivered(client.publish(publication(imaging_study())))
    where = {"Location": f"ImagingStudy/{first.server_id}"}
    ehr.fail_next(Fault(200, where, body=b"", done=True))
    outcome = delivered(client.publish(publication(imaging_study(instances=3), known=first)))
    assert ehr.received[-1].method == "GET"
    assert (outcome.server_id, outcome.version) == (first.server_id, "2")


def test_e37_a_success_with_warnings_is_a_success(ehr: StandInEhr, client: FhirClient) -> None:
    """A server that answers with warnings alone has the resource, and its words are kept."""
    first = delivered(client.publish(publication(imaging_study())))
    said = {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "warning", "code": "code-invalid", "diagnostics": "odd body site"}],
    }
    where = {"Location": f"ImagingStudy/{first.server_id}", "Content-Type": "application/fhir+json"}
    ehr.fail_next(Fault(200, where, body=json.dumps(said).encode(), done=True))
    outcome = delivered(client.publish(publication(imaging_study(instances=3), known=first)))
    assert "odd body site" in outcome.warning


def test_location_of_another_study_is_no_success(ehr: StandInEhr, client: FhirClient) -> None:
    """A Location is believed only where the study's own identifier is found."""
    other = delivered(client.publish(publication(imaging_study("1.2.4"), "1.2.4")))
    ehr.fail_next(Fault(201, {"Location": f"ImagingStudy/{other.server_id}"}, body=b""))
    assert isinstance(client.publish(publication(imaging_study())), Retry)


def test_what_was_found_before_is_not_enough(tmp_path: Path, connect: ConnectFhir) -> None:
    """Every search asks for what is there now: a server may remember what the like has found."""
    with StandInEhr(tmp_path / "ehr") as ehr:
        client = connect(ehr.base_url)
        delivered(client.publish(publication(imaging_study())))
        client.search_patient("urn:oid:1.2.3", "x")
        searches = [r for r in ehr.received if "identifier" in r.path or "_search" in r.path]
        assert len(searches) == 2
        assert {one.headers.get("cache-control") for one in searches} == {"no-cache"}


# ---- what is kept of the server's words


def test_patient_and_secrets_are_hidden_in_what_is_kept(
    ehr: StandInEhr, connect: ConnectFhir
) -> None:
    """A server that repeats the patient and our token does not get them into the ledger."""
    client = connect(ehr.base_url, auth={"type": "bearer", "token": "canary-token-1"})
    body = b"no Samantha Sample (PAT-0001) for canary-token-1, Bearer another-token-2"
    ehr.fail_next(Fault(422, body=body))
    outcome = client.publish(publication(imaging_study()))
    assert isinstance(outcome, Dead)
    for canary in ("Samantha", "Sample", "PAT-0001", "canary-token-1", "another-token-2"):
        assert canary not in outcome.detail
    assert "no [hidden]" in outcome.detail


@pytest.mark.parametrize("status", [200, 404])
def test_a_page_instead_of_a_search_result_makes_no_dead_letter(
    status: int, ehr: StandInEhr, client: FhirClient
) -> None:
    """Who answers with a page is not the server; the study goes out once that is back."""
    page, html = b"<html>We are back soon</html>", {"Content-Type": "text/html"}
    ehr.fail_next(Fault(status, headers=html, body=page, on=("GET ImagingStudy*",)))
    outcome = client.publish(publication(imaging_study()))
    assert isinstance(outcome, Retry)
    assert "text/html" in outcome.detail
    assert _writes(ehr) == 0
    delivered(client.publish(publication(imaging_study())))


def test_a_search_that_is_not_offered_is_a_dead_letter(ehr: StandInEhr, client: FhirClient) -> None:
    """Who says in FHIR that it does not search could double a study: a person has to look."""
    said = b'{"resourceType": "OperationOutcome", "issue": []}'
    ehr.fail_next(Fault(200, body=said, on=("GET ImagingStudy*",)))
    outcome = client.publish(publication(imaging_study()))
    assert isinstance(outcome, Dead)
    assert "could be doubled" in outcome.detail
    assert _writes(ehr) == 0
