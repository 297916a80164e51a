"""The alerts fire when they should, and rules and dashboard ask for metrics that are there."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from intu_fhir.db.session import Database
from intu_fhir.db.uploads import Upload, want_uploads
from tests.docs.pages import REPOSITORY
from tests.support.clock import START
from tests.support.programs import require
from tests.support.seeded import stage
from tests.support.web import serving

RULES = REPOSITORY / "deploy" / "prometheus" / "rules.yaml"
DASHBOARD = REPOSITORY / "deploy" / "grafana" / "intu-fhir.json"
_OURS = re.compile(r"\bintu_[a-z_]+\b")


def _promtool(*arguments: str) -> str:
    call = [require("promtool"), *arguments]
    done = subprocess.run(call, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def exposed(tmp_path: Path, database: Database) -> str:
    """What `/metrics` says of a site in which a study waits, one is dead, and a spool is full."""
    with database.write() as connection:
        want_uploads(connection, "r1", [Upload(name, 0, "0" * 64) for name in "ab"], START)
        stage(connection, "one", deliveries={"ehr_fhir": "dead", "pacs_archive": "retrying"})
    with serving(tmp_path, database.url) as served, served.client() as client:
        client.get("/healthz")
        return client.get("/metrics").text


def test_metrics_hold_those_of_other_processes(tmp_path: Path, database: Database) -> None:
    """`/metrics` of the page counts what another receiving process has told."""
    labels = {"channel": "other", "as": "stored"}
    with serving(tmp_path, database.url) as served, served.client() as client:
        served.app.others.hear(2, [("counter", "intu_receive_objects_total", labels, 7.0)])
        text = client.get("/metrics").text
    assert 'intu_receive_objects_total{as="stored",channel="other"} 7.0' in text


def _families(text: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def test_prometheus_takes_the_rules() -> None:
    """`promtool check rules` finds every alert and no fault."""
    alerts = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"][0]["rules"]
    assert f"SUCCESS: {len(alerts)} rules found" in _promtool("check", "rules", str(RULES))


def test_alerts_fire_and_stay_silent() -> None:
    """Each alert fires in the state that it is for, and not in the one before."""
    tests = RULES.with_name("rules_test.yaml")
    _promtool("test", "rules", str(tests))
    alerts = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"][0]["rules"]
    told = yaml.safe_load(tests.read_text(encoding="utf-8"))["tests"]
    fired = {one["alertname"] for t in told for one in t["alert_rule_test"] if one["exp_alerts"]}
    assert fired == {alert["alert"] for alert in alerts}


def test_metrics_are_named_as_prometheus_asks(exposed: str) -> None:
    """`promtool check metrics` has nothing to say about names, units and help."""
    call = [require("promtool"), "check", "metrics"]
    done = subprocess.run(
        call, check=False, capture_output=True, text=True, timeout=60, input=exposed
    )
    ours = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("intu_")]
    assert ours == []


def test_rules_and_dashboard_ask_for_what_is_there(exposed: str) -> None:
    """Each metric and each label that a rule or a panel names is one of the program."""
    there = _names(exposed)
    for expression in _expressions():
        assert set(_OURS.findall(expression)) <= there, expression


def _names(text: str) -> set[str]:
    """Return names as queries write them, those without a sample yet too."""
    names: set[str] = set()
    for name, family in _families(text).items():
        endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
        names |= {name + ending for ending in endings.get(family.type, ("",))}
    return names


def _expressions() -> Iterator[str]:
    for rule in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"][0]["rules"]:
        yield rule["expr"]
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


def test_the_state_of_the_site_is_told(exposed: str) -> None:
    """A dead and a failing delivery are counted by destination and state, with their age."""
    families = _families(exposed)
    assert families["intu_database_up"].samples[0].value == 1
    assert families["intu_studies"].samples[0].value == 1
    dead = {
        sample.labels["destination"]: sample.value
        for sample in families["intu_queue_items"].samples
        if sample.labels["state"] == "dead"
    }
    assert dead == {"ehr_fhir": 1}
    assert families["intu_queue_oldest_seconds"].samples
    assert families["intu_files_free_bytes"].samples[0].value > 0


def test_what_waits_in_a_spool_is_told(exposed: str) -> None:
    """By spool: how many files wait for their upload, and for how long the first one does."""
    families = _families(exposed)
    [waiting] = families["intu_uploads_waiting"].samples
    assert (waiting.labels, waiting.value) == ({"spool": "r1"}, 2)
    [overdue] = families["intu_uploads_overdue_seconds"].samples
    assert (overdue.labels, overdue.value > 900) == ({"spool": "r1"}, True)


def test_panels_do_not_lie_on_each_other() -> None:
    """Each panel of the dashboard has an id and a place of its own."""
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in panels):
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)
