"""Which DAGs a site has, and the file that makes them."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from intu_fhir.cli.main import run
from intu_fhir.engines.airflow.file import dag_file, pools_file
from intu_fhir.engines.airflow.plan import (
    SPARE_RUNS,
    AirflowOptions,
    drains,
    pool_sizes,
    pools_of,
    share_of,
)
from intu_fhir.settings.schema import Site
from tests.support.ports import free_port
from tests.support.site_folder import write_site

DESTINATIONS: dict[str, dict[str, Any]] = {
    "ehr": {"type": "fhir", "base_url": "https://ehr.example.org/fhir", "concurrency": 4},
    "pacs.2": {"type": "dicom", "host": "127.0.0.1", "port": 104, "called_ae_title": "PACS"},
}
SITE = Site.model_validate({"destinations": DESTINATIONS})


def test_the_drains_of_a_site_do_all_of_its_work_once() -> None:
    """Of all drains exactly one prepares, and exactly one delivers to each destination."""
    shares = [share_of(one.kind, one.destination) for one in drains(SITE, AirflowOptions())]
    assert [one.prepare for one in shares].count(True) == 1
    for name in DESTINATIONS:
        assert [one.serves(name) for one in shares].count(True) == 1


def test_runs_that_finish_what_they_have_never_keep_out_the_next() -> None:
    """More runs are allowed than studies can be on their way, by those that are to take over."""
    runs = {one.destination: one.max_active_runs for one in drains(SITE, AirflowOptions())}
    assert runs == {"": SPARE_RUNS, "ehr": 4 + SPARE_RUNS, "pacs.2": 1 + SPARE_RUNS}


def test_a_drain_works_until_the_next_has_begun() -> None:
    """A task takes work for longer than the time to the start of the next one."""
    for one in drains(SITE, AirflowOptions(every_seconds=60)):
        assert one.every_seconds == 60
        assert one.seconds > one.every_seconds


def test_a_pool_has_room_for_all_that_may_run() -> None:
    """As they are written, pools hold nothing back; an operator makes them smaller."""
    options = AirflowOptions(pools=pools_of(SITE, "intu_fhir"), slots={"ehr": 2})
    assert pool_sizes(SITE, options) == {"intu_fhir_ehr": 14, "intu_fhir_pacs.2": 4}
    assert json.loads(pools_file(SITE, options))["intu_fhir_ehr"]["slots"] == 14


def test_what_is_said_of_a_destination_that_is_gone_stops_no_other() -> None:
    """A file of DAGs may be older than the configuration."""
    options = AirflowOptions(slots={"gone": 3}, pools={"gone": "p"})
    assert len(list(drains(SITE, options))) == 3
    assert pool_sizes(SITE, options) == {}


def test_the_file_of_dags_says_what_was_chosen() -> None:
    """It is Python that calls with the folder and the options, and with nothing that is default."""
    text = dag_file(Path("/etc/intu 'fhir'"), AirflowOptions(name="north", slots={"ehr": 2}))
    [call] = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "site_dags"
    ]
    assert ast.literal_eval(call.args[0]) == "/etc/intu 'fhir'"
    given = {one.arg: ast.literal_eval(one.value) for one in call.keywords}
    assert given == {"name": "north", "slots": {"ehr": 2}}


def test_the_command_writes_what_airflow_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both files are written where they are asked for, and the next step is said."""
    folder, dags = tmp_path / "site", tmp_path / "dags"
    dags.mkdir()
    write_site(folder, database="sqlite:///s.db", port=free_port(), destinations=DESTINATIONS)
    command = ["airflow-dags", str(dags), "--config", str(folder)]
    assert run([*command, "--pools", "--slots", "ehr=2", "--every", "60"]) == 0
    assert sorted(path.name for path in dags.iterdir()) == ["intu_fhir.py", "intu_fhir_pools.json"]
    said = capsys.readouterr().out
    assert "airflow pools import" in said
    assert said.rstrip().endswith("intu_fhir_rebuild, intu_fhir_replay, intu_fhir_prune")
    assert run([*command, "--slots", "nobody=2"]) == 2
    assert run([*command, "--slots", "ehr"]) == 2
    assert run([*command, "--name", "../north"]) == 2
