"""Metrics of several processes as one."""

from __future__ import annotations

import json

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from intu_fhir.observe.metrics import RECEIVE_ACCEPT_SECONDS, RECEIVE_ASSOCIATIONS_OPEN
from intu_fhir.observe.metrics import RECEIVE_OBJECTS as OBJECTS
from intu_fhir.observe.summed import Counted, OtherProcesses, counted_here


def _values(others: OtherProcesses) -> dict[tuple[str, str], float]:
    """Return what Prometheus reads of the channel of this test."""
    text = generate_latest(others.registry()).decode()
    return {
        (sample.name, sample.labels.get("le", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("channel") == "summed"
    }


def test_numbers_of_other_processes_are_added() -> None:
    """Counters, gauges and each bucket of a histogram are sums; the dead leave no gauge."""
    OBJECTS.labels("summed", "stored").inc(2)
    RECEIVE_ASSOCIATIONS_OPEN.labels("summed").inc()
    RECEIVE_ACCEPT_SECONDS.labels("summed").observe(0.02)
    ours = [one for one in counted_here() if one.labels.get("channel") == "summed"]
    others = OtherProcesses()
    others.hear(2, json.loads(json.dumps(ours)))
    others.hear(3, json.loads(json.dumps(ours)))
    seen = _values(others)
    assert seen["intu_receive_objects_total", ""] == 6
    assert seen["intu_receive_associations_open", ""] == 3
    assert seen["intu_receive_accept_seconds_count", ""] == 3
    assert seen["intu_receive_accept_seconds_bucket", "0.01"] == 0
    assert seen["intu_receive_accept_seconds_bucket", "0.025"] == 3
    others.ended(3)
    others.hear(3, json.loads(json.dumps(ours)))
    others.ended(2)
    seen = _values(others)
    assert seen["intu_receive_objects_total", ""] == 8
    assert seen["intu_receive_associations_open", ""] == 2


def test_what_only_another_process_has_counted_is_told() -> None:
    """A channel or status that this process never saw stands there with the number of another."""
    others = OtherProcesses()
    labels = {"channel": "elsewhere", "as": "stored"}
    others.hear(2, [Counted("counter", "intu_receive_objects_total", labels, 4.0)])
    text = generate_latest(others.registry()).decode()
    assert 'intu_receive_objects_total{as="stored",channel="elsewhere"} 4.0' in text
