"""QIDO-RS over real HTTP, on both databases (PS3.18 10.6)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from intu_fhir.db.holds import hold_study
from intu_fhir.db.image_query import Wanted, find
from intu_fhir.db.session import Database
from intu_fhir.db.tables import audit_events, holds
from intu_fhir.db.tables import studies as studies_table
from intu_fhir.model.rejection import KEY_OBJECT_SELECTION
from intu_fhir.model.settling import StudyHold
from intu_fhir.observe.logging import configure_logging
from intu_fhir.web.access.roles import Role
from tests.support.images import PATH, client_of, serving_images, texts, write_all
from tests.support.plans import plan_of, statements_of
from tests.support.studies import make_instance, make_study, uid
from tests.support.web import Served, write_people

DATA = [
    *make_study("one", PatientName="Müller^Åsa=山田^太郎", PatientID="P-1", AccessionNumber="A-1"),
    *make_study(
        "two",
        series=1,
        PatientName="MILLER^ANNA",
        PatientID="P-2",
        AccessionNumber="A_2",
        StudyDate="20240301",
        StudyTime="080000.5",
        Modality="MR",
        StudyDescription="Head [native] 100%",
    ),
    *make_study(
        "three", series=1, instances=1, PatientName="Miller^Bo", StudyDate="", Modality="US"
    ),
]


@pytest.fixture
def served(migrated_database_url: str, tmp_path: Path) -> Iterator[Served]:
    """Three studies: CT, MR and US."""
    files = write_all(tmp_path / "in", DATA)
    with serving_images(tmp_path / "site", migrated_database_url, files) as one:
        yield one


def ask(served: Served, path: str, query: str = "") -> httpx.Response:
    """Ask as a program does that knows nothing of visits."""
    with served.client() as client:
        return client.get(f"{PATH}{path}?{query}")


def studies(served: Served, query: str) -> set[str]:
    """Return the names of the studies that a search finds."""
    answer = ask(served, "/studies", query)
    assert answer.status_code in {200, 204}, answer.text
    known = {uid(name): name for name in ("one", "two", "three")}
    found = answer.json() if answer.status_code == 200 else []
    return {known[texts(one, "0020000D")[0]] for one in found}


MATCHES = [
    ("", "one two three"),
    ("PatientID=P-1", "one"),
    ("00100020=P-1", "one"),
    ("PatientID=P-?", "one two"),
    ("PatientID=p-1", ""),
    ("PatientID=p-*", ""),
    ("PatientID=", "one two three"),
    ("PatientID=*", "one two three"),
    ("AccessionNumber=A_*", "two"),
    ("AccessionNumber=A%25", ""),
    ("PatientName=miller*", "two three"),
    ("PatientName=Miller%5EAnna", "two"),
    ("PatientName=miller", ""),
    ("PatientName=M%C3%BCller*", "one"),
    ("PatientName=M%C3%9CLLER*", "one"),
    ("PatientName=m%C3%9Cller%5E%C3%A5SA", "one"),
    ("PatientName=%E5%B1%B1%E7%94%B0*", "one"),
    ("StudyDate=20240301", "two"),
    ("StudyDate=20240229-20240301", "one two"),
    ("StudyDate=-20240229", "one"),
    ("StudyDate=20240301-", "two"),
    ("StudyTime=08", "two"),
    ("StudyTime=0700-0800", "two"),
    ("StudyTime=-0759", ""),
    ("ModalitiesInStudy=MR", "two"),
    ("ModalitiesInStudy=MR,CT", "one two"),
    ("ModalitiesInStudy=MR%5CCT", "one two"),
    ("ModalitiesInStudy=?R", "two"),
    ("ModalitiesInStudy=U*,C?", "one three"),
    ("StudyDescription=*%5Bnative%5D*", "two"),
    ("StudyDescription=Head*100%25", "two"),
    (f"StudyInstanceUID={uid('one')},{uid('two')}", "one two"),
    (f"0020000D={uid('one')}%5C{uid('three')}", "one three"),
    ("PatientID=P-1&StudyDate=20240301", ""),
]


def test_studies_are_matched_as_the_standard_says(served: Served) -> None:
    """Single values, wildcards, ranges, lists and names match as PS3.4 C.2.2.2 has it."""
    found = {query: studies(served, query) for query, _ in MATCHES}
    assert found == {query: set(expected.split()) for query, expected in MATCHES}


def test_each_level_answers_what_the_standard_asks_for(served: Served) -> None:
    """Studies, series and instances have the attributes of Tables 10.6.3-3 to 10.6.3-5."""
    (study,) = ask(served, "/studies", "PatientID=P-1").json()
    assert texts(study, "00100010") == [{"Alphabetic": "Müller^Åsa", "Ideographic": "山田^太郎"}]
    assert texts(study, "00080061") == ["CT"]
    assert [texts(study, tag) for tag in ("00201206", "00201208")] == [[2], [6]]
    assert texts(study, "00080056") == ["ONLINE"]
    url = f"{served.url}{PATH}/studies/{uid('one')}"
    assert texts(study, "00081190") == [url]
    first, _ = ask(served, f"/studies/{uid('one')}/series").json()
    assert texts(first, "00081190") == [f"{url}/series/{uid('one', 1)}"]
    assert texts(first, "00201209") == [3]
    assert texts(first, "00200011") == [1]
    assert "00100020" not in first, "the study is known"
    image = ask(served, f"/studies/{uid('one')}/series/{uid('one', 1)}/instances").json()[0]
    assert [texts(image, tag) for tag in ("00280010", "00280011", "00280100")] == [[2], [2], [16]]
    assert texts(image, "00081190") == [
        f"{url}/series/{uid('one', 1)}/instances/{uid('one', 1, 1)}"
    ]
    assert "00080060" not in image, "the series is known"


def test_a_search_over_all_studies_tells_of_what_is_above(served: Served) -> None:
    """Series and instances of all studies come with the attributes of series and study."""
    (one,) = ask(served, "/series", "Modality=MR").json()
    assert texts(one, "00100020") == ["P-2"]
    found = ask(served, "/instances", "PatientID=P-1&SeriesNumber=2&InstanceNumber=3").json()
    assert [texts(one, "00080018") for one in found] == [[uid("one", 2, 3)]]
    assert texts(found[0], "00100020") == ["P-1"]
    assert texts(found[0], "00080060") == ["CT"]
    within = ask(served, f"/studies/{uid('one')}/instances").json()
    assert len(within) == 6
    assert "00080060" in within[0]
    assert "00100020" not in within[0]


def test_more_attributes_come_when_they_are_asked_for(served: Served) -> None:
    """Fields to include come from the complete header; those of a lower level do not."""
    query = "PatientID=P-1&includefield=00081030,InstitutionName&includefield=Rows"
    (study,) = ask(served, "/studies", query).json()
    assert texts(study, "00081030") == ["Thorax"]
    assert "00280010" not in study
    path = f"/studies/{uid('one')}/series/{uid('one', 1)}/instances"
    image = ask(served, path, "includefield=SeriesDate,PatientID").json()[0]
    assert texts(image, "00080021") == ["20240229"]
    assert texts(image, "00100020") == ["P-1"]
    whole = ask(served, path, "includefield=all").json()[0]
    assert whole["7FE00010"]["BulkDataURI"] == texts(whole, "00081190")[0] + "/bulkdata/7FE00010"


def test_pages_follow_one_another_and_say_how_much_is_left(served: Served) -> None:
    """Limit and offset give each match once; a Warning tells of what is left."""
    seen, warnings = [], []
    for offset in range(0, 8, 3):
        answer = ask(served, "/instances", f"limit=3&offset={offset}&Modality=CT")
        seen += [texts(one, "00080018")[0] for one in answer.json()] if answer.content else []
        warnings.append(answer.headers.get("warning", ""))
    assert sorted(seen) == sorted(uid("one", s, n) for s in (1, 2) for n in (1, 2, 3))
    said = "There are 3 additional results that can be requested"
    assert warnings == [f"299 {served.url}{PATH}: {said}", "", ""]
    assert ask(served, "/studies", "limit=0").status_code == 204


def test_no_match_is_an_answer_without_content(served: Served) -> None:
    """Where nothing matches, or the study is not here, the answer is 204."""
    for path in ("/studies?PatientID=nobody", "/studies/1.2.3/series", "/studies/1.2.3/instances"):
        answer = ask(served, *path.split("?"))
        assert (answer.status_code, answer.content) == (204, b"")


def test_what_is_not_done_is_said(served: Served) -> None:
    """Fuzzy matching and keys that cannot be matched are named in a Warning."""
    fuzzy = ask(served, "/studies", "fuzzymatching=true&PatientName=Miller*")
    assert fuzzy.headers["warning"] == (
        f"299 {served.url}{PATH}: The fuzzymatching parameter is not supported. "
        "Only literal matching has been performed."
    )
    assert "warning" not in ask(served, "/studies", "fuzzymatching=false").headers
    unknown = ask(served, "/studies", "PatientWeight=70&PatientID=P-1")
    assert len(unknown.json()) == 1
    assert "not matched: PatientWeight" in unknown.headers["warning"]


def test_parameters_that_nobody_knows_are_ignored(served: Served) -> None:
    """What is neither of PS3.18 nor of DICOM is as if it were not there, and counted (8.3)."""
    odd = f"orderby=-StudyDate&_=1732800000&Patient.Name%0D%0A=1&access_token={'x' * 2_000}"
    answer = ask(served, "/studies", f"{odd}&PatientID=P-1")
    assert answer.status_code == 200
    assert [texts(one, "00100020") for one in answer.json()] == [["P-1"]]
    assert answer.headers["warning"].endswith("and were ignored: 4.")
    both = ask(served, "/studies", "charset=UTF-8,iso-8859-1;q=0.5&PatientID=P-1")
    assert (both.status_code, both.headers.get("warning")) == (200, None)


BAD = (
    "limit=-1",
    "limit=x",
    "offset=100001",
    "StudyDate=2024",
    "StudyDate=20240101-2024",
    "StudyTime=noon",
    "StudyInstanceUID=1.2.x",
    "StudyInstanceUID=../../etc",
    "fuzzymatching=yes",
    "charset=iso-8859-1",
    "PatientID=a&PatientID=b",
    "PatientID=%00",
    "includefield=NoSuchAttribute",
)


def test_a_search_that_makes_no_sense_is_refused_without_its_values(served: Served) -> None:
    """A wrong parameter is answered 400 by its name; its value is not said again."""
    for query in BAD:
        answer = ask(served, "/studies", query)
        assert answer.status_code == 400, query
        assert "../../etc" not in answer.text
        assert "noon" not in answer.text
    assert ask(served, "/studies/1.2.x/series").status_code == 400
    assert ask(served, "/studies", "&".join(f"P{n}=1" for n in range(200))).status_code == 400


def test_only_json_is_given(served: Served) -> None:
    """A reader who takes XML alone is told so; the parameter goes before the header."""
    with served.client() as client:
        xml = client.get(f"{PATH}/studies", headers={"accept": "application/dicom+xml"})
    assert xml.status_code == 406
    for plus in ("%2B", "+"):
        json = ask(served, "/studies", f"accept=application/dicom{plus}json")
        assert json.headers["content-type"] == "application/dicom+json"


def test_a_client_of_the_standard_understands_it(served: Served) -> None:
    """dicomweb-client searches at all levels."""
    client = client_of(served)
    found = client.search_for_studies(search_filters={"PatientName": "Miller*"}, fields=["StudyID"])
    assert len(found) == 2
    assert len(client.search_for_series(uid("one"), get_remaining=True)) == 2
    assert len(client.search_for_instances(uid("one"), limit=2, get_remaining=True)) == 6


def test_every_search_is_audited_and_what_for_is_kept_nowhere(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    """The audit trail has the search with its count; neither it nor a log has patient data."""
    configure_logging()
    ask(served, "/studies", "PatientName=Canary*&PatientID=CANARY-7")
    ask(served, "/studies", "StudyTime=canary")
    with served.app.database.read() as connection:
        rows = connection.execute(sa.select(audit_events)).mappings().all()
    searches = [row for row in rows if row["reason"] == "DICOMweb search"]
    assert [(row["action"], row["objects"]) for row in searches] == [("queried", 0)]
    with served.client() as client:
        metrics = client.get("/metrics").text
    printed = capsys.readouterr()
    for text in (str(rows), metrics, printed.out, printed.err):
        assert "canary" not in text.lower()
    assert f'route="{PATH}/studies"' in metrics


def _release(served: Served) -> None:
    with served.app.database.write() as connection:
        connection.execute(sa.update(holds).values(released_at=served.app.clock.now()))


def test_a_held_study_is_for_those_who_decide(migrated_database_url: str, tmp_path: Path) -> None:
    """A study that waits for a person is found by operators alone, until it is released."""
    people = write_people(tmp_path / "people")
    files = write_all(tmp_path / "in", DATA)
    web = {"users_file": str(people)}
    with serving_images(tmp_path / "site", migrated_database_url, files, web=web) as served:
        with served.app.database.write() as connection:
            key = connection.execute(
                sa.select(studies_table.c.study_key).where(
                    studies_table.c.study_instance_uid == uid("one")
                )
            ).scalar_one()
            hold = StudyHold("patient_conflict", "two patients")
            hold_study(connection, key, [hold], generation=1, now=served.app.clock.now())
        with served.logged_in(Role.VIEWER) as client:
            assert len(client.get(f"{PATH}/studies").json()) == 2
            assert client.get(f"{PATH}/studies/{uid('one')}/series").status_code == 204
        with served.logged_in(Role.OPERATOR) as client:
            assert len(client.get(f"{PATH}/studies").json()) == 3
        _release(served)
        with served.logged_in(Role.VIEWER) as client:
            assert len(client.get(f"{PATH}/studies").json()) == 3


def _note(study: str, title: str, *rejected: str) -> Dataset:
    """Return a rejection note (PS3.3 A.35.4, PS3.16 TID 2010)."""
    note = make_instance(study, series=99, Modality="KO", SOPClassUID=KEY_OBJECT_SELECTION)
    for keyword in ("PixelData", "Rows", "Columns", "BitsAllocated"):
        del note[keyword]
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = title, "DCM", "Rejected"
    note.ConceptNameCodeSequence = [code]
    of_study, of_series = Dataset(), Dataset()
    of_study.StudyInstanceUID, of_series.SeriesInstanceUID = uid(study), uid(study, 1)
    of_series.ReferencedSOPSequence = []
    for one in rejected:
        reference = Dataset()
        reference.ReferencedSOPClassUID = CTImageStorage
        reference.ReferencedSOPInstanceUID = one
        of_series.ReferencedSOPSequence.append(reference)
    of_study.ReferencedSeriesSequence = [of_series]
    note.CurrentRequestedProcedureEvidenceSequence = [of_study]
    return note


def test_rejected_images_are_not_found(migrated_database_url: str, tmp_path: Path) -> None:
    """What a rejection note rejects, and the note, is in no answer and no count."""
    series_one = [uid("one", 1, n) for n in (1, 2, 3)]
    data = [
        *DATA,
        _note("one", "113001", *series_one, uid("one", 2, 1)),
        _note("three", "113037", uid("three", 1, 1)),
    ]
    files = write_all(tmp_path / "in", data)
    with serving_images(tmp_path / "site", migrated_database_url, files) as served:
        assert studies(served, "") == {"one", "two"}
        (study,) = ask(served, "/studies", f"StudyInstanceUID={uid('one')}").json()
        assert [texts(study, tag) for tag in ("00201206", "00201208")] == [[1], [2]]
        (left,) = ask(served, f"/studies/{uid('one')}/series").json()
        assert texts(left, "0020000E") == [uid("one", 2)]
        assert texts(left, "00201209") == [2]
        found = ask(served, "/instances", "PatientID=P-1").json()
        assert {texts(one, "00080018")[0] for one in found} == {uid("one", 2, n) for n in (2, 3)}


ENTERED = {
    "PatientID=P-1": "ix_studies_patient_id",
    "AccessionNumber=A-1": "ix_studies_accession_number",
    "PatientName=Miller*": "ix_studies_patient_name",
    "StudyDate=20240301": "ix_studies_study_date",
}


def test_searches_enter_indexes(database: Database) -> None:
    """The keys that people search by are looked up, not read through."""
    for query, index in ENTERED.items():
        keyword, _, value = query.partition("=")
        plan = _plan(database, Wanted(((keyword, value),), with_held=True))
        assert index in plan, f"{query}: {plan}"


def _plan(database: Database, wanted: Wanted) -> str:
    """Return how the database would look; PostgreSQL may not read a small table through."""
    with statements_of(database) as asked, database.read() as connection:
        find(connection, "study", wanted, after=None, limit=200)
    return "\n".join(plan_of(database, *asked[-1], without=["enable_seqscan"]))


def test_pages_of_named_sites_may_read(migrated_database_url: str, tmp_path: Path) -> None:
    """A viewer's page is allowed to read, on DICOMweb alone; any other page is not."""
    viewer = "http://localhost:3000"
    settings = {"allowed_origins": [viewer]}
    with (
        serving_images(tmp_path, migrated_database_url, [], dicomweb=settings) as served,
        served.client() as client,
    ):
        asks = {"origin": viewer, "access-control-request-method": "GET"}
        before = client.options(f"{PATH}/studies", headers=asks)
        assert before.status_code == 200
        answer = client.get(f"{PATH}/studies", headers={"origin": viewer})
        for one in (before, answer):
            assert one.headers["access-control-allow-origin"] == viewer
        stranger = {**asks, "origin": "http://localhost:3001"}
        assert client.options(f"{PATH}/studies", headers=stranger).status_code == 400
        foreign = client.get(f"{PATH}/studies", headers=stranger)
        page = client.get("/studies", headers={"origin": viewer})
        for one in (foreign, page):
            assert "access-control-allow-origin" not in one.headers


def test_without_an_address_of_ours_links_have_the_name_that_was_used(
    migrated_database_url: str, tmp_path: Path
) -> None:
    """Links lead where the request came to, where nothing else is configured."""
    files = write_all(tmp_path / "in", [make_instance("one")])
    own = {"url": None, "path": "/images"}
    with serving_images(tmp_path / "s", migrated_database_url, files, dicomweb=own) as served:
        with served.client() as client:
            (study,) = client.get("/images/studies").json()
        assert texts(study, "00081190") == [f"{served.url}/images/studies/{uid('one')}"]
