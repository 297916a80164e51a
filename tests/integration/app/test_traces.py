"""One trace from the association to EHR and PACS, over processes and restarts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from intu_fhir.app.wiring import App
from intu_fhir.db import tables as t
from intu_fhir.db.session import Database
from intu_fhir.deliver.dicom import ObjectToSend, StorageScu
from intu_fhir.demo.ehr import Fault, StandInEhr
from intu_fhir.demo.pacs import StandInPacs
from intu_fhir.files.part10 import part10_head
from intu_fhir.observe.tracing import NO_TRACING
from intu_fhir.settings.load import load_configuration
from intu_fhir.settings.schema import DicomDestination
from tests.support.ports import free_port
from tests.support.site_folder import write_site
from tests.support.staging import EXPLICIT_LITTLE
from tests.support.studies import data_set_bytes, make_instance, uid
from tests.support.traces import CollectedSpan, Collector
from tests.support.waiting import wait_until

SECRET = "canary-of-the-collector"
NAME, PATIENT = "Canary^Trace", "CANARY-4711"


@contextmanager
def running(command: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a half of a site in a process of its own; SIGTERM ends it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "intu_fhir.cli", command, "--config", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if json.loads(line)["event"] == "ready":
                break
        else:
            pytest.fail(f"{command} ended before it was ready")
        yield process
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()


def send(folder: Path, port: int, *numbers: int) -> None:
    """Send instances of one study over one association."""
    objects = []
    for number in numbers:
        dataset = make_instance("one", 1, number, PatientName=NAME, PatientID=PATIENT)
        uids = (str(dataset.SOPClassUID), str(dataset.SOPInstanceUID))
        head = part10_head(*uids, EXPLICIT_LITTLE)
        path = folder / f"to-send-{number}.dcm"
        path.write_bytes(head + data_set_bytes(dataset))
        objects.append(ObjectToSend(*uids, EXPLICIT_LITTLE, path, len(head)))
    scanner = DicomDestination(
        type="dicom", host="127.0.0.1", port=port, ae_title="CT1", called_ae_title="INTU_TEST"
    )
    StorageScu(scanner).send(objects, lambda _: None, keep_going=lambda: True)


def write(
    folder: Path, url: str, port: int, ehr: StandInEhr, pacs: StandInPacs, **site: Any
) -> None:
    """Write a site that sends to both."""
    write_site(
        folder,
        database=url,
        port=port,
        destinations={
            "ehr": {"type": "fhir", "base_url": ehr.base_url, "subject": {"strategy": "logical"}},
            "pacs": {
                "type": "dicom",
                "host": "127.0.0.1",
                "port": pacs.port,
                "called_ae_title": "PACS",
            },
        },
        channel={"settle": {"quiet_seconds": 0.2, "on_release": True}},
        retry={"first_seconds": 0.1, "max_seconds": 0.2},
        **site,
    )


def test_one_trace_leads_from_the_association_to_ehr_and_pacs(
    tmp_path: Path, migrated_database_url: str
) -> None:
    """Receiver and worker are two processes, one after the other; the trace is one all the same.

    Each try is a span with the answer's HTTP status, and late images link to what came before.
    """
    port = free_port()
    with (
        Collector() as collector,
        StandInEhr(tmp_path / "ehr") as ehr,
        StandInPacs(tmp_path / "pacs") as pacs,
    ):
        tracing = {"endpoint": collector.url, "headers": {"x-key": SECRET}}
        write(tmp_path, migrated_database_url, port, ehr, pacs, tracing=tracing)
        ehr.fail_next(Fault(503))
        with running("receive", tmp_path):
            send(tmp_path, port, 0, 1)
            wait_until(lambda: ended(migrated_database_url) == 1)
        assert collector.named("deliver study") == []
        with running("worker", tmp_path):
            wait_until(lambda: delivered(migrated_database_url, 1) == 2)
        spans = list(collector.spans)
        with running("worker", tmp_path), running("receive", tmp_path):
            send(tmp_path, port, 2)
            wait_until(lambda: delivered(migrated_database_url, 2) == 2)
        late = [span for span in collector.spans if span not in spans]
    is_one_trace(spans)
    is_linked(late, spans)
    nothing_of_a_patient(collector)
    assert {headers.get("x-key") for headers in collector.headers} == {SECRET}


def is_one_trace(spans: list[CollectedSpan]) -> None:
    """Everything hangs together, from two processes."""
    by_id = {span.span_id: span for span in spans}
    assert len({span.trace_id for span in spans}) == 1
    below = sorted(
        (span.name, by_id[span.parent_id].name if span.parent_id else "") for span in spans
    )
    assert below == [
        ("association", ""),
        ("build resources", "settle study"),
        ("deliver study", "build resources"),
        ("deliver study", "build resources"),
        ("deliver study", "build resources"),
        ("settle study", "association"),
        ("store instance", "association"),
        ("store instance", "association"),
    ]
    assert len({span.process for span in spans}) == 2
    tries = [span for span in spans if span.attributes.get("intu.destination") == "ehr"]
    assert sorted((span.is_well, span.attributes["intu.http_status"]) for span in tries) == [
        (False, 503),
        (True, 201),
    ]
    (pacs,) = (span for span in spans if span.attributes.get("intu.destination") == "pacs")
    assert pacs.attributes["intu.status"] == "0000"
    assert {span.attributes["intu.study"] for span in [*tries, pacs]} == {uid("one")}
    assert all(0 <= span.seconds < 60 for span in spans)


def is_linked(late: list[CollectedSpan], spans: list[CollectedSpan]) -> None:
    """The second generation is a trace of its own association, linked to the first one."""
    (association,) = (span for span in late if span.name == "association")
    (settled,) = (span for span in late if span.name == "settle study")
    (first,) = (span for span in spans if span.name == "association")
    assert settled.parent_id == association.span_id
    assert settled.links == (first.span_id,)
    assert {span.trace_id for span in late} == {association.trace_id}
    assert association.trace_id != first.trace_id


def nothing_of_a_patient(collector: Collector) -> None:
    """No value of a patient is in what the collector was sent."""
    sent = b"".join(collector.raw)
    for value in (NAME, "Canary", PATIENT, SECRET):
        assert value.encode() not in sent


def ended(url: str) -> int:
    """Return how many associations have ended."""
    return count(url, t.associations.c.ended_at.is_not(None))


def delivered(url: str, generation: int) -> int:
    """Return how many destinations have a generation."""
    return count(url, t.deliveries.c.state == "delivered", t.deliveries.c.have == generation)


def count(url: str, *conditions: sa.ColumnElement[bool]) -> int:
    """Count rows of staging."""
    database = Database(url, pool_size=1)
    try:
        with database.read() as connection:
            return len(connection.execute(sa.select(sa.literal(1)).where(*conditions)).all())
    finally:
        database.close()


def test_a_collector_that_takes_nothing_holds_nobody_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where a collector refuses, the work goes on, the log says so once, and the end comes soon."""
    with Collector() as collector:
        collector.status = 400
        write_site(tmp_path, database="sqlite:///x.db", port=1, tracing={"endpoint": collector.url})
        tracing = App(load_configuration(tmp_path)).tracing
        for _ in range(3):
            tracing.begin("association").end()
        tracing.stop()
    assert collector.spans == []
    assert capsys.readouterr().err.count("traces_not_taken") <= 1


def test_without_an_endpoint_nothing_is_traced_or_loaded(tmp_path: Path) -> None:
    """A site that asks for no traces does not even import what makes them."""
    write_site(tmp_path, database="sqlite:///x.db", port=1)
    assert App(load_configuration(tmp_path)).tracing is NO_TRACING
    code = (
        "import sys; from pathlib import Path; from intu_fhir.app.wiring import App;"
        "from intu_fhir.settings.load import load_configuration;"
        f"App(load_configuration(Path({str(tmp_path)!r}))).tracing;"
        "print(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_only_a_share_is_traced(tmp_path: Path) -> None:
    """With a share of none no span is sent, and what follows from it is not either."""
    with Collector() as collector:
        settings = {"endpoint": collector.url, "share": 0.0}
        write_site(tmp_path, database="sqlite:///x.db", port=1, tracing=settings)
        tracing = App(load_configuration(tmp_path)).tracing
        first = tracing.begin("association")
        tracing.begin("settle study", parent=first.trace_parent).end()
        first.end()
        tracing.stop()
    assert collector.spans == []
    assert int(first.trace_parent[-2:], 16) & 1 == 0  # not sampled (W3C Trace Context, 3.2.2.5)


def test_attributes_are_those_of_the_log(tmp_path: Path) -> None:
    """What may not stand in a log line is left out of a span, and text is one printable line."""
    with Collector() as collector:
        write_site(tmp_path, database="sqlite:///x.db", port=1, tracing={"endpoint": collector.url})
        tracing = App(load_configuration(tmp_path)).tracing
        tracing.begin("association", patient_name="Canary", peer="a\nb" + "x" * 1_000).end(count=1)
        tracing.stop()
    (span,) = collector.spans
    assert set(span.attributes) == {"intu.peer", "intu.count"}
    assert "\n" not in span.attributes["intu.peer"]
    assert len(span.attributes["intu.peer"]) < 600
