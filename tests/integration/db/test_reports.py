"""What people see in lists, and what each filter finds."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from intu_fhir.db import tables as t
from intu_fhir.db.audit import record_audit
from intu_fhir.db.delivery_report import DeliveryFilter, count_deliveries, list_deliveries
from intu_fhir.db.holds import hold_study
from intu_fhir.db.reports import StudyFilter, find_study, list_studies, page_of_studies, place_of
from intu_fhir.db.review import list_holds, list_quarantine
from intu_fhir.db.session import Database
from intu_fhir.db.study_report import study_report
from intu_fhir.db.study_search import FEW, plan
from intu_fhir.db.study_states import STUDY_STATES
from intu_fhir.db.timeline import timeline
from intu_fhir.model.audit import Action, AuditEvent
from intu_fhir.model.settling import StudyHold
from tests.support.clock import START
from tests.support.plans import plan_of, statements_of
from tests.support.seeded import stage
from tests.support.studies import uid


def _stage(database: Database, name: str, **options: Any) -> int:
    with database.write() as connection:
        return stage(connection, name, **options)


def _names(database: Database, **wanted: Any) -> list[str]:
    """Return the studies that a filter finds by either way of searching, in order."""
    with database.read() as connection:
        by_keys, walked = (
            [
                row.study_description
                for row in list_studies(connection, StudyFilter(**wanted), by_keys=n)
            ]
            for n in (FEW, 0)
        )
    assert by_keys == walked
    return walked


@pytest.mark.parametrize(
    ("state", "options"),
    [
        ("failed", {"deliveries": {"ehr": "dead", "pacs": "waiting"}}),
        ("failed", {"build": "dead"}),
        ("failed", {"deliveries": {"ehr": "dead"}, "revision": 9}),
        ("held", {"deliveries": {"ehr": "held", "pacs": "delivered"}}),
        ("receiving", {"generation": 0, "build": None, "revision": 2}),
        ("receiving", {"deliveries": {"ehr": "delivered"}, "revision": 9}),
        ("settled", {"build": "waiting"}),
        ("building", {"build": "running"}),
        ("building", {"build": "retrying"}),
        ("delivering", {"deliveries": {"ehr": "delivered", "pacs": "running"}}),
        ("delivering", {"deliveries": {"ehr": "retrying"}}),
        ("delivered", {"deliveries": {"ehr": "delivered", "pacs": "delivered"}}),
        ("delivered", {"deliveries": {"ehr": "delivered", "pacs": "filtered"}}),
        ("filtered", {"deliveries": {"ehr": "filtered"}}),
        ("staged", {}),
    ],
)
def test_state_of_a_study(database: Database, state: str, options: dict[str, Any]) -> None:
    """Each state is told in one word, and the filter by state finds it alone."""
    _stage(database, "one", **options)
    with database.read() as connection:
        row = find_study(connection, uid("one"))
        assert row is not None
        assert row.state == state
        for other in STUDY_STATES:
            for by_keys in (FEW, 0):
                found = list_studies(connection, StudyFilter(state=other), by_keys=by_keys)
                assert len(found) == (1 if other == state else 0)
        assert connection.execute(sa.text("SELECT state FROM v_studies")).scalar_one() == state


def test_an_open_hold_is_a_held_study_until_it_is_released(database: Database) -> None:
    """A hold of the whole study shows before it has any delivery."""
    key = _stage(database, "one")
    with database.write() as connection:
        hold_study(
            connection, key, [StudyHold("patient_conflict", "2 IDs")], generation=1, now=START
        )
    with database.read() as connection:
        assert [row.state for row in list_studies(connection, StudyFilter())] == ["held"]
        (hold,) = list_holds(connection)
        assert (hold.reason, hold.study_instance_uid) == ("patient_conflict", uid("one"))
    with database.write() as connection:
        connection.execute(t.holds.update().values(released_at=START, released_by="me"))
    with database.read() as connection:
        assert [row.state for row in list_studies(connection, StudyFilter())] == ["staged"]
        assert list_holds(connection) == []
        assert len(list_holds(connection, released=True)) == 1


def test_what_was_released_stays_so_when_its_words_change(database: Database) -> None:
    """Who decided on what an earlier version said is not asked again by a later one."""
    old, new = "stands in another study as well", "stands in study 1.2.9 as well"
    with database.write() as connection:
        key = stage(connection, "decided")
        hold_study(connection, key, [StudyHold("series", old)], generation=1, now=START)
        connection.execute(t.holds.update().values(released_at=START, released_by="me"))
        hold_study(connection, key, [StudyHold("series", new, old)], generation=2, now=START)
        assert list_holds(connection) == []
        hold_study(connection, key, [StudyHold("series", "more", "less")], generation=3, now=START)
        assert len(list_holds(connection)) == 1


def test_filters(database: Database) -> None:
    """Each filter finds what it says, wildcards and case included."""
    hour = timedelta(hours=1)
    _stage(database, "a", study_description="a", patient_id="P_1", patient_name="Müller^Ann")
    _stage(
        database,
        "b",
        at=START + hour,
        study_description="b",
        patient_id="PX1",
        patient_name="Smith^Bob",
        accession_number="ACC-7",
        study_date="20240301",
        modality="MR",
        calling_ae_title="MR_SCANNER_2",
        deliveries={"ehr": "delivered"},
    )
    assert _names(database) == ["b", "a"]
    assert _names(database, patient_id="P_1") == ["a"]
    assert _names(database, patient_id="P?1") == ["b", "a"]
    assert _names(database, patient_id="P_*") == ["a"]
    assert _names(database, patient_name="smith") == ["b"]
    assert _names(database, patient_name="m?ller*") == ["a"]
    assert _names(database, patient_name="MÜL*") == ["a"]
    assert _names(database, patient_name="ÜLLER^ann") == ["a"]
    assert _names(database, patient_name="%") == []
    assert _names(database, patient_name="SMI*") == ["b"]
    assert _names(database, patient_name="smith^b*") == ["b"]
    assert _names(database, patient_name="mith*") == []
    assert _names(database, patient_id="?X1") == ["b"]
    assert _names(database, patient_id="p?1*") == []
    assert _names(database, patient_id="PX1", modality="MR") == ["b"]
    assert _names(database, patient_id="PX1", modality="CT") == []
    assert _names(database, accession_number="ACC-7") == ["b"]
    assert _names(database, accession_number="ACC*") == ["b"]
    assert _names(database, modality="mr") == ["b"]
    assert _names(database, calling_ae_title="MR_SCANNER_2") == ["b"]
    assert _names(database, destination="ehr") == ["b"]
    assert _names(database, channel="other") == []
    assert _names(database, study_date_from=date(2024, 3, 1)) == ["b"]
    assert _names(database, study_date_to=date(2024, 2, 29)) == ["a"]
    assert _names(database, received_from=START + hour) == ["b"]
    assert _names(database, received_to=START + hour) == ["a"]


def test_rows_show_modalities_callers_and_deliveries(database: Database) -> None:
    """A row counts its deliveries and names modalities and callers."""
    _stage(database, "a", deliveries={"ehr": "delivered", "pacs": "dead", "off": "filtered"})
    with database.read() as connection:
        (row,) = list_studies(connection, StudyFilter())
    assert (row.deliveries, row.delivered) == (2, 1)
    assert row.modalities == ("CT",)
    assert row.calling_ae_titles == ("CT_SCANNER_1",)
    assert row.last_received_at == START + timedelta(seconds=1)


def test_pages_follow_each_other_without_gap_or_repeat(database: Database) -> None:
    """Paging by key gives every study once, also where many came at one instant."""
    for number in range(7):
        _stage(database, str(number), at=START + timedelta(seconds=number // 3))
    seen: list[int] = []
    after = None
    with database.read() as connection:
        while page := list_studies(connection, StudyFilter(limit=2, after=after)):
            seen += [row.study_key for row in page]
            after = (page[-1].last_received_at, page[-1].study_key)
    assert len(seen) == len(set(seen)) == 7


def test_deliveries_by_filter_and_counts(database: Database) -> None:
    """Deliveries are found by study, destination, state and time, and counted."""
    _stage(database, "a", deliveries={"ehr": "dead", "pacs": "delivered"})
    _stage(database, "b", at=START + timedelta(hours=1), deliveries={"ehr": "retrying"})
    with database.read() as connection:

        def found(**wanted: Any) -> list[tuple[str, str]]:
            rows = list_deliveries(connection, DeliveryFilter(**wanted))
            return [(row.destination, row.state) for row in rows]

        assert found() == [("ehr", "retrying"), ("pacs", "delivered"), ("ehr", "dead")]
        assert found(destination="pacs") == [("pacs", "delivered")]
        assert found(states=("dead", "retrying")) == [("ehr", "retrying"), ("ehr", "dead")]
        assert found(study_instance_uid=uid("b")) == [("ehr", "retrying")]
        assert found(updated_from=START + timedelta(minutes=30)) == [("ehr", "retrying")]
        assert found(updated_to=START + timedelta(minutes=30), limit=1) == [("pacs", "delivered")]
        assert count_deliveries(connection) == {
            "ehr": {"dead": 1, "retrying": 1},
            "pacs": {"delivered": 1},
        }


def test_quarantine_names_the_reason_and_the_sender(database: Database) -> None:
    """A quarantined object is listed with its reason and who sent it."""
    _stage(database, "a")
    with database.write() as connection:
        connection.execute(
            t.quarantine.insert().values(
                association_id="a-a",
                reason="different_bytes",
                sop_instance_uid=uid("a", 1, 0),
                file="quarantine/x.dcm",
                sha256="1" * 64,
                received_at=START,
            )
        )
    with database.read() as connection:
        (row,) = list_quarantine(connection)
        assert (row.reason, row.calling_ae_title) == ("different_bytes", "CT_SCANNER_1")
        assert list_quarantine(connection, reason="other") == []


def test_a_study_that_never_came(database: Database) -> None:
    """An unknown UID has no report."""
    with database.read() as connection:
        assert study_report(connection, "1.2.3") is None


def test_a_series_number_without_end_comes_last(database: Database) -> None:
    """A report can be had whatever a header calls its series."""
    key = _stage(database, "one")
    with database.write() as connection:
        of_study = t.series.c.study_key == key
        long = {"series_number": "9" * 5_000}
        connection.execute(t.series.update().where(of_study).values(**long))
        first = {"study_key": key, "series_instance_uid": "1.2.3", "series_number": "7"}
        connection.execute(t.series.insert().values(**first))
    with database.read() as connection:
        report = study_report(connection, uid("one"))
    assert report is not None
    assert [len(row.series_number) for row in report.series] == [1, 5_000]


def test_report_and_timeline(database: Database) -> None:
    """One study's report holds everything, and its timeline tells it in order."""
    key = _stage(database, "a", deliveries={"ehr": "delivered", "pacs": "dead"})
    _stage(database, "other", deliveries={"ehr": "dead"})
    second = timedelta(seconds=1)
    with database.write() as connection:
        connection.execute(
            t.generations.insert().values(
                study_key=key,
                generation=1,
                revision=2,
                settled_at=START + 33 * second,
                evidence="quiet",
                evidence_detail="no instance for 30 s",
                number_of_series=1,
                number_of_instances=2,
            )
        )
        connection.execute(
            t.resources.insert().values(
                study_key=key,
                generation=1,
                release="r4",
                mapping_version="m1",
                channel="radiology",
                built_at=START + 34 * second,
                state="valid",
                content_hash="abc",
                findings=[{"severity": "warning", "code": "S01", "message": "x"}],
            )
        )
        delivery_key = connection.execute(
            t.deliveries.select().where(
                t.deliveries.c.destination == "ehr", t.deliveries.c.study_key == key
            )
        ).first()
        assert delivery_key is not None
        connection.execute(
            t.attempts.insert().values(
                delivery_key=delivery_key.delivery_key,
                generation=1,
                number=1,
                started_at=START + 35 * second,
                ended_at=START + 36 * second,
                outcome="delivered",
                status="201",
                detail="HTTP 201: taken",
            )
        )
        hold_study(connection, key, [StudyHold("late", "why")], generation=1, now=START + second)
        told = AuditEvent(
            Action.REBUILT,
            START + 40 * second,
            actor="rita",
            study_instance_uid=uid("a"),
            reason="new mapping",
        )
        record_audit(connection, told)
        instance = connection.execute(t.instances.select()).first()
        assert instance is not None
        connection.execute(
            t.instance_deliveries.insert().values(
                delivery_key=delivery_key.delivery_key,
                instance_key=instance.instance_key,
                status="0000",
                delivered=True,
                answered_at=START,
                transcoded_to="1.2.840.10008.1.2.1",
            )
        )
    with database.read() as connection:
        report = study_report(connection, uid("a"))
    assert report is not None
    assert [row.instances for row in report.associations] == [2]
    assert [row.series_number for row in report.series] == ["1"]
    assert {row.destination: row.state for row in report.deliveries} == {
        "ehr": "delivered",
        "pacs": "dead",
    }
    (images,) = report.images
    assert (images.status, images.instances) == ("0000", 1)
    assert images.transcoded_to == "1.2.840.10008.1.2.1"
    assert sum(row.transcoded for row in report.deliveries) == 1
    assert report.resources[0].findings[0]["code"] == "S01"
    events = timeline(report)
    assert [event.step for event in events] == [
        "receive",
        "hold",
        "aggregate",
        "build",
        "deliver",
        "person",
    ]
    assert [event.since_previous for event in events] == [0, 1, 32, 1, 1, 5]
    assert events[0].seconds == 2
    assert "ehr: delivered" in events[-2].what
    assert events[-2].detail == "HTTP 201: taken"  # the status once
    assert (events[-1].what, events[-1].detail) == (
        "asked to be built again by rita",
        "new mapping",
    )


def test_a_held_delivery_says_why(database: Database) -> None:
    """The reason of the open hold that keeps it; a released one, or that of another, is none."""
    key = _stage(database, "a", deliveries={"ehr": "held", "pacs": "delivered"})
    with database.write() as connection:
        for reason, where in (("old", "ehr"), ("patient_mismatch", "ehr"), ("other", "pacs")):
            hold = StudyHold(reason, "why")
            hold_study(connection, key, [hold], generation=1, now=START, destination=where)
        connection.execute(
            t.holds.update().where(t.holds.c.reason == "old").values(released_at=START)
        )
        rows = list_deliveries(connection, DeliveryFilter(study_instance_uid=uid("a")))
    assert {row.destination: row.held_for for row in rows} == {
        "ehr": "patient_mismatch: why",
        "pacs": None,
    }


def test_a_list_by_date_is_in_the_order_of_dates(database: Database) -> None:
    """Who asks by Study Date gets the newest date first, and pages follow each other in it."""
    days = ["20240303", "20240301", "20240302", "20240301", "20230101"]
    for number, day in enumerate(days):
        _stage(database, str(number), study_date=day, at=START + timedelta(hours=number))
    seen: list[str] = []
    wanted = StudyFilter(limit=2, study_date_from=date(2024, 1, 1))
    with database.read() as connection:
        while page := list_studies(connection, wanted):
            seen += [row.study_date for row in page]
            last = page[-1]
            place = place_of(wanted, last.study_date, last.last_received_at, last.study_key)
            wanted = replace(wanted, after=place)
    assert seen == ["20240303", "20240302", "20240301", "20240301"]


@pytest.mark.parametrize("by_date", [False, True])
def test_a_page_ends_after_its_window_and_says_where(database: Database, by_date: bool) -> None:
    """Where matches are rare a page gives up after so many studies; the next goes on from there."""
    for number in range(7):
        _stage(
            database,
            str(number),
            at=START + timedelta(hours=number),
            study_date=f"2024030{number + 1}",
            study_description=str(number),
        )
    with database.write() as connection:
        rare = t.studies.c.study_description == "1"
        connection.execute(t.studies.update().where(rare).values(channel="rare"))
    wanted = StudyFilter(limit=2, channel="rare")
    if by_date:
        wanted = replace(wanted, study_date_from=date(2024, 1, 1))
    pages: list[list[str]] = []
    with database.read() as connection:
        while True:
            found = page_of_studies(connection, wanted, window=3)
            pages.append([row.study_description for row in found.rows])
            if found.looked_to is None:
                break
            wanted = replace(wanted, after=found.looked_to)
    assert pages == [[], ["1"], []]


def test_a_window_is_no_limit_where_nothing_is_asked_for(database: Database) -> None:
    """The plain list, and a search that names few studies, are whole whatever the window."""
    for number in range(4):
        _stage(database, str(number), patient_id="P7")
    with database.read() as connection:
        for wanted in (StudyFilter(), StudyFilter(patient_id="P7")):
            found = page_of_studies(connection, wanted, window=2)
            assert len(found.rows) == 4
            assert found.looked_to is None


SEARCHES: dict[str, dict[str, Any]] = {
    "all": {},
    "channel": {"channel": "radiology"},
    "date": {"study_date_from": date(2024, 3, 1), "study_date_to": date(2024, 3, 31)},
    "modality": {"modality": "CT"},
    "modality and date": {"modality": "CT", "study_date_from": date(2024, 3, 1)},
    "patient and date": {"patient_id": "P*", "study_date_from": date(2024, 3, 1)},
    "name and date": {"patient_name": "s*", "study_date_from": date(2024, 3, 1)},
    "sender": {"calling_ae_title": "CT_SCANNER_1"},
    "destination": {"destination": "ehr"},
    **{f"state {state}": {"state": state} for state in STUDY_STATES},
}


def test_a_page_costs_the_same_however_many_studies_there_are(database: Database) -> None:
    """A search follows the order of its list by an index and asks about each study that it meets.

    Nothing is sorted, and no other table is read as a whole.
    """
    for name, asked in SEARCHES.items():
        order = "study_date" if "study_date_from" in asked else "last_received_at"
        steps = _walk(database, StudyFilter(**asked))
        text = "\n".join([name, *steps])
        assert f"ix_studies_{order}" in text, text
        if database.is_sqlite:
            scans = [step for step in steps if step.startswith("SCAN")]
            assert all("studies" in one and order in one for one in scans), text
        for costly in ("TEMP B-TREE", "state=", "Sort", "hashed", "Seq Scan"):
            assert costly not in text, text


def _walk(database: Database, wanted: StudyFilter) -> list[str]:
    """Return how the database would look through a list, were no condition to name few."""
    with statements_of(database) as asked, database.read() as connection:
        how = plan(connection, wanted, -1)
        keys = sa.select(t.studies.c.study_key).where(*how.conditions).order_by(*how.order)
        connection.execute(keys.limit(51))
    return plan_of(
        database, *asked[-1], without=("enable_seqscan", "enable_sort", "enable_bitmapscan")
    )


def test_names_are_found_whatever_else_stands_in_them(database: Database) -> None:
    """Beside a letter beyond ASCII only the wildcards are special, on either database."""
    _stage(database, "a", study_description="a", patient_name="Ø[b].^C+(d)|{1}$\\E")
    assert _names(database, patient_name="ø[B].^c+(D)|{1}$\\e") == ["a"]
    assert _names(database, patient_name="ø?b*|*") == ["a"]
    for other in ("øb].*", "ø[b]x*", "ø[b].^C+d*", "ö[b]*", "ø[b].^C"):
        assert _names(database, patient_name=f"{other}?") == []
