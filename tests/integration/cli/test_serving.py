"""Running a site, importing into it and looking at what would be published."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from pydicom import dcmread
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from intu_fhir.app.wiring import open_app
from intu_fhir.cli.main import run
from intu_fhir.settings.load import load_configuration
from intu_fhir.settings.starter import write_starter
from intu_fhir.web.watching import WatchPage
from tests.support.databases import sqlite_url
from tests.support.elements import write_directory
from tests.support.ports import free_port
from tests.support.site_folder import write_site
from tests.support.studies import make_instance, uid, write_file, write_study
from tests.support.waiting import wait_until


@pytest.fixture
def port() -> int:
    """Give a port that is free."""
    return free_port()


@pytest.fixture
def site(tmp_path: Path, port: int) -> Path:
    """Give a starter configuration on a free port."""
    folder = tmp_path / "site"
    write_starter(folder)
    channel = folder / "channels/radiology-ingest/channel.yaml"
    channel.write_text(channel.read_text().replace("port: 4104", f"port: {port}"))
    root = folder / "intu.yaml"
    root.write_text(f"{root.read_text()}\nweb: {{port: {free_port()}}}\n")
    return folder


@contextmanager
def _running(command: str, site: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command in a process of its own until the test ends it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "intu_fhir.cli", command, "--config", str(site), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _wait_until_ready(process: subprocess.Popen[str]) -> list[dict[str, object]]:
    """Return what a process logged until it was ready."""
    assert process.stderr is not None
    events: list[dict[str, object]] = []
    for line in process.stderr:
        events.append(json.loads(line))
        if events[-1]["event"] == "ready":
            return events
    pytest.fail(f"it ended before it was ready: {events}")


def _echo(port: int, title: str = "INTU_SCP") -> int | None:
    ae = AE("TESTER")
    ae.add_requested_context(Verification)
    association = ae.associate("127.0.0.1", port, ae_title=title)
    if not association.is_established:
        return None
    status = association.send_c_echo().Status
    association.release()
    return int(status)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("command", ["serve", "receive"])
def test_serves_until_the_signal(command: str, site: Path, port: int, number: int) -> None:
    """Serve says where its page is, answers C-ECHO and ends with 0 on SIGTERM and on Ctrl-C."""
    with _running(command, site) as process:
        events = _wait_until_ready(process)
        assert ("listening", port) in [(event["event"], event.get("port")) for event in events]
        pages = [event["page"] for event in events if event["event"] == "web_listening"]
        assert len(pages) == (command == "serve")
        assert all(httpx.get(f"{page}/healthz").status_code == 200 for page in pages)
        assert _echo(port) == 0
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert out == ""
    assert "stopping" in err


def test_a_receiver_loads_no_decoder(tmp_path: Path, migrated_database_url: str) -> None:
    """What decodes pixels is installed here, and takes no memory of any receiving process."""
    two = {"processes": 2}
    write_site(tmp_path, database=migrated_database_url, port=free_port(), receiver=two)
    with _running("receive", tmp_path) as process:
        _wait_until_ready(process)
        children = Path(f"/proc/{process.pid}/task").glob("*/children")
        pids = [process.pid, *(int(one) for file in children for one in file.read_text().split())]
        maps = [Path(f"/proc/{pid}/maps").read_text() for pid in pids]
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert importlib.util.find_spec("numpy")
    assert ["numpy" in one or "gdcm" in one for one in maps] == [False, False]


def test_a_worker_stops_too(site: Path) -> None:
    """A worker needs no port and ends on SIGTERM."""
    with _running("worker", site) as process:
        _wait_until_ready(process)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err


@pytest.mark.parametrize(("command", "parts"), [
    ("receive", {"database", "files", "receiver"}),
    ("worker", {"database", "files", "clock"}),
])  # fmt: skip
def test_a_process_without_web_page_is_watched(command: str, parts: set[str], site: Path) -> None:
    """Receive and worker say that they live and are ready, and give the metrics, where asked to."""
    watched = free_port()
    with _running(command, site, "--watch", str(watched)) as process:
        events = _wait_until_ready(process)
        assert ("watch_listening", watched) in [(e["event"], e.get("port")) for e in events]
        with httpx.Client(base_url=f"http://127.0.0.1:{watched}") as client:
            assert client.get("/healthz").text == "ok\n"
            ready = client.get("/readyz")
            assert (ready.status_code, set(ready.json()) - {"ready"}) == (200, parts)
            metrics = client.get("/metrics").text
            assert client.get("/").status_code == 404
            assert client.get("/studies").status_code == 404
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "intu_database_up 1.0" in metrics
    assert "# TYPE intu_receive_objects_total counter" in metrics


def test_a_receiver_counts_where_it_is_watched(site: Path, port: int) -> None:
    """The metrics of a process that only receives have the counters of its receiver."""
    watched = free_port()
    with _running("receive", site, "--watch", f"127.0.0.1:{watched}") as process:
        _wait_until_ready(process)
        assert _echo(port) == 0
        url = f"http://127.0.0.1:{watched}/metrics"
        counted = (
            'intu_receive_associations_total{channel="radiology-ingest",reason="released"} 1.0'
        )
        wait_until(lambda: counted in httpx.get(url).text)


@pytest.mark.parametrize(("host", "is_open", "status"), [
    ("127.0.0.1", False, 200), ("0.0.0.0", False, 404), ("0.0.0.0", True, 200),
])  # fmt: skip
def test_beyond_the_machine_metrics_have_to_be_opened(
    tmp_path: Path, host: str, is_open: bool, status: int
) -> None:
    """Who listens for other machines gives them the metrics only where the site says so."""
    web = {"port": free_port(), "public_metrics": is_open}
    write_site(tmp_path, database=sqlite_url(tmp_path / "staging.db"), port=free_port(), web=web)
    app = open_app(load_configuration(tmp_path))
    page = WatchPage(app, host, free_port(), None)
    app.configuration.site.files_folder.mkdir()
    page.start()
    try:
        address = f"http://127.0.0.1:{page.server.port}"
        assert httpx.get(f"{address}/metrics").status_code == status
        assert httpx.get(f"{address}/readyz").status_code == 200
        app.configuration.site.files_folder.rename(tmp_path / "gone")
        assert httpx.get(f"{address}/readyz").status_code == 503
        assert httpx.get(f"{address}/healthz").status_code == 200
    finally:
        page.stop()
        app.close()


@pytest.mark.parametrize("address", ["8105x", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:70000", "["])
def test_an_address_that_is_none_is_told(
    address: str, site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where to be watched is an address with a port; anything else ends with 2 and words."""
    assert run(["worker", "--config", str(site), "--watch", address]) == 2
    assert "127.0.0.1:8105" in capsys.readouterr().err


def test_serve_without_channel_is_wrong_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A site without an enabled channel has nothing to serve."""
    (tmp_path / "intu.yaml").write_text("{}\n")
    assert run(["serve", "--config", str(tmp_path)]) == 2
    assert "no channel is enabled" in capsys.readouterr().err


def test_serve_on_a_taken_port_is_told(
    site: Path, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A port in use ends serve with 2 and words that name the channel and the port, once."""
    with socket.create_server(("0.0.0.0", port)):
        assert run(["serve", "--config", str(site)]) == 2
    assert capsys.readouterr().err.endswith(
        f"source.port: channel radiology-ingest cannot listen on 0.0.0.0 port {port} "
        "(Address already in use); free the port or choose another\n"
    )


def test_a_second_serve_is_told_of_the_first(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where an intu-fhir holds a port, of a channel or of the page, the message says so."""
    with _running("serve", site) as process:
        _wait_until_ready(process)
        for command in ("serve", "web"):
            assert run([command, "--config", str(site)]) == 2
            said = capsys.readouterr().err
            assert "(Address already in use)" in said
            assert "An intu-fhir answers there: perhaps this site runs already" in said


def test_a_taken_port_of_the_page_is_told(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The web page names the address that it cannot have once."""
    web = load_configuration(site).site.web
    with socket.create_server((web.host, web.port)):
        assert run(["web", "--config", str(site)]) == 2
    said = f"cannot listen on {web.host} port {web.port} (Address already in use); correct"
    assert said in capsys.readouterr().err


def test_uploads_of_a_folder_are_wrong_use(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where files stay in a folder, nothing is uploaded; it is said once what they are."""
    assert run(["uploads", "run", "--config", str(site)]) == 2
    assert ": files: a folder, so nothing is uploaded" in capsys.readouterr().err


def test_import_counts_everything_and_can_be_repeated(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Counts in are counts out; the second run finds everything there already."""
    folder = tmp_path / "media"
    write_study(folder, "one", series=2, instances=3)
    (folder / "readme.txt").write_text("no DICOM")
    command = ["import", str(folder), "--config", str(site), "--json"]
    assert run(command) == 0
    first = json.loads(capsys.readouterr().out)
    assert (first["total"], first["counts"]["stored"], first["counts"]["not_dicom"]) == (7, 6, 1)
    assert run(command) == 0
    second = json.loads(capsys.readouterr().out)
    assert (second["counts"]["already_stored"], second["counts"]["stored"]) == (6, 0)
    assert run(["study", uid("one"), "--config", str(site)]) == 0
    assert "6 instances from import" in capsys.readouterr().out


def test_import_with_something_refused_ends_with_1(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other bytes under a known UID are quarantined, named, and need a person."""
    write_file(make_instance("one"), tmp_path / "a.dcm")
    write_file(make_instance("one", PatientID="P2"), tmp_path / "b.dcm")
    assert run(["import", str(tmp_path / "a.dcm"), "--config", str(site)]) == 0
    assert run(["import", str(tmp_path / "b.dcm"), "--config", str(site)]) == 1
    assert "quarantined: " in capsys.readouterr().err
    assert run(["quarantine", "list", "--json", "--config", str(site)]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["sop_instance_uid"] == uid("one", 1, 1)
    config = ["--config", str(site)]
    assert run(["quarantine", "list", *config]) == 0
    listed = capsys.readouterr().out
    assert ("STUDY INSTANCE UID" in listed, f" {uid('one')} " in listed) == (True, True)
    kept = load_configuration(site).site.files_folder / row["file"]
    assert kept.is_file()
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert run(["quarantine", "remove", str(row["quarantine_key"]), *config]) == 2
    assert ("say --yes" in capsys.readouterr().err, kept.is_file()) == (True, True)
    remove = ["quarantine", "remove", "--reason", "resent", "--by", "rita", "--yes", *config]
    assert run([*remove, str(row["quarantine_key"]), "99"]) == 1
    shown = capsys.readouterr()
    assert ("1 object removed" in shown.out, "no object 99" in shown.err) == (True, True)
    assert not kept.exists()
    assert run(["audit", "list", "--json", "--actor", "rita", *config]) == 0
    (event,) = json.loads(capsys.readouterr().out)
    assert event["action"] == "deleted"
    assert event["reason"] == "taken out of quarantine (different_bytes): resent"
    assert run(["quarantine", *config]) == 0
    assert "Nothing is in quarantine." in capsys.readouterr().out


def test_quarantine_shows_where_and_in_what_an_object_differs(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both files are named by their whole path, each attribute that differs by keyword and tag."""
    config = ["--config", str(site)]
    write_file(make_instance("one"), tmp_path / "a.dcm")
    write_file(make_instance("one", PatientID="P2"), tmp_path / "b.dcm")
    run(["import", str(tmp_path / "a.dcm"), *config])
    run(["import", str(tmp_path / "b.dcm"), *config])
    capsys.readouterr()
    assert run(["quarantine", "show", "1", "--json", *config]) == 0
    found = json.loads(capsys.readouterr().out)
    for side, patient in (("staged", "P1"), ("kept", "P2")):
        assert Path(found[f"{side}_file"]).is_absolute()
        assert dcmread(found[f"{side}_file"]).PatientID == patient
    assert run(["quarantine", "show", "1", *config]) == 0
    shown = capsys.readouterr().out
    assert f"Kept      {found['kept_file']}\n" in shown
    assert f"Staged    {found['staged_file']}\n" in shown
    assert "1 attribute differs\nPatientID (0010,0020)\n  staged  P1\n  kept    P2\n" in shown
    assert run(["quarantine", "list", *config]) == 0
    assert found["kept_file"] in capsys.readouterr().out
    assert run(["audit", "list", "--json", "--action", "viewed", *config]) == 0
    (event, *_) = json.loads(capsys.readouterr().out)
    assert event["reason"] == "quarantine show 1"
    assert event["study_instance_uid"] == uid("one")
    assert run(["quarantine", "show", "9", *config]) == 2
    assert "there is no object 9" in capsys.readouterr().err
    Path(found["staged_file"]).unlink()
    assert run(["quarantine", "show", "1", *config]) == 0
    assert "They cannot be compared: the staged file is not there." in capsys.readouterr().out


def test_preview_of_files_and_of_a_staged_study(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The resource of files and that of the same study staged are the same."""
    folder = tmp_path / "media"
    write_study(folder, "one", series=2, instances=3)
    assert run(["preview", str(folder), "--config", str(site)]) == 0
    of_files = json.loads(capsys.readouterr().out)
    assert (of_files["numberOfSeries"], of_files["numberOfInstances"]) == (2, 6)
    assert run(["import", str(folder), "--config", str(site)]) == 0
    capsys.readouterr()
    assert run(["preview", uid("one"), "--config", str(site)]) == 0
    assert json.loads(capsys.readouterr().out) == of_files
    assert run(["preview", uid("one"), "--diff", "--config", str(site)]) == 0
    assert '+  "resourceType": "ImagingStudy"' in capsys.readouterr().out
    assert run(["preview", "1.2.3", "--config", str(site)]) == 2
    assert run(["preview", "nowhere/", "--config", str(site)]) == 2


def test_preview_is_of_the_release_that_is_published(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where all destinations take R5, a preview is of R5; the other one can be asked for."""
    write_study(tmp_path / "media", "one")
    root = site / "intu.yaml"
    ehr = "destinations: {ehr: {type: fhir, base_url: 'http://127.0.0.1:1', release: r5}}"
    root.write_text(root.read_text().replace("destinations: {}", ehr))
    for options, element in (([], "procedure"), (["--release", "r4"], "procedureCode")):
        ask = ["preview", str(tmp_path / "media"), "--config", str(site), *options]
        assert run(ask) == 0
        assert element in json.loads(capsys.readouterr().out)


def test_a_finding_names_its_attribute_once(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the attribute stands before the message, the message does not say it again."""
    write_study(tmp_path / "media", "one", PatientID="")
    assert run(["preview", str(tmp_path / "media"), "--config", str(site)]) == 1
    told = " ".join(capsys.readouterr().err.split())
    assert "subject_unknown at study PatientID: no usable Patient ID" in told


@pytest.mark.parametrize(
    ("rule", "mistake"),
    [
        ("subject: leave_out", "study.subject: the resource needs this element"),
        ("description: {converter: x}", "study.description.converter: must be one of"),
    ],
)
def test_preview_tells_a_mistake_in_a_mapping_by_its_line(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], rule: str, mistake: str
) -> None:
    """A mapping with a mistake is not tried: file, line, key and what is allowed are told."""
    write_study(tmp_path / "media", "one", series=1, instances=1)
    tried = tmp_path / "tried.yaml"
    tried.write_text(f"extends: shipped\nstudy:\n  {rule}\n")
    ask = ["preview", str(tmp_path / "media"), "--mapping", str(tried), "--config", str(site)]
    assert run(ask) == 2
    assert f"{tried}:3: {mistake}" in capsys.readouterr().err


def test_import_names_what_its_media_lack(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that a DICOMDIR refers to and that is not there is counted, named, and ends with 1."""
    write_file(make_instance("one"), tmp_path / "A")
    directory = write_directory(tmp_path, "A", "LOST")
    assert run(["import", str(directory), "--config", str(site)]) == 1
    out, err = capsys.readouterr()
    assert [line.split() for line in out.splitlines()] == [
        ["1", "stored"],
        ["1", "not", "DICOM"],
        ["1", "missing", "on", "its", "media"],
        ["3", "in", "all"],
    ]
    assert f"missing on its media: {tmp_path / 'LOST'} ({directory} refers to it)" in err


def test_import_names_some_of_each_kind(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is missing by the dozen does not hide what was refused; each kind says how many more."""
    write_file(make_instance("one"), tmp_path / "A")
    write_file(make_instance("two", StudyInstanceUID=None), tmp_path / "Z")
    directory = write_directory(tmp_path, "A", *(f"LOST{number}" for number in range(25)))
    assert run(["import", str(directory), str(tmp_path / "Z"), "--config", str(site)]) == 1
    err = [line for line in capsys.readouterr().err.splitlines() if line]
    assert err[0].startswith(f"refused: {tmp_path / 'Z'}")
    assert sum(line.startswith("missing on its media: ") for line in err) == 10
    assert "... and 15 more missing on its media; --json names all" in err


def test_import_with_several_channels_asks_which(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where several channels could count, the person says which; nothing hangs."""
    other = site / "channels/other"
    other.mkdir()
    (other / "channel.yaml").write_text(
        f"id: other\nsource: {{type: dicom, port: {free_port()}}}\n"
    )
    file = write_file(make_instance("one"), tmp_path / "a.dcm")
    assert run(["import", str(file), "--config", str(site)]) == 2
    assert "--channel" in capsys.readouterr().err
    assert run(["import", str(file), "--channel", "other", "--config", str(site)]) == 0


@pytest.mark.parametrize("command", ["serve", "db upgrade"])
def test_a_database_folder_that_cannot_be_made(
    command: str, site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A place where no folder can be is told with what to do, not as a fault of the program."""
    file = site / "a-file"
    file.write_text("")
    root = site / "intu.yaml"
    root.write_text(root.read_text().replace("data/staging.db", f"/{file}/staging.db"))
    assert run([*command.split(), "--config", str(site)]) == 2
    said = capsys.readouterr().err
    assert "database" in said
    assert "cannot be made" in said
