"""What check finds right and wrong, before a site starts."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from pynetdicom import AE
from pynetdicom.sop_class import Verification
from structlog.testing import capture_logs

from intu_fhir.app.serving import Site
from intu_fhir.app.wiring import open_app
from intu_fhir.check import CheckRow, check
from intu_fhir.cli.main import run
from intu_fhir.db import migrate
from intu_fhir.db.session import Database
from intu_fhir.db.tables import schema_versions
from intu_fhir.observe.clock import SystemClock
from intu_fhir.receive import descriptors
from intu_fhir.settings.load import load_configuration
from intu_fhir.settings.starter import write_starter
from intu_fhir.web.running import WebPage
from tests.support.certificates import Authority, Certificate
from tests.support.clock import FakeClock
from tests.support.ports import free_port
from tests.support.raw_peer import RawPeer, associate_request
from tests.support.waiting import wait_until

CAPABILITY = {
    "resourceType": "CapabilityStatement",
    "fhirVersion": "4.0.1",
    "software": {"name": "Test EHR"},
    "rest": [
        {
            "mode": "server",
            "resource": [{"type": "ImagingStudy", "interaction": [{"code": "update"}]}],
        }
    ],
}


@contextmanager
def ehr(capability: dict[str, Any], search_status: int = 200) -> Iterator[str]:
    """Run a FHIR server that tells what it can do and answers searches with a status."""
    bundle = {"resourceType": "Bundle", "type": "searchset"}

    def answer(path: str) -> tuple[int, bytes]:
        metadata = path.endswith("/metadata")
        body = json.dumps(capability if metadata else bundle).encode()
        return (200 if metadata else search_status), body

    with answering(answer) as url:
        yield url


@contextmanager
def answering(answer: Callable[[str], tuple[int, bytes]]) -> Iterator[str]:
    """Run a web server that answers a path with this status and body."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answer(self.path)
            self.send_response(status)
            self.send_header("Content-Type", "application/fhir+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/fhir"
        server.shutdown()


@contextmanager
def pacs(title: str, *more: str) -> Iterator[int]:
    """Run an archive that answers C-ECHO under its own title only, and serves more classes."""
    ae = AE(title)
    ae.require_called_aet = True
    for sop_class in (Verification, *more):
        ae.add_supported_context(sop_class)
    server = ae.start_server(("127.0.0.1", 0), block=False)
    yield server.server_address[1]
    server.shutdown()


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Give a fresh starter configuration on free ports."""
    write_starter(tmp_path)
    with (tmp_path / "intu.yaml").open("a") as file:
        file.write(f"web: {{port: {free_port()}}}\n")
    channel = tmp_path / "channels/radiology-ingest/channel.yaml"
    channel.write_text(channel.read_text().replace("port: 4104", f"port: {free_port()}"))
    return tmp_path


def _rows(site: Path, destinations: str = "") -> dict[str, CheckRow]:
    """Return what check finds, by subject."""
    if destinations:
        text = (site / "intu.yaml").read_text()
        text = text.replace("destinations: {}", f"destinations: {destinations}")
        (site / "intu.yaml").write_text(text)
    rows = check(load_configuration(site), FakeClock())
    return {row.what if row.what != "destination" else row.subject: row for row in rows}


def test_right_after_init_all_is_well(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The starter configuration passes, and check has changed nothing."""
    before = sorted(site.rglob("*"))
    assert run(["check", "--config", str(site)]) == 0
    assert "All is well." in capsys.readouterr().out
    assert sorted(site.rglob("*")) == before
    assert run(["check", "--json", "--config", str(site)]) == 0
    assert all(row["ok"] for row in json.loads(capsys.readouterr().out))


def test_a_port_in_use(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A port that something listens on is wrong, with the remedy."""
    port = load_configuration(site).channels[0].source.port
    with socket.create_server(("0.0.0.0", port)):
        row = _rows(site)["channel"]
        assert (row.ok, f"port {port} is in use" in row.detail) == (False, True)
        assert row.remedy
        assert run(["check", "--config", str(site)]) == 1
    assert "1 of 5 wrong" in capsys.readouterr().out
    assert _rows(site)["channel"].ok


def test_a_port_in_use_by_another_scp(site: Path) -> None:
    """An SCP of another make is wrong there, though it answers C-ECHO."""
    with pacs("INTU_SCP") as port:
        _use_port(site, port)
        row = _rows(site)["channel"]
    assert (row.ok, "no intu-fhir answers" in row.detail) == (False, True)


@pytest.mark.parametrize(
    "callers", ["", "  calling_ae_titles: [CT_1]\n", "  users: [{name: ct, passcode: secret}]\n"]
)
def test_a_port_in_use_by_ourselves(site: Path, callers: str) -> None:
    """While the site runs, its own listener on the port is as it should be."""
    channel = site / "channels/radiology-ingest/channel.yaml"
    text = channel.read_text().replace("  ae_title:", f"{callers}  ae_title:")
    channel.write_text(text)
    with running(site), capture_logs() as logs:
        row = _rows(site)["channel"]
    assert (row.ok, "in use by a running intu-fhir" in row.detail) == (True, True)
    assert [one for one in logs if one.get("reason") == "rejected"] == []


def test_a_port_in_use_by_the_receiver_of_another_site(site: Path, tmp_path: Path) -> None:
    """A receiver of ours with another file store is wrong there: it takes in other images."""
    with running(site):
        (site / "intu.yaml").write_text(
            (site / "intu.yaml").read_text().replace("data/", "elsewhere/")
        )
        row = _rows(site)["channel"]
    assert (row.ok, "with another file store" in row.detail) == (False, True)
    assert row.remedy


def test_the_web_port(site: Path) -> None:
    """Free is fine, our own page too, another program is wrong, and another site's page noted."""
    port = load_configuration(site).site.web.port
    assert "is free" in _rows(site)["web"].detail
    with socket.create_server(("127.0.0.1", port)):
        row = _rows(site)["web"]
    assert (row.ok, f"127.0.0.1:{port} is in use" in row.detail) == (False, True)
    configuration = load_configuration(site)
    with closing(open_app(configuration)) as app:
        page = WebPage(app)
        page.start()
        try:
            alone = _rows(site)["web"]
            with running(site):
                row = _rows(site)["web"]
        finally:
            page.stop()
    assert (row.ok, "by a running intu-fhir" in row.detail, row.remedy) == (True, True, "")
    assert (alone.ok, "the page of another site" in alone.remedy) == (True, True)
    (site / "intu.yaml").write_text("web: {enabled: false}\n")
    assert "web" not in _rows(site)


def test_patients_are_searched_without_a_system(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nothing gives Patient IDs a system a note says what follows; nothing is wrong."""
    with ehr(CAPABILITY) as url:
        wanted = f"{{ehr: {{type: fhir, base_url: '{url}', release: r4}}}}"
        row = _rows(site, wanted)["identifiers"]
        assert (row.ok, row.subject, "no identifiers.patient" in row.detail) == (True, "ehr", True)
        assert run(["check", "--config", str(site)]) == 0
        assert "note" in capsys.readouterr().out
        with (site / "intu.yaml").open("a") as file:
            file.write("identifiers: {patient: {default: 'https://h.example/ids'}}\n")
        assert "identifiers" not in _rows(site)


def test_a_database_folder_that_cannot_be_made(site: Path) -> None:
    """Where a file is in the way no database can be made, and check says so."""
    (site / "data").write_text("in the way")
    row = _rows(site)["database"]
    assert (row.ok, "cannot be written to" in row.detail) == (False, True)


def test_a_tls_port_in_use(site: Path, tmp_path: Path) -> None:
    """With TLS it is ours where it shows the certificate of the channel, and no other."""
    authority = Authority(tmp_path / "certs")
    ours, other = authority.issue("ours"), authority.issue("other")
    channel = site / "channels/radiology-ingest/channel.yaml"
    text = channel.read_text()

    def use(certificate: Certificate) -> None:
        tls = (
            f"  tls: {{cert_file: {certificate.cert_file}, key_file: {certificate.key_file}, "
            f"ca_file: {authority.ca_file}}}\n"
        )
        channel.write_text(text.replace("  ae_title:", f"{tls}  ae_title:"))

    use(ours)
    with running(site):
        assert _rows(site)["channel"].ok
        use(other)
        assert not _rows(site)["channel"].ok


def _use_port(site: Path, port: int) -> None:
    channel = site / "channels/radiology-ingest/channel.yaml"
    old = load_configuration(site).channels[0].source.port
    channel.write_text(channel.read_text().replace(f"port: {old}", f"port: {port}"))


@contextmanager
def running(site: Path) -> Iterator[None]:
    """Run the receiver and the workers of a site."""
    running_site = Site(open_app(load_configuration(site)))
    running_site.start()
    try:
        yield
    finally:
        running_site.stop()


def test_more_associations_than_descriptors(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Associations that the system has no descriptors for are told before the start."""
    with (site / "intu.yaml").open("a") as file:
        file.write("receiver: {max_associations: 2000}\n")
    monkeypatch.setattr(descriptors.resource, "getrlimit", lambda _: (1_024, 9_000))
    assert "receiver" not in _rows(site)
    monkeypatch.setattr(descriptors.resource, "getrlimit", lambda _: (1_024, 4_096))
    row = _rows(site)["receiver"]
    assert not row.ok
    assert "8256 file descriptors" in row.detail
    assert "960 or fewer" in row.remedy


def test_little_space(site: Path) -> None:
    """A file store below the water mark is wrong."""
    with (site / "intu.yaml").open("a") as file:
        file.write("receiver: {min_free_bytes: 1000000000000000}\n")
    row = _rows(site)["files"]
    assert not row.ok
    assert "min_free_bytes" in row.remedy


@pytest.mark.parametrize("empty", [False, True])
def test_a_file_store_that_is_gone(site: Path, empty: bool) -> None:
    """Check judges the folder as a start does, changes nothing, and blames no port for it."""
    with running(site):
        assert _rows(site)["files"].detail.startswith("writable, ")
        files = load_configuration(site).site.files_folder
        files.rename(site / "away")
        if empty:
            files.mkdir()
        rows = _rows(site)
        assert (files.exists(), list(files.glob("*"))) == (empty, [])
        (site / "away").rename(files)
    assert not rows["files"].ok
    assert "has no mark of a file store" in rows["files"].detail
    assert rows["files"].remedy.startswith("mount the disk of the file store")
    assert "cannot be told without the files" in rows["channel"].detail
    assert (rows["channel"].ok, rows["channel"].remedy) == (True, "mend the file store first")
    assert _rows(site)["files"].ok


def test_the_file_store_of_another_site(site: Path) -> None:
    """A folder with the mark of another database is wrong before anything starts."""
    with running(site):
        pass
    mark = load_configuration(site).site.files_folder / "file-store"
    mark.write_text(f"{'0' * 32}\n")
    row = _rows(site)["files"]
    assert (row.ok, "is the file store of another database" in row.detail) == (False, True)


def test_a_file_store_that_is_to_be_made(
    site: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A folder that is not there yet is told with the disk that it will be on."""
    row = _rows(site)["files"]
    assert row.detail.startswith("does not exist yet; serve makes it, on the disk mounted at /")
    assert row.remedy == ""
    elsewhere = tmp_path_factory.mktemp("mnt") / "nothere/files"
    text = (site / "intu.yaml").read_text()
    (site / "intu.yaml").write_text(text.replace("data/files", str(elsewhere)))
    row = _rows(site)["files"]
    assert (row.ok, "does not exist yet" in row.detail) == (True, True)
    assert row.remedy.startswith("mount its disk first")
    assert not elsewhere.parent.exists()


def test_a_configuration_that_was_changed_since_the_start(site: Path) -> None:
    """Check says that what runs has read another one; a file that is only touched is the same."""
    with closing(open_app(load_configuration(site))) as app:
        page = WebPage(app)
        page.start()
        try:
            (site / "intu.yaml").touch()
            before = _rows(site)["web"]
            channel = site / "channels/radiology-ingest/channel.yaml"
            channel.write_text(channel.read_text() + "# mended\n")
            page.site.cached.forget("fingerprint")
            row = _rows(site)["web"]
            ready = httpx.get(f"http://127.0.0.1:{page.server.port}/readyz").json()
            shown = httpx.get(f"http://127.0.0.1:{page.server.port}/").text
        finally:
            page.stop()
    assert "changed" not in before.detail
    assert (row.ok, "started before the configuration was changed" in row.detail) == (True, True)
    assert row.remedy == "restart it, so that the change counts"
    assert ready["configuration"] == "changed since the start"
    assert "The configuration was changed after this process started" in shown


def test_what_was_turned_away_in_the_last_day(site: Path) -> None:
    """Check names who was refused objects, and how many associations what runs has rejected."""
    port = load_configuration(site).channels[0].source.port
    with running(site), closing(open_app(load_configuration(site))) as app:
        page = WebPage(app)
        page.start()
        try:
            with RawPeer(port) as peer:
                peer.send(associate_request(called="WRONG"))
                peer.read()
            with RawPeer(port) as peer:
                peer.associate(calling="CT7")
                peer.store(b"no data set", "1.2.3")
                peer.release()
            kept = wait_until(lambda: _received(site, 2), 20, "both to be told")
        finally:
            page.stop()
    objects, associations = sorted(kept, key=lambda one: one.detail)
    assert objects.detail.startswith("1 object of CT7 refused in the last day, the last at ")
    assert associations.detail.startswith("the running intu-fhir has rejected ")
    assert all(one.ok for one in kept)


def _received(site: Path, number: int) -> list[CheckRow]:
    rows = check(load_configuration(site), SystemClock(), offline=True)
    # What is counted in this process may have been rejected by channels of other tests as well.
    ours = {channel.id for channel in load_configuration(site).channels}
    found = [one for one in rows if one.what == "received" and one.subject in ours]
    return found if len(found) == number else []


def test_database_states(
    site: Path, database_url: str, change_revision: Callable[[str, str], None]
) -> None:
    """New, at head and a newer one that has only grown are fine; one that took away is not."""
    text = (site / "intu.yaml").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("database:")]
    (site / "intu.yaml").write_text("\n".join([f"database: {json.dumps(database_url)}", *lines]))
    assert _rows(site)["database"].ok
    migrate.upgrade(database_url)
    assert _rows(site)["database"].ok
    change_revision(database_url, migrate.head())
    row = _rows(site)["database"]
    assert row.ok
    assert "newer version" in row.detail
    change_revision(database_url, "9999")
    row = _rows(site)["database"]
    assert not row.ok
    assert row.remedy


@pytest.fixture
def change_revision() -> Callable[[str, str], None]:
    """Give a function that makes a database that of a newer version, and says who may run there."""

    def change(url: str, runs_from: str) -> None:
        database = Database(url)
        with database.write() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
            connection.execute(sa.update(schema_versions).values(runs_from=runs_from))
        database.close()

    return change


def test_a_database_that_is_not_there(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A server that does not answer is wrong; which one, and why not, is told."""
    text = (
        (site / "intu.yaml")
        .read_text()
        .replace("sqlite:///data/staging.db", "postgresql+psycopg://x@127.0.0.1:1/x")
    )
    (site / "intu.yaml").write_text(text)
    row = _rows(site)["database"]
    assert not row.ok
    why = '"127.0.0.1", port 1 failed: Connection refused'
    assert why in row.detail
    assert run(["studies", "--config", str(site)]) == 1
    assert why in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "search_status", "ok", "words"),
    [
        ({}, 200, True, "Test EHR 4.0.1"),
        ({"fhirVersion": "5.0.0"}, 200, False, "speaks FHIR 5.0.0"),
        ({"rest": [{"resource": [{"type": "Patient"}]}]}, 200, False, "does not list ImagingStudy"),
        ({}, 401, False, "answers 401"),
    ],
)
def test_fhir_destination(
    site: Path, change: dict[str, Any], search_status: int, ok: bool, words: str
) -> None:
    """A FHIR server is asked what it can do, and whether it lets us in."""
    with ehr(CAPABILITY | change, search_status) as url:
        row = _rows(site, f"{{ehr: {{type: fhir, base_url: '{url}'}}}}")["ehr"]
    assert (row.ok, row.remedy == "") == (ok, ok)
    assert words in row.detail


@pytest.mark.parametrize(
    ("types", "wanted", "ok", "words", "remedy"),
    [
        (["Patient"], "never", False, "does not list ImagingStudy", "to offer ImagingStudy"),
        (
            ["DocumentReference"],
            "never",
            False,
            "does not list ImagingStudy",
            "set publish.document_reference: fallback",
        ),
        (
            ["DocumentReference"],
            "fallback",
            True,
            "studies go as DocumentReference; its CapabilityStatement does not list ImagingStudy",
            "",
        ),
        (
            ["Patient"],
            "fallback",
            False,
            "its CapabilityStatement does not list DocumentReference",
            "to offer ImagingStudy or DocumentReference",
        ),
        (["ImagingStudy"], "fallback", True, "only plain create", ""),
        (["ImagingStudy", "DocumentReference"], "instead", True, "go as DocumentReference", ""),
        (["ImagingStudy"], "instead", False, "lists ImagingStudy with create", "to offer"),
    ],
)
def test_fhir_destination_without_imaging_study(
    site: Path, types: list[str], wanted: str, ok: bool, words: str, remedy: str
) -> None:
    """What a server lacks is told in the words of its CapabilityStatement, with what to do."""
    resources = [{"type": one, "interaction": [{"code": "create"}]} for one in types]
    with ehr(CAPABILITY | {"rest": [{"mode": "server", "resource": resources}]}) as url:
        publish = f"publish: {{document_reference: {wanted}}}"
        row = _rows(site, f"{{ehr: {{type: fhir, base_url: '{url}', {publish}}}}}")["ehr"]
    assert row.ok == ok
    assert words in row.detail
    assert remedy in row.remedy


@pytest.mark.parametrize(
    ("status", "body", "ok", "words"),
    [
        (404, b'{"resourceType": "OperationOutcome"}', False, "404 to a search of ImagingStudy"),
        (200, b"<html>Welcome to our portal</html>", False, "no FHIR here"),
        (200, b'{"resourceType": "Bundle"}', True, "does not say what it is"),
        (405, b"", True, "does not say what it is"),
    ],
)
def test_fhir_destination_at_a_wrong_address(
    site: Path, status: int, body: bytes, ok: bool, words: str
) -> None:
    """Where neither /metadata nor a search is answered in FHIR, base_url is wrong and named."""
    with answering(lambda _: (status, body)) as url:
        row = _rows(site, f"{{ehr: {{type: fhir, base_url: '{url}'}}}}")["ehr"]
    assert (row.ok, "correct base_url" in row.remedy) == (ok, not ok)
    assert words in row.detail


def test_fhir_destination_that_is_not_there(site: Path) -> None:
    """A closed port is wrong and says so within its time."""
    url = f"http://127.0.0.1:{free_port()}/fhir"
    row = _rows(site, f"{{ehr: {{type: fhir, base_url: '{url}'}}}}")["ehr"]
    assert not row.ok
    assert row.remedy
    assert row.detail.count(url.removesuffix("/fhir")) == 1


def test_fhir_destination_that_speaks_http(site: Path) -> None:
    """A server without TLS behind an https:// address is told from one that is not there."""
    with ehr(CAPABILITY) as url:
        secured = url.replace("http:", "https:")
        row = _rows(site, f"{{ehr: {{type: fhir, base_url: '{secured}'}}}}")["ehr"]
    assert (row.ok, secured.removesuffix("/fhir") in row.detail) == (False, True)
    assert row.remedy.startswith("the server speaks http there")


def test_dicom_destination_that_may_get_decompressed_images(site: Path) -> None:
    """With the decoders that ``transcode`` needs nothing is wrong."""
    with pacs("PACS_SCP") as port:
        destination = f"type: dicom, host: 127.0.0.1, port: {port}, called_ae_title: PACS_SCP"
        row = _rows(site, f"{{pacs: {{{destination}, transcode: uncompressed}}}}")["pacs"]
    assert row.ok


@pytest.mark.parametrize(("title", "ok"), [("PACS_SCP", True), ("OTHER", False)])
def test_dicom_destination(site: Path, title: str, ok: bool) -> None:
    """An archive is asked by C-ECHO under the title it should have."""
    with pacs("PACS_SCP") as port:
        destination = f"{{type: dicom, host: 127.0.0.1, port: {port}, called_ae_title: {title}}}"
        row = _rows(site, f"{{pacs: {destination}}}")["pacs"]
    assert row.ok is ok


@pytest.mark.parametrize("offered", [True, False])
def test_an_archive_that_is_asked_to_promise(site: Path, offered: bool) -> None:
    """An archive with `commitment` has to take such requests; else the remedy says what to do."""
    more = ["1.2.840.10008.1.20.1"] if offered else []
    with pacs("PACS_SCP", *more) as port:
        at = f"type: dicom, host: 127.0.0.1, port: {port}, called_ae_title: PACS_SCP"
        row = _rows(site, f"{{pacs: {{{at}, commitment: {{}}}}}}")["pacs"]
    assert row.ok is offered
    assert ("takes requests for storage commitment" in row.detail) is offered
    assert offered or row.remedy.startswith("have storage commitment enabled at the PACS")


def test_a_dead_archive_does_not_hide_the_others(site: Path) -> None:
    """Every destination gets its own row; --offline asks none of them."""
    dead = f"{{type: dicom, host: 127.0.0.1, port: {free_port()}, called_ae_title: X}}"
    with pacs("PACS_SCP") as port:
        alive = f"{{type: dicom, host: 127.0.0.1, port: {port}, called_ae_title: PACS_SCP}}"
        rows = _rows(site, f"{{dead: {dead}, alive: {alive}}}")
    assert (rows["dead"].ok, rows["alive"].ok) == (False, True)
    assert run(["check", "--offline", "--config", str(site)]) == 0


@pytest.mark.parametrize(
    ("key", "text", "words"),
    [
        ("transformer", "def transform(", "hook.py"),
        ("mapping", "nonsense: [", "map.yaml"),
    ],
)
def test_a_hook_or_mapping_that_does_not_load(site: Path, key: str, text: str, words: str) -> None:
    """A broken hook or mapping is found before the site starts."""
    channel = site / "channels/radiology-ingest/channel.yaml"
    (channel.parent / words).write_text(text)
    channel.write_text(channel.read_text() + f"{key}: {words}\n")
    row = _rows(site)["channel"]
    assert not row.ok
    assert words in row.detail + row.remedy


def test_an_example_of_a_mapping_that_fails(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Examples in a channel's mapping are run; one that fails is told with its file and line."""
    folder = site / "channels/radiology-ingest"
    (folder / "own.yaml").write_text(
        "extends: shipped\n"
        'version: "1"\n'
        "tests:\n"
        "  - name: the description is the description\n"
        "    header: {StudyDescription: CT Thorax}\n"
        "    expect: {description: MR Head}\n"
    )
    channel = folder / "channel.yaml"
    channel.write_text(channel.read_text() + f"\nmapping: {folder / 'own.yaml'}\n")
    assert run(["check", "--config", str(site)]) == 1
    out, err = capsys.readouterr()
    said = " ".join((out + err).split())
    assert "own.yaml:4" in said.replace(" ", "") or "own.yaml:4" in said
    assert "the description is the description" in said


def test_every_mistake_of_a_mapping_has_a_row(site: Path) -> None:
    """Two mistakes in a mapping are two rows, each with what to do about it."""
    folder = site / "channels/radiology-ingest"
    example = (
        "{{name: {0}, release: r4, header: {{StudyDescription: x}}, expect: {{description: y}}}}"
    )
    examples = ", ".join(map(example.format, "ab"))
    (folder / "own.yaml").write_text(f"extends: shipped\ntests: [{examples}]\n")
    channel = folder / "channel.yaml"
    channel.write_text(channel.read_text() + "\nmapping: own.yaml\n")
    rows = [row for row in check(load_configuration(site), FakeClock()) if row.what == "channel"]
    assert [row.remedy for row in rows] == ["correct the rule or the test"] * 2
    assert ["tests[0]: a" in rows[0].detail, "tests[1]: b" in rows[1].detail] == [True, True]
    assert not any("\n" in row.detail for row in rows)


@pytest.mark.parametrize(
    ("release", "element", "told"),
    [
        ("r5", "procedureCode", ["study.procedure,"]),
        ("r4", "procedureCode", []),
        ("r4", "reason", ["study.reasonCode,"]),
        ("r5", "description", []),
    ],
)
def test_a_rule_that_the_release_of_a_destination_does_not_have(
    site: Path, release: str, element: str, told: list[str]
) -> None:
    """A rule of an element that R4 or R5 alone has is noted where a destination takes the other."""
    folder = site / "channels/radiology-ingest"
    (folder / "own.yaml").write_text(f"extends: shipped\nstudy:\n  {element}: leave_out\n")
    channel = folder / "channel.yaml"
    text = channel.read_text().replace("destinations: []", "destinations: [ehr]")
    channel.write_text(f"{text}\nmapping: own.yaml\n")
    site_file = site / "intu.yaml"
    ehr = f"{{ehr: {{type: fhir, base_url: 'http://127.0.0.1:1', release: {release}}}}}"
    site_file.write_text(site_file.read_text().replace("destinations: {}", f"destinations: {ehr}"))
    rows = [*check(load_configuration(site), FakeClock(), offline=True)]
    notes = [row for row in rows if row.what == "channel" and row.remedy]
    assert [row.remedy.split()[5] for row in notes] == told
    assert all(row.ok for row in notes)
