"""``docs/reference/metrics.md``: every metric, and every field of a log line."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.metrics import MetricWrapperBase

from intu_fhir.observe import logging, metrics
from tools.docs.markdown import code, page, table

_METRICS = """\
For Prometheus. No label holds patient data, or text that a peer has chosen."""

_STATE = """\
These are read from the staging database, at most every five seconds, and tell of the whole site,
whichever process is asked. See
[watch with Prometheus](../how-to/watch-with-prometheus.md)."""

_LOGS = """\
One line for a unit of work, JSON unless standard error is a terminal. Only these fields get out;
whatever else a call hands over is dropped, so that no patient data can slip in:"""


def metrics_page() -> str:
    """Return the page."""
    rows = (
        (code(described.name + _ENDINGS.get(described.type, "")), described.type, labels, text)
        for described, labels, text in _described()
    )
    return page(
        "Metrics and logs",
        "## Metrics",
        _METRICS,
        table(("Name", "Kind", "Labels", "Meaning"), rows),
        _STATE,
        table(
            ("Name", "Kind", "Labels", "Meaning"),
            (
                (code(one.name), "gauge", ", ".join(map(code, one.labels)), one.text)
                for one in vars(metrics).values()
                if isinstance(one, metrics.Standing)
            ),
        ),
        "## Logs",
        _LOGS,
        ", ".join(map(code, sorted(logging.ALLOWED))) + ".",
    )


_ENDINGS = {"counter": "_total"}


def _described() -> Iterator[tuple[Metric, str, str]]:
    """Give each declared metric with its labels."""
    for value in vars(metrics).values():
        if isinstance(value, MetricWrapperBase):
            (described,) = value.describe()
            labels = ", ".join(map(code, value._labelnames))
            yield described, labels, described.documentation
