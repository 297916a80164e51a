"""What stands in `deploy/` for containers fits together, and fits the program."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import psycopg
import pytest
import yaml
from sqlalchemy.engine import URL, make_url

from intu_fhir.cli.main import COMMANDS
from intu_fhir.db import migrate
from intu_fhir.db.readonly import Reader, RefusedQuery, read_only_query
from intu_fhir.settings.load import load_configuration
from intu_fhir.settings.receiver import Receiver
from intu_fhir.settings.schema import Configuration, DicomDestination
from tests.deploy.test_units import MORE_SECONDS
from tests.docs.pages import REPOSITORY
from tests.support.databases import READER_ROLE, PostgresCluster, postgresql_program, run_script

DEPLOY = REPOSITORY / "deploy"
CONTAINERFILE = DEPLOY / "container" / "Containerfile"
KUBERNETES = "1.30"


def _yaml(path: str) -> Any:
    return yaml.safe_load((DEPLOY / path).read_text(encoding="utf-8"))


COMPOSE = _yaml("compose/compose.yaml")
OBJECTS: list[dict[str, Any]] = _yaml("kubernetes/intu-fhir.yaml")["items"]


def _template(item: dict[str, Any]) -> Any:
    """Return what an object makes pods of, or None."""
    spec = item["spec"].get("jobTemplate", item)["spec"]
    return spec.get("template")


PODS = {item["metadata"]["name"]: _template(item)["spec"] for item in OBJECTS if _template(item)}


def test_the_containerfile_has_no_fault() -> None:
    """Hadolint finds nothing in it."""
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run(
        [hadolint, CONTAINERFILE], check=False, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_what_is_copied_into_the_image_is_there() -> None:
    """Each path of a COPY stands in the repository, and the ignore file lets it through."""
    text = CONTAINERFILE.read_text(encoding="utf-8")
    ignored = CONTAINERFILE.with_name("Containerfile.dockerignore").read_text(encoding="utf-8")
    copied = [
        path
        for line in re.findall(r"^COPY (?!--)(.+)$", text, re.MULTILINE)
        for path in line.split()[:-1]
    ]
    assert copied
    assert [path for path in copied if not (REPOSITORY / path).exists()] == []
    assert sorted(copied) == sorted(re.findall(r"^!(.+)$", ignored, re.MULTILINE))


def test_the_image_builds_the_package_from_what_is_copied(tmp_path: Path) -> None:
    """A wheel can be built from just the files that go into the image."""
    text = CONTAINERFILE.read_text(encoding="utf-8")
    for line in re.findall(r"^COPY (?!--)(.+)$", text, re.MULTILINE):
        for path in line.split()[:-1]:
            source = REPOSITORY / path
            if source.is_dir():
                shutil.copytree(source, tmp_path / path, ignore=shutil.ignore_patterns("_data"))
            else:
                shutil.copy(source, tmp_path / path)
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "out", tmp_path],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_does_what_the_pages_promise() -> None:
    """Each extra that a page tells to install is in the image, but for the engine beside it."""
    (installed,) = re.findall(r"pip install .*\[([a-z0-9,]+)\]", CONTAINERFILE.read_text("utf-8"))
    told = {
        extra
        for page in (REPOSITORY / "docs").rglob("*.md")
        for extras in re.findall(r"'\.\[([a-z0-9,]+)\]'", page.read_text("utf-8"))
        for extra in extras.split(",")
    }
    assert told - {"airflow"} == set(installed.split(","))


def test_the_image_can_dump_the_database() -> None:
    """Its pg_dump is not older than the server of compose; the page says up to which it is good."""
    (client,) = re.findall(r"postgresql-client-(\d+)", CONTAINERFILE.read_text("utf-8"))
    server = COMPOSE["services"]["database"]["image"].removeprefix("postgres:")
    assert int(client) >= int(server)
    page = (REPOSITORY / "docs" / "how-to" / "run-in-containers.md").read_text("utf-8")
    assert re.findall(r"PostgreSQL (\d+) or older", page) == [client]


def test_a_backup_has_a_place_of_its_own() -> None:
    """The job writes to a volume that nothing else has, and reads what receivers write."""
    pod = PODS["intu-backup"]
    (container,) = pod["containers"]
    mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    command, folder = container["args"]
    assert command == "backup"
    assert folder.startswith(mounts["backup"] + "/")
    receiving = PODS["intu-receive"]
    shared = [one for one in pod["volumes"] if one["name"] != "backup"]
    assert shared == receiving["volumes"]
    assert set(mounts) - {"backup"} == {one["name"] for one in receiving["volumes"]}
    claims = {i["metadata"]["name"] for i in OBJECTS if i["kind"] == "PersistentVolumeClaim"}
    assert "intu-backup" in claims


def _compose_site(folder: Path) -> Configuration:
    """Load the site of the compose file, its secret in a place that is there."""
    shutil.copytree(DEPLOY / "compose" / "site", folder / "site")
    file = folder / "site" / "intu.yaml"
    text = file.read_text(encoding="utf-8")
    for name in ("database_password", "reader_password"):
        (folder / name).write_text(f"words of {name}\n".replace(" ", "-"), encoding="utf-8")
        assert f"/run/secrets/{name}" in text
        assert name in COMPOSE["services"]["intu"]["secrets"]
    file.write_text(text.replace("/run/secrets", str(folder)), encoding="utf-8")
    return load_configuration(folder / "site", {})


def test_the_site_of_the_compose_file_is_valid(tmp_path: Path) -> None:
    """Its configuration loads, speaks to its database, and listens on the port it publishes."""
    configuration = _compose_site(tmp_path)
    url = "postgresql+psycopg://{}:words-of-{}@database/intu"
    assert configuration.site.database == url.format("intu", "database_password")
    reader = configuration.site.web.sql.database
    assert reader == url.format("intu_reader", "reader_password")
    assert "database" in COMPOSE["services"]
    (channel,) = configuration.channels
    port = channel.source.port
    assert COMPOSE["services"]["intu"]["ports"] == [f"{port}:{port}"]
    assert f"EXPOSE {port}\n" in CONTAINERFILE.read_text(encoding="utf-8")


def test_orthanc_is_the_pacs_of_the_site(tmp_path: Path) -> None:
    """Orthanc listens where, and by the name, that the site calls."""
    destination = _compose_site(tmp_path).site.destinations["pacs_archive"]
    orthanc = json.loads((DEPLOY / "compose" / "orthanc.json").read_text(encoding="utf-8"))
    assert isinstance(destination, DicomDestination)
    assert destination.host in COMPOSE["services"]
    assert destination.port == orthanc["DicomPort"]
    assert destination.called_ae_title == orthanc["DicomAet"]


def test_orthanc_knows_where_its_promises_go(tmp_path: Path) -> None:
    """The PACS that is asked for storage commitment answers to the site's name and port."""
    configuration = _compose_site(tmp_path)
    destination = configuration.site.destinations["pacs_archive"]
    orthanc = json.loads((DEPLOY / "compose" / "orthanc.json").read_text(encoding="utf-8"))
    assert isinstance(destination, DicomDestination)
    assert destination.commitment is not None
    (ours,) = orthanc["DicomModalities"].values()
    assert ours["AllowStorageCommitment"] is True
    assert ours["AET"] == (destination.commitment.ae_title or destination.ae_title)
    assert COMPOSE["services"][ours["Host"]]["command"] == ["serve"]
    assert ours["Port"] in {one.source.port for one in configuration.enabled_channels()}


def test_the_receiver_of_the_compose_file_keeps_its_name() -> None:
    """A new container, as an upgrade makes one, closes what the one before left open."""
    assert COMPOSE["services"]["intu"]["hostname"] == "intu"


def test_compose_names_only_what_it_has() -> None:
    """Volumes, secrets, services to wait for, and mounted files are all there."""
    for service in COMPOSE["services"].values():
        assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])
        assert set(service.get("depends_on", {})) <= set(COMPOSE["services"])
        for mount in service["volumes"]:
            source = mount.partition(":")[0]
            there = (DEPLOY / "compose" / source).exists() if "/" in source else None
            assert there or source in COMPOSE["volumes"]


@pytest.fixture
def compose_database(tmp_path: Path) -> Iterator[URL]:
    """A database that was made as the compose file has it made, as its superuser."""
    for name in ("database", "reader"):
        (tmp_path / f"{name}_password").write_text(f"{name}-words\n", encoding="utf-8")
    cluster = PostgresCluster()
    try:
        url = cluster.url(cluster.create())
        run_script(url, DEPLOY / "compose" / "roles.sql", secrets=str(tmp_path))
        yield make_url(url)
    finally:
        cluster.stop()


def test_the_program_of_the_compose_file_is_no_superuser(compose_database: URL) -> None:
    """It owns its database and nothing else; SQL of the page is asked as a role that only reads."""
    ours, reader = (
        compose_database.set(username=name, password=password).render_as_string(hide_password=False)
        for name, password in (("intu", "database-words"), ("intu_reader", "reader-words"))
    )
    migrate.upgrade(ours)
    for _ in range(2):
        run_script(compose_database.render_as_string(), READER_ROLE, tables="yes")
    for harm in ("SELECT pg_read_file('/etc/passwd')", "SELECT pg_reload_conf()"):
        with pytest.raises(RefusedQuery), read_only_query(ours, harm) as result:
            list(result.rows)
    with read_only_query(Reader(reader), "SELECT count(*) FROM studies") as result:
        assert list(result.rows) == [(0,)]
    service = COMPOSE["services"]["reader"]
    assert "--variable=tables=yes" in service["command"][-1]
    assert service["depends_on"] == {"intu": {"condition": "service_healthy"}}


def test_the_database_of_the_compose_file_is_restored_as_the_page_says(
    compose_database: URL, tmp_path: Path
) -> None:
    """The calls of the page drop it and make it again from its dump, the program's as before."""
    ours = compose_database.set(username="intu").render_as_string(hide_password=False)
    migrate.upgrade(ours)
    database, folder = str(compose_database.database), str(compose_database.query["host"])
    dump = tmp_path / "staging.dump"
    _postgresql(folder, f"pg_dump --username=intu --format=custom --file={dump} {database}")
    page = (REPOSITORY / "docs" / "how-to" / "run-in-containers.md").read_text("utf-8")
    told = re.findall(r"^docker compose exec (?:-T )?database (.+)$", page, re.MULTILINE)
    assert [call.split()[0] for call in told] == ["dropdb", "pg_restore"]
    drop, restore = told
    with psycopg.connect(dbname=database, user="intu_reader", host=folder):
        _postgresql(folder, drop.removesuffix(" intu") + f" {database}")
    _postgresql(folder, restore.partition(" < ")[0] + f" {dump}")
    assert migrate.current(ours) == migrate.head()
    with psycopg.connect(dbname=database, user="postgres", host=folder) as connection:
        owners = connection.execute(
            "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
        )
        assert owners.fetchall() == [("intu",)]


def _postgresql(folder: str, call: str) -> None:
    """Run a program of PostgreSQL on the server whose socket is in the folder."""
    name, *arguments = call.split()
    done = subprocess.run(
        [postgresql_program(name), *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PGHOST": folder},
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("item", OBJECTS, ids=lambda item: item["metadata"]["name"])
def test_kubernetes_takes_it(item: dict[str, Any]) -> None:
    """Each object obeys the schema of Kubernetes, with no field that it does not know."""
    kubernetes_validate.validate(item, KUBERNETES, strict=True)


@pytest.mark.parametrize("pod", PODS.values(), ids=PODS)
def test_a_pod_is_shut_in(pod: dict[str, Any]) -> None:
    """No pod runs as root, gains rights, or writes to its image or to the cluster."""
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        volume["name"] for volume in pod["volumes"]
    }


def test_containers_run_commands_that_exist() -> None:
    """What each container is told to run is a command of the program."""
    told = [COMPOSE["services"]["intu"]["command"]]
    told += [pod["containers"][0]["args"] for pod in PODS.values()]
    assert {words[0] for words in told} <= set(COMMANDS)


def test_a_pod_that_upgrades_the_database_is_left_alive() -> None:
    """What answers only after the migrations has an hour for them before anything kills it."""
    for name in ("intu-receive", "intu-worker"):
        (container,) = PODS[name]["containers"]
        started, alive = container["startupProbe"], container["livenessProbe"]
        assert started["httpGet"] == alive["httpGet"]
        assert started["periodSeconds"] * started["failureThreshold"] >= 3_600


def test_services_find_their_pods() -> None:
    """Each service and budget selects the labels of a pod that is there."""
    labels = [_template(item)["metadata"]["labels"] for item in OBJECTS if _template(item)]
    for item in OBJECTS:
        selector = item["spec"].get("selector", {})
        if item["kind"] not in {"PersistentVolumeClaim", "CronJob"}:
            assert selector.get("matchLabels", selector) in labels


def test_containers_stop_later_than_the_receiver() -> None:
    """Compose and Kubernetes wait longer than the page takes to end, and then what is in hand."""
    least = Receiver().shutdown_grace_seconds + MORE_SECONDS
    assert int(COMPOSE["services"]["intu"]["stop_grace_period"].rstrip("s")) >= least
    for name in ("intu-receive", "intu-worker"):
        assert PODS[name]["terminationGracePeriodSeconds"] >= least
