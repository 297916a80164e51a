"""A site under Apache Airflow: its DAGs, and what their tasks do.

The file of DAGs imports this each time Airflow looks at it, so what works on studies is imported
only where a task runs.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from intu_fhir.errors import ConfigurationError, TransientError
from intu_fhir.settings.load import load_configuration

if TYPE_CHECKING:
    from intu_fhir.app.wiring import App
    from intu_fhir.engines.airflow.request import Asker
    from intu_fhir.pipeline.replay import ReplaySelection

_HURRIED_SECONDS = 4.0
"""Airflow kills a task that it stops five seconds after it has told it."""


def site_dags(folder: str, **options: Any) -> Mapping[str, Any]:
    """Return the DAGs of a site by name, for the globals of a file in Airflow's folder of DAGs.

    Args:
        folder: of ``intu.yaml``.
        options: see ``AirflowOptions``.

    Raises:
        ConfigurationError: Airflow shows it as an error of import, and goes on with the last DAGs.
    """
    from intu_fhir.engines.airflow.dags import Doers, make_dags
    from intu_fhir.engines.airflow.plan import AirflowOptions

    site = load_configuration(Path(folder)).site
    doers = Doers(drain=drain, prune=prune, rebuild=rebuild, replay=replay)
    return make_dags(folder, site, AirflowOptions(**options), doers)


def drain(
    folder: str, kind: str, destination: str, seconds: float, grace_seconds: float, **_: Any
) -> None:
    """Work on a share of the queue for some seconds, then finish what is in hand.

    Raises:
        TransientError: the database cannot be used, or something in hand did not end in time.
    """
    from intu_fhir.app.working import Working
    from intu_fhir.engines.airflow.plan import PREPARE, share_of
    from intu_fhir.engines.engine import run_for

    with _opened(folder) as app, closing(Working(app)) as working, _told_to_stop() as stop:
        if destination and destination not in app.configuration.site.destinations:
            raise ConfigurationError(f"{destination} is no destination any more")
        if kind == PREPARE:
            working.look_again()
        engine = working.engine(share_of(kind, destination))
        grace = {"grace_seconds": grace_seconds, "hurried_seconds": _HURRIED_SECONDS}
        if run_for(engine, seconds, stop, **grace):
            raise TransientError("work in hand did not end in time; its lease runs out by itself")


def prune(folder: str, **_: Any) -> None:
    """Remove the files of studies and the rows that are old enough, by the rule of the site.

    Files that are to go anyway, such as one that a new copy replaced, go without a rule.

    Raises:
        TransientError: by this machine's clock nothing can be said to be old.
    """
    from intu_fhir.app.working import Working

    with _opened(folder) as app, _told_to_stop() as stop:
        if not app.clock_watch.is_right():
            raise TransientError(f"the clock of this machine is {app.clock_watch.fault}")
        working = Working(app)
        pruning = working.scheduled_prune()
        while pruning.prune_some() and not stop.is_set():
            pass
        for removal in working.scheduled_removals().values():
            while removal.remove_some() and not stop.is_set():
                pass


def rebuild(
    folder: str,
    *,
    dag_run: Any,
    data_interval_start: Any = None,
    data_interval_end: Any = None,
    **_: Any,
) -> dict[str, Any]:
    """Have the studies built again whose last image came on a day.

    Raises:
        ConfigurationError: the run belongs to no day.
    """
    from intu_fhir.engines.airflow.request import rebuild_of

    if data_interval_start is None or data_interval_end is None:
        raise ConfigurationError("this run has no day; give it a logical date, or backfill")
    return _replay(folder, rebuild_of(data_interval_start, data_interval_end, _asker(dag_run)))


def replay(folder: str, *, dag_run: Any, params: Mapping[str, Any], **_: Any) -> dict[str, Any]:
    """Put back what the parameters select."""
    from intu_fhir.engines.airflow.request import asked_replay

    return _replay(folder, asked_replay(params, _asker(dag_run)))


def _asker(dag_run: Any) -> Asker:
    from intu_fhir.engines.airflow.request import Asker

    return Asker(dag_run.triggering_user_name or "", dag_run.run_id)


def _replay(folder: str, selection: ReplaySelection) -> dict[str, Any]:
    """Do it, seal the audit trail, and return counts for Airflow's page."""
    from intu_fhir.db.audit import seal
    from intu_fhir.pipeline.replay import replay as put_back

    with _opened(folder) as app:
        done = put_back(app.database, app.clock, selection)
        if not selection.dry_run:
            seal(app.database)
    return {
        "deliveries": done.deliveries,
        "steps": done.steps,
        "studies": done.studies,
        "left_alone": dict(done.left),
        "dry_run": done.dry_run,
    }


@contextmanager
def _opened(folder: str) -> Iterator[App]:
    """Open the site for one task; its log goes where Airflow's goes."""
    from intu_fhir.app.wiring import open_app
    from intu_fhir.observe.logging import join_logging

    join_logging()
    with closing(open_app(load_configuration(Path(folder)))) as app:
        yield app


@contextmanager
def _told_to_stop() -> Iterator[threading.Event]:
    """Give an event that is set where Airflow ends the task: it is cleared, or marked by hand."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_SIGNALS = (signal.SIGTERM, signal.SIGINT)
