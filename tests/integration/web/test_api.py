"""The API over a site that has received, built and delivered real studies."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from intu_fhir.db.commitment_tables import storage_commitment_items, storage_commitments
from intu_fhir.db.tables import associations, audit_events
from intu_fhir.web.access.roles import Role
from tests.docs.pages import REPOSITORY, blocks, read
from tests.support.api import V1, Api
from tests.support.clock import START
from tests.support.seeded import stage
from tests.support.studies import make_instance, uid
from tests.support.waiting import wait_until
from tests.support.web import token_in


def _recorded(api: Api, action: str) -> list[tuple[str, str]]:
    c = audit_events.c
    wanted = sa.select(c.actor, c.study_instance_uid).where(c.action == action)
    with api.running.site.app.database.read() as connection:
        return [(actor, study) for actor, study in connection.execute(wanted)]


def _problem(answer: httpx.Response, status: int) -> str:
    """Return the sentence of a problem, which has the shape of RFC 9457."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert {"type", "title", "detail"} <= set(body)
    detail: str = body["detail"]
    assert detail
    return detail


def test_the_list_is_the_list_of_the_page(api: Api) -> None:
    """Studies come with their states; page by page each comes once."""
    rows = api.get("/studies")["items"]
    assert {row["study_instance_uid"]: row["state"] for row in rows} == {
        uid("good"): "delivered",
        uid("bad"): "failed",
        uid("nameless"): "held",
        uid("mixed"): "held",
    }
    seen, after = [], {}
    while True:
        page = api.get("/studies", limit=1, **after)
        seen += [row["study_instance_uid"] for row in page["items"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert seen == [row["study_instance_uid"] for row in rows]
    assert [row["state"] for row in api.get("/studies", state="failed")["items"]] == ["failed"]


def test_a_patient_is_searched_by_a_body_alone(api: Api) -> None:
    """Patient and accession number are taken from a body; in an address they are refused."""
    body = {"patient_id": "P2", "patient_name": "other"}
    rows = api.post("/search", body, role=Role.VIEWER)["items"]
    assert [row["study_instance_uid"] for row in rows] == [uid("bad")]
    with api.client() as client:
        for field in ("patient_id", "patient_name", "accession_number"):
            answer = client.get("/studies", params={field: "Sekret"})
            _problem(answer, 422)
            assert answer.json()["errors"][0]["field"] == f"query.{field}"
            assert "Sekret" not in answer.text


def test_one_study_is_told_whole(api: Api) -> None:
    """A study's report has all that its page has, and the view is in the audit trail."""
    answer = api.get(f"/studies/{uid('good')}")
    report = answer["report"]
    assert [row["generation"] for row in report["generations"]] == [1, 2]
    assert {row["state"] for row in report["deliveries"]} == {"delivered"}
    assert answer["timeline"][0]["step"] == "receive"
    series = report["series"][0]
    path = f"/studies/{uid('good')}/series/{series['series_instance_uid']}/instances"
    assert len(api.get(path)["items"]) == series["number_of_instances"]
    assert len(api.get(path, limit=1)["items"]) == 1
    assert ("token:administrator", uid("good")) in _recorded(api, "viewed")


def test_versions_differ_and_the_next_one_is_previewed(api: Api) -> None:
    """Every version is there; what differs between two is named; a preview sends nothing."""
    study = f"/studies/{uid('good')}"
    first, *_, last = sorted(
        (row for row in api.get(study)["report"]["resources"] if row["release"] == "r4"),
        key=lambda row: row["generation"],
    )
    newest = api.get(f"{study}/versions/{last['resource_key']}")
    assert newest["resource"]["resourceType"] == "ImagingStudy"
    path = f"{study}/versions/{last['resource_key']}/difference"
    places = api.get(path, against=first["resource_key"])["changes"]
    assert "numberOfSeries" in {change["where"] for change in places}
    before = api.running.imaging_studies()
    preview = api.get(f"{study}/preview", release="r5")
    assert preview["state"] == "valid"
    assert preview["resource"]["resourceType"] == "ImagingStudy"
    assert api.running.imaging_studies() == before
    assert api.get("/mappings")["names"] is not None
    with api.client() as client:
        _problem(client.get(f"{study}/preview", params={"mapping": "../../etc/passwd"}), 404)
        _problem(client.get(f"{study}/versions/999999"), 404)


def test_what_fails_is_told_by_cause(api: Api) -> None:
    """A cause has a name that leads to its rows, and says what to do."""
    [cause] = api.get("/failures")
    assert (cause["dead"], cause["step"]) == (1, "deliver")
    assert cause["remedy"]
    [row] = api.get(f"/failures/{cause['name']}")["items"]
    assert row["study_instance_uid"] == uid("bad")
    assert [d["state"] for d in api.get("/deliveries", state="dead")["items"]] == ["dead"]
    states = {row["state"] for row in api.get("/deliveries", limit=1)["items"]}
    assert len(states) == 1


def test_whoever_lists_what_is_of_patients_is_audited(api: Api) -> None:
    """Each list of deliveries, failures, holds or quarantined objects that is read is an event."""
    cause = api.get("/failures")[0]["name"]
    for path in ("/deliveries", f"/failures/{cause}", "/holds", "/quarantine", "/studies"):
        before = len(api.running.rows(audit_events))
        shown = api.get(path)
        rows = shown if isinstance(shown, list) else shown["items"]
        [event] = api.running.rows(audit_events)[before:]
        seen = (event.action, event.actor, event.address, event.objects)
        assert seen == ("queried", "token:administrator", "127.0.0.1", len(rows)), path


def test_the_site_at_a_glance(api: Api) -> None:
    """Overview, destinations, holds, quarantine and who asks: as the pages have them."""
    standing = api.get("/overview")
    assert standing["overview"]["studies"] == 4
    assert all(one["remedy"] for one in standing["stuck"])
    assert {one["weight"] for one in standing["stuck"]} == {"dead", "held"}
    assert {row["name"] for row in api.get("/destinations")} == {"ehr", "pacs"}
    held = {row["study_instance_uid"] for row in api.get("/holds")}
    assert held == {uid("nameless"), uid("mixed")}
    assert api.get("/quarantine") == []
    assert api.get("/me") == {
        "name": "token:administrator",
        "role": "administrator",
        "via": "token",
    }


def test_sql_only_reads_and_has_an_end(api: Api) -> None:
    """A statement is capped in rows; one that writes or is wrong is refused with the reason."""
    answer = api.post("/sql", {"statement": "SELECT study_instance_uid FROM studies"})
    assert answer["columns"] == ["study_instance_uid"]
    assert (len(answer["rows"]), answer["has_more"]) == (4, False)
    cut = api.post("/sql", {"statement": "SELECT 1 FROM studies", "max_rows": 2})
    assert (len(cut["rows"]), cut["has_more"]) == (2, True)
    assert api.post("/sql", {"statement": "DELETE FROM studies"}, status=400)["detail"]
    assert api.post("/sql", {"statement": "SELECT nothing FROM nowhere"}, status=400)["detail"]
    assert len(api.get("/studies")["items"]) == 4
    assert ("token:operator", "") in _recorded(api, "queried")


def test_a_destination_is_paused_and_resumed(api: Api) -> None:
    """Pause and resume are recorded with the token's name; a name that nothing has is 404."""
    paused = api.post("/destinations/pacs/pause", {"reason": "upgrade"})
    assert (paused["state"], paused["paused_by"]) == ("paused", "token:operator")
    assert paused["pause_reason"] == "upgrade"
    resumed = api.post("/destinations/pacs/resume")
    assert resumed["state"] == "up"
    assert _recorded(api, "paused") == [("token:operator", "")]
    api.post("/destinations/nowhere/pause", status=404)


def test_a_destination_that_is_gone_is_retired(api: Api) -> None:
    """What it lacks is left out and recorded; what is configured or unknown is refused."""
    with api.running.site.app.database.write() as connection:
        stage(connection, "of old", deliveries={"old": "dead"})
    assert "old" in {row["name"] for row in api.get("/destinations")}
    with api.served.logged_in(Role.VIEWER) as client:
        assert "intu-fhir destinations retire old" in client.get("/destinations").text
    told = api.post("/destinations/old/retire", {"reason": "replaced"})
    assert told == {"name": "old", "left_out": 1}
    assert {row["name"] for row in api.get("/destinations")} == {"ehr", "pacs"}
    assert _recorded(api, "retired") == [("token:operator", "")]
    api.post("/destinations/old/retire", status=404)
    api.post("/destinations/pacs/retire", status=409)


def test_a_replay_is_tried_then_done(api: Api) -> None:
    """The dry run counts and does nothing; with another count nothing is done; then it is."""
    wish = {"states": ["dead"], "destination": "ehr", "reason": "the EHR was mended"}
    assert api.post("/replays/dry-run", wish)["deliveries"] == 1
    assert api.post("/replays/dry-run", wish)["deliveries"] == 1
    assert "1 now" in api.post("/replays", {**wish, "expected": 2}, status=409)["detail"]
    begun = api.post("/replays", {**wish, "expected": 1}, status=202)
    assert begun["done"]["deliveries"] == 1
    progress = f"/replays/{begun['number']}"
    wait_until(lambda: api.get(progress)["done"] == 1, 30, "the replayed delivery")
    assert api.get(progress)["by"] == "token:operator"
    assert _recorded(api, "replayed") == [("token:operator", "")]
    assert api.get("/failures") == []
    api.post("/replays/dry-run", {}, status=400)
    api.post("/replays/dry-run", {"everything": True, "where": "state ="}, status=400)


def test_a_hold_is_released_and_a_study_settled(api: Api) -> None:
    """Releasing counts once, and says what has to come first; settling says if it does anything."""
    [unnamed] = api.get("/holds", study=uid("nameless"))
    told = api.post(f"/holds/{unnamed['hold_key']}/release", status=409)["detail"]
    assert "rebuild" in told
    [mixed] = api.get("/holds", study=uid("mixed"))
    key = mixed["hold_key"]
    assert api.post(f"/holds/{key}/release") == {"released": True}
    api.post(f"/holds/{key}/release", status=404)
    assert _recorded(api, "released") == [("token:operator", uid("mixed"))]
    api.running.rest()
    assert api.post(f"/studies/{uid('good')}/settle") == {"settling": False}
    api.post("/studies/1.2.3/settle", status=404)


def test_the_trail_is_for_administrators(api: Api) -> None:
    """Who may not read the trail gets 403; reading it is an event."""
    rows = api.get("/audit", action="published")
    assert rows
    assert all(row["action"] == "published" for row in rows)
    assert ("token:administrator", "") in _recorded(api, "audit_read")
    with api.client(Role.OPERATOR) as client:
        _problem(client.get("/audit"), 403)


def test_an_object_is_removed_from_quarantine(api: Api) -> None:
    """An administrator removes it with its file, once, and is recorded; an operator may not."""
    api.running.send([make_instance("good", number=1, SeriesDescription="other")])
    [found] = api.get("/quarantine")
    path, why = f"/quarantine/{found['quarantine_key']}/remove", {"reason": "sent again"}
    file = api.running.folder / "files" / found["file"]
    assert file.exists()
    api.post(path, why, status=403)
    removed = api.post(path, why, role=Role.ADMINISTRATOR)
    assert removed == {"removed": True, "file_removed": True}
    assert (file.exists(), api.get("/quarantine")) == (False, [])
    api.post(path, why, role=Role.ADMINISTRATOR, status=404)
    [event] = [row for row in api.running.rows(audit_events) if row.action == "deleted"]
    assert (event.actor, event.address) == ("token:administrator", "127.0.0.1")
    assert "sent again" in event.reason


def test_commitments_are_listed_and_shown(api: Api) -> None:
    """Requests for storage commitment come by state and requester, each with its instances."""
    with api.running.site.app.database.write() as connection:
        association = connection.execute(sa.select(sa.func.min(associations.c.association_id)))
        row = {
            "association_id": association.scalar_one(),
            "calling_ae_title": "CT1",
            "transaction_uid": "1.2.3.4",
            "state": "reported",
            "asked_at": START,
            "number_of_instances": 1,
        }
        key = connection.execute(storage_commitments.insert().values(row)).inserted_primary_key
        assert key is not None
        item = {"number": 1, "sop_class_uid": "1.2", "sop_instance_uid": "1.3", "result": "0112"}
        connection.execute(storage_commitment_items.insert().values(commitment_key=key[0], **item))
    [listed] = api.get("/commitments", state="reported", requester="CT1")
    assert listed["transaction_uid"] == "1.2.3.4"
    assert api.get("/commitments", state="asked") == []
    assert api.get("/commitments/1.2.3.4") == [item]
    api.post("/commitments/1.2.3.4/retry", status=404)
    with api.running.site.app.database.write() as connection:
        connection.execute(storage_commitments.update().values(state="unreported"))
    assert api.post("/commitments/1.2.3.4/retry") == {"retried": 1}
    [event] = [row for row in api.running.rows(audit_events) if "told again" in row.reason]
    assert (event.actor, event.address, event.objects) == ("token:operator", "127.0.0.1", 1)
    with api.client() as client:
        _problem(client.get("/commitments/9.9"), 404)
        _problem(client.get("/commitments", params={"state": "nonsense"}), 422)


def test_every_refusal_has_one_shape(api: Api) -> None:
    """Wherever a request ends, what comes back is a problem of RFC 9457 that says what to do."""
    with api.client() as client:
        _problem(client.get("/nowhere"), 404)
        _problem(client.get("/studies/1.2.3"), 404)
        _problem(client.get("/studies/not-a-uid"), 422)
        _problem(client.delete("/studies"), 405)
        _problem(client.post("/sql", content=b"{" + b" " * 2_000_000), 413)
        _problem(client.get("/studies", headers={"host": "evil.example"}), 421)
        _problem(client.get("/studies", headers={"authorization": "Bearer intu_x"}), 401)
        _problem(client.post("/sql", content=b"{", headers={"content-type": "text/plain"}), 422)
    with httpx.Client(base_url=f"{api.served.url}{V1}") as stranger:
        _problem(stranger.get("/studies"), 401)
    with api.client(Role.VIEWER) as viewer:
        _problem(viewer.post("/holds/1/release"), 403)
    api.served.page.site.attempts.succeeded("token:127.0.0.1")


@pytest.mark.parametrize("content", [b"{", b'{"statement": 7}', b"\xff"])
def test_the_role_comes_before_the_body(api: Api, content: bytes) -> None:
    """Who may not ask learns nothing of a body that is wrong."""
    headers = {"content-type": "application/json"}
    with api.client(Role.VIEWER) as viewer:
        _problem(viewer.post("/sql", content=content, headers=headers), 403)
    with httpx.Client(base_url=f"{api.served.url}{V1}") as stranger:
        _problem(stranger.post("/sql", content=content, headers=headers), 401)


def test_a_session_may_read_and_has_to_mean_what_it_writes(api: Api) -> None:
    """A page's session reads; it writes with JSON of our own origin or its form token alone."""
    path = f"{V1}/destinations/pacs/resume"
    with api.served.logged_in(Role.OPERATOR) as client:
        token = token_in(client.get("/").text)
        assert client.get(f"{V1}/studies").status_code == 200
        _problem(client.post(path), 403)
        _problem(client.post(path, data={"reason": "x"}), 403)
        elsewhere = {"origin": "https://elsewhere.example"}
        _problem(client.post(path, json={}, headers=elsewhere), 403)
        assert client.post(path, headers={"x-form-token": token}).status_code == 200
        assert client.post(path, json={}).status_code == 200


def test_the_document_names_every_route_and_its_role(api: Api) -> None:
    """OpenAPI 3.1: each operation has a role, a summary, and the shape of its problems."""
    document = api.get("/openapi.json")
    assert document["openapi"].startswith("3.1")
    operations = [one for path in document["paths"].values() for one in path.values()]
    assert len(operations) == 30
    for one in operations:
        assert one["x-role"] in {"viewer", "operator", "administrator"}
        assert one["description"]
        assert "application/problem+json" in one["responses"]["401"]["content"]


def test_the_example_of_the_page_works(api: Api) -> None:
    """The client that the documentation shows gives what the list gives."""
    [text] = (b.text for b in blocks(read(REPOSITORY / "docs/how-to/use-the-api.md"), "python"))
    names: dict[str, Any] = {}
    exec(compile(text, "use-the-api.md", "exec"), names)
    token = api.tokens[Role.VIEWER]["authorization"].removeprefix("Bearer ")
    rows = list(names["failed_studies"](api.served.url, token))
    assert rows == api.get("/studies", state="failed")["items"]
