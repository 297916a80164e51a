"""The state of the site as gauges for Prometheus, read from the staging database when asked for."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Protocol

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.responses import Response

from intu_fhir.db.overview import Overview, overview
from intu_fhir.db.session import Database, sqlite_folder
from intu_fhir.db.uploads import waiting_spools
from intu_fhir.errors import IntuError
from intu_fhir.model.work import AGGREGATE, BUILD, DEAD, DELIVERED
from intu_fhir.observe import metrics as m
from intu_fhir.observe.clock import Clock
from intu_fhir.observe.summed import OtherProcesses
from intu_fhir.settings.schema import Configuration
from intu_fhir.web.cached import Cached

STANDING_SECONDS = 5.0
"""So long is the state of the site kept between two who ask."""

_DONE = {
    "associations": "begun",
    "instances": "stored",
    AGGREGATE: "settled",
    BUILD: "built",
    DELIVERED: "delivered",
    DEAD: "failed",
}


class Observed(Protocol):
    """A site whose state is asked for."""

    @property
    def configuration(self) -> Configuration:
        """What it is made of."""
        ...

    @property
    def database(self) -> Database:
        """Where its state is."""
        ...

    @property
    def clock(self) -> Clock:
        """Its time."""
        ...

    @property
    def others(self) -> OtherProcesses:
        """What its other receiving processes have counted."""
        ...


def metrics_response(site: Observed, cached: Cached) -> Response:
    """Return what this process and those it has started count, and the state of the site."""
    standing = cached.get("standing", STANDING_SECONDS, lambda: standing_metrics(site))
    counted = generate_latest(site.others.registry())
    return Response(counted + standing, media_type=CONTENT_TYPE_LATEST)


def standing_metrics(site: Observed) -> bytes:
    """Return the gauges of the whole site in the text format of Prometheus.

    Where the database does not answer, only that is told, and what the disk says.
    """
    registry = CollectorRegistry()
    registry.register(_Families([*_of_database(site), *_of_disks(site)]))
    return generate_latest(registry)


class _Families(Collector):
    """Gives what was measured already."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _of_database(site: Observed) -> Iterator[Metric]:
    now = site.clock.now()
    try:
        with site.database.read() as connection:
            state, spools = overview(connection, now), waiting_spools(connection)
    except IntuError:
        yield _family(m.DATABASE_UP, [((), 0)])
        return
    yield _family(m.DATABASE_UP, [((), 1)])
    yield from _of_overview(state, now)
    yield _family(m.UPLOADS_WAITING, [((one.spool,), one.files) for one in spools])
    yield _family(m.UPLOADS_OVERDUE, [((one.spool,), _age(one.due_since, now)) for one in spools])


def _of_overview(state: Overview, now: datetime) -> Iterator[Metric]:
    """Return the gauges of an overview."""
    yield _family(m.STUDIES, [((), state.studies)])
    queue = [((q.step, q.destination, q.state), q) for q in state.queue]
    yield _family(m.QUEUE, [(labels, q.count) for labels, q in queue])
    yield _family(
        m.QUEUE_OLDEST, [(labels, _age(q.oldest, now)) for labels, q in queue if q.oldest]
    )
    due = [((one.step, one.destination), one) for one in state.overdue]
    yield _family(m.OVERDUE, [(labels, one.count) for labels, one in due])
    yield _family(m.OVERDUE_OLDEST, [(labels, _age(one.since, now)) for labels, one in due])
    kept = [((one.destination, one.state), _age(one.since, now)) for one in state.kept_back]
    yield _family(m.KEPT_BACK, kept)
    yield _family(m.HOLDS, [((), state.held)])
    yield _family(m.QUARANTINED, [((), state.quarantined)])
    yield _family(m.LAST_HOUR, [((_DONE[key],), n) for key, n in state.rates.items()])


def _of_disks(site: Observed) -> Iterator[Metric]:
    settings = site.configuration.site
    places = (
        (m.FILES_FREE, settings.files_folder),
        (m.DATABASE_FREE, sqlite_folder(settings.database)),
    )
    for gauge, folder in places:
        free = []
        with contextlib.suppress(OSError):
            free = [((), shutil.disk_usage(folder).free)] if folder is not None else []
        yield _family(gauge, free)


def _family(
    gauge: m.Standing, values: Iterable[tuple[tuple[str, ...], float]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(gauge.name, gauge.text, labels=gauge.labels)
    for labels, value in values:
        family.add_metric(labels, value)
    return family


def _age(since: datetime | None, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds()) if since else 0.0
